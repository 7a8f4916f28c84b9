package doctest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestIdentifiers guards that what the documents name of the library's API exists: `Limits.Depth`,
// `ErrUnavailable`, `socketauth.MuxFunc`, `blacklist.Store`. A bare name, such as that of an
// option, is not looked at.
func TestIdentifiers(t *testing.T) {
	packages := map[string]map[string]bool{
		"":              declared(t, "."),
		"socketauth":    declared(t, "."),
		"blacklist":     declared(t, "blacklist"),
		"blacklisttest": declared(t, "blacklist/blacklisttest"),
		"boltstore":     declared(t, "boltstore"),
	}
	name := regexp.MustCompile(`(?:\b(\w+)\.)?\b([A-Z]\w*)(?:\.([A-Z]\w*))?`)
	checked := 0
	for _, d := range markdown(t) {
		for n, line := range d.prose {
			for _, span := range codeSpan.FindAllString(line, -1) {
				for _, parts := range name.FindAllStringSubmatch(span, -1) {
					of, first, member := parts[1], parts[2], parts[3]
					if ast.IsExported(of) && packages[""]["type "+of] { // Limits.Depth
						of, first, member = "", of, first
					}
					known, ok := packages[of]
					switch {
					case !ok:
					case of == "" && member == "" && (first == "Err" || !strings.HasPrefix(first, "Err")):
					case of == "" && member != "" && !known["type "+first]:
					default:
						checked++
						want := first
						if member != "" {
							want += "." + member
						}
						if !known[want] {
							t.Errorf("%s:%d names %s, which does not exist", d.path, n, want)
						}
					}
				}
			}
		}
	}
	if checked < 20 {
		t.Errorf("the documents name %d identifiers", checked)
	}
}

// declared returns the names that a package declares, with fields and methods as Type.Name, and
// "type Name" for types.
func declared(t *testing.T, folder string) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	for _, path := range goFiles(t, folder) {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range file.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				names[receiver(d)+d.Name.Name] = true
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.ValueSpec:
						for _, name := range s.Names {
							names[name.Name] = true
						}
					case *ast.TypeSpec:
						names[s.Name.Name], names["type "+s.Name.Name] = true, true
						for _, member := range members(s.Type) {
							names[s.Name.Name+"."+member] = true
						}
					}
				}
			}
		}
	}
	return names
}

// receiver is the type of a method, with a dot, or empty.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil {
		return ""
	}
	of := f.Recv.List[0].Type
	if pointer, ok := of.(*ast.StarExpr); ok {
		of = pointer.X
	}
	if generic, ok := of.(*ast.IndexExpr); ok {
		of = generic.X
	}
	return of.(*ast.Ident).Name + "."
}

// members returns the names of the fields of a struct, or of the methods of an interface.
func members(of ast.Expr) (names []string) {
	var fields *ast.FieldList
	switch of := of.(type) {
	case *ast.StructType:
		fields = of.Fields
	case *ast.InterfaceType:
		fields = of.Methods
	default:
		return nil
	}
	for _, field := range fields.List {
		for _, name := range field.Names {
			names = append(names, name.Name)
		}
	}
	return names
}

// TestPaths guards that files and folders of the repository that the documents name exist.
func TestPaths(t *testing.T) {
	path := regexp.MustCompile(`^[\w.-]+(/[\w.-]+)*/?$`)
	checked := 0
	for _, d := range markdown(t) {
		for n, line := range d.prose {
			for _, span := range codeSpan.FindAllString(line, -1) {
				name := strings.Trim(span, "`")
				top, rest, nested := strings.Cut(name, "/")
				if !nested || !path.MatchString(name) || !isFolder(top) || strings.HasSuffix(rest, "v0.2.0") {
					continue
				}
				checked++
				if _, err := os.Stat(filepath.Join(root, name)); err != nil {
					t.Errorf("%s:%d names %s, which does not exist", d.path, n, name)
				}
			}
		}
	}
	if checked < 10 {
		t.Errorf("the documents name %d paths", checked)
	}
}
