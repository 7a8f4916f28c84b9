package deadline

import (
	"net/http"
	"time"
)

// bodyTimeout is how long a client may take for a body that nobody wants.
const bodyTimeout = 2 * time.Second

// Body bounds the time of a request's body, before whoever wants it sets a time of its own. net/http reads what is left
// of a body before it answers, and there may never be more.
func Body(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout)) // where that cannot be done, the http.Server's own holds
	}
}
