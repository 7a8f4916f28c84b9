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

// A client of whom nothing is known may send less at a time than one that is trusted.
func (s *suite) strangers(t *testing.T, transport string) {
	o := engine.Options{FirstPayload: 1000, MaxPayload: 4000, MaxDepth: 10}
	large := `2["large","` + strings.Repeat("x", 2000) + `"]`
	s.in(t, o, func(t *testing.T, w *World) {
		w.OnEvent = func(c engine.Conn, name string, _ engine.Args, _ engine.Ack) {
			if name == "trust me" {
				c.Trust()
			}
		}
		friend, _ := w.Member(transport)
		friend.Send(`2["trust me"]`)
		w.Hears("event trust me []")
		stranger, _ := w.Member(transport)
		_ = stranger.Post("4" + large)
		w.Hears("gone: protocol error")
		stranger.WantEnd()
		friend.Send(large)
		w.Hears(`event large ["` + strings.Repeat("x", 2000) + `"]`)
		friend.Send(`2["deep",` + strings.Repeat("[", 9) + strings.Repeat("]", 9) + `]`)
		w.Hears("event deep [" + strings.Repeat("[", 9) + strings.Repeat("]", 9) + "]")
		_ = friend.Post(`42["deeper",` + strings.Repeat("[", 10) + strings.Repeat("]", 10) + `]`)
		w.Hears("gone: protocol error")
		friend.WantEnd()
		w.HearsNoMore()
	})
}

// Each connection is asked for, and each that was admitted is given back once, however it ends.
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
			t.Errorf("%d have left before they did", n)
		}
		_ = clients[0].Post("1")
		w.Hears("gone: client disconnect")
		clients[1].vanish()
		w.hearsOne("gone: transport close", "gone: ping timeout")
		_ = clients[2].Post("49")
		w.Hears("gone: protocol error")
		synctest.Wait()
		if n := left.Load(); n != 3 {
			t.Errorf("%d of 3 have left", n)
		}
	})
	if n := left.Load(); n != 4 {
		t.Errorf("%d of 4 have left", n)
	}
}

// A connection whose place is needed ends at once, so that its client comes back by itself, also
// before it has begun.
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
			t.Errorf("%d of 1 have left", n)
		}
		end := <-evict
		end()
		w.Hears("gone: evicted")
		c.WantEnd()
		end() // which has no effect any more
		if err := conn.Emit(event(t, "late")); err == nil {
			t.Error("it can still be sent to")
		}
		w.HearsNoMore()
	})
	if n := left.Load(); n != 2 {
		t.Errorf("%d of 2 have left", n)
	}
}

// Less may wait for a client of whom nothing is known.
func (s *suite) strangersQueue(t *testing.T, transport string) {
	s.in(t, engine.Options{FirstQueue: 64 << 10, MaxQueue: 1 << 20}, func(t *testing.T, w *World) {
		m := event(t, "big", strings.Repeat("x", 10_000))
		fill := func(conn engine.Conn) (emitted int) {
			for conn.Emit(m) == nil && emitted < 1000 {
				emitted++
			}
			return emitted
		}
		stranger, conn := w.Member(transport)
		stranger.deaf.Store(true)
		if n := fill(conn); n > 20 {
			t.Errorf("%d messages wait for a stranger", n)
		}
		w.Hears("gone: slow peer")
		friend, conn := w.Member(transport)
		friend.deaf.Store(true)
		conn.Trust()
		if n := fill(conn); n < 50 || n > 200 {
			t.Errorf("%d messages wait for a friend", n)
		}
		w.Hears("gone: slow peer")
	})
}

// HalfEvents tests what an event costs that waits for its attachment.
func HalfEvents(t *testing.T, version Version, start func(engine.Options) engine.Engine) {
	// Guards: 8 KB of a client that has not authenticated, 4,000 arguments, held 126 KB for as long
	// as it liked.
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
			w.Hears("event x [" + strings.Repeat("1,", arguments-1) + `{"_placeholder":true,"num":0}] <07 07 07>`)
		}
	})
}

// heap is how many bytes are in use.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools hold survives one
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
