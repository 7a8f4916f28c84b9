package eio4_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/eio"

	"github.com/z-open/socketauth/internal/eio4"
	"github.com/z-open/socketauth/internal/engine"
)

// Guards that after a probe without an upgrade polls get NOOP for 10 s, and polling then goes on as
// before.
func TestHostile_ProbeWithoutUpgrade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		w := p.webSocket()
		w.send("2probe")
		w.want("3probe")
		p.send("4hello")
		advance(10*time.Second + time.Millisecond)
		for f := range w.frames {
			t.Errorf("got frame %q", f.data)
		}
		p.want("4hello")
		app.want("text hello")
		poll := p.pollLater()
		advance(time.Second)
		if len(poll) != 0 {
			t.Fatalf("the poll was answered %v", <-poll)
		}
		p.send("4again")
		answer(t, poll).want(t, 200, "4again")
		app.want("text again")
		again := p.upgrade()
		again.send("4websocket")
		again.want("4websocket")
	})
}

// Guards that a candidate websocket that sends nothing is closed.
func TestHostile_UpgradeWithoutProbe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		w := p.webSocket()
		advance(10*time.Second + time.Millisecond)
		for f := range w.frames {
			t.Errorf("got frame %q", f.data)
		}
		p.send("4hello")
		p.want("4hello")
		app.want("text hello")
	})
}

// Guards that repeated probes do not keep an upgrade open for ever.
func TestHostile_ProbeFlood(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		w := p.webSocket()
		for range 15 {
			w.try("2probe")
			advance(time.Second)
		}
		for f := range w.frames {
			if f.data != "3probe" {
				t.Errorf("got frame %q", f.data)
			}
		}
		app.wantNothing()
		p.send("4hello")
		p.want("4hello")
	})
}

// Guards that a second concurrent upgrade is closed, and the first completed.
func TestHostile_SecondUpgrade(t *testing.T) {
	for _, probed := range []bool{false, true} {
		t.Run(fmt.Sprintf("first has probed: %v", probed), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveEcho(t, engine.Options{})
				p := s.open()
				first := p.webSocket()
				if probed {
					first.send("2probe")
					first.want("3probe")
				}
				synctest.Wait()
				for range 50 {
					s.refuse(p.upgradePath(), "2probe", "5", "4injected")
				}
				app.wantNothing()
				if !probed {
					first.send("2probe")
					first.want("3probe")
				}
				first.send("5", "4hello")
				first.want("4hello")
				app.want("text hello")
				s.refuse(p.upgradePath(), "2probe", "5", "4injected")
				first.send("4again")
				first.want("4again")
			})
		})
	}
}

// Guards that polling requests for a websocket session are refused without affecting it.
func TestHostile_PollOnWebSocketSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		w, o := s.connect()
		s.get(polling+"&sid="+o.SID).wantError(t, 3)
		s.post(polling+"&sid="+o.SID, "4injected").wantError(t, 3)
		app.wantNothing()
		w.send("4hello")
		w.want("4hello")
	})
}

// Guards that an abandoned poll has ended: the next one is not a duplicate, and gets what was sent
// in between.
func TestHostile_PollAbandoned(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		session := <-app.sessions
		for i := range 20 {
			c := s.dialRaw()
			request(t, c, "GET "+p.path+" HTTP/1.1\r\nHost: wire.test\r\n\r\n")
			synctest.Wait()
			_ = c.Close()
			synctest.Wait()
			text := fmt.Sprint("message ", i)
			if err := session.Send(eio.NewMessage([]byte(text), false)); err != nil {
				t.Fatal(err)
			}
			p.want("4" + text)
		}
		app.wantNothing()
	})
}

// Guards that what a poll would have been sent goes to the next one if the poll is abandoned just
// as it is answered.
func TestHostile_PollAbandonedWhenAnswered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var giveUp context.CancelFunc // of the latest request
		middleware := func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var ctx context.Context
				ctx, giveUp = context.WithCancel(r.Context())
				next.ServeHTTP(w, r.WithContext(ctx))
			})
		}
		s, app := serveEcho(t, engine.Options{}, behind(middleware))
		p := s.open()
		session := <-app.sessions
		again := 0
		for range 200 {
			poll := p.pollLater()
			synctest.Wait()
			giveUp()
			for _, text := range []string{"a", "b", "c"} {
				if err := session.Send(eio.NewMessage([]byte(text), false)); err != nil {
					t.Fatal(err)
				}
			}
			got := splitPayload(answer(t, poll).body)
			if len(got) == 1 && got[0] == "6" {
				got = nil
				again++
			}
			for len(got) < 3 {
				got = append(got, splitPayload(p.poll().body)...)
			}
			wantEqual(t, got, []string{"4a", "4b", "4c"})
		}
		app.wantNothing()
		if again == 0 {
			t.Error("no poll was abandoned")
		}
	})
}

// Guards that no message is lost if the client of a poll disconnects during the answer: it is sent
// again, or the session ends.
func TestHostile_PollAbandonedInAnswer(t *testing.T) {
	for _, size := range []int{10, 100000} {
		t.Run(fmt.Sprint(size, " bytes"), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveEcho(t, engine.Options{})
				p := s.open()
				c := s.dialRaw()
				request(t, c, "GET "+p.path+" HTTP/1.1\r\nHost: wire.test\r\n\r\n")
				synctest.Wait()
				text := strings.Repeat("x", size)
				if err := (<-app.sessions).Send(eio.NewMessage([]byte(text), false)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // the answer is being written and not read
				_ = c.Close()
				synctest.Wait()
				if len(app.lines) > 0 {
					app.want("closed: transport close")
					p.wantUnknown()
					return
				}
				p.want("4" + text)
			})
		})
	}
}

// Guards that a session ends whose client does not read the answer to a poll within WriteTimeout.
func TestHostile_PollNotRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{WriteTimeout: 4 * time.Second})
		p := s.open()
		c := s.dialRaw()
		request(t, c, "GET "+p.path+" HTTP/1.1\r\nHost: wire.test\r\n\r\n")
		synctest.Wait()
		if err := (<-app.sessions).Send(eio.NewMessage([]byte(strings.Repeat("x", 100000)), false)); err != nil {
			t.Fatal(err)
		}
		advance(4*time.Second + time.Millisecond)
		line := app.next()
		if line != "closed: slow peer" && line != "closed: transport close" {
			t.Errorf("received %q", line)
		}
		p.wantUnknown()
		wantNoGoroutines(t, engineFrame)
	})
}

// Guards that a client that never reads but sends pongs is disconnected after WriteTimeout, without
// delaying others.
func TestHostile_NeverReads(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{PingInterval: 3 * time.Second, PingTimeout: 2 * time.Second, WriteTimeout: 4 * time.Second})
		m, slow := s.muteDial(app)
		w, fast := s.join(app)
		start := time.Now()
		for i := range 100 {
			emit(t, slow, "news", i)
			emit(t, fast, "news", i)
			w.want(fmt.Sprintf(`42["news",%d]`, i))
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("a client that reads waited %v for one that does not", d)
		}
		advance(3 * time.Second)
		m.send("3")
		w.want("2")
		w.send("3")
		app.wantNothing()
		advance(time.Second + time.Millisecond)
		app.want("gone / slow peer")
		if err := slow.Emit(event(t, "late")); err != engine.ErrClosed {
			t.Errorf("Emit: %v", err)
		}
		emit(t, fast, "still here")
		w.want(`42["still here"]`)
		app.wantNothing()
	})
}

// Guards that a client whose queue is full is disconnected at once, and that the emit returns
// ErrSlow.
func TestHostile_QueueFull(t *testing.T) {
	for _, c := range []struct {
		name  string
		size  int // of one event
		limit int // how many may be queued
	}{{"bytes", 10000, 11}, {"packets", 1, 100000}} {
		for transport, join := range map[string]func(*server, *ioApp) engine.Conn{
			"websocket": func(s *server, app *ioApp) engine.Conn { return s.mute(app) },
			"polling":   func(s *server, app *ioApp) engine.Conn { _, conn := s.joinPolling(app); return conn },
		} {
			t.Run(transport+"/"+c.name, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					s, app := serveIO(t, engine.Options{MaxQueue: 100 << 10})
					conn := join(s, app)
					m := event(t, "news", strings.Repeat("x", c.size))
					var err error
					n := 0
					for ; err == nil && n <= c.limit; n++ {
						err = conn.Emit(m)
						if transport == "websocket" && n == 0 {
							synctest.Wait() // what is being written is no longer in the queue
						}
					}
					if err != engine.ErrSlow {
						t.Errorf("%d events were queued, then %v", n-1, err)
					}
					app.want("gone / slow peer")
					if err := conn.Emit(m); err != engine.ErrClosed {
						t.Errorf("afterwards: %v", err)
					}
					app.wantNothing()
					wantNoGoroutines(t, engineFrame)
				})
			})
		}
	}
}

// Guards that sessions that are never used have no goroutine and end in time.
func TestHostile_AbandonedHandshakes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const n = 2000
		s, app := serveEcho(t, beat)
		for range n {
			s.open()
		}
		synctest.Wait()
		if left := goroutines(t.Name(), engineFrame); len(left) > 0 {
			t.Errorf("idle sessions have goroutines:\n%s", left[0])
		}
		advance(beat.PingInterval + beat.PingTimeout + time.Millisecond)
		for range n {
			app.want("closed: ping timeout")
		}
		app.wantNothing()
	})
}

// Guards that the 240,000 packets of one POST arrive in order and in reasonable time.
func TestHostile_ManyPackets(t *testing.T) {
	t.Parallel()
	var received atomic.Int64
	e := eio4.NewRaw(engine.Options{}, func(*eio.Session) eio.Receiver { return counter{&received} })
	s := serve(t, loopback(t), e)
	p := s.open()
	start := time.Now()
	for _, packet := range []string{"4", "6", "3", "b"} {
		p.post(strings.Repeat(packet+rs, 240000)+packet).want(t, 200, "ok")
	}
	if d := time.Since(start); d > 6*patience {
		t.Errorf("it took %v", d)
	}
	if n := received.Load(); n != 2*240001 {
		t.Errorf("%d messages were received", n)
	}
}

type counter struct{ n *atomic.Int64 }

func (c counter) Message([]byte, bool)   { c.n.Add(1) }
func (c counter) Closed(_ engine.Reason) {}

// Guards that a chunked body is not read beyond the limit, and that the session ends, with 413 if
// the client still reads.
func TestHostile_ChunkedBody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const limit = 10000
		s, app := serveEcho(t, engine.Options{MaxPayload: limit})
		p := s.open()
		c := s.dialRaw()
		got := make(chan string, 1)
		go func() { got <- readAll(c) }()
		request(t, c, "POST "+p.path+" HTTP/1.1\r\nHost: wire.test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n4\r\n")
		_ = c.SetWriteDeadline(time.Now().Add(time.Minute))
		sent, chunk := 0, "3e8\r\n"+strings.Repeat("x", 1000)+"\r\n"
		for ; sent < 10<<20; sent += 1000 {
			if _, err := io.WriteString(c, chunk); err != nil {
				break
			}
		}
		if sent > 1<<20 {
			t.Errorf("%d bytes of a body were read, the limit is %d", sent, limit)
		}
		if answer := <-got; !strings.HasPrefix(answer, "HTTP/1.1 413 ") {
			t.Errorf("answered %q", clip(answer))
		}
		app.want("closed: protocol error")
		p.wantUnknown()
		app.wantNothing()
	})
}

// Guards that a body with a huge Content-Length is refused before it comes.
func TestHostile_HugeContentLength(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		c := s.dialRaw()
		got := make(chan string, 1)
		go func() { got <- readAll(c) }()
		request(t, c, "POST "+p.path+" HTTP/1.1\r\nHost: wire.test\r\nContent-Length: 999999999999\r\n\r\n4")
		if answer := <-got; !strings.HasPrefix(answer, "HTTP/1.1 413 ") {
			t.Errorf("answered %q", clip(answer))
		}
		app.want("closed: protocol error")
		p.wantUnknown()
	})
}

// Guards that an incomplete POST is not delivered.
func TestHostile_PostAbandoned(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		c := s.dialRaw()
		request(t, c, "POST "+p.path+" HTTP/1.1\r\nHost: wire.test\r\nContent-Length: 100\r\n\r\n4half"+rs+"4of")
		synctest.Wait()
		_ = c.Close()
		synctest.Wait()
		if len(app.lines) > 0 { // the session may have ended
			if line := app.next(); !strings.HasPrefix(line, "closed: ") {
				t.Fatalf("received %q", line)
			}
			p.wantUnknown()
			return
		}
		p.send("4hello")
		app.want("text hello")
	})
}

// Guards that malformed or too large websocket frames end the connection.
func TestHostile_WebSocketFrames(t *testing.T) {
	fragment := "\xfe\x40\x00\x00\x00\x00\x00" + strings.Repeat("4", 1<<14)
	for name, bytes := range map[string]string{
		"2^62 bytes announced":     "\x81\xff\x40\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"2^63 bytes announced":     "\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"1 GB announced":           "\x82\xff\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00",
		"no mask":                  "\x81\x06" + `42["x]`,
		"reserved bit":             "\xc1\x80\x00\x00\x00\x00",
		"reserved opcode":          "\x83\x80\x00\x00\x00\x00",
		"continuation of nothing":  "\x80\x80\x00\x00\x00\x00",
		"text inside text":         "\x01\x81\x00\x00\x00\x004\x81\x81\x00\x00\x00\x004",
		"control frame, fragments": "\x09\x80\x00\x00\x00\x00",
		"control frame, too long":  "\x89\xfe\x00\x7e\x00\x00\x00\x00",
		"endless fragments":        "\x01" + fragment + strings.Repeat("\x00"+fragment, 70),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				m, _ := s.muteDial(app)
				go func() { _ = readAll(m.conn) }()
				_ = m.conn.SetWriteDeadline(time.Now().Add(patience))
				_, _ = io.WriteString(m.conn, bytes)
				app.want("gone / protocol error")
				app.wantNothing()
				wantNoGoroutines(t, engineFrame)
			})
		})
	}
}

// Guards that compression is not offered, with which a small frame can be a large message.
func TestHostile_NoCompression(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := serveEcho(t, engine.Options{})
		c := s.dialRaw()
		request(t, c, "GET "+webSocket+strings.Replace(upgradeHeader, "\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n", 1))
		head := make([]byte, 4096)
		_ = c.SetReadDeadline(time.Now().Add(patience))
		n, err := c.Read(head)
		if err != nil || !strings.HasPrefix(string(head[:n]), "HTTP/1.1 101") || strings.Contains(string(head[:n]), "deflate") {
			t.Errorf("got %q %v", head[:n], err)
		}
	})
}
