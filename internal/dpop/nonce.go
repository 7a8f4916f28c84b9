package dpop

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
	"time"

	"github.com/z-open/socketauth/internal/id"
)

// NonceLifetime is for how long a nonce of Nonces is valid.
const NonceLifetime = 5 * time.Minute

// Nonces makes and checks the nonces of the header DPoP-Nonce (RFC 9449 section 8): the time when each was
// made and who has made it, with a MAC. So nothing is kept of them, and all that have the same key accept
// each other's. It is safe for concurrent use.
type Nonces struct {
	macs  sync.Pool
	maker id.ID // random, so that what was made before a restart is known
}

const (
	nonceTime = 8                        // bytes
	nonceText = nonceTime + len(id.ID{}) // bytes, before the MAC
	nonceSize = nonceText + 16           // bytes
)

// NewNonces returns the nonces of a key, which is used for nothing else.
func NewNonces(key []byte) *Nonces {
	return &Nonces{macs: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}, maker: id.New()}
}

// New returns a nonce that is made now.
func (n *Nonces) New() string {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, nonceSize), uint64(time.Now().UnixMilli()))
	b = append(b, n.maker[:]...)
	return encoding.EncodeToString(append(b, n.sign(b)...))
}

// IsOwn reports whether n has made a nonce for which Age returns true, and not others with the same key.
func (n *Nonces) IsOwn(nonce string) bool {
	b, err := encoding.DecodeString(nonce)
	return err == nil && len(b) == nonceSize && id.ID(b[nonceTime:nonceText]) == n.maker
}

// Age returns how old a nonce is. It is negative if the clock of the process that has made it is ahead. ok is
// false if it was not made with the key.
func (n *Nonces) Age(nonce string) (age time.Duration, ok bool) {
	if len(nonce) != encoding.EncodedLen(nonceSize) {
		return 0, false
	}
	b, err := encoding.DecodeString(nonce)
	if err != nil || len(b) != nonceSize || !hmac.Equal(b[nonceText:], n.sign(b[:nonceText])) {
		return 0, false
	}
	return time.Since(time.UnixMilli(int64(binary.BigEndian.Uint64(b)))), true
}

// sign returns the MAC of what a nonce says.
func (n *Nonces) sign(b []byte) []byte {
	mac := n.macs.Get().(hash.Hash)
	defer n.macs.Put(mac)
	mac.Reset()
	mac.Write(b)
	return mac.Sum(nil)[:nonceSize-nonceText]
}
