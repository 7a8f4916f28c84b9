package eio4_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

// Socket.IO, "Connection to a namespace": CONNECT to the main namespace is answered with CONNECT
// and a session id, which is not the one of Engine.IO.
func TestSocketIO_Connect_Main(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		w, o := s.connect()
		w.send("40")
		sid := wantConnect(t, "/", w.next().data)
		app.want("connect / none")
		if c := app.connected(); c.ID() != sid {
			t.Errorf("the client was told %q, the application %q", sid, c.ID())
		}
		if sid == o.SID {
			t.Error("the sid is the one of Engine.IO")
		}
		w.wantSilence()
		app.wantNothing()
	})
}

// Socket.IO, "Connection to a namespace": the same over polling.
func TestSocketIO_Connect_Polling(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		p := s.open()
		poll := p.pollLater()
		synctest.Wait()
		p.send("40")
		wantConnect(t, "/", answer(t, poll).body)
		app.want("connect / none")
	})
}

// Socket.IO, "Connection to a namespace": a custom namespace, its name with and without the comma
// after it.
func TestSocketIO_Connect_CustomNamespace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		for _, packet := range []string{"40/admin,", "40/admin"} {
			w, _ := s.connect()
			w.send(packet)
			wantConnect(t, "/admin", w.next().data)
			app.want("connect /admin none")
		}
	})
}

// Socket.IO, "Connection to a namespace": CONNECT may carry a payload, any object.
func TestSocketIO_Connect_Payload(t *testing.T) {
	for _, c := range []struct{ name, packet, namespace, auth string }{
		{"main", `40{"token":"123"}`, "/", `{"token":"123"}`},
		{"custom", `40/admin,{"token":"123"}`, "/admin", `{"token":"123"}`},
		{"empty object", `40{}`, "/", `{}`},
		{"nested", `40{"a":[1,{"b":null}],"c":"€,\""}`, "/", `{"a":[1,{"b":null}],"c":"€,\""}`},
		{"slash in it", `40{"path":"/admin,"}`, "/", `{"path":"/admin,"}`},
		{"main by name", `40/,{"token":"123"}`, "/", `{"token":"123"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				w, _ := s.connect()
				w.send(c.packet)
				wantConnect(t, c.namespace, w.next().data)
				app.want("connect " + c.namespace + " " + c.auth)
			})
		})
	}
}

// Socket.IO, "Connection to a namespace": a payload other than an object closes the connection.
func TestSocketIO_Connect_BadPayload(t *testing.T) {
	for _, payload := range []string{`"token"`, `123`, `[]`, `null`, `true`, `{`, `{"a":}`, `{} {}`, `{"a":1}x`, `{'a':1}`} {
		t.Run(payload, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				for _, packet := range []string{"40" + payload, "40/admin," + payload} {
					w, _ := s.connect()
					w.send(packet)
					w.wantClosed()
				}
				app.wantNothing()
			})
		})
	}
}

// Socket.IO, "Connection to a namespace": an unknown one is refused with CONNECT_ERROR and an
// object. The client may try another.
func TestSocketIO_Connect_Refused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		w, _ := s.connect()
		for _, packet := range []string{"40/random", "40/random,", `40/random,{"token":"123"}`} {
			w.send(packet)
			w.want(`44/random,{"message":"Invalid namespace"}`)
		}
		app.wantNothing()
		w.send("40")
		wantConnect(t, "/", w.next().data)
		app.want("connect / none")
	})
}

// Socket.IO, "Connection to a namespace": the refusal of the main namespace has no name in it.
func TestSocketIO_Connect_RefusedMain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		app := newIOApp(t)
		o := engine.Options{Namespaces: map[string]engine.Accept{"/admin": app.accept("/admin")}}
		s := serve(t, memory(), app.engine(o))
		w, _ := s.connect()
		w.send("40")
		w.want(`44{"message":"Invalid namespace"}`)
		w.send("40/admin,")
		wantConnect(t, "/admin", w.next().data)
		app.want("connect /admin none")
	})
}

// Socket.IO, "Connection to a namespace": any other packet before CONNECT closes the connection at
// once.
func TestSocketIO_Connect_MustComeFirst(t *testing.T) {
	for name, packet := range map[string]string{
		"event":            `42["hello"]`,
		"event in custom":  `42/admin,["hello"]`,
		"event with ack":   `421["hello"]`,
		"ack":              `431["hello"]`,
		"disconnect":       `41`,
		"connect error":    `44{"message":"no"}`,
		"binary event":     `451-["hello",{"_placeholder":true,"num":0}]`,
		"binary ack":       `461-1[{"_placeholder":true,"num":0}]`,
		"unknown type":     `47`,
		"no type":          `4`,
		"letters":          `4abc`,
		"after a refusal":  `40/random` + rs + `42/random,["hello"]`,
		"in another space": `40/admin` + rs + `42["hello"]`,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				w, _ := s.connect()
				for _, part := range splitPayload(packet) {
					if strings.HasPrefix(part, "40") {
						w.send(part)
						w.next()
						continue
					}
					w.send(part)
				}
				w.wantClosed()
				synctest.Wait()
				for len(app.lines) > 0 {
					if line := app.next(); line != "connect /admin none" && line != "gone /admin protocol error" {
						t.Errorf("received %q", line)
					}
				}
			})
		})
	}
}

// Socket.IO, "Connection to a namespace": the same over polling, where the pending poll is
// answered.
func TestSocketIO_Connect_MustComeFirstPolling(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		p := s.open()
		poll := p.pollLater()
		synctest.Wait()
		p.post(`42["hello"]`)
		if r := answer(t, poll); r.body != "1" {
			t.Errorf("the pending poll was answered %d %q", r.status, r.body)
		}
		p.wantUnknown()
		app.wantNothing()
	})
}

// Socket.IO, "Connection to a namespace": a client that never sends CONNECT is disconnected in
// time.
func TestSocketIO_Connect_Timeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{ConnectTimeout: 5 * time.Second})
		w, _ := s.connect()
		p := s.open()
		refused, _ := s.connect()
		refused.send("40/random")
		refused.want(`44/random,{"message":"Invalid namespace"}`)
		in, _ := s.join(app)
		advance(5*time.Second - time.Millisecond)
		w.wantSilence()
		refused.wantSilence()
		advance(2 * time.Millisecond)
		w.wantClosed()
		refused.wantClosed()
		p.wantUnknown()
		advance(10 * time.Second)
		in.wantSilence()
		app.wantNothing()
	})
}

// Socket.IO, "Connection to a namespace": a client may be in several at once, each with its own id,
// events and end.
func TestSocketIO_Connect_SeveralNamespaces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		w, _ := s.connect()
		w.send("40", "40/admin,{}")
		main := wantConnect(t, "/", w.next().data)
		admin := wantConnect(t, "/admin", w.next().data)
		if main == admin {
			t.Error("both have the same id")
		}
		app.want("connect / none", "connect /admin {}")
		conns := []engine.Conn{app.connected(), app.connected()}
		if conns[0].ID() != main || conns[1].ID() != admin {
			t.Error("ids do not match")
		}
		w.send(`42["a"]`, `42/admin,["b"]`, `42["c"]`)
		app.want("event / a []", "event /admin b []", "event / c []")
		emit(t, conns[1], "x")
		emit(t, conns[0], "y")
		w.want(`42/admin,["x"]`, `42["y"]`)
		w.drop()
		ends := []string{app.next(), app.next()}
		if ends[0] > ends[1] {
			ends[0], ends[1] = ends[1], ends[0]
		}
		wantEqual(t, ends, []string{"gone / transport close", "gone /admin transport close"})
		app.wantNothing()
	})
}

// Socket.IO, "Connection to a namespace": a second CONNECT to one namespace closes the connection.
func TestSocketIO_Connect_Twice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		w, _ := s.join(app)
		w.send("40")
		w.wantClosed()
		app.want("gone / protocol error")
		p := s.open()
		p.post("40" + rs + "40" + rs + `42["hello"]`)
		app.want("connect / none", "gone / protocol error")
		app.wantNothing()
	})
}

// Socket.IO, history from v4 to v5: there is no implicit connection to the main namespace.
func TestSocketIO_Connect_NotImplicit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		w, _ := s.connect()
		w.wantSilence()
		w.send("40/admin,")
		wantConnect(t, "/admin", w.next().data)
		w.wantSilence()
		app.want("connect /admin none")
		app.wantNothing()
	})
}

// Socket.IO, "Connection to a namespace": what the application sends in Accept comes after CONNECT.
func TestSocketIO_Connect_ComesFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		app := newIOApp(t)
		app.onConnect = func(_ string, c engine.Conn) { emit(t, c, "early", 1) }
		s := serve(t, memory(), app.engine(engine.Options{}))
		w, _ := s.connect()
		w.send("40")
		wantConnect(t, "/", w.next().data)
		w.want(`42["early",1]`)
		p := s.open()
		p.send("40/admin,")
		packets := splitPayload(p.poll().body)
		if len(packets) == 1 {
			packets = append(packets, p.poll().body)
		}
		wantConnect(t, "/admin", packets[0])
		wantEqual(t, packets[1:], []string{`42/admin,["early",1]`})
	})
}

// Socket.IO, "Connection to a namespace": Describe is called once, with the first request of the
// connection, for all namespaces and after an upgrade too.
func TestSocketIO_Connect_Describe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		calls := 0
		s, app := serveIO(t, engine.Options{Describe: func(r *http.Request) any {
			calls++
			return r.URL.Query().Get("transport") + " " + r.URL.Query().Get("who")
		}})
		p := s.open()
		p.path += "&who=later"
		w := p.upgrade()
		w.send("40", "40/admin")
		app.want("connect / none polling ", "connect /admin none polling ")
		direct := s.dial(webSocket + "&who=me")
		direct.next()
		direct.send("40")
		app.want("connect / none websocket me")
		if calls != 2 {
			t.Errorf("%d calls for 2 connections", calls)
		}
	})
}

// Socket.IO, "Disconnection from a namespace": DISCONNECT is not answered, and the transport stays
// open.
func TestSocketIO_Disconnect_Main(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		w, c := s.join(app)
		w.send("41")
		app.want("gone / client disconnect")
		w.wantSilence()
		if err := c.Emit(event(t, "late")); err != engine.ErrClosed {
			t.Errorf("Emit: %v", err)
		}
		w.wantSilence()
		w.send("40")
		wantConnect(t, "/", w.next().data)
		app.want("connect / none")
		if again := app.connected(); again == c || app.conns == nil {
			t.Error("the same Conn again")
		}
		app.wantNothing()
	})
}

// Socket.IO, "Disconnection from a namespace": leaving one does not affect the others.
func TestSocketIO_Disconnect_Custom(t *testing.T) {
	for _, packet := range []string{"41/admin,", "41/admin"} {
		t.Run(packet, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				w, c := s.join(app)
				w.send("40/admin,")
				wantConnect(t, "/admin", w.next().data)
				app.want("connect /admin none")
				w.send(packet, `42["hello"]`)
				app.want("gone /admin client disconnect", "event / hello []")
				emit(t, c, "world")
				w.want(`42["world"]`)
				w.wantSilence()
			})
		})
	}
}

// Socket.IO, "Disconnection from a namespace": an event for a namespace that the client has left
// closes the connection.
func TestSocketIO_Disconnect_EventAfterwards(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		w, _ := s.join(app)
		w.send("41", `42["hello"]`)
		w.wantClosed()
		app.want("gone / client disconnect")
		app.wantNothing()
	})
}

// Socket.IO, "Disconnection from a namespace": a client that has left the last one has limited time
// to join another.
func TestSocketIO_Disconnect_LastOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{ConnectTimeout: 5 * time.Second})
		w, conn := s.join(app)
		conn.Trust() // an unauthenticated client has no more time than at first
		advance(20 * time.Second)
		w.send("41")
		app.want("gone / client disconnect")
		advance(5*time.Second - time.Millisecond)
		w.wantSilence()
		advance(2 * time.Millisecond)
		w.wantClosed()
		app.wantNothing()
	})
}

// Socket.IO, "Disconnection from a namespace": DISCONNECT has no payload.
func TestSocketIO_Disconnect_Payload(t *testing.T) {
	for _, packet := range []string{`41{}`, `41[]`, `41"bye"`, `41/admin,{}`} {
		t.Run(packet, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				w, _ := s.connect()
				w.send("40", "40/admin")
				app.want("connect / none", "connect /admin none")
				w.next()
				w.next()
				w.send(packet)
				w.wantClosed()
				for range 2 {
					if line := app.next(); line != "gone / protocol error" && line != "gone /admin protocol error" {
						t.Errorf("received %q", line)
					}
				}
			})
		})
	}
}

// Socket.IO, "Disconnection from a namespace": the end of the transport ends every namespace, with
// its reason.
func TestSocketIO_Disconnect_Reasons(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(*socket)
		reason engine.Reason
	}{
		"cut":            {func(w *socket) { w.drop() }, engine.TransportClose},
		"close packet":   {func(w *socket) { w.send("1") }, engine.ClientDisconnect},
		"bad packet":     {func(w *socket) { w.send("9") }, engine.ProtocolError},
		"no pong":        {func(w *socket) { advance(time.Minute) }, engine.PingTimeout},
		"DISCONNECT":     {func(w *socket) { w.send("41") }, engine.ClientDisconnect},
		"unknown packet": {func(w *socket) { w.send("49") }, engine.ProtocolError},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				w, conn := s.join(app)
				w.send(`42["last"]`)
				c.end(w)
				app.want("event / last []", "gone / "+string(c.reason))
				app.wantNothing()
				if err := conn.Emit(event(t, "late")); err != engine.ErrClosed {
					t.Errorf("Emit: %v", err)
				}
				if _, err := conn.EmitAck(event(t, "late"), func(engine.Args, error) { t.Error("done was called") }); err != engine.ErrClosed {
					t.Errorf("EmitAck: %v", err)
				}
				conn.Close(event(t, "late"))
				app.wantNothing()
			})
		})
	}
}
