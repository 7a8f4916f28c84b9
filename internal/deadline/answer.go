package deadline

import (
	"net/http"
	"time"
)

// answerTimeout is how long a client may take to read an answer.
const answerTimeout = 10 * time.Second

// Answer bounds the time in which the client has to read the answer that is about to be written. net/http clears the
// deadline once the request is done, so that it does not concern the next one on the same connection.
func Answer(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout)) // where that cannot be done, the http.Server's own holds
}
