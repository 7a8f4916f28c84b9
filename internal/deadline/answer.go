package deadline

import (
	"net/http"
	"time"
)

// answerTimeout is how long a client may take to read an answer.
const answerTimeout = 10 * time.Second

// Answer sets the write deadline of the answer that is about to be written. net/http clears it when
// the request is done, so that it does not apply to the next one on the same connection. If w does
// not support deadlines, those of the http.Server apply.
func Answer(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout))
}
