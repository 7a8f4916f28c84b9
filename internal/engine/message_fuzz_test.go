package engine

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzEncode checks that strings are encoded as encoding/json does without the escapes for HTML.
func FuzzEncode(f *testing.F) {
	for _, seed := range []string{"", "echo", "a\"b", `a\b`, "a\nb", "\x00", "\x1f", "\x7f", " ~", "<&>", "é", "\u2028", "\xff", "a.b-c_d"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		m, err := NewMessage(name, value, 1.5, value)
		if err != nil {
			t.Fatal(err)
		}
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		if err := enc.Encode([]any{name, value, 1.5, value}); err != nil {
			t.Fatal(err)
		}
		if got := string(m.Text) + "\n"; got != want.String() {
			t.Errorf("%q is encoded as %q and not %q", value, got, want.String())
		}
	})
}
