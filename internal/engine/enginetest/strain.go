package enginetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

func (s *suite) slowLine(t *testing.T, transport string) {
	// Guards that a client on a slow line has no ping timeout while much waits for it: nothing is
	// read from it then, or the ping has not reached it.
	if transport == "polling" {
		return // one poll response has to be written within WriteTimeout
	}
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		const messages, size, speed = 34, 100_000, 20_000 // 170 seconds
		w.OnEvent = func(c engine.Conn, name string, _ engine.Args, _ engine.Ack) {
			if name != "go" {
				return
			}
			for n := range messages {
				if err := c.Emit(event(t, "n", n, strings.Repeat("x", size))); err != nil {
					t.Error(err)
				}
			}
		}
		c, conn := w.Member(transport)
		w.net.speed.Store(speed)
		_ = c.Post(`42["go"]`, `42["delivered once drained"]`)
		w.WantCalls("event go []")
		<-time.After(messages * size / speed * time.Second)
		w.net.speed.Store(0)
		for n := range messages {
			c.Want(fmt.Sprintf(`2["n",%d,"%s"]`, n, strings.Repeat("x", size)))
		}
		<-time.After(time.Minute)
		w.WantCalls("event delivered once drained []")
		if err := conn.Emit(event(t, "alive")); err != nil {
			t.Error(err)
		}
		c.Want(`2["alive"]`)
		w.WantNoCalls()
	})
}

// slowReader guards that a client that reads a few bytes at a time is disconnected when one write
// has taken too long.
func (s *suite) slowReader(t *testing.T, transport string) {
	s.in(t, engine.Options{WriteTimeout: 5 * time.Second}, func(t *testing.T, w *World) {
		_, conn := w.Member(transport)
		w.net.speed.Store(100)
		if err := conn.Emit(event(t, "big", strings.Repeat("x", 100_000))); err != nil {
			t.Error(err)
		}
		w.WantCalls("disconnected: slow peer")
		w.net.speed.Store(0)
		<-time.After(time.Minute) // until it has read what was being written
		w.WantNoCalls()
	})
}

func (s *suite) fastSender(t *testing.T, transport string) {
	// Guards that a client that sends many events at once is not disconnected as slow because of
	// their acknowledgements, which it is about to read.
	s.in(t, engine.Options{MaxQueue: 100_000}, func(t *testing.T, w *World) {
		const events = 3000
		w.OnEvent = func(_ engine.Conn, _ string, _ engine.Args, ack engine.Ack) {
			if err := ack(strings.Repeat("x", 100)); err != nil {
				t.Error(err)
			}
		}
		c, _ := w.Member(transport)
		var packets []string
		for n := range events {
			packets = append(packets, fmt.Sprintf(`42%d["e"]`, n))
		}
		if err := c.Post(packets...); err != nil {
			t.Fatal(err)
		}
		for n := range events {
			c.Want(fmt.Sprintf(`3%d["%s"]`, n, strings.Repeat("x", 100)))
			w.WantCalls("event e []")
		}
		w.WantNoCalls()
	})
}

func (s *suite) fastSenderWithoutPoll(t *testing.T, transport string) {
	// Guards that a POST does not wait for ever until its answers are polled, nor delay Shutdown.
	for _, end := range []string{"slow peer", "shutdown"} {
		s.in(t, engine.Options{MaxQueue: 100_000, WriteTimeout: 5 * time.Second}, func(t *testing.T, w *World) {
			w.OnEvent = func(_ engine.Conn, _ string, _ engine.Args, ack engine.Ack) {
				_ = ack(strings.Repeat("x", 30_000))
			}
			c, conn := w.Member(transport)
			c.stopReading(conn)
			c.work.Go(func() { _ = c.Post(`420["a"]`, `421["b"]`, `422["c"]`, `423["d"]`) })
			w.WantCalls("event a []", "event b []")
			if end == "shutdown" {
				start := time.Now()
				w.shutdown()
				if took := time.Since(start); took > 5*time.Second {
					t.Errorf("Shutdown took %v", took)
				}
			}
			w.WantCalls("disconnected: " + end)
			w.WantNoCalls()
		})
	}
}

func (s *suite) shutdownUnread(t *testing.T, transport string) {
	// Guards that Shutdown does not wait WriteTimeout for a client that does not read.
	const flush = 3 * time.Second
	s.in(t, engine.Options{FlushTimeout: flush, WriteTimeout: 9 * time.Second}, func(t *testing.T, w *World) {
		c, conn := w.Member(transport)
		c.stopReading(conn)
		if err := conn.Emit(event(t, "big", strings.Repeat("x", 100_000))); err != nil {
			t.Fatal(err)
		}
		if transport == "polling" {
			r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, fmt.Sprintf("http://wire.test/?EIO=%d&transport=polling%s", w.version, c.sid), nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := w.client.Do(r) // the body is not read
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
		}
		start := time.Now()
		w.shutdown()
		if took := time.Since(start); took > flush {
			t.Errorf("Shutdown took %v", took)
		}
		w.WantCalls("disconnected: shutdown")
		w.WantNoCalls()
	})
}

// safeBuffer is a buffer for a log. It is safe for concurrent use.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// enter joins the root namespace, which may fail, and reads until the end.
func (w *World) enter(transport string) {
	w.t.Helper()
	switch {
	case w.version == V4:
		c := w.Dial(transport)
		_ = c.Post("40")
		c.untilEnd()
	case transport == "polling":
		if status, answer := w.Request(context.Background(), http.MethodGet, "transport=polling", "", nil); status != http.StatusInternalServerError {
			w.t.Errorf("the handshake is answered %d %s", status, answer)
		}
	default:
		ws, err := w.Websocket("")
		for err == nil {
			_, _, err = ws.ReadMessage()
		}
	}
}

func (s *suite) panics(t *testing.T, transport string) {
	// Guards that a panic in Accept, a receiver or done ends only that connection, whose end is
	// reported once, and that it is logged.
	for _, where := range []string{"connect", "event", "reply", "end", "disconnected"} {
		if where == "connect" && upgrades(transport) {
			continue // then there is nothing to upgrade
		}
		var log safeBuffer
		s.in(t, engine.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}, func(t *testing.T, w *World) {
			other, _ := w.Member(transport)
			lines := []string{"disconnected: protocol error"}
			switch where {
			case "connect":
				w.OnConnect = func(engine.Conn) { panic("boom") }
				w.enter(transport)
				w.WantCalls("connect")
				lines = nil
			case "event":
				c, _ := w.Member(transport)
				w.OnEvent = func(engine.Conn, string, engine.Args, engine.Ack) { panic("boom") }
				_ = c.Post(`42["x"]`, `42["late"]`)
				lines = append([]string{"event x []"}, lines...)
				c.WantEnd()
			case "reply":
				c, conn := w.Member(transport)
				if _, err := conn.EmitAck(event(t, "ask"), func(engine.Args, error) { panic("boom") }); err != nil {
					t.Fatal(err)
				}
				c.Want(`20["ask"]`)
				_ = c.Post(`430[]`)
				c.WantEnd()
			case "end", "disconnected":
				c, conn := w.Member(transport)
				if _, err := conn.EmitAck(event(t, "ask"), func(_ engine.Args, err error) {
					if !errors.Is(err, engine.ErrClosed) {
						t.Errorf("the reply is %v", err)
					}
					if where == "end" {
						panic("boom")
					}
				}); err != nil {
					t.Fatal(err)
				}
				c.Want(`20["ask"]`)
				if where == "disconnected" {
					w.OnDisconnected = func() { panic("boom") }
				}
				_ = c.Post("1")
				c.WantEnd()
				lines = []string{"disconnected: client disconnect"}
			}
			w.WantCalls(lines...)
			w.WantNoCalls()
			if text := log.String(); !strings.Contains(text, "boom") || !strings.Contains(text, "strain.go") {
				t.Errorf("a panic in %s was logged as %q", where, text)
			}
			w.OnConnect, w.OnEvent, w.OnDisconnected = nil, nil, nil
			other.Send(`2["alive"]`)
			w.WantCalls("event alive []")
		})
	}
}
