// Package jws signs and verifies tokens with a secret: JSON Web Signatures (RFC 7515) in compact
// form, by HS256, HS384 or HS512. It writes what golang-jwt writes. It reads only tokens with the
// header that it writes itself, so that it compares the header and does not parse it. golang-jwt
// accepts each signature that this package accepts, and returns the same payload.
package jws

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/json"
	"hash"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

// strict refuses texts that another text of the same bytes could stand for. It skips line breaks.
var strict = base64.RawURLEncoding.Strict()

// Key signs and verifies with one secret. It may be used by several goroutines at a time.
type Key struct {
	prefix string // the encoded header, and the dot after it
	length int    // of an encoded signature
	states sync.Pool
}

// state is what one goroutine at a time signs or verifies with.
type state struct {
	mac                           hash.Hash
	text, payload, sum, signature []byte
}

// New returns the key with the ID id, which may be empty. ok is false if the algorithm is not one
// of golang-jwt's HMAC algorithms, or if JSON cannot hold the ID: golang-jwt has to sign and verify
// then.
func New(method jwt.SigningMethod, secret any, id string) (k *Key, ok bool) {
	m, ok := method.(*jwt.SigningMethodHMAC)
	key, isBytes := secret.([]byte)
	// Another method of the same name could have another hash.
	if !ok || !isBytes || !utf8.ValidString(id) || jwt.GetSigningMethod(m.Alg()) != method || !m.Hash.Available() {
		return nil, false
	}
	header := map[string]any{"typ": "JWT", "alg": m.Alg()}
	if id != "" {
		header["kid"] = id
	}
	head, err := json.Marshal(header)
	if err != nil {
		return nil, false
	}
	k = &Key{
		prefix: strict.EncodeToString(head) + ".",
		length: strict.EncodedLen(m.Hash.Size()),
	}
	k.states.New = func() any { return &state{mac: hmac.New(m.Hash.New, key)} }
	return k, true
}

// Sign returns the signed token with the payload that appendTo appends to a slice.
func (k *Key) Sign(appendTo func([]byte) []byte) string {
	s := k.states.Get().(*state)
	defer k.states.Put(s)
	s.payload = appendTo(s.payload[:0])
	s.text = strict.AppendEncode(append(s.text[:0], k.prefix...), s.payload)
	s.sign(len(s.text))
	s.text = append(append(s.text, '.'), s.signature...)
	return string(s.text)
}

// Open reports whether the token has the header and the signature of the key, and read accepts the
// payload, which must not be kept after read has returned.
func (k *Key) Open(token string, read func(payload []byte) bool) bool {
	signed := len(token) - k.length - 1
	if signed < len(k.prefix) || !strings.HasPrefix(token, k.prefix) || token[signed] != '.' {
		return false
	}
	s := k.states.Get().(*state)
	defer k.states.Put(s)
	s.text = append(s.text[:0], token...)
	s.sign(signed)
	// As text, because a signature has only one in strict base64.
	if !hmac.Equal(s.signature, s.text[signed+1:]) {
		return false
	}
	var err error
	s.payload, err = strict.AppendDecode(s.payload[:0], s.text[len(k.prefix):signed])
	return err == nil && read(s.payload)
}

// sign writes the encoded signature of the first n bytes of s.text to s.signature.
func (s *state) sign(n int) {
	s.mac.Reset()
	s.mac.Write(s.text[:n])
	s.sum = s.mac.Sum(s.sum[:0])
	s.signature = strict.AppendEncode(s.signature[:0], s.sum)
}
