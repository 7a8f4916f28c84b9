package boltstore

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/z-open/socketauth/blacklist"
)

// FuzzPages damages a file and opens it. Open may refuse it, but must not panic, and no revoked
// token may be accepted.
func FuzzPages(f *testing.F) {
	sound, revoked := sample(f)
	size := os.Getpagesize()
	for page := range len(sound) / size {
		for _, at := range []int{0, 8, 10, 12, 16, 20, 24, 28, 40} { // the headers, and the first elements
			f.Add(uint32(page*size+at), []byte{0xff, 0xff})
		}
	}
	f.Fuzz(func(t *testing.T, at uint32, damage []byte) {
		data := append([]byte(nil), sound...)
		copy(data[int(at)%len(data):], damage)
		path := filepath.Join(folder(t), "sessions.db")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path)
		if err != nil {
			return
		}
		defer s.Close()
		for _, token := range revoked {
			token.Generation = 1
			if v, _ := verdict(s.Check(t.Context(), token, 0, 0)); v == blacklist.Accepted {
				t.Errorf("a revoked token is accepted")
			}
		}
		_, _ = s.Sessions(t.Context(), "user 1")
	})
}
