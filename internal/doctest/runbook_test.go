package doctest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/z-open/socketauth"
)

const module = "github.com/z-open/socketauth"

// runbook returns the rows of the tables of docs/operations.md's runbook, by the heading above
// them, as lists of cells.
func runbook(t *testing.T) map[string][][]string {
	t.Helper()
	d := readDocument(t, "docs/operations.md")
	rows := make(map[string][][]string)
	in, part := false, ""
	for n := range d.lines {
		line := d.prose[n+1]
		switch {
		case strings.HasPrefix(line, "## "):
			in = line == "## Runbook"
		case strings.HasPrefix(line, "### "):
			part = strings.TrimPrefix(line, "### ")
		case in && strings.HasPrefix(line, "| `"):
			cells := strings.Split(strings.Trim(line, "| "), " | ")
			rows[part] = append(rows[part], cells)
		}
	}
	return rows
}

// spans returns what the code spans of a cell have.
func spans(cell string) (all []string) {
	for _, span := range codeSpan.FindAllString(cell, -1) {
		all = append(all, strings.Trim(span, "`"))
	}
	return all
}

// TestRunbookLines guards that the runbook has a row for each line that the library logs, which
// begins as the line does, and none for a line that nothing logs.
func TestRunbookLines(t *testing.T) {
	logged := make(map[string]string) // where, by what
	for _, folder := range librarySources(t) {
		for _, path := range goFiles(t, folder) {
			if !strings.HasSuffix(path, "_test.go") {
				messages(t, path, logged)
			}
		}
	}
	if len(logged) < 40 {
		t.Fatalf("the library logs %d lines", len(logged))
	}
	used := make(map[string]bool)
	var rows []string
	for _, cells := range runbook(t)["Log lines"] {
		rows = append(rows, spans(cells[0])...)
	}
	for message, where := range logged {
		found := false
		for _, row := range rows {
			// A row is the beginning of a line up to the end of a word. "*" is what only the program knows.
			pattern := strings.ReplaceAll(regexp.QuoteMeta(message), `\*`, `[\w-]+`)
			begins := strings.HasPrefix(message, row) && (len(row) == len(message) || strings.ContainsRune(" ,:;.", rune(message[len(row)])))
			if begins || regexp.MustCompile("^"+pattern+"$").MatchString(row) {
				used[row], found = true, true
			}
		}
		if !found {
			t.Errorf("%s: docs/operations.md has no row in its runbook for the log line %q", where, message)
		}
	}
	for _, row := range rows {
		if !used[row] {
			t.Errorf("docs/operations.md has a row in its runbook for %q, which nothing logs", row)
		}
	}
}

// librarySources returns the folders of the packages that an app gets when it imports the root.
func librarySources(t *testing.T) []string {
	t.Helper()
	folders := []string{"."}
	for i := 0; i < len(folders); i++ {
		for _, path := range goFiles(t, folders[i]) {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, spec := range file.Imports {
				name, _ := strconv.Unquote(spec.Path.Value)
				if folder, own := strings.CutPrefix(name, module+"/"); own && !slices.Contains(folders, folder) {
					folders = append(folders, folder)
				}
			}
		}
	}
	return folders
}

// logging has the names of functions that log, whichever package they are of.
var logging = regexp.MustCompile(`^((Debug|Info|Warn|Error)(Context)?|Log|LogAttrs|logOnce|record|recordRefusal)$`)

// messages adds the lines that a file logs, without the prefix.
func messages(t *testing.T, path string, logged map[string]string) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	add := func(e ast.Expr) bool {
		text := constant(e)
		for _, prefix := range []string{"socketauth: ", "engine: "} {
			if message, ok := strings.CutPrefix(text, prefix); ok {
				logged[message] = filepath.Base(path) + ":" + strconv.Itoa(files.Position(e.Pos()).Line)
				return true
			}
		}
		return false
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			called, ok := n.Fun.(*ast.SelectorExpr)
			if !ok || !logging.MatchString(called.Sel.Name) || len(n.Args) == 0 {
				break
			}
			// The message is the first argument that is a text, or a variable with one.
			found, variable := false, false
			for _, arg := range n.Args[:min(3, len(n.Args))] {
				found = found || add(arg)
				if id, ok := arg.(*ast.Ident); ok && (id.Name == "msg" || id.Name == "message") {
					variable = true
				}
			}
			if !found && !variable {
				t.Errorf(`%s: a log line does not begin with "socketauth: " or "engine: "`, files.Position(n.Pos()))
			}
		case *ast.AssignStmt: // msg := "socketauth: ..."
			for _, value := range n.Rhs {
				add(value)
			}
		}
		return true
	})
}

// constant returns a text that is joined from literals, with "*" in place of what else it is joined
// from.
func constant(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		if text, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
			return text
		}
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			return constant(e.X) + constant(e.Y)
		}
	}
	return "*"
}

// TestRunbookFigures guards that the runbook has a row for each field of Stats, and for each name
// that a limit has in Stats.Limited.
func TestRunbookFigures(t *testing.T) {
	rows := runbook(t)
	var figures, limits []string
	for _, cells := range rows["Figures"] {
		figures = append(figures, spans(cells[1])...)
	}
	for _, cells := range rows["Limits by their names"] {
		limits = append(limits, spans(cells[0])...)
	}
	var check func(name string, of reflect.Type)
	check = func(name string, of reflect.Type) {
		if of.Kind() != reflect.Struct {
			if !slices.Contains(figures, name) {
				t.Errorf("docs/operations.md has no row in its runbook for Stats.%s", name)
			}
			return
		}
		for i := range of.NumField() {
			check(strings.TrimPrefix(name+"."+of.Field(i).Name, "."), of.Field(i).Type)
		}
	}
	check("", reflect.TypeFor[socketauth.Stats]())

	text, err := os.ReadFile(filepath.Join(root, "limits.go"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`(?m)^\tlimit[A-Z]\w* += "(\w+)"$`).FindAllStringSubmatch(string(text), -1)
	if len(named) < 10 {
		t.Fatalf("limits.go has the names of %d limits", len(named))
	}
	var names []string
	for _, found := range named {
		names = append(names, found[1])
	}
	slices.Sort(names)
	slices.Sort(limits)
	if !slices.Equal(names, limits) {
		t.Errorf("the limits are named\n%q\nand docs/operations.md has rows in its runbook for\n%q", names, limits)
	}
}
