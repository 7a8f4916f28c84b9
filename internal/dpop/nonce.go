package dpop

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
	"time"
)

// NonceLifetime is for how long a nonce of Nonces is valid.
const NonceLifetime = 5 * time.Minute

// Nonces makes and checks the nonces of the header DPoP-Nonce (RFC 9449 section 8): the time when each was
// made, with a MAC. So nothing is kept of them, and all that have the same key accept each other's. It is
// safe for concurrent use.
type Nonces struct{ macs sync.Pool }

const (
	nonceTime = 8              // bytes
	nonceSize = nonceTime + 16 // bytes, with the MAC
)

// NewNonces returns the nonces of a key, which is used for nothing else.
func NewNonces(key []byte) *Nonces {
	return &Nonces{macs: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

// New returns a nonce that is made now.
func (n *Nonces) New() string {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, nonceSize), uint64(time.Now().UnixMilli()))
	return encoding.EncodeToString(append(b, n.sign(b)...))
}

// Age returns how old a nonce is. It is negative if the clock of the process that has made it is ahead. ok is
// false if it was not made with the key.
func (n *Nonces) Age(nonce string) (age time.Duration, ok bool) {
	if len(nonce) != encoding.EncodedLen(nonceSize) {
		return 0, false
	}
	b, err := encoding.DecodeString(nonce)
	if err != nil || len(b) != nonceSize || !hmac.Equal(b[nonceTime:], n.sign(b[:nonceTime])) {
		return 0, false
	}
	return time.Since(time.UnixMilli(int64(binary.BigEndian.Uint64(b)))), true
}

// sign returns the MAC of a time.
func (n *Nonces) sign(b []byte) []byte {
	mac := n.macs.Get().(hash.Hash)
	defer n.macs.Put(mac)
	mac.Reset()
	mac.Write(b)
	return mac.Sum(nil)[:nonceSize-nonceTime]
}
