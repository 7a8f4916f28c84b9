package dpop

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
	"time"
)

// NonceLifetime is for how long a nonce of Nonces is valid.
const NonceLifetime = 5 * time.Minute

// Nonces makes and checks the nonces of the header DPoP-Nonce (RFC 9449 section 8): the time when
// each was made and what it was made for, with a MAC. So nothing is kept of them, and all that have
// the same key accept each other's. It is safe for concurrent use.
type Nonces struct{ macs sync.Pool }

const (
	nonceTime = 8              // bytes
	nonceText = nonceTime + 16 // bytes, before the MAC
	nonceSize = nonceText + 16 // bytes
)

// NewNonces returns the nonces of a key, which is used for nothing else.
func NewNonces(key []byte) *Nonces {
	return &Nonces{macs: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

// New returns a nonce that is made now.
func (n *Nonces) New() string { return n.make(make([]byte, nonceText-nonceTime)) }

// NewFor is New for the answer to one question. The nonce is as good as any other one.
func (n *Nonces) NewFor(question string) string { return n.make(hashOf(question)) }

func (n *Nonces) make(what []byte) string {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, nonceSize), uint64(time.Now().UnixMilli()))
	b = append(b, what...)
	return encoding.EncodeToString(append(b, n.sign(b)...))
}

func hashOf(question string) []byte {
	sum := sha256.Sum256([]byte(question))
	return sum[:nonceText-nonceTime]
}

// IsFor reports whether a nonce was made with the key, by NewFor with that question.
func (n *Nonces) IsFor(nonce, question string) bool {
	b, ok := n.open(nonce)
	return ok && bytes.Equal(b[nonceTime:nonceText], hashOf(question))
}

// Age returns how old a nonce is. It is negative if the clock of the process that has made it is
// ahead. ok is false if it was not made with the key.
func (n *Nonces) Age(nonce string) (age time.Duration, ok bool) {
	b, ok := n.open(nonce)
	if !ok {
		return 0, false
	}
	return time.Since(time.UnixMilli(int64(binary.BigEndian.Uint64(b)))), true
}

// open returns the bytes of a nonce. ok is false if it was not made with the key.
func (n *Nonces) open(nonce string) (b []byte, ok bool) {
	if len(nonce) != encoding.EncodedLen(nonceSize) {
		return nil, false
	}
	b, err := encoding.DecodeString(nonce)
	ok = err == nil && len(b) == nonceSize && hmac.Equal(b[nonceText:], n.sign(b[:nonceText]))
	return b, ok
}

// sign returns the MAC of what a nonce says.
func (n *Nonces) sign(b []byte) []byte {
	mac := n.macs.Get().(hash.Hash)
	defer n.macs.Put(mac)
	mac.Reset()
	mac.Write(b)
	return mac.Sum(nil)[:nonceSize-nonceText]
}
