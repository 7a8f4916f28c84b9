package eio3

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/z-open/socketauth/internal/eio"
)

func TestLongPollsAreBinary(t *testing.T) {
	// Guards that long polls are in the binary form: clients 1.x in browsers overflow their stack
	// on about 125 KB of text, and lose it.
	short := []eio.Packet{{Head: "42", Data: []byte(`["x"]`), JSON: true}}
	if _, kind := new(protocol).AppendPayload(nil, short, false); kind != eio.ContentText {
		t.Errorf("a short poll is %s", kind)
	}
	for name, long := range map[string][]eio.Packet{
		"one":  {{Head: "42", Data: []byte(`["` + strings.Repeat("é", 10_000) + `"]`), JSON: true}}, // six bytes each in ASCII
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

func same(p, other eio.Incoming) bool {
	return p.Kind == other.Kind && p.Binary == other.Binary && string(p.Data) == string(other.Data)
}

// FuzzPayload splits a payload, in either form, and checks that its packets can be encoded and
// split again.
func FuzzPayload(f *testing.F) {
	for _, seed := range []string{
		`9:42["x",1]`, `2:408:42["é"]`, "2:4\U0001d11e", "3:4\U0001d11e", "6:b4AQID", "1:25:3probe1:6", "99999999999:4", "-1:4", "0:", ":4", "1:\xff", "3:4\xc3\x28",
		`459999999999-["x",1]`, "\x00\x02\xff40", "\x01\x04\xff\x04\x01\x02\x03", "\x00\x01\x01\xff42[\"\xc3\xa9\"]\x01\x01\xff\x04", "\x00\xff", "\x02\x01\xff4", "\x00\x09\x09\x09\x09\x09\x09\x09\x09\x09\xff4",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, payload []byte, binary bool) {
		read := func(payload []byte, kind string, once bool) (read []eio.Incoming, err error) {
			for p, err := range (&link{once: once}).Packets(payload, kind) {
				if err != nil {
					return nil, err
				}
				if !p.Binary && !utf8.Valid(p.Data) {
					t.Fatalf("%q of %q is not UTF-8", p.Data, payload)
				}
				read = append(read, p)
			}
			return read, nil
		}
		kind := eio.ContentText
		if binary {
			kind = eio.ContentBinary
		}
		first, err := read(payload, kind, false)
		if err != nil {
			return
		}
		for _, b64 := range []bool{false, true} {
			var packets []eio.Packet
			for _, p := range first {
				if p.Binary {
					packets = append(packets, eio.NewMessage(p.Data, true))
				} else {
					packets = append(packets, eio.Packet{Head: string(p.Kind), Data: p.Data})
				}
			}
			encoded, kind := new(protocol).AppendPayload(nil, packets, b64)
			again, err := read(encoded, kind, true)
			if err != nil || !slices.EqualFunc(again, first, same) {
				t.Fatalf("%q is %+v, and from %q: %+v, %v", payload, first, encoded, again, err)
			}
		}
	})
}

// FuzzFrame checks that a parsed websocket message can be encoded and parsed again.
func FuzzFrame(f *testing.F) {
	for _, seed := range []string{`42["x",1]`, "2probe", "b4AQID", "b4!", "\x04\x01\x02", "\x05", "", "9", "4\xff"} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, binary bool) {
		first, err := parseFrame(data, binary)
		if err != nil {
			return
		}
		p := eio.Packet{Head: string(first.Kind), Data: first.Data}
		if first.Binary {
			p = eio.NewMessage(first.Data, true)
		}
		for _, b64 := range []bool{false, true} {
			sent := new(protocol).Frame(p, b64)
			again, err := parseFrame(append([]byte(sent.Head), sent.Data...), sent.Binary)
			if err != nil || !same(again, first) {
				t.Fatalf("%q is %+v, and from %+v: %+v, %v", data, first, sent, again, err)
			}
		}
	})
}

// FuzzPlain checks that text is read that is encoded twice, as clients 1.x do.
func FuzzPlain(f *testing.F) {
	for _, seed := range []string{"", "x", "é", "Ã©", "你好", "\U0001d11e", "\u0080", "\ufffd"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		k := new(link)
		if got := k.plain([]byte(text)); !utf8.ValidString(string(got)) && utf8.ValidString(text) {
			t.Errorf("%q became %q", text, got)
		}
		if !utf8.ValidString(text) {
			return
		}
		var twice strings.Builder
		for _, b := range []byte(text) {
			twice.WriteRune(rune(b))
		}
		if got := new(link).plain([]byte(twice.String())); string(got) != text {
			t.Errorf("%q, encoded twice, became %q", text, got)
		}
	})
}
