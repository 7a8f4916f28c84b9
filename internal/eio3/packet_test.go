package eio3

import (
	"slices"
	"strings"
	"testing"

	"github.com/z-open/socketauth/internal/eio"
)

func TestLongPollsAreBinary(t *testing.T) {
	// Guards: clients 1.x in browsers overflow their stack on some 125 KB of text in one poll, and then lose what it said.
	short := []eio.Packet{{Head: "42", Data: []byte(`["x"]`), JSON: true}}
	if _, kind := new(protocol).AppendPayload(nil, short, false); kind != eio.ContentText {
		t.Errorf("a short one is %s", kind)
	}
	for name, long := range map[string][]eio.Packet{
		"one":  {{Head: "42", Data: []byte(`["` + strings.Repeat("é", 10_000) + `"]`), JSON: true}}, // six bytes each once it is ASCII
		"many": slices.Repeat([]eio.Packet{{Head: "42", Data: []byte(`["` + strings.Repeat("x", 1000) + `"]`), JSON: true}}, 40),
	} {
		payload, kind := new(protocol).AppendPayload(nil, long, false)
		if kind != eio.ContentBinary || payload[0] != 0 {
			t.Errorf("%s is %s", name, kind)
		}
		if _, kind = new(protocol).AppendPayload(nil, long, true); kind != eio.ContentText {
			t.Errorf("%s is %s for a client that takes no binary", name, kind)
		}
	}
}
