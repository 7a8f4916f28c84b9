package eio4_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/eio4"
	"github.com/z-open/socketauth/internal/engine"
)

// shortTimeouts sets timeouts that are meant for ordinary requests.
func shortTimeouts(s *server) {
	s.http.ReadTimeout = 2 * time.Second
	s.http.WriteTimeout = 2 * time.Second
}

// Guards that short timeouts of the http.Server end neither a poll nor a websocket, nor later
// requests on the same connection.
func TestServing_ShortTimeouts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{}, shortTimeouts)
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

// Guards that a body that comes slowly times out, with or without timeouts of the http.Server.
func TestServing_TricklingPost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
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
			t.Errorf("received %q", line)
		}
		p.wantUnknown()
		wantNoGoroutines(t, engineFrame)
	})
}

// Guards that a poll is answered with NOOP if a middleware ends the context of its request. Clients
// take an empty payload for an error.
func TestServing_ContextDeadline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		middleware := func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx, cancel := context.WithTimeout(r.Context(), 8*time.Second)
				defer cancel()
				next.ServeHTTP(w, r.WithContext(ctx))
			})
		}
		s, app := serveEcho(t, engine.Options{}, behind(middleware))
		p := s.open()
		p.want("6")
		p.send("4hello")
		p.want("4hello")
		w := p.upgrade() // a websocket does not end with its request
		advance(20 * time.Second)
		w.wantNow("2")
		w.send("4again")
		w.want("4again")
		app.want("text hello", "text again")
	})
}

// onlyUnwrap is the ResponseWriter of a middleware that supports only http.ResponseController.
type onlyUnwrap struct{ w http.ResponseWriter }

func (o onlyUnwrap) Header() http.Header         { return o.w.Header() }
func (o onlyUnwrap) Write(p []byte) (int, error) { return o.w.Write(p) }
func (o onlyUnwrap) WriteHeader(status int)      { o.w.WriteHeader(status) }
func (o onlyUnwrap) Unwrap() http.ResponseWriter { return o.w }

// Guards that everything works behind a middleware whose ResponseWriter has only Unwrap, even with
// short timeouts.
func TestServing_OnlyUnwrap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		middleware := func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(onlyUnwrap{onlyUnwrap{w}}, r) })
		}
		s, app := serveEcho(t, engine.Options{}, behind(middleware), shortTimeouts)
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

// Guards that polling works behind a middleware that hides the connection, and that a websocket is
// refused there.
func TestServing_NoHijack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		middleware := func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				next.ServeHTTP(onlyWriter{w}, r)
			})
		}
		s, app := serveEcho(t, engine.Options{}, behind(middleware))
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

// onlyWriter hides all other methods of a ResponseWriter.
type onlyWriter struct{ w http.ResponseWriter }

func (o onlyWriter) Header() http.Header         { return o.w.Header() }
func (o onlyWriter) Write(p []byte) (int, error) { return o.w.Write(p) }
func (o onlyWriter) WriteHeader(status int)      { o.w.WriteHeader(status) }

// Guards polling over HTTP/2, where many requests share a connection.
func TestServing_HTTP2(t *testing.T) {
	t.Parallel()
	labelGoroutines(t)
	app := newRawApp(t)
	e := eio4.NewRaw(engine.Options{}, app.accept)
	h := httptest.NewUnstartedServer(e)
	h.EnableHTTP2 = true
	h.StartTLS()
	s := &server{t: t, engine: e, client: h.Client()}
	t.Cleanup(func() {
		s.shutdown()
		h.CloseClientConnections()
		h.Close()
		wantNoGoroutines(t, "")
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
		return nil, fmt.Errorf("the protocol is %s", res.Proto)
	}
	return res, err
}

// Guards that nothing is left of a session, however it ends: no goroutine, and its id is unknown.
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
				s, app := serveIO(t, engine.Options{})
				p, _ := s.joinPolling(app)
				end(s, p)
				if line := app.next(); !strings.HasPrefix(line, "gone / ") {
					t.Errorf("received %q", line)
				}
				app.wantNothing()
				p.wantUnknown()
				wantNoGoroutines(t, engineFrame)
			})
		})
	}
}
