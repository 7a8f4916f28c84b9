package socketauth

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/z-open/socketauth/internal/admission"
	"github.com/z-open/socketauth/internal/deadline"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/throttle"
)

// TestLimitUnauthenticatedPerAddress checks what UnauthenticatedPerAddress counts as one address,
// and that the oldest connection of it is the one that is closed.
func TestLimitUnauthenticatedPerAddress(t *testing.T) {
	l := Limits{UnauthenticatedPerAddress: 2}.withDefaults()
	var pool admission.Pool
	here := make(map[string][]*admission.Member)
	come := func(address string) (limit admission.Limit, oldest *admission.Member) {
		network := throttle.Network(address)
		m := &admission.Member{Engine: "4", Network: network, Wide: throttle.Wide(network)}
		admitted, limit, oldest := pool.Admit(m, l.admission())
		if !admitted {
			t.Errorf("%s was refused", address)
		}
		here[address] = append(here[address], m)
		return limit, oldest
	}
	for _, step := range []struct{ address, closes string }{
		{"203.0.113.1", ""}, {"203.0.113.1", ""}, {"203.0.113.1", "203.0.113.1"}, {"::ffff:203.0.113.1", "203.0.113.1"}, {"203.0.113.2", ""},
		{"2001:db8::1", ""}, {"2001:db8::2", ""}, {"2001:db8::3", "2001:db8::1"}, {"2001:db8:0:1::3", ""}, {"", ""}, {"", ""}, {"", ""},
	} {
		limit, oldest := come(step.address)
		if step.closes == "" {
			if limit != admission.None || oldest != nil {
				t.Errorf("%s: limit %d", step.address, limit)
			}
			continue
		}
		if limit != admission.UnauthenticatedPerNetwork || oldest != here[step.closes][0] {
			t.Errorf("%s: limit %d, %+v was closed", step.address, limit, oldest)
		}
		pool.Leave(oldest)
		here[step.closes] = here[step.closes][1:]
	}
	ended := 0
	for n := range 100 { // a /48 may have as many connections as 16 of its /64
		if _, oldest := come(fmt.Sprintf("2001:db8:1:%x::1", n)); oldest != nil {
			ended++
			if want := fmt.Sprintf("2001:db8:1:%x::1", ended-1); oldest != here[want][0] {
				t.Errorf("not the oldest of the /48 was closed")
			}
			pool.Leave(oldest)
		}
	}
	if ended != 100-2*admission.Wide {
		t.Errorf("%d of 100 were closed", ended)
	}
}

// silentConn is a connection that takes whatever it is sent.
type silentConn struct{ engine.Conn }

func (silentConn) ID() string                             { return "" }
func (silentConn) Emit(*engine.Message) error             { return nil }
func (silentConn) EmitShared(*engine.Message, bool) error { return nil }
func (silentConn) Close(*engine.Message)                  {}

// TestLimitUnauthenticatedLeavingWhileLetIn checks that a client that leaves at the very moment at
// which it is let in is counted as unauthenticated: its connection would stay whatever the limits.
// The two meet in about one of 70 tries.
func TestLimitUnauthenticatedLeavingWhileLetIn(t *testing.T) {
	a, err := New(Options[any]{Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{auth: a}
	s.deadlines = deadline.NewQueue(&s.work, (*Socket).onDeadline)
	s.runner.Work = &s.work
	ctx, cancel := context.WithCancel(t.Context())
	var counting sync.WaitGroup
	for range 2 { // so that the pool's lock is contended
		counting.Go(func() {
			for ctx.Err() == nil {
				s.pool.Counts()
			}
		})
	}
	defer counting.Wait()
	defer cancel()
	let := &token{ExpiresAt: time.Now().Add(time.Hour)}
	for range 700 {
		described := s.describe(httptest.NewRequest(http.MethodGet, "/", nil))
		s.admit(described, func() {})
		r := s.accept(silentConn{}, engine.Handshake{Request: described}).(receiver)
		var both sync.WaitGroup
		both.Go(func() { r.enter(let, let, "") })
		both.Go(func() {
			runtime.Gosched()
			r.Disconnected(engine.ClientDisconnect)
		})
		both.Wait()
		s.work.Wait()
		if n := s.pool.Counts()["3"]; n.Authenticated != 0 {
			t.Fatalf("%+v", n)
		}
		s.left(described)
	}
}
