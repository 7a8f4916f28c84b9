// Package enginetest is the conformance test of the engine interface. It tests what every engine
// must do, over every transport.
package enginetest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/siotest"
)

// patience bounds every wait, in fake time. It is shorter than the ping interval.
const patience = 10 * time.Second

// World is an engine behind an http.Server in memory, in fake time, with an app that records the
// calls of the engine.
type World struct {
	t       *testing.T
	version Version
	engine  engine.Engine
	net     *pipes
	client  *http.Client
	lines   chan string // the calls of the app, a line each
	atEnd   []func()    // called in the bubble at the end

	conns          chan engine.Conn
	OnConnect      func(c engine.Conn)
	OnEvent        func(c engine.Conn, name string, args engine.Args, ack engine.Ack)
	OnDisconnected func()
}

func (s *suite) in(t *testing.T, o engine.Options, f func(t *testing.T, w *World)) {
	t.Helper()
	In(t, s.version, s.start, o, f)
}

// In runs a test in a world of its own. When the test ends, the engine must shut down. If it leaves
// a goroutine behind, the bubble reports that.
func In(t *testing.T, version Version, start func(engine.Options) engine.Engine, o engine.Options, f func(t *testing.T, w *World)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &World{
			t: t, version: version, net: &pipes{Listener: siotest.Listen()},
			lines: make(chan string, 1<<14), conns: make(chan engine.Conn, 1<<10),
		}
		o.Namespaces = map[string]engine.Accept{"/": w.accept, "/admin": w.accept}
		if o.Describe == nil {
			o.Describe = func(r *http.Request) any { return r.Header.Get("User-Agent") }
		}
		w.engine = start(o)
		// Timeouts for ordinary requests, and a middleware that hides the ResponseWriter.
		server := &http.Server{Handler: hide(w.engine), ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second}
		w.client = &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return w.net.dial(ctx) },
		}}
		var served sync.WaitGroup
		served.Go(func() { _ = server.Serve(w.net) })
		defer func() {
			w.shutdown()
			for _, f := range w.atEnd {
				f()
			}
			w.client.CloseIdleConnections()
			_ = server.Close()
			served.Wait()
			// net/http waits before it closes a connection whose request it has not read completely.
			<-time.After(time.Second)
		}()
		f(t, w)
	})
}

func (w *World) shutdown() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := w.engine.Shutdown(ctx); err != nil {
		w.t.Errorf("Shutdown: %v", err)
	}
}

// accept is the engine.Accept of all namespaces.
func (w *World) accept(c engine.Conn, h engine.Handshake) engine.Receiver {
	if h.Request != "Go-http-client/1.1" {
		w.t.Errorf("the request is described as %q", h.Request)
	}
	w.lines <- "connect"
	if w.OnConnect != nil {
		w.OnConnect(c)
	}
	w.conns <- c
	return receiver{w, c}
}

type receiver struct {
	w *World
	c engine.Conn
}

func (r receiver) Event(name string, args engine.Args, ack engine.Ack) {
	r.w.lines <- "event " + name + " " + show(args)
	if r.w.OnEvent != nil {
		r.w.OnEvent(r.c, name, args, ack)
	}
}

func (r receiver) Disconnected(reason engine.Reason) {
	r.w.lines <- "disconnected: " + string(reason)
	if r.w.OnDisconnected != nil {
		r.w.OnDisconnected()
	}
}

// show formats arguments as in a packet, followed by the attachments.
func show(args engine.Args) string {
	var values []string
	for _, v := range args.Values {
		values = append(values, string(v))
	}
	text := "[" + strings.Join(values, ",") + "]"
	for _, a := range args.Attachments {
		text += fmt.Sprintf(" <% x>", a)
	}
	return text
}

// Member connects a client and joins the root namespace.
func (w *World) Member(transport string) (*Client, engine.Conn) {
	w.t.Helper()
	c := w.Dial(transport).JoinRoot()
	w.WantCalls("connect")
	return c, <-w.conns
}

// WantCalls waits for these calls of the app, and no others between them.
func (w *World) WantCalls(lines ...string) {
	w.t.Helper()
	for _, want := range lines {
		select {
		case line := <-w.lines:
			if line != want {
				w.t.Fatalf("the app received %q, want %q", line, want)
			}
		case <-time.After(patience):
			w.t.Fatalf("the app received nothing, want %q", want)
		}
	}
}

// wantCall waits for one of these calls of the app.
func (w *World) wantCall(lines ...string) {
	w.t.Helper()
	select {
	case line := <-w.lines:
		if !slices.Contains(lines, line) {
			w.t.Fatalf("the app received %q, want one of %q", line, lines)
		}
	case <-time.After(patience):
		w.t.Fatalf("the app received nothing, want one of %q", lines)
	}
}

// WantNoCalls checks that there are no more calls of the app.
func (w *World) WantNoCalls() {
	w.t.Helper()
	synctest.Wait()
	if len(w.lines) > 0 {
		w.t.Fatalf("the app received %q, want nothing", <-w.lines)
	}
}

func event(t *testing.T, name string, args ...any) *engine.Message {
	t.Helper()
	m, err := engine.NewMessage(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// onlyUnwrap is the ResponseWriter of a middleware that supports only http.ResponseController.
type onlyUnwrap struct{ w http.ResponseWriter }

func (o onlyUnwrap) Header() http.Header         { return o.w.Header() }
func (o onlyUnwrap) Write(p []byte) (int, error) { return o.w.Write(p) }
func (o onlyUnwrap) WriteHeader(status int)      { o.w.WriteHeader(status) }
func (o onlyUnwrap) Unwrap() http.ResponseWriter { return o.w }

func hide(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(onlyUnwrap{w}, r) })
}

// pipes is a network in memory on which clients may read slowly.
type pipes struct {
	*siotest.Listener
	speed atomic.Int64 // bytes a second that clients read; 0: no limit
}

func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	conn, err := p.DialContext(ctx, "", "")
	if err != nil {
		return nil, err
	}
	return line{conn, &p.speed}, nil
}

// line is the client's end of a connection, which may read slowly.
type line struct {
	net.Conn
	speed *atomic.Int64
}

func (l line) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if speed := l.speed.Load(); speed > 0 {
		<-time.After(time.Duration(n) * time.Second / time.Duration(speed))
	}
	return n, err
}
