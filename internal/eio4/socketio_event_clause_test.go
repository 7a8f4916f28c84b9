package eio4_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/z-open/socketauth/internal/engine"
)

// Socket.IO, "Sending and receiving data" and its encoding: events of the client.
func TestSocketIO_Event_FromClient(t *testing.T) {
	for _, c := range []struct{ name, packet, received string }{
		{"main", `42["foo"]`, `event / foo []`},
		{"custom", `42/admin,["bar"]`, `event /admin bar []`},
		{"main by name", `42/,["foo"]`, `event / foo []`},
		{"arguments", `42["message",1,"2",{"3":[true]}]`, `event / message [1,"2",{"3":[true]}]`},
		{"null", `42["foo",null]`, `event / foo [null]`},
		{"numbers as written", `42["foo",1e400,0.10,-0,12345678901234567890]`, `event / foo [1e400,0.10,-0,12345678901234567890]`},
		{"escapes in the name", `42["a\"b\\c\u20acd"]`, `event / a"b\c€d []`},
		{"empty name", `42[""]`, `event /  []`},
		{"non-ASCII", `42["é😀","漢字"]`, `event / é😀 ["漢字"]`},
		{"white space inside", `42[ "foo" , 1 ]`, `event / foo [1]`},
		{"ack id", `4212["foo"]`, `event / foo [] ack`},
		{"ack id 0", `420["foo"]`, `event / foo [] ack`},
		{"ack id in custom", `42/admin,13["foo"]`, `event /admin foo [] ack`},
		{"largest ack id", `429223372036854775807["foo"]`, `event / foo [] ack`},
		{"number as name", `42[123,"x"]`, `event / 123 ["x"]`},
		{"placeholder without attachments", `42["foo",{"_placeholder":true,"num":7}]`, `event / foo [{"_placeholder":true,"num":7}]`},
		{"brackets in a string", `42["foo","]},[{"]`, `event / foo ["]},[{"]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				w, _ := s.join(app)
				p, _ := s.joinPolling(app)
				w.send("40/admin")
				p.send("40/admin")
				app.want("connect /admin none", "connect /admin none")
				w.send(c.packet)
				app.want(c.received)
				p.send(c.packet)
				app.want(c.received)
				app.wantNothing()
			})
		})
	}
}

// Socket.IO, "Sending and receiving data" and its encoding: binary events, with attachments in
// frames of their own.
func TestSocketIO_Event_BinaryFromClient(t *testing.T) {
	const one, two = `{"_placeholder":true,"num":0}`, `{"_placeholder":true,"num":1}`
	for _, c := range []struct {
		name, packet string
		attachments  []string
		received     string
	}{
		{"one", `451-["baz",` + one + `]`, []string{"\x01\x02\x03\x04"}, `event / baz [` + one + `] <01 02 03 04>`},
		{"several in custom", `452-/admin,["baz",` + one + `,` + two + `]`, []string{"\x01\x02", "\x03\x04"},
			`event /admin baz [` + one + `,` + two + `] <01 02> <03 04>`},
		{"ack id", `451-14["foo",` + one + `]`, []string{"\x01"}, `event / foo [` + one + `] <01> ack`},
		{"everything", `452-/admin,15["foo",` + two + `,` + one + `]`, []string{"\x01", "\x02"},
			`event /admin foo [` + two + `,` + one + `] <01> <02> ack`},
		{"nested", `451-["foo",{"a":[` + one + `]}]`, []string{"\x01"}, `event / foo [{"a":[` + one + `]}] <01>`},
		{"empty attachment", `451-["foo",` + one + `]`, []string{""}, `event / foo [` + one + `] <>`},
		{"none", `450-["foo"]`, nil, `event / foo []`},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				w, _ := s.join(app)
				p, _ := s.joinPolling(app)
				w.send("40/admin")
				p.send("40/admin")
				app.want("connect /admin none", "connect /admin none")
				w.send(c.packet)
				for _, data := range c.attachments {
					app.wantNothing() // no part of an event is delivered
					w.sendBinary(data)
				}
				w.send(`42["next"]`)
				app.want(c.received, "event / next []")
				payload := []string{c.packet}
				for _, data := range c.attachments {
					payload = append(payload, "b"+base64Of(data))
				}
				p.send(append(payload, `42["next"]`)...)
				app.want(c.received, "event / next []")
			})
		})
	}
}

// Socket.IO, "Packet encoding": attachments may come in a later POST than their packet, with pings
// between them.
func TestSocketIO_Event_BinaryInPieces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		p, _ := s.joinPolling(app)
		p.send(`452-["baz",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
		p.send("bAQ==", "3")
		app.wantNothing()
		p.send("bAg==", `42["next"]`)
		app.want(`event / baz [{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}] <01> <02>`, "event / next []")
	})
}

// Socket.IO, "Packet encoding": attachments may follow their packet on another transport.
func TestSocketIO_Event_BinaryAcrossUpgrade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		p, _ := s.joinPolling(app)
		p.send(`452-["baz"]`, "bAQ==")
		w := p.upgrade()
		w.sendBinary("\x02")
		app.want("event / baz [] <01> <02>")
	})
}

// Socket.IO, "Packet encoding": events of the server, over both transports.
func TestSocketIO_Event_FromServer(t *testing.T) {
	const one, two = `{"_placeholder":true,"num":0}`, `{"_placeholder":true,"num":1}`
	for _, c := range []struct {
		name        string
		event       string
		args        []any
		packet      string // for the main namespace; %s stands for the name of another
		attachments []string
	}{
		{"no arguments", "foo", nil, `42%s["foo"]`, nil},
		{"arguments", "hey", []any{"Jude", 1, nil, true, []int{1}, map[string]any{"a": "<&>"}},
			`42%s["hey","Jude",1,null,true,[1],{"a":"<&>"}]`, nil},
		{"non-ASCII", "é", []any{"€😀"}, `42%s["é","€😀"]`, nil},
		{"raw JSON", "foo", []any{json.RawMessage(`{"a":1}`)}, `42%s["foo",{"a":1}]`, nil},
		{"binary", "baz", []any{[]byte{1, 2, 3, 4}}, `451-%s["baz",` + one + `]`, []string{"\x01\x02\x03\x04"}},
		{"two attachments", "baz", []any{[]byte{1, 2}, "x", []byte{3, 4}},
			`452-%s["baz",` + one + `,"x",` + two + `]`, []string{"\x01\x02", "\x03\x04"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				for _, namespace := range []string{"/", "/admin"} {
					prefix := strings.TrimPrefix(namespace+",", "/,")
					w, _ := s.connect()
					w.send("40" + prefix)
					wantConnect(t, namespace, w.next().data)
					emit(t, app.connected(), c.event, c.args...)
					packet := strings.Replace(c.packet, "%s", prefix, 1)
					w.want(packet)
					payload := []string{packet}
					for _, data := range c.attachments {
						w.wantBinary(data)
						payload = append(payload, "b"+base64Of(data))
					}
					p := s.open()
					p.send("40" + prefix)
					wantConnect(t, namespace, p.poll().body)
					emit(t, app.connected(), c.event, c.args...)
					p.want(payload...)
				}
			})
		})
	}
}

// Socket.IO, "Sending and receiving data": the connection is closed unless the payload is an array
// that begins with a name.
func TestSocketIO_Event_BadPayload(t *testing.T) {
	for _, payload := range []string{
		``, `{}`, `[]`, `null`, `"foo"`, `1`, `true`, // not an array, or an empty one
		`["foo"`, `["foo"]]`, `["foo"]x`, `["foo",]`, `["foo" 1]`, `[,"foo"]`, `["foo",undefined]`, `['foo']`,
		`["foo",01]`, `["foo"],`, // not JSON
		"[\"fo\no\"]", "[\"\\x\"]", `["foo",NaN]`, "[\"foo\"]\x00", `/admin["foo"]`,
		`-1["foo"]`, `+1["foo"]`, `1.5["foo"]`, `abc["foo"]`, `0x1["foo"]`, // not an id
	} {
		t.Run("42"+payload, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				w, _ := s.join(app)
				w.send("42" + payload)
				w.wantClosed()
				app.want("gone / protocol error")
				p, _ := s.joinPolling(app)
				p.post("42" + payload)
				app.want("gone / protocol error")
				p.wantUnknown()
				app.wantNothing()
			})
		})
	}
}

// Socket.IO, the list of packet types: unknown types, and those that clients must not send, close
// the connection.
func TestSocketIO_UnknownPacketType(t *testing.T) {
	for _, packet := range []string{`4`, `47["foo"]`, `49`, `4abc`, `4-1`, `4["foo"]`, `4 2["foo"]`, `44{"message":"x"}`, `44`} {
		t.Run(packet, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				w, _ := s.join(app)
				w.send(packet)
				w.wantClosed()
				app.want("gone / protocol error")
				app.wantNothing()
			})
		})
	}
}

// Socket.IO, "Acknowledgement": an event with an id is answered once, with an ACK of the same id
// and an array.
func TestSocketIO_Ack_ToClient(t *testing.T) {
	const one = `{"_placeholder":true,"num":0}`
	for _, c := range []struct {
		name, packet string
		reply        []any
		answer       string
		attachment   string
	}{
		{"empty", `4212["foo"]`, nil, `4312[]`, ""},
		{"id 0", `420["foo"]`, nil, `430[]`, ""},
		{"leading zeros", `42007["foo"]`, nil, `437[]`, ""},
		{"arguments", `42456["foo"]`, []any{1, "2", map[string]any{"3": []bool{false}}}, `43456[1,"2",{"3":[false]}]`, ""},
		{"nil", `421["foo"]`, []any{nil}, `431[null]`, ""},
		{"custom", `42/admin,13["foo"]`, []any{"bar"}, `43/admin,13["bar"]`, ""},
		{"largest id", `429223372036854775807["foo"]`, []any{"bar"}, `439223372036854775807["bar"]`, ""},
		{"binary", `4215["foo"]`, []any{"bar", []byte{1, 2}}, `461-15["bar",` + one + `]`, "\x01\x02"},
		{"binary in custom", `42/admin,1["tellme"]`, []any{[]byte{9}}, `461-/admin,1[` + one + `]`, "\x09"},
		{"to a binary event", `450-14["foo"]`, []any{"bar"}, `4314["bar"]`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				app.onEvent = func(_ engine.Conn, _ string, _ engine.Args, ack engine.Ack) {
					if err := ack(c.reply...); err != nil {
						t.Errorf("ack: %v", err)
					}
					_ = ack("again") // only the first call counts
				}
				w, _ := s.connect()
				w.send("40", "40/admin")
				w.next()
				w.next()
				w.send(c.packet)
				w.want(c.answer)
				if c.attachment != "" {
					w.wantBinary(c.attachment)
				}
				w.wantSilence()
			})
		})
	}
}

// Socket.IO, "Acknowledgement": the id is optional. Without it there is no acknowledgement.
func TestSocketIO_Ack_NotAskedFor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		app.onEvent = func(_ engine.Conn, _ string, _ engine.Args, ack engine.Ack) {
			if ack != nil {
				t.Error("an acknowledgement that the client did not ask for")
			}
		}
		w, _ := s.join(app)
		w.send(`42["foo"]`)
		app.want("event / foo []")
		w.wantSilence()
	})
}

// Socket.IO, "Acknowledgement": it may be sent late, by another goroutine and out of order; after
// the end that is an error.
func TestSocketIO_Ack_Late(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		acks := make(chan engine.Ack, 3)
		app.onEvent = func(_ engine.Conn, _ string, _ engine.Args, ack engine.Ack) { acks <- ack }
		w, _ := s.join(app)
		w.send(`421["a"]`, `422["b"]`, `423["c"]`)
		app.want("event / a [] ack", "event / b [] ack", "event / c [] ack")
		a, b, c := <-acks, <-acks, <-acks
		if err := b("b"); err != nil {
			t.Error(err)
		}
		if err := a("a"); err != nil {
			t.Error(err)
		}
		w.want(`432["b"]`, `431["a"]`)
		w.drop()
		app.want("gone / transport close")
		if err := c("c"); err != engine.ErrClosed {
			t.Errorf("after the end: %v", err)
		}
	})
}

// Socket.IO, "Acknowledgement": a value that cannot be encoded is an error, and nothing is sent.
func TestSocketIO_Ack_Unencodable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		errs := make(chan error, 1)
		app.onEvent = func(_ engine.Conn, _ string, _ engine.Args, ack engine.Ack) { errs <- ack(math.NaN()) }
		w, c := s.join(app)
		w.send(`421["foo"]`)
		if err := <-errs; err == nil {
			t.Error("no error")
		}
		w.wantSilence()
		if _, err := engine.NewMessage("foo", make(chan int)); err == nil {
			t.Error("no error for a channel")
		}
		emit(t, c, "next")
		w.want(`42["next"]`)
	})
}

// Socket.IO, "Acknowledgement": answers of the client to events of the server.
func TestSocketIO_Ack_FromClient(t *testing.T) {
	const one = `{"_placeholder":true,"num":0}`
	for _, c := range []struct {
		name, namespace, answer, attachment, received string
	}{
		{"empty", "/", `43%s[]`, "", `[]`},
		{"arguments", "/", `43%s["bar",1]`, "", `["bar",1]`},
		{"custom", "/admin", `43/admin,%s["bar"]`, "", `["bar"]`},
		{"binary", "/", `461-%s["bar",` + one + `]`, "\x01\x02\x03\x04", `["bar",` + one + `] <01 02 03 04>`},
		{"binary in custom", "/admin", `461-/admin,%s[` + one + `]`, "\x01", `[` + one + `] <01>`},
		{"reserved word as argument", "/", `43%s["disconnect"]`, "", `["disconnect"]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				w, _ := s.connect()
				prefix := strings.TrimPrefix(c.namespace+",", "/,")
				w.send("40" + prefix)
				wantConnect(t, c.namespace, w.next().data)
				app.next()
				_, id := emitAck(t, app, app.connected(), w, prefix)
				answer := strings.Replace(c.answer, "%s", id, 1)
				w.send(answer)
				if c.attachment != "" {
					app.wantNothing()
					w.sendBinary(c.attachment)
				}
				app.want("done " + c.received + " <nil>")
				w.send(answer) // a second answer is ignored
				if c.attachment != "" {
					w.sendBinary(c.attachment)
				}
				w.wantSilence()
				app.wantNothing()
			})
		})
	}
}

// emitAck emits foo with an acknowledgement, and returns its forget function and its id.
func emitAck(t *testing.T, app *ioApp, c engine.Conn, w *socket, prefix string) (forget func(), id string) {
	t.Helper()
	forget, err := c.EmitAck(event(t, "foo"), func(args engine.Args, err error) {
		app.add("done", showArgs(args), errorText(err))
	})
	if err != nil {
		t.Fatal(err)
	}
	packet := w.next().data
	id, ok := strings.CutSuffix(packet, `["foo"]`)
	id, ok2 := strings.CutPrefix(id, "42"+prefix)
	if !ok || !ok2 || id == "" || strings.Trim(id, "0123456789") != "" {
		t.Fatalf("got packet %q, want 42%s<id>[\"foo\"]", packet, prefix)
	}
	return forget, id
}

// Socket.IO, "Acknowledgement": each event has its own id; answers may come in any order.
func TestSocketIO_Ack_DistinctIds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		w, c := s.join(app)
		_, a := emitAck(t, app, c, w, "")
		_, b := emitAck(t, app, c, w, "")
		if a == b {
			t.Fatalf("the id %s was used twice", a)
		}
		w.send("43"+b+`["b"]`, "43"+a+`["a"]`)
		app.want(`done ["b"] <nil>`, `done ["a"] <nil>`)
	})
}

// Socket.IO, "Acknowledgement": an id is ignored that is unknown, of another namespace, or given
// up.
func TestSocketIO_Ack_UnknownId(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		w, c := s.join(app)
		w.send("40/admin")
		wantConnect(t, "/admin", w.next().data)
		app.want("connect /admin none")
		forget, id := emitAck(t, app, c, w, "")
		w.send("439999[1]", "43/admin,"+id+"[1]", `461-8888[{"_placeholder":true,"num":0}]`)
		w.sendBinary("\x01")
		app.wantNothing()
		forget()
		forget()
		w.send("43" + id + "[1]")
		app.wantNothing()
		w.wantSilence()
		w.send(`42["alive"]`)
		app.want("event / alive []")
	})
}

// Socket.IO, "Acknowledgement": the connection is closed unless there is an id and an array.
func TestSocketIO_Ack_BadPayload(t *testing.T) {
	for _, rest := range []string{`%s`, `%s{}`, `%snull`, `%s"bar"`, `%s1`, `%s["bar"`, `%s[]]`, `-%s[]`, `x[]`} {
		t.Run(rest, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				w, c := s.join(app)
				_, id := emitAck(t, app, c, w, "")
				w.send("43" + strings.Replace(rest, "%s", id, 1))
				w.wantClosed()
				lines := []string{app.next(), app.next()}
				if lines[0] > lines[1] {
					lines[0], lines[1] = lines[1], lines[0]
				}
				wantEqual(t, lines, []string{"done [] " + engine.ErrClosed.Error(), "gone / protocol error"})
				app.wantNothing()
			})
		})
	}
}

// Socket.IO, "Acknowledgement": done is called once with an error when the connection ends.
func TestSocketIO_Ack_ConnectionEnds(t *testing.T) {
	for name, end := range map[string]func(*server, *socket, engine.Conn){
		"cut":        func(_ *server, w *socket, _ engine.Conn) { w.drop() },
		"DISCONNECT": func(_ *server, w *socket, _ engine.Conn) { w.send("41") },
		"Close":      func(_ *server, _ *socket, c engine.Conn) { c.Close(nil) },
		"Shutdown":   func(s *server, _ *socket, _ engine.Conn) { s.shutdown() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, engine.Options{})
				w, c := s.join(app)
				_, id := emitAck(t, app, c, w, "")
				_, _ = emitAck(t, app, c, w, "")
				end(s, w, c)
				synctest.Wait()
				w.try("43" + id + "[1]")
				done := 0
				for range 3 {
					if app.next() == "done [] "+engine.ErrClosed.Error() {
						done++
					}
				}
				if done != 2 {
					t.Errorf("%d calls of done for 2 events", done)
				}
				app.wantNothing()
			})
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return "<nil>"
	}
	return err.Error()
}
