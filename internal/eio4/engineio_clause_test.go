package eio4_test

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/eio"

	"github.com/z-open/socketauth/internal/eio4"
	"github.com/z-open/socketauth/internal/engine"
)

// Engine.IO, "Query parameters" of HTTP long-polling: EIO and transport are mandatory, sid once
// there is a session.
func TestEngineIO_Polling_QueryParameters(t *testing.T) {
	for _, c := range []struct {
		name, path string
		session    bool // the path ends with the sid of a session
		code       int
	}{
		{"EIO missing", "?transport=polling", false, 5},
		{"EIO empty", "?EIO=&transport=polling", false, 5},
		{"EIO of an older protocol", "?EIO=3&transport=polling", false, 5},
		{"EIO of a later protocol", "?EIO=5&transport=polling", false, 5},
		{"EIO no number", "?EIO=abc&transport=polling", false, 5},
		{"transport missing", "?EIO=4", false, 0},
		{"transport empty", "?EIO=4&transport=", false, 0},
		{"transport unknown", "?EIO=4&transport=abc", false, 0},
		{"transport in capitals", "?EIO=4&transport=POLLING", false, 0},
		{"EIO missing in a session", "?transport=polling&sid=", true, 5},
		{"transport missing in a session", "?EIO=4&sid=", true, 0},
		{"sid unknown", "?EIO=4&transport=polling&sid=unknown", false, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveEcho(t, engine.Options{})
				p := s.open()
				path := "/engine.io/" + c.path
				if c.session {
					path += p.sid
				}
				s.get(path).wantError(t, c.code)
				if c.session || c.code == 1 {
					s.post(path, "4lost").wantError(t, c.code)
				}
				app.wantNothing()
				p.send("4still here")
				app.want("text still here")
			})
		})
	}
}

// Engine.IO, "Query parameters": sid is mandatory once the session is established, so only a GET
// may be without one.
func TestEngineIO_Polling_HandshakeMethod(t *testing.T) {
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, http.MethodHead} {
		t.Run(method, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveEcho(t, engine.Options{})
				r := s.do(method, polling, "", nil)
				if method == http.MethodHead {
					r.want(t, http.StatusBadRequest, "")
				} else {
					r.wantError(t, 2)
				}
				synctest.Wait()
				if len(app.sessions) != 0 {
					t.Error("a session was opened")
				}
			})
		})
	}
}

// Engine.IO, "Sending and receiving data": only GET and POST are allowed in a session.
func TestEngineIO_Polling_OtherMethodsInSession(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := serveEcho(t, engine.Options{})
		p := s.open()
		for _, method := range []string{http.MethodPut, http.MethodDelete, http.MethodPatch} {
			if r := s.do(method, p.path, "", nil); r.err != nil || r.status != http.StatusBadRequest {
				t.Errorf("%s: %d %q %v, want 400", method, r.status, r.body, r.err)
			}
		}
		p.send("4hello")
		p.want("4hello")
	})
}

// Engine.IO, "Request path": the application may choose any path.
func TestEngineIO_Polling_AnyPath(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := serveEcho(t, engine.Options{})
		for _, path := range []string{"/engine.io/", "/socket.io/", "/a/b"} {
			parseOpen(t, s.get(path+"?EIO=4&transport=polling").body)
		}
	})
}

// Engine.IO, "Headers": a body without Content-Type is plain text; answers are text, as base64 is.
func TestEngineIO_Polling_ContentType(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		s.do(http.MethodPost, p.path, "", strings.NewReader("4hello")).want(t, 200, "ok")
		app.want("text hello")
		p.send("bAQIDBA==")
		r := p.poll()
		r.want(t, 200, "4hello"+rs+"bAQIDBA==")
		if got := r.header.Get("Content-Type"); !strings.EqualFold(got, "text/plain; charset=UTF-8") {
			t.Errorf("Content-Type %q", got)
		}
	})
}

// Engine.IO, "Sending data": a POST is answered with 200 and the body "ok".
func TestEngineIO_Polling_PostAnswersOK(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		p.post("4hello").want(t, http.StatusOK, "ok")
		app.want("text hello")
		app.wantNothing()
	})
}

// Engine.IO, "Sending data": concurrent POSTs are answered with 400, and the session is closed.
func TestEngineIO_Polling_OverlappingPostCloses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		poll := p.pollLater()
		body, more := io.Pipe()
		first := later(func() reply { return s.do(http.MethodPost, p.path, "text/plain", body) })
		_, _ = io.WriteString(more, "4first")
		synctest.Wait()
		p.post("4second").wantError(t, 3)
		_ = more.Close()
		if r := answer(t, first); r.status == http.StatusOK {
			t.Errorf("the first POST was answered %d %q", r.status, r.body)
		}
		answer(t, poll).want(t, 200, "1")
		app.want("closed: protocol error")
		p.wantUnknown()
		app.wantNothing()
	})
}

// Engine.IO, "Receiving data": a poll waits until there is something to send.
func TestEngineIO_Polling_GetWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		poll := p.pollLater()
		advance(20 * time.Second)
		if len(poll) != 0 {
			t.Fatalf("answered at once: %v", <-poll)
		}
		if err := (<-app.sessions).Send(eio.NewMessage([]byte("hello"), false)); err != nil {
			t.Fatal(err)
		}
		answer(t, poll).want(t, 200, "4hello")
	})
}

// Engine.IO, "Receiving data": the next poll gets all buffered packets, in order, in one payload.
func TestEngineIO_Polling_GetTakesAllBuffered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := serveEcho(t, engine.Options{})
		p := s.open()
		p.send("4a", "4b")
		p.send("bAQ==", "4c")
		p.want("4a", "4b", "bAQ==", "4c")
	})
}

// Engine.IO, "Receiving data": a second poll is answered with 400, the pending one with CLOSE, and
// the session is closed.
func TestEngineIO_Polling_DuplicateGetCloses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		first := p.pollLater()
		synctest.Wait()
		p.poll().wantError(t, 3)
		answer(t, first).want(t, 200, "1")
		app.want("closed: protocol error")
		p.wantUnknown()
		p.post("4late").wantError(t, 1)
		app.wantNothing()
	})
}

// Engine.IO, "WebSocket", query parameters: the websocket is refused without the mandatory ones.
func TestEngineIO_WebSocket_QueryParameters(t *testing.T) {
	for _, c := range []struct {
		name, query string
		code        int
	}{
		{"EIO missing", "?transport=websocket", 5},
		{"EIO unknown", "?EIO=abc&transport=websocket", 5},
		{"EIO of an older protocol", "?EIO=3&transport=websocket", 5},
		{"transport missing", "?EIO=4", 0},
		{"transport unknown", "?EIO=4&transport=abc", 0},
		{"sid unknown", "?EIO=4&transport=websocket&sid=unknown", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveEcho(t, engine.Options{})
				s.dialRefused("/engine.io/"+c.query).wantError(t, c.code)
				synctest.Wait()
				if len(app.sessions) != 0 {
					t.Error("a session was opened")
				}
			})
		})
	}
}

// Engine.IO, "WebSocket": a request that opens no websocket is refused.
func TestEngineIO_WebSocket_PlainGetRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		s.get(webSocket).wantError(t, 3)
		p := s.open()
		s.get(p.upgradePath()).wantError(t, 3)
		s.post(p.upgradePath(), "4lost").wantError(t, 3)
		p.send("4hello")
		app.want("text hello")
		app.wantNothing()
	})
}

// Engine.IO, "WebSocket": each packet is in a frame of its own, in both directions.
func TestEngineIO_WebSocket_PacketPerFrame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		w, _ := s.connect()
		w.send("4a", "4b")
		w.sendBinary("\x01\x02")
		w.send("4a" + rs + "4b") // the separator has no meaning here
		app.want("text a", "text b", "binary \x01\x02", "text a"+rs+"4b")
		w.want("4a", "4b")
		w.wantBinary("\x01\x02")
		w.want("4a" + rs + "4b")
		session := <-app.sessions
		for _, text := range []string{"x", "y", "z"} {
			if err := session.Send(eio.NewMessage([]byte(text), false)); err != nil {
				t.Fatal(err)
			}
		}
		w.want("4x", "4y", "4z")
	})
}

// Engine.IO, "WebSocket": a second websocket of a session is closed, the first goes on.
func TestEngineIO_WebSocket_SecondIsClosed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		upgraded := s.open()
		first := upgraded.upgrade()
		direct, o := s.connect()
		for _, path := range []string{upgraded.upgradePath(), webSocket + "&sid=" + o.SID} {
			s.refuse(path, "4injected")
		}
		app.wantNothing()
		first.send("4first")
		first.want("4first")
		direct.send("4direct")
		direct.want("4direct")
	})
}

// Engine.IO, "Protocol": CLOSE over polling closes the session.
func TestEngineIO_Protocol_ClosePacketPolling(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		poll := p.pollLater()
		synctest.Wait()
		p.post("4before"+rs+"1"+rs+"4after").want(t, 200, "ok")
		app.want("text before", "closed: client disconnect")
		// The pending poll gets an answer, which may contain the echo.
		if r := answer(t, poll); r.status != 200 || r.body != "6" && r.body != "4before" {
			t.Errorf("pending poll: %d %q", r.status, r.body)
		}
		p.wantUnknown()
		app.wantNothing()
	})
}

// Engine.IO, "Protocol": CLOSE over polling answers the pending poll with NOOP.
func TestEngineIO_Protocol_ClosePacketEndsPoll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		poll := p.pollLater()
		synctest.Wait()
		p.send("1")
		answer(t, poll).want(t, 200, "6")
		app.want("closed: client disconnect")
		p.wantUnknown()
	})
}

// Engine.IO, "Protocol": CLOSE over a websocket closes it.
func TestEngineIO_Protocol_ClosePacketWebSocket(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		w, _ := s.connect()
		w.send("1")
		w.wantClosed()
		app.want("closed: client disconnect")
		app.wantNothing()
	})
}

// Engine.IO, "Protocol": an invalid packet closes the session, over polling with 400.
func TestEngineIO_Protocol_InvalidPacketCloses(t *testing.T) {
	packets := map[string]string{
		"letter":          "abc",
		"unknown type":    "7",
		"unknown type 9":  "9hello",
		"control":         "\x00",
		"non-ASCII digit": "٤hello",
	}
	for name, packet := range packets {
		t.Run("websocket/"+name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveEcho(t, engine.Options{})
				w, _ := s.connect()
				w.send("4before")
				w.want("4before")
				w.send(packet)
				w.try("4after")
				w.wantClosed()
				app.want("text before", "closed: protocol error")
				app.wantNothing()
			})
		})
	}
	packets["empty body"] = ""
	packets["separator alone"] = rs
	packets["empty packet in the middle"] = "4a" + rs + rs + "4b"
	packets["separator at the end"] = "4a" + rs
	packets["bad base64"] = "b!!!!"
	packets["base64 cut short"] = "bAQID" + "BA="
	for name, packet := range packets {
		t.Run("polling/"+name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveEcho(t, engine.Options{})
				p := s.open()
				p.post(packet).wantError(t, 3)
				p.wantUnknown()
				line := app.next()
				if line == "text a" { // a valid packet before it may be delivered
					line = app.next()
				}
				if line != "closed: protocol error" {
					t.Errorf("received %q", line)
				}
				app.wantNothing()
			})
		})
	}
}

// Engine.IO, "Protocol": NOOP is ignored.
func TestEngineIO_Protocol_NoopIsIgnored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		w, _ := s.connect()
		w.send("6", "4hello")
		w.want("4hello")
		app.want("text hello")
		p := s.open()
		p.send("6", "4hello")
		p.want("4hello")
	})
}

var openPacket = regexp.MustCompile(
	`^0\{"sid":"([A-Za-z0-9_-]{22,})","upgrades":\[(.*?)\],"pingInterval":(\d+),"pingTimeout":(\d+),"maxPayload":(\d+)\}$`)

// Engine.IO, "Handshake": the OPEN packet over polling.
func TestEngineIO_Handshake_Polling(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{PingInterval: 12345 * time.Millisecond, PingTimeout: 678 * time.Millisecond, MaxPayload: 4321})
		r := s.get(polling)
		m := openPacket.FindStringSubmatch(r.body)
		if r.status != http.StatusOK || m == nil {
			t.Fatalf("got %d %q", r.status, r.body)
		}
		if m[2] != `"websocket"` || m[3] != "12345" || m[4] != "678" || m[5] != "4321" {
			t.Errorf("open packet %q", r.body)
		}
		if len(app.sessions) != 1 {
			t.Errorf("%d sessions were accepted", len(app.sessions))
		}
	})
}

// Engine.IO, "Handshake": the OPEN packet over a websocket, which has no upgrades.
func TestEngineIO_Handshake_WebSocket(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := serveEcho(t, engine.Options{PingInterval: 12345 * time.Millisecond, PingTimeout: 678 * time.Millisecond, MaxPayload: 4321})
		f := s.dial(webSocket).next()
		m := openPacket.FindStringSubmatch(f.data)
		if f.binary || m == nil || m[2] != "" || m[3] != "12345" || m[4] != "678" || m[5] != "4321" {
			t.Errorf("open packet %q (binary %v)", f.data, f.binary)
		}
	})
}

// Engine.IO, "Handshake": the default values in the OPEN packet.
func TestEngineIO_Handshake_Defaults(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := serveEcho(t, engine.Options{})
		o := parseOpen(t, s.get(polling).body)
		if o.PingInterval != 25000 || o.PingTimeout != 20000 || o.MaxPayload != 1<<20 {
			t.Errorf("open packet %+v", o)
		}
	})
}

// Engine.IO, "Handshake": each session has its own id and gets only its own messages.
func TestEngineIO_Handshake_DistinctSessions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := serveEcho(t, engine.Options{})
		seen := map[string]bool{}
		for range 50 {
			seen[s.open().sid] = true
		}
		if len(seen) != 50 {
			t.Fatalf("%d ids for 50 sessions", len(seen))
		}
		a, b := s.open(), s.open()
		a.send("4for a")
		poll := b.pollLater()
		a.want("4for a")
		synctest.Wait()
		if len(poll) != 0 {
			t.Errorf("the other session got %v", <-poll)
		}
		b.send("4for b")
		answer(t, poll).want(t, 200, "4for b")
	})
}

// Engine.IO, "Handshake": OPEN is the first packet even if the application sends at once.
func TestEngineIO_Handshake_OpenComesFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		app := newRawApp(t)
		app.onOpen = func(s *eio.Session) { _ = s.Send(eio.NewMessage([]byte("early"), false)) }
		s := serve(t, memory(), eio4.NewRaw(engine.Options{}, app.accept))
		w, _ := s.connect()
		w.want("4early")
		r := s.get(polling)
		packets := strings.SplitN(r.body, rs, 2)
		sid := parseOpen(t, packets[0]).SID
		if len(packets) == 2 {
			if packets[1] != "4early" {
				t.Errorf("after OPEN came %q", packets[1])
			}
			return
		}
		s.get(polling+"&sid="+sid).want(t, 200, "4early")
	})
}
