package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"sync"

	"github.com/golang-jwt/jwt/v5"
	socketio "github.com/googollee/go-socket.io"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/eio3"
	"github.com/z-open/socketauth/internal/engine"
)

const socketPath = "/socket.io/"

// candidate is one of the servers that are compared. Each acknowledges "echo" with the text that it
// received.
type candidate struct {
	name         string
	authenticate bool // its clients log in, and authenticate each socket
	bound        bool // they do so with proofs of a key: their sessions are bound
	serve        func(mux *http.ServeMux) (app, error)
}

// app is a running candidate.
type app struct {
	emit func(event, text string) error  // to all sockets
	stop func(ctx context.Context) error // closes all sockets, and waits until they have ended
}

func candidates() []candidate {
	return []candidate{
		{name: "socketauth", authenticate: true, serve: serveLibrary},
		{name: "socketauth-bound", authenticate: true, bound: true, serve: serveLibrary},
		{name: "socketauth-engine", serve: serveEngine},
		{name: "go-socket.io", serve: serveBare},
	}
}

// serveLibrary serves the whole library: clients that are not authenticated get no answer.
func serveLibrary(mux *http.ServeMux) (app, error) {
	secret := make([]byte, 32)
	rand.Read(secret) // never fails
	srv, err := socketauth.Infrastructure(nil, mux, socketauth.Options[string]{
		Secret: secret,
		FindUserByCredentials: func(_ context.Context, c socketauth.Credentials) (string, error) {
			return c.Get("username"), nil
		},
		Claim:  func(user string) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": user}, nil },
		Limits: socketauth.Limits{SocketsPerUser: socketauth.NoLimit, SessionsPerUser: socketauth.NoLimit}, // all sockets belong to one user
	})
	if err != nil {
		return app{}, err
	}
	srv.On("echo", func(_ context.Context, _ *socketauth.Socket, args socketauth.Args) (any, error) {
		var text string
		err := args.Decode(&text)
		return text, err
	})
	return app{
		emit: func(event, text string) error { return srv.Emit(event, text) },
		stop: srv.Shutdown,
	}, nil
}

// serveEngine serves the library's engine for Engine.IO 3 only, without authentication, which can
// be compared directly with the bare library.
func serveEngine(mux *http.ServeMux) (app, error) {
	all := &members{conns: make(map[engine.Conn]struct{})}
	e := eio3.New(engine.Options{Namespaces: map[string]engine.Accept{"/": all.accept}})
	mux.Handle(socketPath, e)
	return app{emit: all.emit, stop: e.Shutdown}, nil
}

// members holds the clients of the engine.
type members struct {
	mu    sync.Mutex
	conns map[engine.Conn]struct{}
}

func (m *members) accept(c engine.Conn, _ engine.Handshake) engine.Receiver {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conns[c] = struct{}{}
	return member{m, c}
}

func (m *members) emit(event, text string) error {
	message, err := engine.NewMessage(event, text)
	if err != nil {
		return err
	}
	m.mu.Lock()
	conns := make([]engine.Conn, 0, len(m.conns))
	for c := range m.conns {
		conns = append(conns, c)
	}
	m.mu.Unlock()
	for _, c := range conns {
		if err := c.Emit(message); err != nil {
			return err
		}
	}
	return nil
}

type member struct {
	all  *members
	conn engine.Conn
}

func (m member) Event(_ string, args engine.Args, ack engine.Ack) {
	var text string
	if len(args.Values) == 1 && json.Unmarshal(args.Values[0], &text) == nil && ack != nil {
		_ = ack(text) // it fails only if the client has disconnected
	}
}

func (m member) Disconnected(engine.Reason) {
	m.all.mu.Lock()
	defer m.all.mu.Unlock()
	delete(m.all.conns, m.conn)
}

// serveBare serves go-socket.io as its README shows. A handshake after its Close would end the
// process, and Close does not close the connections. So stop, which is called when there are no
// more requests, closes each connection, and then the server.
func serveBare(mux *http.ServeMux) (app, error) {
	srv := socketio.NewServer(nil)
	var mu sync.Mutex
	conns := make(map[socketio.Conn]struct{})
	var open, serving sync.WaitGroup
	srv.OnConnect("/", func(c socketio.Conn) error {
		open.Add(1)
		mu.Lock()
		defer mu.Unlock()
		conns[c] = struct{}{}
		return nil
	})
	srv.OnDisconnect("/", func(c socketio.Conn, _ string) {
		mu.Lock()
		defer mu.Unlock()
		delete(conns, c)
		open.Done()
	})
	srv.OnEvent("/", "echo", func(_ socketio.Conn, text string) string { return text })
	serving.Go(func() { _ = srv.Serve() }) // returns when the server is closed
	mux.Handle(socketPath, srv)

	return app{
		emit: func(event, text string) error {
			srv.BroadcastToNamespace("/", event, text)
			return nil
		},
		stop: func(ctx context.Context) error {
			mu.Lock()
			left := make([]socketio.Conn, 0, len(conns))
			for c := range conns {
				left = append(left, c)
			}
			mu.Unlock()
			for _, c := range left {
				_ = c.Close() // it fails if the client has closed the connection first
			}
			ended := make(chan struct{})
			go func() {
				open.Wait()
				_ = srv.Close() // never fails
				serving.Wait()
				close(ended)
			}()
			select {
			case <-ended:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	}, nil
}
