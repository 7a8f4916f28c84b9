package eio3

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

// ears is a RawReceiver that hears nothing.
type ears struct{}

func (ears) Message([]byte, bool) {}
func (ears) Closed(engine.Reason) {}

func TestBodyThatNeverComesHoldsNothingUp(t *testing.T) {
	// Guards: net/http waits for an announced body before it answers, so each such request must have a deadline, or one
	// line of a stranger's would keep a goroutine, and Shutdown, for ever.
	e := NewRaw(engine.Options{}, func(*Session) RawReceiver { return ears{} })
	server := httptest.NewServer(e)
	defer server.Close()
	var asking sync.WaitGroup
	for _, line := range []string{
		"GET /?EIO=3&transport=polling", "POST /?EIO=3&transport=polling", "POST /?EIO=3&transport=polling&sid=unknown", "GET /?EIO=3",
		"GET /?EIO=5",
	} {
		for _, length := range []string{"Content-Length: 10", "Transfer-Encoding: chunked"} {
			asking.Go(func() {
				conn, err := net.Dial("tcp", server.Listener.Addr().String())
				if err != nil {
					t.Error(err)
					return
				}
				fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", line, length)
				_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil || res.StatusCode != http.StatusBadRequest {
					t.Errorf("%s, %s: %v, %v", line, length, res, err)
				}
				_ = conn.Close()
			})
		}
	}
	asking.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := e.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}
