package enginetest

import (
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

// unauthenticated guards that MaxPayload is less until Trust is called.
func (s *suite) unauthenticated(t *testing.T, transport string) {
	o := engine.Options{FirstPayload: 1000, MaxPayload: 4000, MaxDepth: 10}
	large := `2["large","` + strings.Repeat("x", 2000) + `"]`
	s.in(t, o, func(t *testing.T, w *World) {
		w.OnEvent = func(c engine.Conn, name string, _ engine.Args, _ engine.Ack) {
			if name == "trust me" {
				c.Trust()
			}
		}
		trusted, _ := w.Member(transport)
		trusted.Send(`2["trust me"]`)
		w.WantCalls("event trust me []")
		untrusted, _ := w.Member(transport)
		_ = untrusted.Post("4" + large)
		w.WantCalls("disconnected: protocol error")
		untrusted.WantEnd()
		trusted.Send(large)
		w.WantCalls(`event large ["` + strings.Repeat("x", 2000) + `"]`)
		trusted.Send(`2["deep",` + strings.Repeat("[", 9) + strings.Repeat("]", 9) + `]`)
		w.WantCalls("event deep [" + strings.Repeat("[", 9) + strings.Repeat("]", 9) + "]")
		_ = trusted.Post(`42["deeper",` + strings.Repeat("[", 10) + strings.Repeat("]", 10) + `]`)
		w.WantCalls("disconnected: protocol error")
		trusted.WantEnd()
		w.WantNoCalls()
	})
}

// admission guards that Admit is called for each connection, and Left once for each that was
// admitted, however it ends.
func (s *suite) admission(t *testing.T, transport string) {
	var room, left atomic.Int32
	room.Store(4)
	o := engine.Options{
		PingInterval: 2 * time.Second, PingTimeout: time.Second,
		Admit: func(request any, _ func()) bool { return request == "Go-http-client/1.1" && room.Add(-1) >= 0 },
		Left:  func(request any) { left.Add(1) },
	}
	s.in(t, o, func(t *testing.T, w *World) {
		clients := make([]*Client, 4)
		for n := range clients {
			clients[n], _ = w.Member(transport)
		}
		for _, query := range []string{"transport=polling", "transport=polling&sid="} {
			if status, answer := w.Request(t.Context(), "GET", query, "", nil); status != 503 || !strings.Contains(answer, "Too many connections") {
				t.Errorf("%s: %d %s", query, status, answer)
			}
		}
		if ws, err := w.Websocket(""); err == nil {
			_ = ws.Close()
			t.Error("a websocket was let in")
		}
		synctest.Wait()
		if n := left.Load(); n != 0 {
			t.Errorf("Left was called %d times before the end", n)
		}
		_ = clients[0].Post("1")
		w.WantCalls("disconnected: client disconnect")
		clients[1].drop()
		w.wantCall("disconnected: transport close", "disconnected: ping timeout")
		_ = clients[2].Post("49")
		w.WantCalls("disconnected: protocol error")
		synctest.Wait()
		if n := left.Load(); n != 3 {
			t.Errorf("Left was called %d times, want 3", n)
		}
	})
	if n := left.Load(); n != 4 {
		t.Errorf("Left was called %d times, want 4", n)
	}
}

// eviction guards that an evicted connection ends at once, in such a way that its client
// reconnects, even before it has begun.
func (s *suite) eviction(t *testing.T, transport string) {
	var left atomic.Int32
	evict := make(chan func(), 2)
	o := engine.Options{
		Admit: func(_ any, end func()) bool {
			evict <- end
			if len(evict) == 2 {
				end()
			}
			return true
		},
		Left: func(any) { left.Add(1) },
	}
	s.in(t, o, func(t *testing.T, w *World) {
		c, conn := w.Member(transport)
		if transport == "polling" {
			_, _ = w.Request(t.Context(), "GET", "transport=polling", "", nil)
		} else if ws, err := w.Websocket(""); err == nil {
			_, _, err = ws.ReadMessage()
			if _ = ws.Close(); err == nil {
				t.Error("a connection began that was evicted before")
			}
		}
		synctest.Wait()
		if n := left.Load(); n != 1 {
			t.Errorf("Left was called %d times, want 1", n)
		}
		end := <-evict
		end()
		w.WantCalls("disconnected: evicted")
		c.WantEnd()
		end() // has no effect now
		if err := conn.Emit(event(t, "late")); err == nil {
			t.Error("it can still be sent to")
		}
		w.WantNoCalls()
	})
	if n := left.Load(); n != 2 {
		t.Errorf("Left was called %d times, want 2", n)
	}
}

// unauthenticatedQueue guards that MaxQueue is less until Trust is called.
func (s *suite) unauthenticatedQueue(t *testing.T, transport string) {
	s.in(t, engine.Options{FirstQueue: 64 << 10, MaxQueue: 1 << 20}, func(t *testing.T, w *World) {
		m := event(t, "big", strings.Repeat("x", 10_000))
		fill := func(conn engine.Conn) (emitted int) {
			for conn.Emit(m) == nil && emitted < 1000 {
				emitted++
			}
			return emitted
		}
		untrusted, conn := w.Member(transport)
		untrusted.notReading.Store(true)
		if n := fill(conn); n > 20 {
			t.Errorf("%d messages wait for an unauthenticated client", n)
		}
		w.WantCalls("disconnected: slow peer")
		trusted, conn := w.Member(transport)
		trusted.notReading.Store(true)
		conn.Trust()
		if n := fill(conn); n < 50 || n > 200 {
			t.Errorf("%d messages wait for an authenticated client", n)
		}
		w.WantCalls("disconnected: slow peer")
	})
}

// HalfEvents tests the memory of events that wait for an attachment.
func HalfEvents(t *testing.T, version Version, start func(engine.Options) engine.Engine) {
	// Guards that an event is not kept parsed while it waits: 8 KB of 4,000 arguments took 126 KB.
	const clients, arguments, most = 50, 4000, 40 << 10
	text := `51-["x",` + strings.Repeat("1,", arguments-1) + `{"_placeholder":true,"num":0}]`
	In(t, version, start, engine.Options{FirstPayload: 8 << 10}, func(t *testing.T, w *World) {
		members := make([]*Client, clients)
		for i := range members {
			members[i], _ = w.Member("websocket")
		}
		before := heap()
		for _, c := range members {
			c.Send(text)
		}
		synctest.Wait()
		if each := (heap() - before) / clients; each > most {
			t.Errorf("%d bytes hold %d", len(text), each)
		}
		for _, c := range members {
			if err := c.Post("bBwcH"); err != nil {
				t.Error(err)
			}
			w.WantCalls("event x [" + strings.Repeat("1,", arguments-1) + `{"_placeholder":true,"num":0}] <07 07 07>`)
		}
	})
}

// heap returns how many bytes are in use.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // twice, because pools survive one collection
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
