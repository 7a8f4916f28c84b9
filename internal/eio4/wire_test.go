package eio4_test

import (
	"bytes"
	"context"
	"log"
	"net"
	"net/http"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/siotest"
)

// patience bounds every wait of the tests. In a bubble it is fake time. It is shorter than the
// default ping interval.
const patience = 10 * time.Second

// bubble runs a test in fake time, in which it is exact what arrives, what does not, and when.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, f)
}

// advance lets fake time pass, and waits until what was due is done.
func advance(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// network is a listener and the way to reach it.
type network struct {
	net.Listener
	dial func(ctx context.Context) (net.Conn, error)
}

// memory returns a network in memory.
func memory() network {
	l := siotest.Listen()
	return network{l, func(ctx context.Context) (net.Conn, error) { return l.DialContext(ctx, "", "") }}
}

// loopback returns a network of real TCP connections.
func loopback(t *testing.T) network {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return network{l, func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}}
}

// server is an engine behind a plain http.Server, with the clients of one test.
type server struct {
	t      *testing.T
	engine *eio.Engine
	net    network
	http   *http.Server
	client *http.Client
	log    *logBuffer // the log of net/http, which includes panics of handlers
}

// serve starts e on n. There is one server for each test. When the test ends, it must shut down and
// leave no goroutine behind.
func serve(t *testing.T, n network, e *eio.Engine, options ...func(*server)) *server {
	t.Helper()
	labelGoroutines(t)
	s := &server{t: t, engine: e, net: n, log: new(logBuffer)}
	s.http = &http.Server{Handler: e, ErrorLog: log.New(s.log, "", 0)}
	s.client = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return n.dial(ctx) },
	}}
	for _, option := range options {
		option(s)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = s.http.Serve(n)
	}()
	t.Cleanup(func() {
		s.shutdown()
		s.client.CloseIdleConnections()
		_ = s.http.Close()
		<-stopped
		wantNoGoroutines(t, "")
		if text := s.log.String(); strings.Contains(text, "panic") {
			t.Errorf("net/http logged a panic:\n%s", text)
		}
	})
	return s
}

// behind returns an option that puts a middleware in front of the engine.
func behind(middleware func(http.Handler) http.Handler) func(*server) {
	return func(s *server) { s.http.Handler = middleware(s.http.Handler) }
}

// shutdown shuts down the engine, which must succeed within patience.
func (s *server) shutdown() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.engine.Shutdown(ctx); err != nil {
		s.t.Errorf("Shutdown: %v", err)
	}
}

// dialRaw opens a bare connection to the server, closed at the end of the test.
func (s *server) dialRaw() net.Conn {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := s.net.dial(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

const leakLabel = "wire"

// labelGoroutines labels the goroutines that the test starts from now on.
func labelGoroutines(t *testing.T) {
	pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(leakLabel, t.Name())))
}

// wantNoGoroutines waits until no goroutine of this test's server with frame in its stack is left.
func wantNoGoroutines(t *testing.T, frame string) {
	t.Helper()
	var left []string
	for wait := time.Millisecond; wait < patience; wait *= 2 {
		if left = goroutines(t.Name(), frame); len(left) == 0 {
			return
		}
		<-time.After(wait) // there is no event for the end of a goroutine
	}
	t.Errorf("%d kinds of goroutines left:\n%s", len(left), strings.Join(left, "\n\n"))
}

// goroutines returns the stacks of the test's goroutines, except the calling one.
func goroutines(test, frame string) []string {
	var b bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&b, 1)
	var found []string
	for stack := range strings.SplitSeq(b.String(), "\n\n") {
		own := strings.Contains(stack, "eio4_test.goroutines")
		if !own && strings.Contains(stack, `"`+leakLabel+`":"`+test+`"`) && strings.Contains(stack, frame) {
			found = append(found, stack)
		}
	}
	return found
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
