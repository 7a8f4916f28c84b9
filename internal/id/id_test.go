package id

import (
	"strings"
	"testing"
)

// TestText guards that each ID has one text, and that no other text is taken for one.
func TestText(t *testing.T) {
	a, b := New(), New()
	if a == b || a == (ID{}) {
		t.Errorf("%v and %v are not random", a, b)
	}
	text := a.String()
	if got, ok := Parse(text); !ok || got != a || len(text) != 22 {
		t.Errorf("Parse(%q) is %v, %v", text, got, ok)
	}
	for _, bad := range []string{
		"", text[:21], text + "A", text + "==", text[:21] + "B", text[:21] + "\n", "+" + text[1:], strings.Repeat("A", 21) + "=", "\n" + text[:21], text[:20] + "\r\n", text[:10] + "\r" + text[11:],
	} {
		if got, ok := Parse(bad); ok || got != (ID{}) {
			t.Errorf("Parse(%q) is %v", bad, got)
		}
	}
}

// FuzzParse guards that what is read is written as it was.
func FuzzParse(f *testing.F) {
	f.Add(New().String())
	f.Add("AAAAAAAAAAAAAAAAAAAAAB")
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := Parse(s); ok && id.String() != s {
			t.Errorf("Parse(%q) is %v", s, id)
		}
	})
}
