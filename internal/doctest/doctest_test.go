package doctest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/z-open/socketauth"
)

// TestQuotes guards that code which a document quotes, with the name of its file in a comment
// before it, is a part of that file, but for its indentation; and that Go code without such a
// comment can at least be parsed.
func TestQuotes(t *testing.T) {
	quotes := 0
	for _, d := range markdown(t) {
		for _, b := range d.blocks {
			switch {
			case b.quotes != "":
				quotes++
				text, err := os.ReadFile(filepath.Join(root, b.quotes))
				if err != nil {
					t.Errorf("%s:%d quotes a file that cannot be read: %v", d.path, b.line, err)
				} else if !contains(string(text), b.code) {
					t.Errorf("%s:%d is not what %s has", d.path, b.line, b.quotes)
				}
			case b.language == "go":
				if err := parse(b.code); err != nil {
					t.Errorf("%s:%d is no Go code: %v", d.path, b.line, err)
				}
			}
		}
	}
	if quotes < 4 {
		t.Errorf("the documents quote %d files", quotes)
	}
}

// contains reports whether some lines of text, without the indentation that they share, are those
// of part.
func contains(text, part string) bool {
	lines, wanted := strings.Split(text, "\n"), strings.Split(part, "\n")
	want := dedent(wanted)
	for i := 0; i+len(wanted) <= len(lines); i++ {
		if dedent(lines[i:i+len(wanted)]) == want {
			return true
		}
	}
	return false
}

// dedent joins lines without the tabs that all of them begin with.
func dedent(lines []string) string {
	for {
		out := make([]string, len(lines))
		for i, line := range lines {
			rest, indented := strings.CutPrefix(line, "\t")
			if !indented && line != "" || strings.Join(lines, "") == "" {
				return strings.Join(lines, "\n")
			}
			out[i] = rest
		}
		lines = out
	}
}

// parse parses a file, declarations or statements.
func parse(code string) (err error) {
	for _, around := range [][2]string{{"", ""}, {"package p\n", ""}, {"package p\nfunc f() {\n", "\n}"}} {
		if _, err = parser.ParseFile(token.NewFileSet(), "", around[0]+code+around[1], 0); err == nil {
			return nil
		}
	}
	return err
}

// TestLinks guards that links between the documents, and to files and headings, lead somewhere.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	checked := 0
	for _, d := range markdown(t) {
		for n, line := range d.prose {
			for _, found := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(line, ""), -1) {
				if strings.Contains(found[1], "://") || strings.HasPrefix(found[1], "mailto:") {
					continue
				}
				checked++
				target, anchor, _ := strings.Cut(found[1], "#")
				path := d.path
				if target != "" {
					path = filepath.Join(filepath.Dir(d.path), target)
					if _, err := os.Stat(filepath.Join(root, path)); err != nil {
						t.Errorf("%s:%d links to %s, which does not exist", d.path, n, target)
						continue
					}
				}
				if anchor != "" && !readDocument(t, path).anchors()[anchor] {
					t.Errorf("%s:%d links to %s, and there is no such heading", d.path, n, found[1])
				}
			}
		}
	}
	if checked < 20 {
		t.Errorf("the documents have %d links", checked)
	}
}

// TestCodes guards that docs/protocol.md has an anchor for each code that clients are told.
func TestCodes(t *testing.T) {
	anchors := readDocument(t, "docs/protocol.md").anchors()
	name := regexp.MustCompile(`^(code|http)[A-Z]`)
	codes := make(map[string]bool)
	for _, file := range goFiles(t, ".") {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || strings.HasSuffix(file, "_test.go") {
				return true
			}
			for i, value := range spec.Values {
				literal, ok := value.(*ast.BasicLit)
				if !ok || literal.Kind != token.STRING || !name.MatchString(spec.Names[i].Name) {
					continue
				}
				if code, err := strconv.Unquote(literal.Value); err == nil {
					codes[code] = true
				}
			}
			return true
		})
	}
	for code := range codes {
		if !anchors[code] {
			t.Errorf(`docs/protocol.md has no <a id="%s"></a> for that code`, code)
		}
	}
	if !codes["token_reused"] || !codes["unknown_event"] || !codes["USER_INVALID"] {
		t.Errorf("the constants of codes are no longer named code... and http...: found %v", codes)
	}
}

// TestOptions guards that docs/options.md has a row for each field of Options, Limits and
// Cluster.
func TestOptions(t *testing.T) {
	var rows []string
	for _, line := range readDocument(t, "docs/options.md").prose {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			rows = append(rows, cells[1])
		}
	}
	first := strings.Join(rows, "\n")
	check := func(prefix string, of reflect.Type) {
		for i := range of.NumField() {
			if field := "`" + prefix + of.Field(i).Name + "`"; !strings.Contains(first, field) {
				t.Errorf("docs/options.md has no row for %s", field)
			}
		}
	}
	check("", reflect.TypeFor[socketauth.Options[any]]())
	check("Limits.", reflect.TypeFor[socketauth.Limits]())
	check("Cluster.", reflect.TypeFor[socketauth.Cluster]())
}

// TestSessionKeys guards that docs/operations.md names each member that a Session has in JSON.
func TestSessionKeys(t *testing.T) {
	prose := fmt.Sprint(readDocument(t, "docs/operations.md").prose)
	fields := reflect.VisibleFields(reflect.TypeFor[socketauth.Session]())
	if len(fields) < 9 {
		t.Fatalf("a Session has %d fields", len(fields))
	}
	for _, field := range fields {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name != "" && !strings.Contains(prose, "`"+name+"`") && !strings.Contains(prose, "`"+name+": true`") {
			t.Errorf("docs/operations.md does not name %q, which a Session has in JSON", name)
		}
	}
}

// TestREADME guards that the README stays short enough to be read.
func TestREADME(t *testing.T) {
	if n := len(readDocument(t, "README.md").lines) - 1; n > 200 {
		t.Errorf("README.md has %d lines, more than 200: move some to docs/", n)
	}
}
