//go:build !race

// Under the race detector stacks are larger.

package eio4

import (
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/engine/enginetest"
)

// acceptDeep is an application that needs more stack than an idle connection should keep.
func acceptDeep(c engine.Conn, h engine.Handshake) engine.Receiver {
	var pad [6000]byte
	copy(pad[:], c.ID())
	if len(pad) == strings.Count(string(pad[:]), "-") {
		return nil
	}
	return enginetest.Echo(c, h)
}

func TestIdleStackIsSmall(t *testing.T) {
	// Guards: one frame more on the stack of the goroutine that waits for a client, and every idle
	// connection takes 8 KB of stack for as long as it lives, where it took 4.
	const sockets = 400
	e := New(engine.Options{Namespaces: map[string]engine.Accept{"/": acceptDeep}})
	server := httptest.NewServer(e)
	defer server.Close()
	before := stacks()
	for range sockets {
		ws, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(server.URL, "http")+"/?EIO=4&transport=websocket", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer ws.Close()
		receive(t, ws)
		send(t, ws, websocket.TextMessage, "40")
		receive(t, ws)
		send(t, ws, websocket.TextMessage, `42["x"]`)
		receive(t, ws)
	}
	if each := (stacks() - before) / sockets; each > 6000 {
		t.Errorf("%d bytes of stack for each connection", each)
	}
	if err := e.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// stacks is what goroutines have in use, once those that can be smaller are.
func stacks() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.StackInuse)
}
