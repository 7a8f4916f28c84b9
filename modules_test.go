package socketauth_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const rootModule = "github.com/z-open/socketauth"

// imports returns what the Go files below the folder of each module import, tests included: module,
// file, paths. A module is known by its folder.
func imports(t *testing.T) map[string]map[string][]string {
	t.Helper()
	found := make(map[string]map[string][]string)
	moduleOf := func(dir string) string {
		for ; ; dir = path.Dir(dir) {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				return dir
			}
		}
	}
	err := fs.WalkDir(os.DirFS("."), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || len(d.Name()) > 1 && d.Name()[0] == '.'):
			return fs.SkipDir
		case d.Name() == "go.work":
			t.Errorf("%s is here, which hides what go.mod files require", name)
		case path.Ext(name) == ".go":
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			module := moduleOf(path.Dir(name))
			if found[module] == nil {
				found[module] = make(map[string][]string)
			}
			for _, i := range file.Imports {
				p, _ := strconv.Unquote(i.Path.Value)
				found[module][name] = append(found[module][name], p)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func isOrBelow(p, parent string) bool { return p == parent || strings.HasPrefix(p, parent+"/") }

// TestModulesStayApart checks that an app that imports the root alone downloads nothing for the
// other modules, and that a module tagged by itself works with every version of the root that it
// may meet, since it uses nothing that may change without notice.
func TestModulesStayApart(t *testing.T) {
	all := imports(t)
	if len(all) < 5 {
		t.Fatalf("%d modules found", len(all))
	}
	for module, files := range all {
		for file, paths := range files {
			for _, p := range paths {
				for other := range all {
					if module == "." && other != "." && isOrBelow(p, rootModule+"/"+other) {
						t.Errorf("%s of the root imports %s, of another module", file, p)
					}
				}
				// bench is never tagged: it measures the engine as it is in the same tree.
				if module != "." && module != "bench" && isOrBelow(p, rootModule+"/internal") {
					t.Errorf("%s of %s imports %s, which is internal to the root", file, module, p)
				}
			}
		}
	}
}

// TestStoreImports checks that package blacklist imports nothing of the root, only what the store
// in memory is made of, and a store nothing else of the library.
func TestStoreImports(t *testing.T) {
	all := imports(t)
	seen := 0
	for module, files := range all {
		for file, paths := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			var allowed []string
			switch {
			case strings.HasSuffix(module, "store"):
				allowed = []string{rootModule + "/blacklist", rootModule + "/" + module}
			case path.Dir(file) == "blacklist":
				for _, name := range []string{"chains", "id", "intern", "slab", "texts", "wheel"} {
					allowed = append(allowed, rootModule+"/internal/"+name)
				}
			case path.Dir(file) == "blacklist/blacklisttest":
				allowed = []string{rootModule + "/blacklist"}
			default:
				continue
			}
			seen++
			for _, p := range paths {
				if isOrBelow(p, rootModule) && !slices.ContainsFunc(allowed, func(a string) bool { return p == a }) {
					t.Errorf("%s imports %s", file, p)
				}
			}
		}
	}
	if seen < 10 {
		t.Errorf("%d files looked at", seen)
	}
}

// TestNestedModuleTags checks that users of a nested module get the version of the root that it
// requires, since replace directives are ignored for them; here it is this tree.
func TestNestedModuleTags(t *testing.T) {
	required := regexp.MustCompile(`(?m)^\s*(?:require )?(` + regexp.QuoteMeta(rootModule) + `\S*) (v\S+)`)
	tag := regexp.MustCompile(`^v\d+\.\d+\.\d+$`)
	for module := range imports(t) {
		if module == "." {
			continue
		}
		mod, err := os.ReadFile(filepath.Join(module, "go.mod"))
		if err != nil {
			t.Fatal(err)
		}
		requires := required.FindAllStringSubmatch(string(mod), -1)
		if len(requires) == 0 {
			t.Errorf("%s requires nothing of %s", module, rootModule)
		}
		for _, r := range requires {
			if !tag.MatchString(r[2]) {
				t.Errorf("%s requires %s %s, which is no tag", module, r[1], r[2])
			}
			up := strings.Repeat("../", strings.Count(module, "/")+1)
			folder := up + strings.TrimPrefix(strings.TrimPrefix(r[1], rootModule), "/")
			if !regexp.MustCompile(`(?m)\b` + regexp.QuoteMeta(r[1]) + ` => ` + regexp.QuoteMeta(folder) + `$`).Match(mod) {
				t.Errorf("%s does not replace %s by %s", module, r[1], folder)
			}
		}
	}
}
