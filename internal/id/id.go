// Package id makes and reads the names of sessions, tokens and connections: 128 random bits, in
// text as 22 characters of unpadded base64url (RFC 4648 section 5).
package id

import (
	"crypto/rand"
	"encoding/base64"
)

// ID is 128 bits.
type ID [16]byte

// Length is that of the text of an ID.
const Length = 22

// New returns a random ID.
func New() ID {
	var id ID
	_, _ = rand.Read(id[:]) // never fails; see crypto/rand
	return id
}

// Parse returns the ID that s is the text of, if s is one.
func Parse(s string) (id ID, ok bool) {
	if len(s) != Length {
		return ID{}, false
	}
	wrong := byte(0)
	for n := range len(id) / 3 {
		a, b, c, d := values[s[4*n]], values[s[4*n+1]], values[s[4*n+2]], values[s[4*n+3]]
		wrong |= a | b | c | d
		id[3*n], id[3*n+1], id[3*n+2] = a<<2|b>>4, b<<4|c>>2, c<<6|d
	}
	a, b := values[s[Length-2]], values[s[Length-1]]
	wrong |= a | b
	id[len(id)-1] = a<<2 | b>>4
	if wrong >= noValue || b%16 != 0 { // or another text would stand for the same ID
		return ID{}, false
	}
	return id, true
}

// noValue is the value of what is no character of base64url.
const noValue = 64

// values are those of the characters of base64url. This is a third of what encoding/base64 needs,
// which also skips line breaks.
var values = func() (values [256]byte) {
	for n := range values {
		values[n] = noValue
	}
	for n, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		values[c] = byte(n)
	}
	return values
}()

// String returns the text of the ID.
func (id ID) String() string {
	var text [Length]byte
	base64.RawURLEncoding.Encode(text[:], id[:])
	return string(text[:])
}
