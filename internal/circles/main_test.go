package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TestCircles guards that circles are found by types, methods and fields, also by way of a third
// file.
func TestCircles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":      "module example.test/x\n",
		"a.go":        "package x\n\ntype A struct{ B }\n",
		"b.go":        "package x\n\ntype B struct{ n int }\n\nfunc (b B) f() { c() }\n",
		"c.go":        "package x\n\nfunc c() { _ = A{}.n }\n",
		"d.go":        "package x\n\nfunc d() { c() }\n",
		"one_test.go": "package x\n\nvar _ = d\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refs, err := references(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := circles(refs)
	if len(refs) != 4 || len(found) != 1 || !slices.Equal(found[0], []string{"a.go", "b.go", "c.go"}) {
		t.Errorf("%d files, circles %v", len(refs), found)
	}
}
