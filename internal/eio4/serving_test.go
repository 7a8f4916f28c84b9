package eio4_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/eio4"
	"github.com/z-open/socketauth/internal/engine"
)

// shortTimeouts are an http.Server's that are meant for ordinary requests.
func shortTimeouts(s *server) {
	s.http.ReadTimeout = 2 * time.Second
	s.http.WriteTimeout = 2 * time.Second
}

// A server's short timeouts cut neither a poll nor a websocket, nor what comes after them on the same connection.
func TestServing_ShortTimeouts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, eio4.Options{}, shortTimeouts)
		p := s.open()
		w, _ := s.connect()
		upgraded := s.open().upgrade()
		for range 4 {
			poll := p.pollLater()
			advance(25*time.Second - time.Millisecond)
			if len(poll) != 0 {
				t.Fatalf("the poll was answered %v", <-poll)
			}
			answer(t, poll).want(t, 200, "2")
			p.send("3")
			for _, ws := range []*socket{w, upgraded} {
				ws.want("2")
				ws.send("3")
			}
		}
		poll := p.pollLater()
		for _, ws := range []*socket{w, upgraded} {
			ws.send("4hello")
			ws.want("4hello")
		}
		p.send("4hello")
		answer(t, poll).want(t, 200, "4hello")
		app.want("text hello", "text hello", "text hello")
	})
}

// A body that trickles in is given up, with or without timeouts of the server: the engine has its own.
func TestServing_TricklingPost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, eio4.Options{})
		p := s.open()
		c := s.dialRaw()
		go func() { _ = readAll(c) }()
		request(t, c, "POST "+p.path+" HTTP/1.1\r\nHost: wire.test\r\nContent-Length: 100000\r\n\r\n4")
		for range 120 {
			advance(time.Second)
			_ = c.SetWriteDeadline(time.Now().Add(time.Second / 2))
			if _, err := c.Write([]byte("x")); err != nil {
				break
			}
		}
		line := app.next()
		if !strings.HasPrefix(line, "closed: ") {
			t.Errorf("heard %q", line)
		}
		p.wantUnknown()
		wantNoGoroutines(t, engineFrame)
	})
}

// onlyUnwrap is the ResponseWriter of a middleware that knows http.ResponseController and nothing older.
type onlyUnwrap struct{ w http.ResponseWriter }

func (o onlyUnwrap) Header() http.Header         { return o.w.Header() }
func (o onlyUnwrap) Write(p []byte) (int, error) { return o.w.Write(p) }
func (o onlyUnwrap) WriteHeader(status int)      { o.w.WriteHeader(status) }
func (o onlyUnwrap) Unwrap() http.ResponseWriter { return o.w }

// Behind a middleware whose ResponseWriter has only Unwrap everything works, short timeouts included.
func TestServing_OnlyUnwrap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		middleware := func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(onlyUnwrap{onlyUnwrap{w}}, r) })
		}
		s, app := serveEcho(t, eio4.Options{}, behind(middleware), shortTimeouts)
		p := s.open()
		poll := p.pollLater()
		advance(20 * time.Second)
		p.send("4polling")
		answer(t, poll).want(t, 200, "4polling")
		w := p.upgrade()
		direct, _ := s.connect()
		advance(20 * time.Second) // pings are due by now
		for _, ws := range []*socket{w, direct} {
			ws.send("4websocket")
			for f := ws.next(); f.data != "4websocket"; f = ws.next() {
				if f.data != "2" {
					t.Errorf("got %q", f.data)
				}
			}
		}
		app.want("text polling", "text websocket", "text websocket")
	})
}

// Behind a middleware that hides the connection altogether a websocket is refused, and long-polling works.
func TestServing_NoHijack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		middleware := func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(onlyWriter{w}, r)
			})
		}
		s, app := serveEcho(t, eio4.Options{}, behind(middleware))
		p := s.open()
		for _, path := range []string{webSocket, p.upgradePath()} {
			if r := s.dialRefused(path); r.status < 400 {
				t.Errorf("got %d", r.status)
			}
		}
		p.send("4hello")
		p.want("4hello")
		app.want("text hello")
		app.wantNothing()
	})
}

// onlyWriter hides what else a ResponseWriter can do.
type onlyWriter struct{ w http.ResponseWriter }

func (o onlyWriter) Header() http.Header         { return o.w.Header() }
func (o onlyWriter) Write(p []byte) (int, error) { return o.w.Write(p) }
func (o onlyWriter) WriteHeader(status int)      { o.w.WriteHeader(status) }

// Long-polling over HTTP/2, where many requests share one connection.
func TestServing_HTTP2(t *testing.T) {
	t.Parallel()
	app := newRawApp(t)
	e := eio4.NewRaw(eio4.Options{}, app.accept)
	h := httptest.NewUnstartedServer(e)
	h.EnableHTTP2 = true
	h.StartTLS()
	s := &server{t: t, engine: e, client: h.Client()}
	t.Cleanup(func() {
		s.shutdown()
		h.CloseClientConnections()
		h.Close()
	})
	transport := h.Client().Transport.(*http.Transport)
	transport.TLSClientConfig.ServerName = "example.com"
	s.client = &http.Client{Transport: rewrite{h.Listener.Addr().String(), transport}}
	p := s.open()
	for i := range 10 {
		poll := p.pollLater()
		text := fmt.Sprint("hello ", i)
		p.send("4" + text)
		app.want("text " + text)
		answer(t, poll).want(t, 200, "4"+text)
	}
	poll := p.pollLater()
	second := p.pollLater()
	got := []reply{answer(t, poll), answer(t, second)}
	if got[0].status != 200 {
		got[0], got[1] = got[1], got[0]
	}
	got[0].want(t, 200, "1")
	got[1].wantError(t, 3)
	app.want("closed: protocol error")
}

// rewrite sends requests for the tests' host to a TLS server.
type rewrite struct {
	addr      string
	transport *http.Transport
}

func (r rewrite) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.URL.Scheme, req.URL.Host = "https", r.addr
	res, err := r.transport.RoundTrip(req)
	if err == nil && res.ProtoMajor != 2 {
		return nil, fmt.Errorf("spoke %s", res.Proto)
	}
	return res, err
}

// Over real connections: clients upgrade in the middle of a stream of messages both ways. None is lost, doubled, or
// out of order.
func TestServing_UpgradeUnderLoad(t *testing.T) {
	t.Parallel()
	const clients, messages = 30, 100
	app := newIOApp(t)
	s := serve(t, loopback(t), app.engine(eio4.Options{Namespaces: map[string]engine.Accept{"/": acceptEcho}}), shortTimeouts)
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() { upgradeUnderLoad(t, s, messages) })
	}
	wg.Wait()
}

// acceptEcho is an application that sends each event back, under its own name.
func acceptEcho(c engine.Conn, _ engine.Handshake) engine.Receiver { return echoReceiver{c} }

type echoReceiver struct{ conn engine.Conn }

func (e echoReceiver) Event(name string, args engine.Args, _ engine.Ack) {
	values := make([]any, len(args.Values))
	for i, v := range args.Values {
		values[i] = v
	}
	if m, err := engine.NewMessage(name, values...); err == nil {
		_ = e.conn.Emit(m)
	}
}

func (e echoReceiver) Disconnected(engine.Reason) {}

// upgradeUnderLoad posts a third of its messages before it upgrades, and the rest over the websocket. It runs beside
// the test's goroutine, so it reports with Errorf alone.
func upgradeUnderLoad(t *testing.T, s *server, messages int) {
	r := s.get(polling)
	if r.status != 200 || !strings.HasPrefix(r.body, "0") {
		t.Errorf("handshake: %d %q %v", r.status, r.body, r.err)
		return
	}
	p := &poller{s: s, sid: parseOpen(t, r.body).SID}
	p.path = polling + "&sid=" + p.sid

	packets := []string{"40"}
	for i := range messages {
		packets = append(packets, fmt.Sprintf(`42["m",%d]`, i))
	}
	third := messages / 3
	probed, posted := make(chan struct{}), make(chan struct{})
	var got []string
	polled := make(chan struct{})
	go func() { // polls until the probe was answered, as a browser does
		defer close(polled)
		for {
			select {
			case <-probed:
				return
			default:
			}
			r := s.get(p.path)
			if r.status != 200 {
				t.Errorf("poll: %d %q %v", r.status, r.body, r.err)
				return
			}
			got = append(got, splitPayload(r.body)...)
		}
	}()
	go func() {
		defer close(posted)
		for _, packet := range packets[:third] {
			if r := s.post(p.path, packet); r.status != 200 {
				t.Errorf("POST: %d %q %v", r.status, r.body, r.err)
				return
			}
		}
	}()
	conn, _, err := s.tryDial(p.upgradePath())
	if err != nil {
		t.Errorf("websocket: %v", err)
		close(probed)
		<-polled
		<-posted
		return
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	_ = conn.WriteMessage(1, []byte("2probe"))
	if _, data, err := conn.ReadMessage(); err != nil || string(data) != "3probe" {
		t.Errorf("probe: %q %v", data, err)
	}
	close(probed)
	<-polled
	<-posted
	_ = conn.WriteMessage(1, []byte("5"))
	for _, packet := range packets[third:] {
		_ = conn.WriteMessage(1, []byte(packet))
	}
	for {
		messagesGot := got[:0:0]
		for _, packet := range got {
			if strings.HasPrefix(packet, "42") {
				messagesGot = append(messagesGot, packet)
			}
		}
		if len(messagesGot) >= messages {
			if strings.Join(messagesGot, rs) != strings.Join(packets[1:], rs) {
				t.Errorf("got %q", messagesGot)
			}
			return
		}
		_, data, err := conn.ReadMessage()
		if err != nil {
			t.Errorf("%d of %d messages, then %v", len(messagesGot), messages, err)
			return
		}
		got = append(got, string(data))
	}
}

// Over real connections: the last message and DISCONNECT arrive every time, on both transports.
func TestServing_EmitThenClose(t *testing.T) {
	t.Parallel()
	last := event(t, "bye", "€")
	accept := func(c engine.Conn, _ engine.Handshake) engine.Receiver {
		c.Close(last)
		return echoReceiver{c}
	}
	app := newIOApp(t)
	s := serve(t, loopback(t), app.engine(eio4.Options{Namespaces: map[string]engine.Accept{"/": accept}}), shortTimeouts)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				conn, _, err := s.tryDial(webSocket)
				if err != nil {
					t.Error(err)
					return
				}
				_ = conn.SetReadDeadline(time.Now().Add(patience))
				_ = conn.WriteMessage(1, []byte("40"))
				var got []string
				for {
					_, data, err := conn.ReadMessage()
					if err != nil {
						break
					}
					got = append(got, string(data))
				}
				_ = conn.Close()
				wantLast(t, got)
			}
		})
		wg.Go(func() {
			for range 20 {
				r := s.get(polling)
				if r.status != 200 {
					t.Errorf("handshake: %d %v", r.status, r.err)
					return
				}
				path := polling + "&sid=" + parseOpen(t, r.body).SID
				got := []string{r.body}
				poll := later(func() reply { return s.get(path) })
				if r := s.post(path, "40"); r.status != 200 {
					t.Errorf("POST: %d %q", r.status, r.body)
				}
				for r = <-poll; r.status == 200; r = s.get(path) {
					got = append(got, splitPayload(r.body)...)
				}
				if n := len(got); got[n-1] == "1" || got[n-1] == "6" {
					got = got[:n-1]
				}
				wantLast(t, got)
			}
		})
	}
	wg.Wait()
}

func wantLast(t *testing.T, got []string) {
	t.Helper()
	if n := len(got); n < 2 || got[n-2] != bye || got[n-1] != goodbye {
		t.Errorf("got %q", got)
	}
}

// Disconnected is reported once, whatever ends the connection at the same time.
func TestServing_DisconnectedOnce(t *testing.T) {
	t.Parallel()
	app := newIOApp(t)
	s := serve(t, loopback(t), app.engine(eio4.Options{}))
	for range 50 {
		w, _ := s.connect()
		w.send("40")
		app.want("connect / none")
		c := app.connected()
		var wg sync.WaitGroup
		for _, end := range []func(){
			func() { c.Close(nil) }, func() { c.Close(nil) }, w.drop, func() { w.try("41", "1", "9") },
			func() { _ = c.Emit(event(t, "x")) },
		} {
			wg.Go(end)
		}
		wg.Wait()
		if line := app.next(); !strings.HasPrefix(line, "gone / ") {
			t.Fatalf("heard %q", line)
		}
	}
	s.shutdown()
	if len(app.lines) != 0 {
		t.Errorf("heard %q besides", app.next())
	}
}

// However a session ends, nothing of it is left: no goroutine, and its id is unknown.
func TestServing_NothingLeft(t *testing.T) {
	for name, end := range map[string]func(s *server, p *poller){
		"upgraded, cut":     func(_ *server, p *poller) { w := p.upgrade(); synctest.Wait(); w.drop() },
		"upgraded, closed":  func(_ *server, p *poller) { p.upgrade().send("1") },
		"upgraded, no pong": func(_ *server, p *poller) { p.upgrade(); advance(time.Minute) },
		"upgraded, garbage": func(_ *server, p *poller) { p.upgrade().send("9") },
		"probed, no pong":   func(_ *server, p *poller) { p.webSocket().send("2probe"); advance(time.Minute) },
		"polling, closed":   func(_ *server, p *poller) { p.send("1") },
		"polling, no pong":  func(_ *server, p *poller) { advance(time.Minute) },
		"polling, garbage":  func(_ *server, p *poller) { p.post("9") },
		"probed, then closed": func(_ *server, p *poller) {
			w := p.webSocket()
			w.send("2probe")
			w.want("3probe")
			p.send("1")
			w.wantClosed()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveIO(t, eio4.Options{})
				p, _ := s.joinPolling(app)
				end(s, p)
				if line := app.next(); !strings.HasPrefix(line, "gone / ") {
					t.Errorf("heard %q", line)
				}
				app.wantNothing()
				p.wantUnknown()
				wantNoGoroutines(t, engineFrame)
			})
		})
	}
}
