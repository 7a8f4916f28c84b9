package socketauth

import (
	"crypto/hkdf"
	"crypto/sha256"
)

// subkey derives a key of 32 bytes for one use from the key of the cluster. It is nil if there is
// none.
func (c clusterConfig) subkey(info string) []byte {
	if c.key == nil {
		return nil
	}
	key, _ := hkdf.Expand(sha256.New, c.key, info, sha256.Size) // does not fail for so few bytes
	return key
}
