package id

import (
	"encoding/base64"
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

// TestParseAsBase64 guards that Parse takes what a strict decoder of base64url does: every byte at
// every place.
func TestParseAsBase64(t *testing.T) {
	for _, text := range []string{New().String(), New().String(), "----------------------", "____________________-w"} {
		for at := range len(text) {
			for c := range 256 {
				s := text[:at] + string([]byte{byte(c)}) + text[at+1:]
				want, err := base64.RawURLEncoding.Strict().DecodeString(s)
				got, ok := Parse(s)
				if wantOK := err == nil && len(want) == len(got); ok != wantOK || ok && string(got[:]) != string(want) {
					t.Fatalf("Parse(%q) is %v, %v, want %v, %v", s, got, ok, want, err)
				}
			}
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
