package enginetest

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

type suite struct {
	version Version
	start   func(engine.Options) engine.Engine
}

// Run tests an engine that start returns.
func Run(t *testing.T, version Version, start func(engine.Options) engine.Engine) {
	s := &suite{version, start}
	tests := map[string]func(s *suite, t *testing.T, transport string){
		"Events":                (*suite).events,
		"EventsInOrder":         (*suite).eventsInOrder,
		"Texts":                 (*suite).texts,
		"Attachments":           (*suite).attachments,
		"AckOnce":               (*suite).ackOnce,
		"EmitAck":               (*suite).emitAck,
		"EmitAckEnds":           (*suite).emitAckEnds,
		"ConcurrentEmits":       (*suite).concurrentEmits,
		"CloseWithLast":         (*suite).closeWithLast,
		"CloseInAccept":         (*suite).closeInAccept,
		"CloseInEvent":          (*suite).closeInEvent,
		"Broadcast":             (*suite).broadcast,
		"EmitsMeanwhile":        (*suite).emitsMeanwhile,
		"ClientDisconnect":      (*suite).clientDisconnect,
		"ClientClose":           (*suite).clientClose,
		"PingTimeout":           (*suite).pingTimeout,
		"ProtocolError":         (*suite).protocolError,
		"SlowPeer":              (*suite).slowPeer,
		"DroppedForSlow":        (*suite).droppedForSlow,
		"TooLarge":              (*suite).tooLarge,
		"DisconnectedOnce":      (*suite).disconnectedOnce,
		"Idle":                  (*suite).idle,
		"Namespaces":            (*suite).namespaces,
		"Shutdown":              (*suite).shutdown,
		"Reconnect":             (*suite).reconnect,
		"ShutdownUnread":        (*suite).shutdownUnread,
		"SlowLine":              (*suite).slowLine,
		"SlowReader":            (*suite).slowReader,
		"FastSender":            (*suite).fastSender,
		"FastSenderWithoutPoll": (*suite).fastSenderWithoutPoll,
		"Panics":                (*suite).panics,
		"Unauthenticated":       (*suite).unauthenticated,
		"UnauthenticatedQueue":  (*suite).unauthenticatedQueue,
		"Admission":             (*suite).admission,
		"Eviction":              (*suite).eviction,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for _, transport := range transports {
				t.Run(transport, func(t *testing.T) {
					t.Parallel()
					test(s, t, transport)
				})
			}
		})
	}
}

// events guards that events go both ways, with arguments and acknowledgements.
func (s *suite) events(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		w.OnConnect = func(c engine.Conn) {
			if err := c.Emit(event(t, "welcome")); err != nil {
				t.Error(err)
			}
		}
		w.OnEvent = func(_ engine.Conn, name string, _ engine.Args, ack engine.Ack) {
			if ack != nil {
				if err := ack(name, 1, nil); err != nil {
					t.Error(err)
				}
			}
		}
		c, conn := w.Member(transport)
		c.Want(`2["welcome"]`)
		c.Send(`2["plain",{"a":[1,"x"]},null]`)
		c.Send(`212["ask"]`)
		c.Want(`312["ask",1,null]`)
		w.WantCalls(`event plain [{"a":[1,"x"]},null]`, `event ask []`)
		if err := conn.Emit(event(t, "news", map[string]int{"n": 1}, "<&>")); err != nil {
			t.Error(err)
		}
		c.Want(`2["news",{"n":1},"<&>"]`)
		if len(conn.ID()) < 22 {
			t.Errorf("the id %q is too short", conn.ID())
		}
	})
}

// eventsInOrder guards that events are delivered one at a time and in the order of the packets.
func (s *suite) eventsInOrder(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		const events = 200
		busy := make(chan struct{}, 1)
		w.OnEvent = func(engine.Conn, string, engine.Args, engine.Ack) {
			select {
			case busy <- struct{}{}:
				<-busy
			default:
				t.Error("two events at a time")
			}
		}
		c, _ := w.Member(transport)
		var packets []string
		for i := range events {
			packets = append(packets, fmt.Sprintf(`42["n",%d]`, i))
		}
		if err := c.Post(packets...); err != nil {
			t.Fatal(err)
		}
		for i := range events {
			w.WantCalls(fmt.Sprintf("event n [%d]", i))
		}
	})
}

// texts guards that text in any script arrives unchanged.
func (s *suite) texts(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		c, conn := w.Member(transport)
		for _, text := range []string{"naïve", "مرحبا", "你好，世界", "👩‍👩‍👧‍👦", "𝄞", "\u2028", "\u0085", "4", ":", "Ã©"} {
			c.Send(`2["` + text + `,]","` + text + `"]`)
			w.WantCalls(`event ` + text + `,] ["` + text + `"]`)
			if err := conn.Emit(event(t, "x", text)); err != nil {
				t.Error(err)
			}
			select {
			case f := <-c.frames:
				if got := plain(f.text); got != plain(`2["x","`+text+`"]`) {
					t.Errorf("got %q, want %q", got, text)
				}
			case <-time.After(patience):
				t.Fatal("got nothing")
			}
		}
	})
}

// attachments guards that attachments go both ways, in events and in acknowledgements.
func (s *suite) attachments(t *testing.T, transport string) {
	const slot0, slot1 = `{"_placeholder":true,"num":0}`, `{"_placeholder":true,"num":1}`
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		w.OnEvent = func(_ engine.Conn, _ string, args engine.Args, ack engine.Ack) {
			a, _ := args.Attachment(1)
			if err := ack(a, []byte{}); err != nil {
				t.Error(err)
			}
		}
		c, conn := w.Member(transport)
		c.Send(`52-7["b",`+slot1+`,`+slot0+`]`, []byte{1, 2, 0xff}, []byte{0})
		w.WantCalls(`event b [` + slot1 + `,` + slot0 + `] <01 02 ff> <00>`)
		c.Want(`62-7[`+slot0+`,`+slot1+`]`, "<01 02 ff>", "<>")
		if err := conn.Emit(event(t, "b", []byte{4, 5}, "x")); err != nil {
			t.Error(err)
		}
		c.Want(`51-["b",`+slot0+`,"x"]`, "<04 05>")
	})
}

// ackOnce guards that an acknowledgement is sent once, from whichever goroutine.
func (s *suite) ackOnce(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		acks := make(chan engine.Ack, 1)
		w.OnEvent = func(_ engine.Conn, _ string, _ engine.Args, ack engine.Ack) { acks <- ack }
		c, conn := w.Member(transport)
		c.Send(`20["ask"]`)
		ack := <-acks
		if err := ack(func() {}); err == nil {
			t.Error("a func was encoded")
		}
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() { _ = ack("once") })
		}
		wg.Wait()
		if err := conn.Emit(event(t, "end")); err != nil {
			t.Error(err)
		}
		c.Want(`30["once"]`, `2["end"]`)
		c.Send(`2["no ack"]`)
		if ack := <-acks; ack != nil {
			t.Error("an acknowledgement that the client did not ask for")
		}
	})
}

type outcome struct {
	args string
	err  error
}

// emitAck guards that done is called once with its reply, and not after forget.
func (s *suite) emitAck(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		c, conn := w.Member(transport)
		outcomes := make(chan outcome, 10)
		done := func(args engine.Args, err error) { outcomes <- outcome{show(args), err} }
		_, err1 := conn.EmitAck(event(t, "a"), done)
		forget, err2 := conn.EmitAck(event(t, "b"), done)
		_, err3 := conn.EmitAck(event(t, "c", []byte{1}), done)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(err)
		}
		c.Want(`20["a"]`, `21["b"]`, `51-2["c",{"_placeholder":true,"num":0}]`, "<01>")
		forget()
		c.Send(`31["too late"]`)
		c.Send(`32["of c"]`)
		c.Send(`32["again"]`)
		c.Send(`3999["nobody asked"]`)
		c.Send(`61-0[{"_placeholder":true,"num":0}]`, []byte{7})
		for _, want := range []string{`["of c"]`, `[{"_placeholder":true,"num":0}] <07>`} {
			if got := <-outcomes; got.err != nil || got.args != want {
				t.Errorf("the reply was %v, not %s", got, want)
			}
		}
		synctest.Wait()
		if len(outcomes) > 0 {
			t.Errorf("unexpected outcome %v", <-outcomes)
		}
		w.WantNoCalls()
	})
}

// emitAckEnds guards that done is called with an error at the end, before the end is reported.
func (s *suite) emitAckEnds(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		c, conn := w.Member(transport)
		if _, err := conn.EmitAck(event(t, "a"), func(_ engine.Args, err error) {
			w.lines <- fmt.Sprint("no reply: ", err)
		}); err != nil {
			t.Fatal(err)
		}
		c.Want(`20["a"]`)
		conn.Close(nil)
		c.Want("1")
		c.WantEnd()
		w.WantCalls("no reply: "+engine.ErrClosed.Error(), "disconnected: server disconnect")
		if _, err := conn.EmitAck(event(t, "b"), func(engine.Args, error) { t.Error("called") }); !errors.Is(err, engine.ErrClosed) {
			t.Errorf("EmitAck: %v", err)
		}
	})
}

// concurrentEmits guards that the events of many goroutines all arrive, those of each in order, and
// that no two have the same id.
func (s *suite) concurrentEmits(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		const goroutines, each = 8, 50
		c, conn := w.Member(transport)
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				for i := range each {
					m := event(t, "m", g, i)
					if _, err := conn.EmitAck(m, func(engine.Args, error) {}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		next := make([]int, goroutines)
		ids := make(map[int]bool)
		for range goroutines * each {
			f := <-c.frames
			var id, g, i int
			if _, err := fmt.Sscanf(f.text, `2%d["m",%d,%d]`, &id, &g, &i); err != nil || i != next[g] || ids[id] {
				t.Fatalf("got %q (%v), want number %d", f, err, next[g])
			}
			next[g]++
			ids[id] = true
		}
	})
}

// broadcast guards that what is sent to many clients while they send reaches each of them, in
// order.
func (s *suite) broadcast(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		const clients, messages = 200, 30
		members := make([]*Client, clients)
		conns := make([]engine.Conn, clients)
		for i := range members {
			members[i], conns[i] = w.Member(transport)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for n := range messages {
				m := event(t, "n", n)
				for _, conn := range conns {
					if err := conn.Emit(m); err != nil {
						t.Error(err)
					}
				}
			}
		})
		for _, c := range members {
			wg.Go(func() {
				for range 5 {
					if err := c.Post(`42["up"]`); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		for _, c := range members {
			for n := range messages {
				c.Want(fmt.Sprintf(`2["n",%d]`, n))
			}
		}
		for range 5 * clients {
			w.WantCalls("event up []")
		}
		w.WantNoCalls()
	})
}

// emitsMeanwhile guards that what is sent during an upgrade arrives once and in order.
func (s *suite) emitsMeanwhile(t *testing.T, transport string) {
	for range 20 {
		s.in(t, engine.Options{}, func(t *testing.T, w *World) {
			const messages = 300
			var wg sync.WaitGroup
			w.OnConnect = func(c engine.Conn) {
				wg.Go(func() {
					for n := range messages {
						if err := c.Emit(event(t, "n", n)); err != nil {
							t.Error(err)
						}
						runtime.Gosched()
					}
				})
			}
			c, _ := w.Member(transport)
			wg.Wait()
			for n := range messages {
				c.Want(fmt.Sprintf(`2["n",%d]`, n))
			}
		})
	}
}

// idle guards that the timeouts of the http.Server do not end connections whose heartbeat goes on.
func (s *suite) idle(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		c, conn := w.Member(transport)
		for range 5 {
			<-time.After(time.Minute)
			c.Send(`2["here"]`)
			w.WantCalls("event here []")
			if err := conn.Emit(event(t, "too")); err != nil {
				t.Error(err)
			}
			c.Want(`2["too"]`)
		}
	})
}

// namespaces guards that clients may be in several namespaces, and that unknown ones are refused
// without ending the connection.
func (s *suite) namespaces(t *testing.T, transport string) {
	s.in(t, engine.Options{}, func(t *testing.T, w *World) {
		c, root := w.Member(transport)
		c.Send("0/nowhere")
		if f := <-c.frames; !strings.HasPrefix(f.text, "4/nowhere,") {
			t.Errorf("got %q, want a refusal", f)
		}
		c.Send("0/admin,")
		if f := <-c.frames; !strings.HasPrefix(f.text, "0/admin") {
			t.Errorf("got %q, want CONNECT", f)
		}
		w.WantCalls("connect")
		admin := <-w.conns
		if admin.ID() == root.ID() {
			t.Error("both have the same id")
		}
		c.Send(`2/admin,["x"]`)
		w.WantCalls("event x []")
		admin.Close(event(t, "bye"))
		c.Want(`2/admin,["bye"]`)
		if f := <-c.frames; strings.TrimSuffix(f.text, ",") != "1/admin" {
			t.Errorf("got %q, want DISCONNECT", f)
		}
		w.WantCalls("disconnected: server disconnect")
		c.Send(`2["still here"]`)
		w.WantCalls("event still here []")
	})
}
