package query

import (
	"net/url"
	"testing"
)

// FuzzGet checks that Get finds what url.ParseQuery does.
func FuzzGet(f *testing.F) {
	for _, seed := range []string{
		"", "EIO=4&transport=websocket", "EIO=3&EIO=4", "EIO", "EIO=", "EIO&EIO=4", "=4", "&&EIO=4&", "EIO=4;x=1", "x;EIO=4&EIO=5",
		"E%49O=4", "EIO=%34", "EIO=%3", "EIO=%zz&EIO=4", "E+IO=1", "EIO=a+b", "EIO==4", "eio=4", "EIO=4#x", "%=1&EIO=2", "EIO=%00\xff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		all, _ := url.ParseQuery(raw) // what is malformed is left out
		for _, name := range []string{"EIO", "x", "", "E IO"} {
			value, ok := Get(raw, name)
			if value != all.Get(name) || ok != all.Has(name) {
				t.Errorf("%q in %q: %q, %v and not %q, %v", name, raw, value, ok, all.Get(name), all.Has(name))
			}
		}
	})
}

// TestGetAllocates checks that a plain query is searched without allocating.
func TestGetAllocates(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Value("EIO=4&transport=websocket&t=Oabc", "sid") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
