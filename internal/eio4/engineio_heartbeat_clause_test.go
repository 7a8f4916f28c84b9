package eio4_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

var beat = engine.Options{PingInterval: 3 * time.Second, PingTimeout: 2 * time.Second}

// Engine.IO, "Heartbeat", over a websocket: a ping every interval, as long as each is answered.
func TestEngineIO_Heartbeat_WebSocket(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, beat)
		w, _ := s.connect()
		for range 5 {
			advance(beat.PingInterval - time.Millisecond)
			w.wantSilence()
			advance(time.Millisecond)
			w.wantNow("2")
			w.send("3")
		}
		w.wantSilence()
		app.wantNothing()
	})
}

// Engine.IO, "Heartbeat", over polling: the pending or the next poll gets the ping.
func TestEngineIO_Heartbeat_Polling(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, beat)
		p := s.open()
		for i := range 4 {
			if i%2 == 0 {
				poll := p.pollLater()
				advance(beat.PingInterval - time.Millisecond)
				if len(poll) != 0 {
					t.Fatalf("a poll was answered too early: %v", <-poll)
				}
				advance(time.Millisecond)
				if len(poll) == 0 {
					t.Fatal("no ping in time")
				}
				answer(t, poll).want(t, 200, "2")
			} else {
				advance(beat.PingInterval)
				p.want("2")
			}
			p.send("3")
		}
		app.wantNothing()
	})
}

// Engine.IO, "Heartbeat": without a pong in time the connection is closed.
func TestEngineIO_Heartbeat_TimeoutWebSocket(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, beat)
		w, _ := s.connect()
		advance(beat.PingInterval)
		w.wantNow("2")
		advance(beat.PingTimeout - time.Millisecond)
		w.wantSilence()
		app.wantNothing()
		advance(2 * time.Millisecond)
		w.wantClosed()
		app.want("closed: ping timeout")
		app.wantNothing()
	})
}

// Engine.IO, "Heartbeat": the same over polling, without a poll and with one that got the ping.
func TestEngineIO_Heartbeat_TimeoutPolling(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, beat)
		silent, polls := s.open(), s.open()
		poll := polls.pollLater()
		advance(beat.PingInterval)
		answer(t, poll).want(t, 200, "2")
		poll = polls.pollLater()
		advance(beat.PingTimeout + time.Millisecond)
		app.want("closed: ping timeout", "closed: ping timeout")
		if r := answer(t, poll); r.err != nil || r.body != "1" && r.status != 400 {
			t.Errorf("the pending poll was answered %d %q %v", r.status, r.body, r.err)
		}
		silent.wantUnknown()
		polls.wantUnknown()
		app.wantNothing()
	})
}

// Engine.IO, "Heartbeat": only a pong answers a ping.
func TestEngineIO_Heartbeat_MessagesAreNoPong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, beat)
		w, _ := s.connect()
		advance(beat.PingInterval)
		w.wantNow("2")
		advance(beat.PingTimeout / 2)
		w.send("4busy", "6")
		w.want("4busy")
		app.want("text busy")
		advance(beat.PingTimeout)
		w.wantClosed()
		app.want("closed: ping timeout")
	})
}

// Engine.IO, "Heartbeat": a late pong counts if it is in time.
func TestEngineIO_Heartbeat_LatePong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, beat)
		w, _ := s.connect()
		advance(beat.PingInterval)
		w.wantNow("2")
		advance(beat.PingTimeout - time.Millisecond)
		w.send("3")
		advance(beat.PingInterval)
		app.wantNothing()
		w.wantNow("2")
		w.send("3")
		w.wantSilence()
	})
}

// Engine.IO, "Heartbeat": the server pings whether or not there is other traffic.
func TestEngineIO_Heartbeat_AmongMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, _ := serveEcho(t, beat)
		w, _ := s.connect()
		pings := 0
		for range 100 {
			advance(100 * time.Millisecond)
			w.send("4x")
			for f := w.next(); f.data != "4x"; f = w.next() {
				if f.data != "2" {
					t.Fatalf("got %q", f.data)
				}
				pings++
				w.send("3")
			}
		}
		if pings != 3 {
			t.Errorf("%d pings in 10 s, want 3", pings)
		}
	})
}

// Engine.IO, "Heartbeat" and the history from v3 to v4: the server pings, and a ping of the client
// is not answered.
func TestEngineIO_Heartbeat_ClientPing(t *testing.T) {
	for _, packet := range []string{"2", "2probe", "2x"} {
		t.Run(packet, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveEcho(t, engine.Options{})
				w, _ := s.connect()
				w.send(packet)
				w.wantClosed()
				app.want("closed: protocol error")
				p := s.open()
				p.post(packet).wantError(t, 3)
				app.want("closed: protocol error")
				app.wantNothing()
			})
		})
	}
}

// Engine.IO, "Heartbeat": it starts with the handshake and goes on after an upgrade.
func TestEngineIO_Heartbeat_AcrossUpgrade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, beat)
		p := s.open()
		advance(beat.PingInterval / 2)
		w := p.upgrade()
		advance(beat.PingInterval/2 - time.Millisecond)
		w.wantSilence()
		for range 3 {
			advance(time.Millisecond)
			w.wantNow("2")
			w.send("3")
			advance(beat.PingInterval - time.Millisecond)
			w.wantSilence()
		}
		app.wantNothing()
	})
}

// Engine.IO, "Heartbeat": a ping that is due during an upgrade is not lost, on either transport.
func TestEngineIO_Heartbeat_DuringUpgrade(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, beat)
		p := s.open()
		w := p.webSocket()
		w.send("2probe")
		w.want("3probe")
		synctest.Wait()
		advance(beat.PingInterval + time.Second)
		w.send("5")
		w.wantNow("2")
		w.send("3")
		advance(beat.PingTimeout)
		w.send("4alive")
		w.want("4alive")
		app.want("text alive")
	})
}
