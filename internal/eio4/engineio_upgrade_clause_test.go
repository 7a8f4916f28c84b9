package eio4_test

import (
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/eio"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/engine"
)

// Engine.IO, "Upgrade": after both probes and UPGRADE the websocket is the transport.
func TestEngineIO_Upgrade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		w := p.webSocket()
		w.wantSilence() // the server sends nothing before the probe
		w.send("2probe")
		w.want("3probe")
		w.send("5", "4hello")
		w.want("4hello")
		w.sendBinary("\x01")
		w.wantBinary("\x01")
		app.want("text hello", "binary \x01")
		app.wantNothing()
		if len(app.sessions) != 1 {
			t.Errorf("%d sessions", len(app.sessions))
		}
	})
}

// Engine.IO, "Upgrade": the pending poll is answered with NOOP.
func TestEngineIO_Upgrade_NoopToPendingPoll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := serveEcho(t, engine.Options{})
		p := s.open()
		poll := p.pollLater()
		synctest.Wait()
		w := p.webSocket()
		w.wantSilence()
		if len(poll) != 0 {
			t.Fatalf("the poll was answered before the probe: %v", <-poll)
		}
		w.send("2probe")
		w.want("3probe")
		answer(t, poll).want(t, 200, "6")
		w.send("5", "4hello")
		w.want("4hello")
	})
}

// Engine.IO, "Upgrade": polls that arrive after the probe are answered with NOOP too.
func TestEngineIO_Upgrade_NoopToLaterPoll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := serveEcho(t, engine.Options{})
		p := s.open()
		w := p.webSocket()
		w.send("2probe")
		w.want("3probe")
		p.want("6")
		p.want("6")
		w.send("5", "4hello")
		w.want("4hello")
	})
}

// Engine.IO, "Upgrade": what the server sends during it arrives once and in order.
func TestEngineIO_Upgrade_Sending(t *testing.T) {
	for _, pending := range []bool{false, true} {
		name := map[bool]string{false: "no poll pending", true: "poll pending"}[pending]
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveEcho(t, engine.Options{})
				p := s.open()
				session := <-app.sessions
				say := func(text string) {
					if err := session.Send(eio.NewMessage([]byte(text), false)); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
				}
				var got []string
				read := func(w *socket) {
					synctest.Wait()
					for len(w.frames) > 0 {
						got = append(got, w.next().data)
					}
				}
				var poll <-chan reply
				if pending {
					poll = p.pollLater()
					synctest.Wait()
				} else {
					say("before")
				}
				w := p.webSocket()
				say("websocket open")
				w.send("2probe")
				say("after the probe")
				w.want("3probe")
				if !pending {
					poll = p.pollLater()
				}
				r := answer(t, poll)
				for _, packet := range splitPayload(r.body) {
					if packet != "6" {
						got = append(got, packet)
					}
				}
				say("before upgrade")
				w.send("5")
				synctest.Wait()
				say("after upgrade")
				read(w)
				want := []string{"4websocket open", "4after the probe", "4before upgrade", "4after upgrade"}
				if !pending {
					want = append([]string{"4before"}, want...)
				}
				wantEqual(t, got, want)
			})
		})
	}
}

// Engine.IO, "Upgrade": a POST during the probe is accepted.
func TestEngineIO_Upgrade_PostDuringProbe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		w := p.webSocket()
		p.send("4websocket open")
		body, more := io.Pipe()
		post := later(func() reply { return s.do(http.MethodPost, p.path, "text/plain", body) })
		synctest.Wait()
		w.send("2probe")
		w.want("3probe")
		_, _ = io.WriteString(more, "4under way")
		_ = more.Close()
		answer(t, post).want(t, 200, "ok")
		p.send("4after the probe")
		app.want("text websocket open", "text under way", "text after the probe")
		w.send("5")
		w.want("4websocket open", "4under way", "4after the probe")
	})
}

// Engine.IO, "Upgrade": later HTTP requests of the session are refused without affecting it.
func TestEngineIO_Upgrade_HTTPRefusedAfterwards(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		w := p.upgrade()
		synctest.Wait()
		p.poll().wantError(t, 3)
		p.post("4lost").wantError(t, 3)
		app.wantNothing()
		w.send("4hello")
		w.want("4hello")
	})
}

// Engine.IO, "Upgrade": a poll that is pending when the client completes the upgrade is answered,
// and no message is lost with it.
func TestEngineIO_Upgrade_PollPendingAtTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		w := p.webSocket()
		w.send("2probe")
		w.want("3probe")
		poll := p.pollLater()
		w.send("5")
		synctest.Wait()
		if err := (<-app.sessions).Send(eio.NewMessage([]byte("hello"), false)); err != nil {
			t.Fatal(err)
		}
		w.want("4hello")
		if r := answer(t, poll); r.err != nil || r.status != http.StatusBadRequest && r.body != "6" {
			t.Errorf("the poll was answered %d %q %v", r.status, r.body, r.err)
		}
		app.wantNothing()
	})
}

// Engine.IO, "Upgrade": it begins with a probe, or with UPGRADE if the client leaves out the probe,
// which the reference server accepts too. Anything else closes the websocket, and polling goes on.
func TestEngineIO_Upgrade_NoProbe(t *testing.T) {
	for name, packets := range map[string][]string{
		"message first":        {"4hello"},
		"ping without probe":   {"2"},
		"ping of another text": {"2Probe"},
		"close first":          {"1"},
		"garbage":              {"abc"},
		"empty frame":          {""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveEcho(t, engine.Options{})
				p := s.open()
				poll := p.pollLater()
				synctest.Wait()
				w := p.webSocket()
				w.send(packets...)
				w.wantClosed()
				app.wantNothing()
				p.send("4hello")
				answer(t, poll).want(t, 200, "4hello")
				app.want("text hello")
				p.upgrade().send("4again")
				app.want("text again")
			})
		})
	}
}

// Engine.IO, "Upgrade": a binary frame is not a probe.
func TestEngineIO_Upgrade_BinaryProbe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		w := p.webSocket()
		w.sendBinary("2probe")
		w.wantClosed()
		app.wantNothing()
		p.send("4hello")
		p.want("4hello")
	})
}

// Engine.IO, "Upgrade": after the probe only UPGRADE completes it.
func TestEngineIO_Upgrade_WrongPacketAfterProbe(t *testing.T) {
	for name, packet := range map[string]string{"message": "4hello", "garbage": "abc", "close": "1", "empty": ""} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveEcho(t, engine.Options{})
				p := s.open()
				w := p.webSocket()
				w.send("2probe")
				w.want("3probe")
				w.send(packet)
				w.wantClosed()
				app.wantNothing()
				poll := p.pollLater() // waits, since the upgrade has ended
				synctest.Wait()
				if len(poll) != 0 {
					t.Fatalf("the poll was answered %v", <-poll)
				}
				p.send("4hello")
				answer(t, poll).want(t, 200, "4hello")
			})
		})
	}
}

// Engine.IO, "Upgrade": polling goes on if the websocket ends before it is the transport.
func TestEngineIO_Upgrade_Abandoned(t *testing.T) {
	for _, probes := range []bool{false, true} {
		name := map[bool]string{false: "before the probe", true: "after the probe"}[probes]
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveEcho(t, engine.Options{})
				p := s.open()
				w := p.webSocket()
				if probes {
					w.send("2probe")
					w.want("3probe")
				}
				_ = w.conn.WriteControl(websocket.CloseMessage, nil, time.Now().Add(patience))
				w.drop()
				app.wantNothing()
				p.send("4hello")
				p.want("4hello")
				app.want("text hello")
				again := p.upgrade()
				again.send("4again")
				again.want("4again")
			})
		})
	}
}

// Engine.IO, "Upgrade": sessions that have not polled can upgrade, several at a time.
func TestEngineIO_Upgrade_ManySessions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		var sockets []*socket
		for range 20 {
			sockets = append(sockets, s.open().upgrade())
		}
		for _, w := range sockets {
			w.send("4hello")
			w.want("4hello")
			app.want("text hello")
		}
	})
}

// Engine.IO, "Upgrade": after it the session ends with the websocket.
func TestEngineIO_Upgrade_ThenClosed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		w := p.upgrade()
		synctest.Wait()
		w.drop()
		app.want("closed: transport close")
		app.wantNothing()
		p.wantUnknown()
	})
}
