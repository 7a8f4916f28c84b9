package enginetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

// Close delivers the last message, tells the client that the server disconnects, and is the end.
func (s *suite) closeWithLast(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		c, conn := w.Member(transport)
		for i := range 20 {
			if err := conn.Emit(event(t, "n", i)); err != nil {
				t.Error(err)
			}
		}
		conn.Close(event(t, "bye", "€"))
		conn.Close(event(t, "twice"))
		if err := conn.Emit(event(t, "late")); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("Emit: %v", err)
		}
		_ = c.Post(`42["too late"]`)
		for i := range 20 {
			c.Want(fmt.Sprintf(`2["n",%d]`, i))
		}
		c.Want(`2["bye","€"]`, "1")
		c.WantEnd()
		w.Hears("gone: server disconnect")
		w.HearsNoMore()
	})
}

// Who is told of a client may end it at once.
func (s *suite) closeInAccept(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		w.OnConnect = func(c engine.Conn) { c.Close(event(t, "no")) }
		if upgrades(transport) {
			return // there is nothing to upgrade
		}
		c := w.Dial(transport).JoinRoot()
		c.Want(`2["no"]`, "1")
		c.WantEnd()
		w.Hears("connect", "gone: server disconnect")
		w.HearsNoMore()
	})
}

// A client may be ended while one of its events is handled; those after it are not heard.
func (s *suite) closeInEvent(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		w.OnEvent = func(c engine.Conn, _ string, _ engine.Args, _ engine.Ack) { c.Close(event(t, "enough")) }
		c, _ := w.Member(transport)
		_ = c.Post(`42["a"]`, `42["b"]`)
		c.Want(`2["enough"]`, "1")
		c.WantEnd()
		w.Hears("event a []", "gone: server disconnect")
		w.HearsNoMore()
	})
}

// A client leaves by DISCONNECT.
func (s *suite) clientDisconnect(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		c, conn := w.Member(transport)
		_ = c.Post(`42["last"]`, "41", `42["late"]`)
		w.Hears("event last []", "gone: client disconnect")
		if err := conn.Emit(event(t, "late")); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("Emit: %v", err)
		}
		w.HearsNoMore()
	})
}

// A client leaves by CLOSE, or by breaking a websocket.
func (s *suite) clientClose(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		c, _ := w.Member(transport)
		_ = c.Post(`42["last"]`, "1")
		w.Hears("event last []", "gone: client disconnect")
		c.WantEnd()
		if transport == "polling" {
			return
		}
		c, _ = w.Member(transport)
		c.vanish()
		w.Hears("gone: transport close")
		w.HearsNoMore()
	})
}

// A client whose heartbeat fails is gone.
func (s *suite) pingTimeout(t *testing.T, transport string) {
	s.in(t, engine.Options{PingInterval: 20 * time.Second, PingTimeout: 10 * time.Second}, func(t *testing.T, w *World) {
		c, _ := w.Member(transport)
		c.mute.Store(true)
		<-time.After(29 * time.Second)
		w.HearsNoMore()
		w.Hears("gone: ping timeout")
		c.WantEnd()
		w.HearsNoMore()
	})
}

// A client that breaks the protocol is gone, and others are not.
func (s *suite) protocolError(t *testing.T, transport string) {
	for _, packets := range [][]string{
		{`42["x"`}, {`42{}`}, {`42[]`}, {"4"}, {"49"}, {"x"}, {`459999999999-["x",1]`}, {`42999999999999999999999["x"]`},
		{`451-["x",{"_placeholder":true,"num":1}]`}, {`451-["x",{"_placeholder":true,"num":-1}]`},
		{`451-["x",{"_placeholder":true,"num":0}]`, `42["text where an attachment is due"]`},
		{"bAQID"}, {`42["connect"]`}, {"42[\"\xff\"]"}, {"42[" + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + "]"},
		{"4" + strings.Repeat("x", 2000)},
	} {
		s.in(t, engine.Options{MaxPayload: 4000}, func(t *testing.T, w *World) {
			if packets[0] == "4"+strings.Repeat("x", 2000) {
				packets[0] = `42["x","` + strings.Repeat("x", 5000) + `"]`
			}
			other, conn := w.Member(transport)
			c, _ := w.Member(transport)
			_ = c.Post(packets...)
			w.Hears("gone: protocol error")
			c.WantEnd()
			other.Send(`2["alive"]`)
			w.Hears("event alive []")
			if err := conn.Emit(event(t, "alive")); err != nil {
				t.Error(err)
			}
			other.Want(`2["alive"]`)
			w.HearsNoMore()
		})
	}
}

// An emit never waits for a client that does not read. It is dropped once too much waits for it.
func (s *suite) tooLarge(t *testing.T, transport string) {
	// Guards: one message that was larger than what may wait for a peer disconnected all it was
	// for, though they read.
	s.in(t, engine.Options{MaxQueue: 1 << 20}, func(t *testing.T, w *World) {
		large := strings.Repeat("x", 1<<20)
		w.OnEvent = func(_ engine.Conn, _ string, _ engine.Args, ack engine.Ack) {
			if err := ack(large); !errors.Is(err, engine.ErrTooLarge) {
				t.Errorf("a reply: %v", err)
			}
			if err := ack("none"); err != nil {
				t.Error(err)
			}
		}
		c, conn := w.Member(transport)
		if err := conn.Emit(event(t, "large", large)); !errors.Is(err, engine.ErrTooLarge) {
			t.Errorf("Emit: %v", err)
		}
		if err := conn.Emit(event(t, "large", []byte(large))); !errors.Is(err, engine.ErrTooLarge) {
			t.Errorf("Emit of an attachment: %v", err)
		}
		if _, err := conn.EmitAck(event(t, "large", large), nil); !errors.Is(err, engine.ErrTooLarge) {
			t.Errorf("EmitAck: %v", err)
		}
		c.Send(`27["ask"]`)
		w.Hears("event ask []")
		c.Want(`37["none"]`)
		conn.Close(nil)
		if err := conn.Emit(event(t, "large", large)); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("Emit after the end: %v", err)
		}
		c.Want("1")
		c.WantEnd()
		w.Hears("gone: server disconnect")
		w.HearsNoMore()
	})
}

func (s *suite) slowPeer(t *testing.T, transport string) {
	s.in(t, engine.Options{MaxQueue: 1 << 20}, func(t *testing.T, w *World) {
		c, conn := w.Member(transport)
		c.deaf.Store(true)
		m := event(t, "big", strings.Repeat("x", 100_000))
		start := time.Now()
		var err error
		emitted := 0
		for ; err == nil && emitted < 100; emitted++ {
			err = conn.Emit(m)
		}
		if !errors.Is(err, engine.ErrSlow) || emitted < 10 || emitted > 20 {
			t.Errorf("Emit: %v after %d", err, emitted)
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("the emits took %v", took)
		}
		if err := conn.Emit(m); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("Emit: %v", err)
		}
		w.Hears("gone: slow peer")
		w.HearsNoMore()
	})
}

// Whatever ends a connection at the same time, its end is reported once.
func (s *suite) disconnectedOnce(t *testing.T, transport string) {
	for range 10 {
		s.in(t, engine.Options{}, func(t *testing.T, w *World) {
			c, conn := w.Member(transport)
			var wg sync.WaitGroup
			for _, end := range []func(){
				func() { conn.Close(nil) }, func() { conn.Close(event(t, "x")) }, func() { _ = c.Post("41") },
				w.shutdown, func() { _ = conn.Emit(event(t, "x")) }, c.vanish,
			} {
				wg.Go(end)
			}
			wg.Wait()
			w.hearsOne("gone: server disconnect", "gone: client disconnect", "gone: transport close", "gone: shutdown")
			w.HearsNoMore()
		})
	}
}

// Shutdown ends all connections in a way after which clients come back, accepts nothing, and may be
// called again.
func (s *suite) shutdown(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		c, conn := w.Member(transport)
		synctest.Wait() // a poll is pending
		var wg sync.WaitGroup
		wg.Go(w.shutdown)
		wg.Go(w.shutdown)
		wg.Wait()
		w.Hears("gone: shutdown")
		c.WantEnd()
		if err := conn.Emit(event(t, "late")); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("Emit: %v", err)
		}
		if status, answer := w.Request(context.Background(), http.MethodGet, "transport=polling", "", nil); status != http.StatusServiceUnavailable {
			t.Errorf("a new connection was answered %d %s", status, answer)
		}
		w.HearsNoMore()
	})
}
