package doctest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRedisUser guards that docs/operations.md gives Redis's user of the app the same rights as the
// documentation of redisstore, whose tests use them, but for the prefix.
func TestRedisUser(t *testing.T) {
	rights := func(name, end string) string {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, found := strings.Cut(string(text), "ACL SETUSER app on >PASSWORD ")
		rest, _, ended := strings.Cut(rest, end)
		if !found || !ended {
			t.Fatalf("%s has no ACL", name)
		}
		return strings.Join(strings.Fields(strings.ReplaceAll(rest, "//", "")), " ")
	}
	tested := strings.ReplaceAll(rights("redisstore/doc.go", "\n//\n"), "sa:*", "app:*")
	if shown := rights("docs/operations.md", "\n```"); shown != tested {
		t.Errorf("docs/operations.md has\n%s\nand redisstore/doc.go\n%s", shown, tested)
	}
}
