package enginetest

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

// SlowBodies tests that a body that never comes holds nothing up.
func SlowBodies(t *testing.T, version Version, start func(engine.Options) engine.Engine) {
	// Guards: net/http waits for an announced body before it answers, so each such request must have a deadline, or one
	// line of a stranger's would keep a goroutine, and Shutdown, for ever.
	e := start(engine.Options{})
	server := httptest.NewServer(e)
	defer server.Close()
	var asking sync.WaitGroup
	for _, line := range []string{
		"GET /?EIO=%d&transport=polling", "POST /?EIO=%d&transport=polling", "POST /?EIO=%d&transport=polling&sid=unknown", "GET /?EIO=%d",
		"GET /?EIO=%d0",
	} {
		line = fmt.Sprintf(line, version)
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
