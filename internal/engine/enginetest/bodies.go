package enginetest

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

// SlowBodies tests requests whose body never comes.
func SlowBodies(t *testing.T, version Version, start func(engine.Options) engine.Engine) {
	// Guards that each such request has a deadline: net/http waits for an announced body before it
	// answers, so one line of a client would block a goroutine, and Shutdown, for ever.
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

// UnknownLengths tests requests that do not announce the length of their body.
func UnknownLengths(t *testing.T, version Version, start func(engine.Options) engine.Engine) {
	// Guards that a poll is accepted if the length of its empty body is unknown: over HTTP/3, over
	// HTTP/2 without END_STREAM on its HEADERS, or chunked.
	conns := make(chan engine.Conn, 2)
	e := start(engine.Options{PingInterval: 100 * time.Millisecond, Namespaces: map[string]engine.Accept{
		"/": func(c engine.Conn, _ engine.Handshake) engine.Receiver { conns <- c; return nil },
	}})
	server := httptest.NewUnstartedServer(hide(e))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	defer func() { _ = e.Shutdown(t.Context()) }()
	over2 := func(query, body string) (int, string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("%s/?EIO=%d&%s", server.URL, version, query), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = -1 // so that the client sends HEADERS without END_STREAM
		res, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil || res.ProtoMajor != 2 {
			t.Errorf("%v, by HTTP/%d", err, res.ProtoMajor)
		}
		return res.StatusCode, string(text)
	}
	config := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = []string{"http/1.1"}
	conn, err := tls.Dial("tcp", server.Listener.Addr().String(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	chunked := func(query, body string) (int, string) {
		if body != "" {
			body = fmt.Sprintf("%x\r\n%s\r\n", len(body), body)
		}
		fmt.Fprintf(conn, "GET /?EIO=%d&%s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n", version, query, body)
		_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		res, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Error(err)
		}
		return res.StatusCode, string(text)
	}
	for name, get := range map[string]func(query, body string) (int, string){"HTTP/2": over2, "chunked": chunked} {
		if status, text := get("transport=polling", "x"); status != http.StatusBadRequest {
			t.Errorf("%s: a GET with a body: %d %s", name, status, text)
		}
		status, text := get("transport=polling", "")
		_, sid, _ := strings.Cut(text, `"sid":"`)
		sid, _, _ = strings.Cut(sid, `"`)
		if status != http.StatusOK || sid == "" {
			t.Fatalf("%s: the handshake: %d %s", name, status, text)
		}
		if version == V3 { // in which clients ping
			if err := (<-conns).Emit(event(t, "news")); err != nil {
				t.Error(err)
			}
		}
		if status, text := get("transport=polling&sid="+sid, ""); status != http.StatusOK || text == "" {
			t.Errorf("%s: a poll: %d %s", name, status, text)
		}
		if status, text := get("transport=polling&sid="+sid, "x"); status != http.StatusBadRequest {
			t.Errorf("%s: a poll with a body: %d %s", name, status, text)
		}
	}
}
