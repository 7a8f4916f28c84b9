//go:build !race

// The race detector adds to what objects take.

package socketauth

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/internal/engine"
)

// idleConn is a connection whose client says nothing.
type idleConn struct{ quietConn }

func (idleConn) ID() string            { return "" }
func (idleConn) SessionID() string     { return "" }
func (idleConn) Trust()                {}
func (idleConn) Close(*engine.Message) {}

// openIdle authenticates sockets with the numbers from to to, each of another user.
func openIdle(t *testing.T, s *Server, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		code, err := s.auth.IssueCode(t.Context(), jwt.MapClaims{"sub": "user" + strconv.Itoa(n), "role": "reader"})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "/socket.io/?EIO=4&transport=websocket", nil)
		r.RemoteAddr = "198.51.100." + strconv.Itoa(n/250) + ":" + strconv.Itoa(1024+n)
		r.Header.Set("Origin", "https://app.example.com")
		r.Header.Set("Accept-Language", "en-US,en;q=0.5")
		r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36")
		described := s.describe(r)
		s.admit(described, func() {})
		auth, _ := json.Marshal(map[string]any{"token": code})
		receiver := s.accept(idleConn{}, engine.Handshake{Auth: auth, Request: described})
		synctest.Wait()
		receiver.Event("echo", engine.Args{}, nil)
	}
	synctest.Wait()
	if n := len(s.hub.Members(everyone)); n != to {
		t.Fatalf("%d sockets are authenticated, not %d", n, to)
	}
}

// TestIdleSocketMemory guards how much memory a socket takes that has authenticated and is idle,
// its session in the store included and its connection not.
func TestIdleSocketMemory(t *testing.T) {
	const before, after, limit = 500, 2500, 1750
	synctest.Test(t, func(t *testing.T) {
		s, err := SocketServe(nil, http.NewServeMux(), Options[any]{
			Secret: testSecret, Limits: Limits{UnauthenticatedPerAddress: NoLimit},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.On("echo", func(context.Context, *Socket, Args) (any, error) { return nil, nil })
		heap := func() int64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.GC() // empties the pools
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		openIdle(t, s, 0, before)
		was := heap()
		openIdle(t, s, before, after)
		if perSocket := (heap() - was) / (after - before); perSocket > limit {
			t.Errorf("%d bytes for each socket, more than %d", perSocket, limit)
		}
		for _, socket := range s.hub.Members(everyone) {
			socket.end("the end of the test", nil)
			receiver{socket}.Disconnected(engine.TransportClose)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestRequestMemory guards that nothing of a connection keeps the text of its first request, which
// a client can make a megabyte long.
func TestRequestMemory(t *testing.T) {
	const connections, length = 40, 256 << 10
	synctest.Test(t, func(t *testing.T) {
		s, err := SocketServe(nil, http.NewServeMux(), Options[any]{Secret: testSecret})
		if err != nil {
			t.Fatal(err)
		}
		heap := func() int64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.GC() // empties the pools
			runtime.ReadMemStats(&m)
			return int64(m.HeapAlloc)
		}
		described := make([]any, connections)
		was := heap()
		for n := range described {
			text := "GET /socket.io/?EIO=4&transport=websocket&x=" + strings.Repeat("x", length) + " HTTP/1.1\r\nHost: example.com\r\nUser-Agent: agent\r\n" +
				"Origin: https://example.com\r\nX-Request-Id: 1\r\nX-Filler: " + strings.Repeat("x", length) + "\r\n\r\n"
			r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
			if err != nil {
				t.Fatal(err)
			}
			r.RemoteAddr = "198.51.100.1:1024"
			described[n] = s.describe(r)
			s.admit(described[n], func() {})
		}
		if each := (heap() - was) / connections; each > 4<<10 {
			t.Errorf("%d bytes for each connection", each)
		}
		for _, d := range described {
			s.left(d)
		}
		if err := s.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
