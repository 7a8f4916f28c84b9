// Package enginetest is the conformance test of the engine interface: what every engine must do,
// whatever its protocol, over every transport.
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
)

// patience bounds every wait, in fake time. It is shorter than the ping interval.
const patience = 10 * time.Second

// World is an engine behind an http.Server in memory, on fake time, and the app that hears of it.
type World struct {
	t       *testing.T
	version Version
	engine  engine.Engine
	net     *pipes
	client  *http.Client
	lines   chan string // what the app heard
	atEnd   []func()    // run in the bubble, whatever comes

	conns     chan engine.Conn
	OnConnect func(c engine.Conn)
	OnEvent   func(c engine.Conn, name string, args engine.Args, ack engine.Ack)
	OnGone    func()
}

func (s *suite) in(t *testing.T, o engine.Options, f func(t *testing.T, w *World)) {
	t.Helper()
	In(t, s.version, s.start, o, f)
}

// In runs a test in a world of its own. When it ends the engine must shut down and leave no
// goroutine behind: one that is left is reported by the bubble.
func In(t *testing.T, version Version, start func(engine.Options) engine.Engine, o engine.Options, f func(t *testing.T, w *World)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &World{
			t: t, version: version, net: newPipes(),
			lines: make(chan string, 1<<14), conns: make(chan engine.Conn, 1<<10),
		}
		o.Namespaces = map[string]engine.Accept{"/": w.accept, "/admin": w.accept}
		if o.Describe == nil {
			o.Describe = func(r *http.Request) any { return r.Header.Get("User-Agent") }
		}
		w.engine = start(o)
		// Timeouts that are meant for ordinary requests, and a middleware that hides what it wraps.
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
			<-time.After(time.Second) // net/http lingers on a connection whose request it did not read whole
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

// accept notes whoever joins a namespace.
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
	r.w.lines <- "gone: " + string(reason)
	if r.w.OnGone != nil {
		r.w.OnGone()
	}
}

// show writes arguments as on the wire, and attachments after them.
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

// Member connects a client that is in the root namespace.
func (w *World) Member(transport string) (*Client, engine.Conn) {
	w.t.Helper()
	c := w.Dial(transport).JoinRoot()
	w.Hears("connect")
	return c, <-w.conns
}

// Hears waits for the app to hear this, and nothing else between.
func (w *World) Hears(lines ...string) {
	w.t.Helper()
	for _, want := range lines {
		select {
		case line := <-w.lines:
			if line != want {
				w.t.Fatalf("the app heard %q, not %q", line, want)
			}
		case <-time.After(patience):
			w.t.Fatalf("the app heard nothing, not %q", want)
		}
	}
}

// hearsOne waits for the app to hear one of these.
func (w *World) hearsOne(lines ...string) {
	w.t.Helper()
	select {
	case line := <-w.lines:
		if !slices.Contains(lines, line) {
			w.t.Fatalf("the app heard %q, none of %q", line, lines)
		}
	case <-time.After(patience):
		w.t.Fatalf("the app heard nothing, none of %q", lines)
	}
}

// HearsNoMore checks that the app has nothing more to hear.
func (w *World) HearsNoMore() {
	w.t.Helper()
	synctest.Wait()
	if len(w.lines) > 0 {
		w.t.Fatalf("the app heard %q besides", <-w.lines)
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

// onlyUnwrap is a ResponseWriter of a middleware that knows nothing older than
// http.ResponseController.
type onlyUnwrap struct{ w http.ResponseWriter }

func (o onlyUnwrap) Header() http.Header         { return o.w.Header() }
func (o onlyUnwrap) Write(p []byte) (int, error) { return o.w.Write(p) }
func (o onlyUnwrap) WriteHeader(status int)      { o.w.WriteHeader(status) }
func (o onlyUnwrap) Unwrap() http.ResponseWriter { return o.w }

func hide(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(onlyUnwrap{w}, r) })
}

// pipes is a listener and the way to reach it, in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
	speed atomic.Int64 // bytes a second that clients read; 0: as fast as they come
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (*pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case p.conns <- server:
		return line{client, &p.speed}, nil
	case <-p.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// line is the client's end of a connection.
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
