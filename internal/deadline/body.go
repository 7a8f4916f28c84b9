package deadline

import (
	"net/http"
	"time"
)

// bodyTimeout is how long a client may take to send a body that is not used.
const bodyTimeout = 2 * time.Second

// Body sets a read deadline for a request's body, until a handler that reads it sets one of its
// own. It is needed because net/http reads the rest of a body before it answers, and that may never
// come. If w does not support deadlines, those of the http.Server apply.
func Body(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	}
}
