package socketauth

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/z-open/socketauth/internal/deadline"
)

//go:embed client/socketauth.js
var clientSource []byte

// newClientFile serves the browser's half of the library. It is asked for afresh each time, so that it is never of
// another version than the server, and sent only where it has changed.
func newClientFile() http.Handler {
	sum := sha256.Sum256(clientSource)
	etag := `"` + hex.EncodeToString(sum[:16]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/javascript; charset=utf-8")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Access-Control-Allow-Origin", "*") // it is no secret, and pages of AllowedOrigins import it
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", etag)
		deadline.Answer(w)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(clientSource))
	})
}
