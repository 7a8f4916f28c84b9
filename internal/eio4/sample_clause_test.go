package eio4_test

import (
	"testing"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

// Socket.IO, "Sample session", request by request and frame by frame.
func TestSocketIO_SampleSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const plain = "text/plain; charset=UTF-8"
		s, app := serveIO(t, engine.Options{PingInterval: 25 * time.Second, PingTimeout: 5 * time.Second, MaxPayload: 1000000})
		app.onEvent = func(_ engine.Conn, name string, _ engine.Args, ack engine.Ack) {
			if name == "tellme" {
				if err := ack([]byte{1, 2, 3, 4}); err != nil {
					t.Error(err)
				}
			}
		}
		path := func(tail string) string { return "/socket.io/?EIO=4&transport=" + tail }

		// Request 1: the OPEN packet.
		r := s.get(path("polling&t=N8hyd6w"))
		m := openPacket.FindStringSubmatch(r.body)
		if r.status != 200 || r.header.Get("Content-Type") != plain || m == nil ||
			m[2] != `"websocket"` || m[3] != "25000" || m[4] != "5000" || m[5] != "1000000" {
			t.Fatalf("got %d %v %q", r.status, r.header, r.body)
		}
		sid := "&sid=" + m[1]

		// Request 2: CONNECT. Request 3: its answer.
		r = s.post(path("polling&t=N8hyd7H"+sid), "40")
		r.want(t, 200, "ok")
		if got := r.header.Get("Content-Type"); got != plain {
			t.Errorf("Content-Type of the answer to a POST: %q", got)
		}
		r = s.get(path("polling&t=N8hyd7H" + sid))
		wantConnect(t, "/", r.body)
		app.want("connect / none")

		// Request 4: an event of the server.
		c := app.connected()
		emit(t, c, "hey", "Jude")
		s.get(path("polling&t=N8hyd7H"+sid)).want(t, 200, `42["hey","Jude"]`)

		// Request 5: events of the client.
		s.post(path("polling&t=N8hzxke"+sid), "42[\"hello\"]\x1e42[\"world\"]").want(t, 200, "ok")
		app.want("event / hello []", "event / world []")

		// Request 6: the upgrade, and its frames.
		w := s.dial(path("websocket" + sid))
		w.send("2probe")
		w.want("3probe")
		w.send("5", `42["hello"]`, `42["world"]`, "40/admin,")
		app.want("event / hello []", "event / world []", "connect /admin none")
		wantConnect(t, "/admin", w.next().data)
		w.send(`42/admin,1["tellme"]`)
		app.want("event /admin tellme [] ack")
		w.want(`461-/admin,1[{"_placeholder":true,"num":0}]`)
		w.wantBinary("\x01\x02\x03\x04")
		advance(25 * time.Second)
		w.want("2")
		w.send("3")
		w.send("1")
		w.wantClosed()
		ends := []string{app.next(), app.next()}
		if ends[0] > ends[1] {
			ends[0], ends[1] = ends[1], ends[0]
		}
		wantEqual(t, ends, []string{"gone / client disconnect", "gone /admin client disconnect"})
		app.wantNothing()
	})
}
