package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

const limit = 10 * time.Second // until a test gives up

// app is a server of the library.
type app struct {
	*socketauth.Server
	url    *url.URL
	joined chan *socketauth.Socket    // what has said "join"
	audit  chan socketauth.AuditEvent // of rotations, reuse and log-outs
}

func serve(t *testing.T, adjust func(*socketauth.Options[string])) *app {
	t.Helper()
	a := &app{joined: make(chan *socketauth.Socket, 100), audit: make(chan socketauth.AuditEvent, 100)}
	options := socketauth.Options[string]{
		Secret: []byte("0123456789abcdef0123456789abcdef"),
		FindUserByCredentials: func(_ context.Context, c socketauth.Credentials) (string, error) {
			if c.Get("password") != "open sesame" {
				return "", socketauth.ErrInvalidCredentials
			}
			return c.Get("username"), nil
		},
		Claim: func(name string) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": name}, nil },
		Audit: func(_ context.Context, e socketauth.AuditEvent) {
			switch e.Kind {
			case socketauth.AuditRotated, socketauth.AuditReuse, socketauth.AuditLogout:
				a.audit <- e
			}
		},
		Logger: slog.New(slog.DiscardHandler),
	}
	if adjust != nil {
		adjust(&options)
	}
	mux := http.NewServeMux()
	var err error
	if a.Server, err = socketauth.Infrastructure(nil, mux, options); err != nil {
		t.Fatal(err)
	}
	a.On("join", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		a.joined <- s
		return nil, nil
	})
	a.On("say", func(_ context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
		var text string
		if err := args.Decode(&text); err != nil {
			return nil, err
		}
		if text == "" {
			return nil, &socketauth.PublicError{Code: "MESSAGE_EMPTY"}
		}
		return nil, s.Emit("message", map[string]string{"author": s.UserID(), "text": text})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Cleanup(func() { _ = a.Shutdown(context.Background()) }) // first: it ends the websockets
	if a.url, err = url.Parse(server.URL); err != nil {
		t.Fatal(err)
	}
	return a
}

func newFile(t *testing.T) string { return filepath.Join(t.TempDir(), "new folder", "token") }

// client is a session that runs, or is about to.
type client struct {
	t *testing.T
	*session
	stop   context.CancelFunc
	ended  chan error
	pauses chan time.Duration // that it was about to wait between connections; it does not
}

// login makes a session, with a code in its file.
func (a *app) login(t *testing.T) *client {
	t.Helper()
	c := a.client(t, newFile(t))
	if err := c.Login(t.Context(), "/login", map[string]string{"username": "ada", "password": "open sesame"}); err != nil {
		t.Fatal(err)
	}
	return c
}

func (a *app) client(t *testing.T, path string) *client {
	t.Helper()
	file, err := openTokenFile(path)
	if err != nil {
		t.Fatal(err)
	}
	key, err := openKey(path + ".key")
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, session: newSession(a.url, file, key, slog.New(slog.DiscardHandler)), ended: make(chan error, 1), pauses: make(chan time.Duration, 100)}
	c.greeting = "join"
	c.pause = func(ctx context.Context, d time.Duration) error {
		select {
		case c.pauses <- d:
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	return c
}

func (c *client) start() {
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	go func() { c.ended <- c.Run(ctx) }()
	c.t.Cleanup(c.shutdown)
}

// shutdown ends it, waits for it, and gives its file free. It may be called again.
func (c *client) shutdown() {
	c.stop()
	if err, ok := <-c.ended; ok {
		close(c.ended)
		if !errors.Is(err, context.Canceled) {
			c.t.Errorf("ended by itself: %v", err)
		}
		_ = c.file.Close()
	}
}

// end waits until it has ended by itself, and wants the file to be gone.
func (c *client) end() error {
	c.t.Helper()
	err := await(c.t, "the end", c.ended)
	close(c.ended)
	if token := c.stored(); token != "" {
		c.t.Error("the token is still in its file")
	}
	_ = c.file.Close()
	return err
}

func (c *client) stored() string {
	c.t.Helper()
	token, err := c.file.Load()
	if err != nil {
		c.t.Fatal(err)
	}
	return token
}

func await[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(limit):
		t.Fatalf("%s did not come", what)
		panic("unreachable")
	}
}

// cuts is a dialer's: it cuts its first connection, and none after it.
type cuts struct {
	write  int  // before the bytes of this write, from 1, are sent
	answer bool // before "authenticated" is read
	done   bool
}

func (c *cuts) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil || c.done {
		return conn, err
	}
	c.done = true
	return &cutConn{Conn: conn, cuts: *c}, nil
}

type cutConn struct {
	net.Conn
	cuts
	writes int
}

func (c *cutConn) Write(b []byte) (int, error) {
	if c.writes++; c.writes == c.write {
		return 0, errors.Join(net.ErrClosed, c.Close())
	}
	return c.Conn.Write(b)
}

func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.answer && bytes.Contains(b[:n], []byte("authenticated")) {
		return 0, errors.Join(net.ErrClosed, c.Close())
	}
	return n, err
}
