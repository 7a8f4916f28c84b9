package eio3

import (
	"unicode/utf8"

	"github.com/z-open/socketauth/internal/sio"
)

// plain undoes the double encoding of clients 1.x, which encode text in a POST as UTF-8 twice
// unless the payload is in the binary form. The protocol does not tell which version a client is,
// so text that can be decoded twice is, until some text comes that cannot. Only a client 2.x that
// first sends text that looks like UTF-8 read as Latin-1 is misunderstood.
func (k *link) plain(text []byte) []byte {
	if k.once || sio.IsASCII(text) {
		return text
	}
	inner, ok := undouble(text)
	if !ok {
		k.once = true
		return text
	}
	return inner
}

// undouble decodes text whose characters are the bytes of UTF-8.
func undouble(text []byte) ([]byte, bool) {
	inner := make([]byte, 0, len(text))
	for _, r := range string(text) {
		if r > 0xff {
			return nil, false
		}
		inner = append(inner, byte(r))
	}
	return repairSurrogates(inner)
}

// repairSurrogates replaces lone surrogates, which clients 1.5 to 1.7 encode as if they were
// characters.
func repairSurrogates(text []byte) ([]byte, bool) {
	var out []byte
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r != utf8.RuneError || size > 1:
			out = append(out, text[:size]...)
		case len(text) > 2 && text[0] == 0xed && text[1]>>5 == 5 && text[2]>>6 == 2:
			out = utf8.AppendRune(out, utf8.RuneError)
			size = 3
		default:
			return nil, false
		}
		text = text[size:]
	}
	return out, true
}
