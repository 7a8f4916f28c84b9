//go:build !race

// Under the race detector stacks are larger.

package eio4

import (
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/engine/enginetest"
)

// acceptDeep accepts a connection with more stack than an idle connection should keep.
func acceptDeep(c engine.Conn, h engine.Handshake) engine.Receiver {
	var pad [6000]byte
	copy(pad[:], c.ID())
	if len(pad) == strings.Count(string(pad[:]), "-") {
		return nil
	}
	return enginetest.Echo(c, h)
}

func TestIdleStack(t *testing.T) {
	// Guards that an idle connection has 2 KB of stack, the least there is: more frames in the
	// goroutine that waits for the client, or anything else that it does, make it 4 KB. Collections
	// would make stacks smaller again.
	const sockets = 400
	e := New(engine.Options{Namespaces: map[string]engine.Accept{"/": acceptDeep}})
	server := httptest.NewServer(e)
	defer server.Close()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
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
	if each := (stacks() - before) / sockets; each > 3000 {
		t.Errorf("%d bytes of stack for each connection", each)
	}
	if err := e.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// stacks returns how many bytes stacks have in use.
func stacks() int {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.StackInuse)
}
