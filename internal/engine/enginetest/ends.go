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

// closeWithLast guards that Close delivers the last message and DISCONNECT, and then ends the
// connection.
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
		w.WantCalls("disconnected: server disconnect")
		w.WantNoCalls()
	})
}

// closeInAccept guards that Accept may close the client.
func (s *suite) closeInAccept(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		w.OnConnect = func(c engine.Conn) { c.Close(event(t, "no")) }
		if upgrades(transport) {
			return // then there is nothing to upgrade
		}
		c := w.Dial(transport).JoinRoot()
		c.Want(`2["no"]`, "1")
		c.WantEnd()
		w.WantCalls("connect", "disconnected: server disconnect")
		w.WantNoCalls()
	})
}

// closeInEvent guards that Event may close the client, and that no event follows.
func (s *suite) closeInEvent(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		w.OnEvent = func(c engine.Conn, _ string, _ engine.Args, _ engine.Ack) { c.Close(event(t, "enough")) }
		c, _ := w.Member(transport)
		_ = c.Post(`42["a"]`, `42["b"]`)
		c.Want(`2["enough"]`, "1")
		c.WantEnd()
		w.WantCalls("event a []", "disconnected: server disconnect")
		w.WantNoCalls()
	})
}

// clientDisconnect guards that DISCONNECT ends the connection.
func (s *suite) clientDisconnect(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		c, conn := w.Member(transport)
		_ = c.Post(`42["last"]`, "41", `42["late"]`)
		w.WantCalls("event last []", "disconnected: client disconnect")
		if err := conn.Emit(event(t, "late")); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("Emit: %v", err)
		}
		w.WantNoCalls()
	})
}

// clientClose guards that CLOSE, or the end of a websocket, ends the connection.
func (s *suite) clientClose(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		c, _ := w.Member(transport)
		_ = c.Post(`42["last"]`, "1")
		w.WantCalls("event last []", "disconnected: client disconnect")
		c.WantEnd()
		if transport == "polling" {
			return
		}
		c, _ = w.Member(transport)
		c.drop()
		w.WantCalls("disconnected: transport close")
		w.WantNoCalls()
	})
}

// pingTimeout guards that a client without a heartbeat is disconnected.
func (s *suite) pingTimeout(t *testing.T, transport string) {
	s.in(t, engine.Options{PingInterval: 20 * time.Second, PingTimeout: 10 * time.Second}, func(t *testing.T, w *World) {
		c, _ := w.Member(transport)
		c.noHeartbeat.Store(true)
		<-time.After(29 * time.Second)
		w.WantNoCalls()
		w.WantCalls("disconnected: ping timeout")
		c.WantEnd()
		w.WantNoCalls()
	})
}

// protocolError guards that a client that breaks the protocol is disconnected, and others are not.
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
			w.WantCalls("disconnected: protocol error")
			c.WantEnd()
			other.Send(`2["alive"]`)
			w.WantCalls("event alive []")
			if err := conn.Emit(event(t, "alive")); err != nil {
				t.Error(err)
			}
			other.Want(`2["alive"]`)
			w.WantNoCalls()
		})
	}
}

func (s *suite) tooLarge(t *testing.T, transport string) {
	// Guards that a message larger than a client's queue is an error and disconnects nobody.
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
		w.WantCalls("event ask []")
		c.Want(`37["none"]`)
		conn.Close(nil)
		if err := conn.Emit(event(t, "large", large)); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("Emit after the end: %v", err)
		}
		c.Want("1")
		c.WantEnd()
		w.WantCalls("disconnected: server disconnect")
		w.WantNoCalls()
	})
}

// slowPeer guards that an emit never waits for a client that does not read, and that such a client
// is disconnected when its queue is full.
func (s *suite) slowPeer(t *testing.T, transport string) {
	s.in(t, engine.Options{MaxQueue: 1 << 20}, func(t *testing.T, w *World) {
		c, conn := w.Member(transport)
		c.notReading.Store(true)
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
		w.WantCalls("disconnected: slow peer")
		w.WantNoCalls()
	})
}

// droppedForSlow guards that an event that may be dropped is not sent to a client that does not
// read, and that such a client is not disconnected for it.
func (s *suite) droppedForSlow(t *testing.T, transport string) {
	s.in(t, engine.Options{MaxQueue: 1 << 20}, func(t *testing.T, w *World) {
		c, conn := w.Member(transport)
		c.notReading.Store(true)
		if err := conn.Emit(event(t, "first")); err != nil { // a poll that is open takes it, and nothing after it
			t.Fatal(err)
		}
		synctest.Wait()
		sent := 0
		for range 40 {
			switch err := conn.EmitShared(event(t, "position", strings.Repeat("x", 100_000)), true); {
			case err == nil:
				sent++
			case !errors.Is(err, engine.ErrSlow):
				t.Fatalf("after %d: %v", sent, err)
			}
		}
		if sent < 4 || sent > 20 {
			t.Errorf("%d were sent", sent)
		}
		if err := conn.EmitShared(event(t, "large", strings.Repeat("x", 900_000)), true); !errors.Is(err, engine.ErrSlow) {
			t.Errorf("a large one: %v", err)
		}
		if err := conn.Emit(event(t, "last")); err != nil {
			t.Error(err)
		}
		w.WantNoCalls()
	})
}

// disconnectedOnce guards that the end is reported once, even if several things end the connection
// at the same time.
func (s *suite) disconnectedOnce(t *testing.T, transport string) {
	for range 10 {
		s.in(t, engine.Options{}, func(t *testing.T, w *World) {
			c, conn := w.Member(transport)
			var wg sync.WaitGroup
			for _, end := range []func(){
				func() { conn.Close(nil) }, func() { conn.Close(event(t, "x")) }, func() { _ = c.Post("41") },
				w.shutdown, func() { _ = conn.Emit(event(t, "x")) }, c.drop,
			} {
				wg.Go(end)
			}
			wg.Wait()
			w.wantCall("disconnected: server disconnect", "disconnected: client disconnect", "disconnected: transport close", "disconnected: shutdown")
			w.WantNoCalls()
		})
	}
}

// shutdown guards that Shutdown ends all connections in such a way that clients reconnect, refuses
// new ones, and may be called again.
func (s *suite) shutdown(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		c, conn := w.Member(transport)
		synctest.Wait() // a poll is pending
		var wg sync.WaitGroup
		wg.Go(w.shutdown)
		wg.Go(w.shutdown)
		wg.Wait()
		w.WantCalls("disconnected: shutdown")
		c.WantEnd()
		if err := conn.Emit(event(t, "late")); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("Emit: %v", err)
		}
		if status, answer := w.Request(context.Background(), http.MethodGet, "transport=polling", "", nil); status != http.StatusServiceUnavailable {
			t.Errorf("a new connection was answered %d %s", status, answer)
		}
		w.WantNoCalls()
	})
}

// reconnect guards that Reconnect ends one connection in such a way that its client reconnects, and
// no other, and that nothing comes after it.
func (s *suite) reconnect(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		c, conn := w.Member(transport)
		other, _ := w.Member(transport)
		synctest.Wait() // a poll is pending
		conn.Reconnect()
		conn.Reconnect()
		conn.Close(event(t, "late"))
		w.WantCalls("disconnected: shutdown")
		c.WantEnd()
		if err := conn.Emit(event(t, "late")); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("Emit: %v", err)
		}
		other.Send(`2["x"]`)
		w.WantCalls("event x []")
	})
}
