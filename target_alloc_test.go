//go:build !race

// With the race detector, a sync.Pool now and then loses what it holds, so that allocations cannot
// be counted.

package socketauth

import (
	"testing"
	"time"

	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/engine"
)

// quietConn is a connection that does nothing with what is emitted.
type quietConn struct{ engine.Conn }

func (quietConn) Emit(*engine.Message) error             { return nil }
func (quietConn) EmitShared(*engine.Message, bool) error { return nil }

// TestEmitAllocations checks that an emit of an app of one process allocates nothing but the
// message and the list of those who get it.
func TestEmitAllocations(t *testing.T) {
	a, err := New(Options[any]{Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{auth: a, watcher: newWatcher(t.Context(), a, nil, nil)}
	for range 3 {
		socket := &Socket{server: s, conn: quietConn{}, auth: authn.New(time.Now(), time.Second)}
		socket.member.Value = socket
		socket.auth.Enter(time.Now(), &authn.Token{ExpiresAt: time.Now().Add(time.Hour)})
		s.hub.Join(&socket.member, everyone)
		s.hub.Join(&socket.member, room("red"))
		s.hub.Join(&socket.member, user("anna"))
	}
	var sink []*Socket
	least := testing.AllocsPerRun(100, func() {
		_, _ = message("news", []any{"text", 1})
		sink = s.hub.Members(everyone)
	})
	_ = sink
	for name, emit := range map[string]func() error{
		"all":  func() error { return s.Emit("news", "text", 1) },
		"room": func() error { return s.To("red").Emit("news", "text", 1) },
		"user": func() error { return s.ToUser("anna").Emit("news", "text", 1) },
	} {
		if n := testing.AllocsPerRun(100, func() { _ = emit() }); n > least {
			t.Errorf("%s: %v allocations, and %v are needed", name, n, least)
		}
	}
}
