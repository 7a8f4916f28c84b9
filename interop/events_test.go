package interop

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/z-open/socketauth"
)

// fault is the acknowledgement of a refused event.
func fault(code string) map[string]any {
	return map[string]any{"error": map[string]string{"code": code}}
}

// TestEvents: each event with an acknowledgement gets one reply or one error code, and the server
// can ask for acknowledgements too.
func TestEvents(t *testing.T) {
	matrix(t, func(t *testing.T, r run) {
		d := play(t, r, "events", serve(t, setup{}).url, nil)
		d.hears("unauthenticated", "connect")
		d.hears("unauthenticated", "reply to echo", fault("unauthorized"))
		d.hears("unauthenticated", "reply to no such event", fault("unauthorized"))

		d.enters("member")
		d.hears("member", "reply to echo", "hello")
		d.hears("member", "reply to nothing", []any{}...)
		d.hears("member", "reply to refuse", fault("OUT_OF_STOCK"))
		d.hears("member", "reply to break", fault("server_error"))
		d.hears("member", "reply to add", fault("bad_arguments"))
		d.hears("member", "reply to add", fault("bad_arguments"))
		d.hears("member", "reply to add", 3)
		d.hears("member", "reply to no such event", fault("unknown_event"))
		d.hears("member", "reply to ask me", "why? of the client")
		d.done()
	})
}

// TestKeptNames: On panics for each event name that some version of the client never sends.
func TestKeptNames(t *testing.T) {
	t.Parallel()
	plain := []string{"chat", "message", "open", "close", "upgrade", "connection timeout"}
	own := []string{ // the protocol itself refuses "disconnecting", "newListener" and "removeListener"
		"connect", "connect_error", "connect_timeout", "connecting", "disconnect", "error", "ping", "pong",
		"reconnect", "reconnect_attempt", "reconnect_error", "reconnect_failed", "reconnecting",
	}
	for _, client := range clients {
		t.Run(client.version, func(t *testing.T) {
			t.Parallel()
			a := serve(t, setup{})
			d := play(t, run{client, "websocket", "event"}, "kept", a.url, map[string]any{"names": slices.Concat(own, plain)})
			d.enters("member")
			arrived := make(map[string]bool)
			for _, arg := range d.hears("client", "arrived").Args {
				var name string
				if err := json.Unmarshal(arg, &name); err != nil {
					t.Fatal(err)
				}
				arrived[name] = true
			}
			d.done()
			for _, name := range plain {
				if !arrived[name] {
					t.Errorf("%q has not arrived", name)
				}
			}
			kept := 0
			for _, name := range own {
				if arrived[name] {
					continue
				}
				kept++
				func() {
					defer func() {
						if recover() == nil {
							t.Errorf("the client keeps %q, On takes it", name)
						}
					}()
					a.On(name, func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return nil, nil })
				}()
			}
			if want := map[bool]int{true: 3, false: 13}[client.handshake]; kept != want {
				t.Errorf("%d names are kept, %d were known", kept, want)
			}
		})
	}
}

// TestPayloads: text in all scripts, attachments and long messages arrive as they were sent, both
// ways.
func TestPayloads(t *testing.T) {
	const long = 500_000
	sizes := []int{0, 1, 300, 70_000}
	matrix(t, func(t *testing.T, r run) {
		d := play(t, r, "payloads", serve(t, setup{}).url, map[string]any{"texts": texts, "sizes": sizes, "long": long})
		d.enters("member")
		for _, text := range texts {
			d.both("member", says("reply to text", text), says("text", text, map[string]string{text: text}))
		}
		binary := func(size int) {
			d.both("member", says("reply to binary", printed(pattern(size+1))),
				says("binary", printed(pattern(size)), size, printed(pattern(3))))
		}
		for _, size := range sizes {
			binary(size)
		}
		row := func(x string) any {
			return map[string]any{"characters": long, "sha256": hash([]byte(strings.Repeat(x, long)))}
		}
		d.both("member", says("reply to large", row("X")), says("large", row("x")))
		binary(long)
		d.hears("member", "reply to ask for an attachment", "received")
		d.done()
	})
}

// TestStoredData: no data that users have stored breaks a connection when it is sent, with
// attachments or without.
func TestStoredData(t *testing.T) {
	matrix(t, func(t *testing.T, r run) {
		d := play(t, r, "stored", serve(t, setup{}).url, map[string]any{"cases": len(stored)})
		d.enters("member")
		for _, c := range stored {
			var about any
			if err := json.Unmarshal(c.about, &about); err != nil {
				t.Fatal(err)
			}
			if printable(c.about) {
				d.hears("member", "news", about)
			}
			if !c.alone {
				d.hears("member", "binary", about, printed(pattern(3)))
			}
			d.hears("member", "reply to show", map[string]bool{"alone": c.alone, "few": true})
			d.hears("member", "reply to echo", "alive")
		}
		d.done()
	})
}

// TestAudiences: each broadcast reaches its audience, and no socket that is not authenticated.
func TestAudiences(t *testing.T) {
	matrix(t, func(t *testing.T, r run) {
		d := play(t, r, "audiences", serve(t, setup{}).url, nil)
		d.hears("unauthenticated", "connect")
		for _, socket := range []string{"phone", "tablet", "desktop", "bob"} {
			d.enters(socket)
		}
		d.hears("phone", "rotated", []any{}...) // by the tablet, which confirmed its token
		// This test is about what sockets receive between the replies, not about the replies.
		for _, reply := range []string{"join", "leave", "who am I", "speak"} {
			d.ignore("reply to " + reply)
		}
		news := map[string][]string{
			"unauthenticated": {},
			"phone":           {"to all", "to the room", "to alice", "to one session"},
			"tablet":          {"to all", "to alice", "to one session"},
			"desktop":         {"to all", "to alice"},
			"bob":             {"to all", "to the room", "to who stayed"},
		}
		for socket, texts := range news {
			for _, text := range texts {
				d.hears(socket, "news", text)
			}
			if socket == "unauthenticated" {
				d.hears(socket, "reply to echo", fault("unauthorized"))
			} else {
				d.hears(socket, "reply to echo", "end")
			}
		}
		d.done()
	})
}

// expected is a line that must come.
type expected struct {
	event string
	args  []any
}

func says(event string, args ...any) expected { return expected{event, args} }

// both expects two lines of a socket, in either order.
func (d *driver) both(socket string, first, second expected) {
	d.t.Helper()
	l, ok := d.next(socket)
	if ok && l.Event == second.event {
		first, second = second, first
	}
	d.waiting[socket] = append([]line{l}, d.waiting[socket]...)
	d.hears(socket, first.event, first.args...)
	d.hears(socket, second.event, second.args...)
}

// TestMixed: clients of all versions, on all transports, can talk in one room of one server.
func TestMixed(t *testing.T) {
	a := serve(t, setup{})
	var drivers []*driver
	var names []string
	for _, client := range clients {
		for _, transport := range []string{"websocket", "polling", "upgrade"} {
			r := run{client, transport, "event"}
			name := client.version + " " + transport
			options := map[string]any{"name": name, "others": 3 * len(clients)}
			drivers = append(drivers, play(t, r, "mixed", a.url, options))
			names = append(names, name)
			d := drivers[len(drivers)-1]
			d.enters(name)
			d.hears(name, "settled", r.final())
			d.hears(name, "reply to join", []any{}...)
		}
	}
	if err := a.To("red").Emit("news", "to all: 你好"); err != nil {
		t.Fatal(err)
	}
	for i, d := range drivers {
		d.ignore("reply to speak")     // comes before or after the broadcast
		heard := make(map[string]bool) // in any order: a client may answer before the last has heard
		for range len(names) + 1 {
			heard[d.hears(names[i], "news").String()] = true
		}
		if len(heard) != len(names)+1 {
			t.Errorf("%s heard %v", names[i], heard)
		}
	}
	for _, d := range drivers {
		d.done()
	}
}
