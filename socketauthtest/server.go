package socketauthtest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path"
	"runtime"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/siotest"
)

const patience = 30 * time.Second // for what has to happen, and for the end of the server

// Server is a server of the library that runs for one test. Call methods without a context only
// from the test's goroutine, because they may end the test.
type Server struct {
	*socketauth.Server

	// URL is the server's, without a path: "http://127.0.0.1:41234", for instance. In a bubble of
	// testing/synctest only HTTPClient and DialContext lead there.
	URL string

	// Mux serves what the app adds to it.
	Mux *http.ServeMux

	// Config is the http.Server, whose Handler is Mux. Before the first request the test may put
	// the app's middleware around it.
	Config *http.Server

	t          testing.TB
	host       string
	socketPath string
	dial       func(ctx context.Context, network, address string) (net.Conn, error)
	httpClient *http.Client
}

// NewServer starts a server with the whole library, as socketauth.Infrastructure does, on a free
// port of the loopback interface. In a bubble of testing/synctest it listens on connections in
// memory instead, so that the bubble's time goes on. The test's end shuts the server down, and
// fails the test if a goroutine of the library is left.
//
// If no key is set, the server signs with a random one. If none of FindUserByCredentials, Register
// and Claim is set, there are no login and no registration, only sockets and the middleware. If no
// Logger is set, what the server logs goes to the test's log, from debug level on.
func NewServer[U any](t testing.TB, opts socketauth.Options[U]) *Server {
	t.Helper()
	output := &testLog{t: t}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.NewTextHandler(output, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	if opts.Secret == nil && opts.Keys == nil && opts.KeyFunc == nil {
		opts.Secret = newSecret()
	}
	s := &Server{Mux: http.NewServeMux(), t: t, socketPath: opts.SocketPath}
	s.Config = &http.Server{
		Handler:           s.Mux,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(opts.Logger.Handler(), slog.LevelError),
	}
	serve := socketauth.Infrastructure[U]
	if opts.FindUserByCredentials == nil && opts.Register == nil && opts.Claim == nil {
		serve = socketauth.SocketServe[U]
	}
	// Each goroutine has the labels of the one that started it, so that the library's can be found.
	label := fmt.Sprintf("%s %p", t.Name(), s)
	var listener net.Listener
	var err error
	pprof.Do(context.Background(), pprof.Labels("socketauthtest", label), func(context.Context) {
		if s.Server, err = serve(s.Config, s.Mux, opts); err != nil {
			return
		}
		if listener, err = s.listen(); err != nil {
			err = errors.Join(err, s.Server.Shutdown(context.Background()))
			return
		}
		go func() { _ = s.Config.Serve(listener) }()
	})
	if err != nil {
		t.Fatalf("socketauthtest: NewServer: %v", err)
	}
	s.URL = "http://" + s.host
	s.httpClient = &http.Client{Transport: &http.Transport{DialContext: s.dial}}
	t.Cleanup(func() {
		s.httpClient.CloseIdleConnections()
		s.end(label)
		output.close()
	})
	return s
}

// newSecret returns a random key. A random text has at least 128 bits, and two of them 32 bytes.
func newSecret() []byte { return []byte(rand.Text() + rand.Text()) }

// listen begins to listen and sets host and dial.
func (s *Server) listen() (net.Listener, error) {
	if inBubble() {
		memory := siotest.Listen()
		s.host, s.dial = "server.test", memory.DialContext
		return memory, nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.host = listener.Addr().String()
	s.dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", s.host)
	}
	return listener, nil
}

// end shuts the server down and makes sure that nothing of the library is left.
func (s *Server) end(label string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		s.t.Errorf("socketauthtest: the server did not end within %v; does a handler or a hook not return? %v\n%s", patience, err, leftOf(label))
		_ = s.Config.Close()
		return
	}
	if err := s.Config.Close(); err != nil {
		s.t.Errorf("socketauthtest: closing the http.Server: %v", err)
	}
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	for {
		left := leftOf(label)
		if left == "" {
			return
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			s.t.Errorf("socketauthtest: goroutines of the library are left after Shutdown:\n%s", left)
			return
		}
	}
}

// leftOf returns the stacks of the goroutines with that label that are in the library's code. The
// files tell which those are, because functions that were inlined have other names. A goroutine
// that waits to be used again has the label of the one that it was started for, which may be
// another server's.
func leftOf(label string) string {
	_, file, _, _ := runtime.Caller(0)
	folder := path.Dir(path.Dir(file))
	ours := func(frame string) bool {
		file, ok := strings.CutPrefix(frame[strings.LastIndexByte(frame, '\t')+1:], folder+"/")
		file, _, _ = strings.Cut(file, ".go:")
		return ok && file != "internal/workers/workers" && !strings.HasSuffix(file, "_test") && (!strings.Contains(file, "/") || strings.HasPrefix(file, "internal/"))
	}
	var profile bytes.Buffer
	_ = pprof.Lookup("goroutine").WriteTo(&profile, 1)
	var left []string
	for stack := range strings.SplitSeq(profile.String(), "\n\n") {
		if strings.Contains(stack, fmt.Sprintf("%q:%q", "socketauthtest", label)) && slices.ContainsFunc(strings.Split(stack, "\n"), ours) {
			left = append(left, stack)
		}
	}
	return strings.Join(left, "\n\n")
}

// HTTPClient returns a client for requests to URL. It may be used by several goroutines at once.
func (s *Server) HTTPClient() *http.Client { return s.httpClient }

// DialContext connects to the server, whatever the address, for clients of the test's own.
func (s *Server) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return s.dial(ctx, network, address)
}

// Code returns a code for a user with these claims, as a login answers it.
func (s *Server) Code(claims jwt.MapClaims) string {
	s.t.Helper()
	code, err := s.Auth().IssueCode(s.t.Context(), claims)
	if err != nil {
		s.t.Fatalf("socketauthtest: a code for %v: %v", claims, err)
	}
	return code
}

// Dial connects a client and authenticates it as a user with these claims, of which "sub" is
// required. When it returns, the socket is authenticated. It is closed by the end of the test.
func (s *Server) Dial(claims jwt.MapClaims) *Client {
	s.t.Helper()
	code := s.Code(claims)
	c := s.Connect()
	if err := c.Authenticate(code); err != nil {
		hint := ""
		if public := (*socketauth.PublicError)(nil); errors.As(err, &public) && public.Code == "proof_required" {
			hint = " (the clients of this package bring no proofs of a key: give the test BindOptional as Options.Binding)"
		}
		s.t.Fatalf("socketauthtest: Dial: the server refused %v: %v%s", claims, err, hint)
	}
	return c
}

// Connect connects a client that has not authenticated yet. It is closed by the end of the test.
func (s *Server) Connect() *Client {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	d := siotest.Dialer{Host: s.host, Path: cmp.Or(s.socketPath, "/socket.io/"), Net: s.dial}
	conn, err := d.Dial(ctx, "websocket")
	if err != nil {
		s.t.Fatalf("socketauthtest: connecting: %v", err)
	}
	_ = conn.NetConn().SetDeadline(time.Now().Add(patience))
	if _, err = conn.Join(""); err != nil {
		_ = conn.Close()
		s.t.Fatalf("socketauthtest: connecting: %v", err)
	}
	_ = conn.NetConn().SetDeadline(time.Time{})
	return newClient(s.t, conn)
}

// inBubble reports whether the caller is in a bubble of testing/synctest, outside of which
// synctest.Wait panics.
func inBubble() (in bool) {
	defer func() { in = recover() == nil }()
	synctest.Wait()
	return
}

// testLog is the log of a test, until the test has ended.
type testLog struct {
	mu sync.Mutex
	t  testing.TB // nil at the end
}

func (l *testLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.t == nil {
		return len(b), nil
	}
	return l.t.Output().Write(b)
}

func (l *testLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t = nil
}
