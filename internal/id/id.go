// Package id makes and reads the names of sessions, tokens and connections: 128 random bits, in text
// as 22 characters of unpadded base64url (RFC 4648 section 5).
package id

import (
	"crypto/rand"
	"encoding/base64"
)

// ID is 128 bits.
type ID [16]byte

// Length is that of the text of an ID.
const Length = 22

// encoding refuses texts that another text of the same ID could stand for.
var encoding = base64.RawURLEncoding.Strict()

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
	// Even a strict decoder skips line breaks.
	if n, err := encoding.Decode(id[:], []byte(s)); err != nil || n != len(id) {
		return ID{}, false
	}
	return id, true
}

// String returns the text of the ID.
func (id ID) String() string {
	var text [Length]byte
	encoding.Encode(text[:], id[:])
	return string(text[:])
}
