package eio4_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

const (
	bye     = `42["bye","€"]`
	goodbye = "41" // makes clients report "io server disconnect"
)

// Guards that Conn.Close on a websocket sends the last message and DISCONNECT, then ends it.
func TestClose_WebSocket(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		w, c := s.join(app)
		emit(t, c, "before")
		c.Close(event(t, "bye", "€"))
		if err := c.Emit(event(t, "after")); err != engine.ErrClosed {
			t.Errorf("Emit after Close: %v", err)
		}
		c.Close(event(t, "second"))
		w.want(`42["before"]`, bye, goodbye)
		w.wantClosed()
		app.want("gone / server disconnect")
		app.wantNothing()
	})
}

// Guards Conn.Close without a last message.
func TestClose_NoLastMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		w, c := s.join(app)
		c.Close(nil)
		w.want(goodbye)
		w.wantClosed()
		app.want("gone / server disconnect")
	})
}

// Guards Conn.Close with attachments in the last message.
func TestClose_LastMessageWithAttachments(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		w, c := s.join(app)
		c.Close(event(t, "bye", []byte{1}, []byte{2}))
		w.want(`452-["bye",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]`)
		w.wantBinary("\x01")
		w.wantBinary("\x02")
		w.want(goodbye)
		w.wantClosed()
	})
}

// Guards Conn.Close in Accept: CONNECT, the last message, DISCONNECT, the end.
func TestClose_WhileAccepting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		app := newIOApp(t)
		app.onConnect = func(_ string, c engine.Conn) { c.Close(event(t, "bye", "€")) }
		s := serve(t, memory(), app.engine(engine.Options{}))
		w, _ := s.connect()
		w.send("40")
		wantConnect(t, "/", w.next().data)
		w.want(bye, goodbye)
		w.wantClosed()
		app.want("connect / none", "gone / server disconnect")
		app.wantNothing()
		p := s.open()
		p.send("40", `42["unheard"]`)
		got := p.drain()
		wantConnect(t, "/", got[0])
		wantEqual(t, got[1:], []string{bye, goodbye})
		app.want("connect / none", "gone / server disconnect")
		app.wantNothing()
	})
}

// drain polls to the end of the session and returns the messages. The last packet may be one that
// ends a transport.
func (p *poller) drain() []string {
	p.s.t.Helper()
	var got []string
	for {
		r := p.poll()
		if r.status != 200 {
			r.wantError(p.s.t, 1)
			break
		}
		got = append(got, splitPayload(r.body)...)
	}
	if n := len(got); n > 0 && (got[n-1] == "1" || got[n-1] == "6") {
		got = got[:n-1]
	}
	return got
}

// Guards Conn.Close with polling while a poll is pending.
func TestClose_PollPending(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		p, c := s.joinPolling(app)
		poll := p.pollLater()
		synctest.Wait()
		c.Close(event(t, "bye", "€"))
		r := answer(t, poll)
		got := splitPayload(r.body)
		if r.status != 200 {
			t.Fatalf("got %d %q", r.status, r.body)
		}
		wantEqual(t, append(got, p.drain()...)[:2], []string{bye, goodbye})
		app.want("gone / server disconnect")
		app.wantNothing()
	})
}

// Guards that after Conn.Close between two polls the next one gets the last message, if it comes
// within FlushTimeout.
func TestClose_BetweenPolls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{FlushTimeout: 5 * time.Second})
		p, c := s.joinPolling(app)
		emit(t, c, "before")
		c.Close(event(t, "bye", "€"))
		advance(5*time.Second - time.Millisecond)
		wantEqual(t, p.drain(), []string{`42["before"]`, bye, goodbye})
		app.want("gone / server disconnect")
		app.wantNothing()
	})
}

// Guards that Conn.Close waits FlushTimeout for a client that does not poll, and no longer.
func TestClose_NoPoll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{FlushTimeout: 5 * time.Second})
		p, c := s.joinPolling(app)
		c.Close(event(t, "bye", "€"))
		advance(5*time.Second + time.Millisecond)
		app.want("gone / server disconnect")
		p.wantUnknown()
		wantNoGoroutines(t, engineFrame)
	})
}

// engineFrame is in the stack of every goroutine of the engine.
const engineFrame = "internal/eio."

// Guards that after Conn.Close nothing that the client sends is delivered, on any transport.
func TestClose_PacketsAfterwards(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		w, c := s.join(app)
		p, pc := s.joinPolling(app)
		c.Close(event(t, "bye", "€"))
		pc.Close(event(t, "bye", "€"))
		w.try(`42["late"]`, "41", "40")
		p.post(`42["late"]` + rs + "40")
		wantEqual(t, p.drain(), []string{bye, goodbye})
		app.want("gone / server disconnect", "gone / server disconnect")
		app.wantNothing()
	})
}

// Guards that after Conn.Close in Event the next packets of the payload are not delivered.
func TestClose_InsideEvent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		app.onEvent = func(c engine.Conn, _ string, _ engine.Args, ack engine.Ack) {
			_ = ack("seen")
			c.Close(event(t, "bye", "€"))
		}
		p, _ := s.joinPolling(app)
		p.send(`421["a"]`, `422["b"]`, "41")
		wantEqual(t, p.drain(), []string{`431["seen"]`, bye, goodbye})
		app.want("event / a [] ack", "gone / server disconnect")
		app.wantNothing()
		w, _ := s.join(app)
		w.send(`421["a"]`)
		w.try(`422["b"]`)
		w.want(`431["seen"]`, bye, goodbye)
		w.wantClosed()
		app.want("event / a [] ack", "gone / server disconnect")
		app.wantNothing()
	})
}

// Guards that Conn.Close does not affect the client's other namespaces, that later packets for this
// one are ignored, and that the transport ends with the last namespace.
func TestClose_OtherNamespaces(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		w, c := s.join(app)
		w.send("40/admin")
		wantConnect(t, "/admin", w.next().data)
		app.want("connect /admin none")
		admin := app.connected()
		c.Close(event(t, "bye", "€"))
		w.want(bye, goodbye)
		app.want("gone / server disconnect")
		w.send(`42["on its way"]`, `42/admin,["hello"]`)
		app.want("event /admin hello []")
		if err := c.Emit(event(t, "late")); err != engine.ErrClosed {
			t.Errorf("Emit: %v", err)
		}
		emit(t, admin, "world")
		w.want(`42/admin,["world"]`)
		w.send("40")
		wantConnect(t, "/", w.next().data)
		app.want("connect / none")
		admin.Close(nil)
		w.want("41/admin,")
		app.connected().Close(nil)
		w.want(goodbye)
		w.wantClosed()
		app.want("gone /admin server disconnect", "gone / server disconnect")
		app.wantNothing()
	})
}

// Guards that Conn.Close in a custom namespace names it in DISCONNECT.
func TestClose_CustomNamespace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		w, _ := s.connect()
		w.send("40/admin,")
		wantConnect(t, "/admin", w.next().data)
		app.connected().Close(event(t, "bye"))
		w.want(`42/admin,["bye"]`, "41/admin,")
		w.wantClosed()
		app.want("connect /admin none", "gone /admin server disconnect")
	})
}

// Guards that after Conn.Close at any point of an upgrade the client gets the last message and
// DISCONNECT once, on whichever transport it is.
func TestClose_DuringUpgrade(t *testing.T) {
	for _, point := range []string{"open", "probed", "poll ended", "upgrading", "upgraded"} {
		for _, pending := range []bool{false, true} {
			name := point + map[bool]string{false: ", no poll", true: ", poll pending"}[pending]
			t.Run(name, func(t *testing.T) {
				bubble(t, func(t *testing.T) { closeDuringUpgrade(t, point, pending) })
			})
		}
	}
}

func closeDuringUpgrade(t *testing.T, point string, pending bool) {
	s, app := serveIO(t, engine.Options{})
	p, c := s.joinPolling(app)
	last := event(t, "bye", "€")
	here := func(name string) {
		if name == point {
			c.Close(last)
			synctest.Wait()
		}
	}
	var got []string
	var poll <-chan reply
	if pending {
		poll = p.pollLater()
		synctest.Wait()
	}
	w := p.webSocket()
	here("open")
	w.try("2probe")
	synctest.Wait()
	here("probed")
	if poll != nil { // clients send UPGRADE when their poll has ended
		got = append(got, splitPayload(answer(t, poll).body)...)
	}
	here("poll ended")
	if probed := nextOrEnd(w); probed == "3probe" {
		w.try("5")
		here("upgrading")
		synctest.Wait()
		here("upgraded")
		for packet := nextOrEnd(w); packet != ""; packet = nextOrEnd(w) {
			got = append(got, packet)
		}
	} else if probed != "" {
		t.Fatalf("got %q for the probe", probed)
	} else { // the upgrade was refused; the client stays on polling
		got = append(got, p.drain()...)
	}
	var messages []string
	for _, packet := range got {
		if packet != "6" && packet != "1" {
			messages = append(messages, packet)
		}
	}
	wantEqual(t, messages, []string{bye, goodbye})
	app.want("gone / server disconnect")
	app.wantNothing()
	p.wantUnknown()
	wantNoGoroutines(t, engineFrame)
}

// nextOrEnd returns the next frame, or "" at the end.
func nextOrEnd(w *socket) string {
	w.t.Helper()
	select {
	case f := <-w.frames:
		return f.data
	case <-time.After(patience):
		w.t.Fatal("neither a frame nor the end")
		return ""
	}
}

// Guards that Conn.Close ends after FlushTimeout even if an upgrade is never completed and the
// client does not poll.
func TestClose_UpgradeNeverCompleted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{FlushTimeout: 5 * time.Second})
		p, c := s.joinPolling(app)
		w := p.webSocket()
		w.send("2probe")
		w.want("3probe")
		c.Close(event(t, "bye", "€"))
		advance(5*time.Second + time.Millisecond)
		app.want("gone / server disconnect")
		app.wantNothing()
		p.wantUnknown()
		for f := range w.frames {
			t.Logf("got %q", f.data)
		}
		wantNoGoroutines(t, engineFrame)
	})
}

// Guards that Conn.Close ends after FlushTimeout if the client does not read.
func TestClose_PeerDoesNotRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{FlushTimeout: 5 * time.Second, WriteTimeout: time.Minute})
		c := s.mute(app)
		c.Close(event(t, "bye", "€"))
		app.wantNothing()
		advance(5*time.Second + time.Millisecond)
		line := app.next()
		if line != "gone / server disconnect" {
			t.Errorf("received %q", line)
		}
		wantNoGoroutines(t, engineFrame)
	})
}

// Guards that Engine.Shutdown answers a pending poll with CLOSE, ends a websocket without
// DISCONNECT, and refuses new requests.
func TestShutdown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		w, c := s.join(app)
		p, _ := s.joinPolling(app)
		poll := p.pollLater()
		idle, _ := s.joinPolling(app)
		halfway, _ := s.joinPolling(app)
		probing := halfway.webSocket()
		probing.send("2probe")
		probing.want("3probe")
		fresh, _ := s.connect()
		synctest.Wait()
		start := time.Now()
		s.shutdown()
		if d := time.Since(start); d > patience/2 {
			t.Errorf("it took %v", d)
		}
		answer(t, poll).want(t, 200, "1")
		for _, ws := range []*socket{w, probing, fresh} {
			ended := false
			for f := range ws.frames {
				if ended || f.data != "1" { // a CLOSE is allowed
					t.Errorf("got %q", f.data)
				}
				ended = true
			}
		}
		for range 4 {
			app.want("gone / shutdown")
		}
		app.wantNothing()
		if err := c.Emit(event(t, "late")); err != engine.ErrClosed {
			t.Errorf("Emit: %v", err)
		}
		for _, r := range []reply{s.get(polling), idle.poll(), p.post("4late"), s.dialRefused(webSocket), s.dialRefused(idle.upgradePath())} {
			if r.status != 503 {
				t.Errorf("after the shutdown: %d %q %v", r.status, r.body, r.err)
			}
		}
		wantNoGoroutines(t, engineFrame)
		s.shutdown() // a second call
	})
}

// Guards that Engine.Shutdown waits for receivers until its context ends, and may be called again.
func TestShutdown_WaitsForReceivers(t *testing.T) {
	t.Parallel() // in real time: a blocked receiver holds a mutex, for which a bubble cannot wait
	app := newIOApp(t)
	s := serve(t, loopback(t), app.engine(engine.Options{}))
	release := make(chan struct{})
	app.onEvent = func(engine.Conn, string, engine.Args, engine.Ack) { <-release }
	w, _ := s.join(app)
	w.send(`42["slow"]`)
	app.want("event / slow []")
	for range 2 {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		if err := s.engine.Shutdown(ctx); err != context.DeadlineExceeded {
			t.Errorf("Shutdown: %v", err)
		}
		cancel()
	}
	if len(app.lines) > 0 { // Disconnected must be the last call, and not concurrent
		t.Errorf("received %q", app.next())
	}
	done := make(chan error, 2)
	for range 2 {
		go func() { done <- s.engine.Shutdown(context.Background()) }()
	}
	close(release)
	for range 2 {
		if err := <-done; err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	}
	app.want("gone / shutdown")
}

// Guards that Engine.Shutdown ends a POST whose body never comes.
func TestShutdown_HungPost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveIO(t, engine.Options{})
		p, _ := s.joinPolling(app)
		c := s.dialRaw()
		go func() { _ = readAll(c) }()
		request(t, c, "POST "+p.path+" HTTP/1.1\r\nHost: wire.test\r\nContent-Length: 100\r\n\r\n4half")
		synctest.Wait()
		s.shutdown()
		app.want("gone / shutdown")
		wantNoGoroutines(t, engineFrame)
	})
}
