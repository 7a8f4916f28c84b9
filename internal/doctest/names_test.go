package doctest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestNamedTests guards that each test that a document names exists where it says:
// "`internal/eio4`: `TestFrames`" is one of that folder, a name without a folder is one of the root
// package. "`TestHostile_*`" stands for all that begin so.
func TestNamedTests(t *testing.T) {
	span := regexp.MustCompile("`([^`]*)`(:?)")
	test := regexp.MustCompile(`^(Test|Fuzz|Benchmark|Example)[A-Z]\w*\*?$`)
	identifier := regexp.MustCompile(`^\w+$`)
	named := 0
	for _, d := range markdown(t) {
		for n, line := range d.prose {
			// A folder counts up to the next semicolon or the end of the cell.
			for _, part := range strings.FieldsFunc(line, func(r rune) bool { return r == '|' || r == ';' }) {
				var folders, next []string
				for _, found := range span.FindAllStringSubmatch(part, -1) {
					name, colon := found[1], found[2] == ":"
					switch {
					case isFolder(name):
						if next = append(next, name); colon {
							folders, next = next, nil
						}
						continue
					case test.MatchString(name):
						named++
						for _, folder := range in(folders) {
							if !declares(t, folder, name, true) {
								t.Errorf("%s:%d names %s, which is no test of %s%s", d.path, n, name, called(folder), elsewhere(t, name))
							}
						}
					case d.path == "SECURITY.md" && folders != nil && identifier.MatchString(name):
						if !declares(t, folders[0], name, false) {
							t.Errorf("%s:%d names %s, which %s does not have", d.path, n, name, folders[0])
						}
					}
					next = nil
				}
			}
		}
	}
	if named < 20 {
		t.Errorf("the documents name %d tests", named)
	}
}

// in returns the folders, or the root package where there are none.
func in(folders []string) []string {
	if folders == nil {
		return []string{"."}
	}
	return folders
}

func called(folder string) string {
	if folder == "." {
		return "the root package"
	}
	return folder
}

func isFolder(name string) bool {
	if name == "" || strings.ContainsAny(name, " .") {
		return false
	}
	info, err := os.Stat(filepath.Join(root, name))
	return err == nil && info.IsDir()
}

// declares reports whether the Go files of a folder have a function of that name or, where it need
// not be a test, that name as a string: a test of a suite. A name that ends in * is the beginning
// of one.
func declares(t *testing.T, folder, name string, test bool) bool {
	t.Helper()
	pattern := regexp.QuoteMeta(name) + `\(`
	if beginning, ok := strings.CutSuffix(name, "*"); ok {
		pattern = regexp.QuoteMeta(beginning) + `\w*\(`
	}
	pattern = `(?m)^func ` + pattern
	if !test {
		pattern += fmt.Sprintf(`|"%s"`, regexp.QuoteMeta(name))
	}
	function := regexp.MustCompile(pattern)
	for _, file := range goFiles(t, folder) {
		if test && !strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if function.Match(text) {
			return true
		}
	}
	return false
}

// elsewhere says which folder does have a test of that name.
func elsewhere(t *testing.T, name string) string {
	t.Helper()
	folders, _ := filepath.Glob(root + "/*")
	for _, pattern := range []string{"/*/*", "/*/*/*"} {
		more, _ := filepath.Glob(root + pattern)
		folders = append(folders, more...)
	}
	for _, folder := range folders {
		below, err := filepath.Rel(root, folder)
		if err == nil && isFolder(below) && !strings.Contains(below, "node_modules") && declares(t, below, name, true) {
			return " (but of " + below + ")"
		}
	}
	return ", nor of any other folder"
}

// goFiles returns the Go files of a folder.
func goFiles(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}
