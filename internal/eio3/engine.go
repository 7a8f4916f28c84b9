// Package eio3 is a server for Socket.IO protocol 4 over Engine.IO protocol 3, which clients 1.x and 2.x speak. Its
// engine is github.com/googollee/go-socket.io, with a guard around it.
//
// Of that library it uses the Engine.IO half: handshake, session table, heartbeat, and the steps of an upgrade. What
// the library reads and writes are transports of ours (transport.go), so that nothing reaches it that the protocol does
// not allow, and it never waits for a peer. Its Socket.IO half cannot be used: it knows only events that were named
// with the types of their arguments before, breaks on names with a comma, dies of an attachment count, and has no
// bound on what waits for a slow client. socket.go stands in for that.
//
// From the wire up: polling.go and websocket.go carry packets (packet.go) for a Session (session.go), one Engine.IO
// connection; go-socket.io turns them over (transport.go, reader.go); socket.go makes of its messages the connections to
// namespaces that the rest of the library knows.
package eio3

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/googollee/go-socket.io/engineio"
	"github.com/googollee/go-socket.io/engineio/transport"
	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/seldom"
)

// Engine serves Engine.IO 3 requests. Make it with New or NewRaw.
type Engine struct {
	o        engine.Options
	accept   func(*Session) RawReceiver
	lib      *engineio.Server
	upgrader websocket.Upgrader
	buffers  sync.Pool // *bytes.Buffer, for what is read or written in one go
	started  time.Time // the zero of now

	unsupported seldom.Minute // websocket handshakes that middleware made impossible, to be logged

	mu       sync.Mutex
	sessions map[string]*Session // those that requests may still name
	opening  map[string]*Session // those that the library has not handed over yet

	closing atomic.Bool
	tasks   atomic.Int64  // requests, goroutines and armed timers
	drained chan struct{} // closed when there are none and there will be none
	drain   sync.Once
}

var _ engine.Engine = (*Engine)(nil)

// New makes an engine for Socket.IO.
func New(o engine.Options) *Engine {
	o = o.WithDefaults()
	return NewRaw(o, func(s *Session) RawReceiver { return newClient(s, &s.e.o) })
}

// NewRaw makes an engine for bare Engine.IO. accept is told of each new session before anything of it is read; it may
// send to it already.
func NewRaw(o engine.Options, accept func(s *Session) RawReceiver) *Engine {
	o = o.WithDefaults()
	e := &Engine{
		o:        o,
		accept:   accept,
		started:  time.Now(),
		sessions: make(map[string]*Session),
		opening:  make(map[string]*Session),
		drained:  make(chan struct{}),
	}
	e.upgrader = newUpgrader(o.WriteTimeout)
	e.lib = engineio.NewServer(&engineio.Options{
		PingInterval:       o.PingInterval,
		PingTimeout:        o.PingTimeout,
		Transports:         []transport.Transport{pollingTransport, websocketTransport},
		SessionIDGenerator: ids{},
		ConnInitor:         func(*http.Request, engineio.Conn) { e.handOver() },
	})
	return e
}

// httpError is a request that was refused, in the form that the reference server gives it.
type httpError struct {
	status int
	body   string
}

var (
	errTransport    = &httpError{http.StatusBadRequest, `{"code":0,"message":"Transport unknown"}`}
	errSession      = &httpError{http.StatusBadRequest, `{"code":1,"message":"Session ID unknown"}`}
	errMethod       = &httpError{http.StatusBadRequest, `{"code":2,"message":"Bad handshake method"}`}
	errRequest      = &httpError{http.StatusBadRequest, `{"code":3,"message":"Bad request"}`}
	errVersion      = &httpError{http.StatusBadRequest, `{"code":5,"message":"Unsupported protocol version"}`}
	errTooLarge     = &httpError{http.StatusRequestEntityTooLarge, `{"code":3,"message":"Payload too large"}`}
	errShuttingDown = &httpError{http.StatusServiceUnavailable, `{"code":3,"message":"Server is shutting down"}`}
)

// ServeHTTP answers one request: a handshake, a poll, a POST, or the upgrade to a websocket.
func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refusal := errShuttingDown
	if e.enter() {
		defer e.done()
		refusal = e.serve(w, r)
	}
	if refusal == nil {
		return
	}
	if r.ContentLength != 0 { // net/http reads what is left of a body before it answers, and there may never be more
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingerTimeout))
	}
	e.refuse(w, refusal)
}

func (e *Engine) serve(w http.ResponseWriter, r *http.Request) *httpError {
	query := r.URL.Query()
	if query.Has("EIO") && query.Get("EIO") != "3" {
		return errVersion
	}
	if query.Has("j") {
		return errRequest // JSONP, which lets any page read the answers
	}
	transport, sid := query.Get("transport"), query.Get("sid")
	if transport != "polling" && transport != "websocket" {
		return errTransport
	}
	var s *Session
	if sid != "" {
		if s = e.session(sid); s == nil {
			return errSession
		}
	} else if r.Method != http.MethodGet {
		return errMethod
	}
	switch {
	case r.Method == http.MethodGet && r.ContentLength != 0:
		return errRequest
	case transport == "websocket" && !websocket.IsWebSocketUpgrade(r):
		return errRequest
	case transport == "websocket" && s == nil:
		return e.openWebsocket(w, r)
	case transport == "websocket":
		return s.serveUpgrade(w, r)
	case s == nil:
		return e.openPolling(w, r)
	case r.Method == http.MethodGet:
		return s.servePoll(w, r)
	case r.Method == http.MethodPost:
		return s.servePost(w, r)
	}
	return errRequest
}

// Shutdown is described at engine.Engine. It waits for receivers that are being called, so none of them may call it.
func (e *Engine) Shutdown(ctx context.Context) error {
	e.tasks.Add(1)
	e.mu.Lock()
	e.closing.Store(true)
	sessions := make([]*Session, 0, len(e.sessions))
	for _, s := range e.sessions {
		sessions = append(sessions, s)
	}
	e.mu.Unlock()
	for _, s := range sessions {
		s.shutdown()
	}
	e.done()
	select {
	case <-e.drained:
		return nil
	default:
	}
	select {
	case <-e.drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enter counts a request, unless the engine is shutting down.
func (e *Engine) enter() bool {
	e.tasks.Add(1)
	if e.closing.Load() {
		e.done()
		return false
	}
	return true
}

// done ends what enter or tasks.Add began.
func (e *Engine) done() {
	if e.tasks.Add(-1) == 0 && e.closing.Load() {
		e.drain.Do(func() { close(e.drained) })
	}
}

func (e *Engine) session(sid string) *Session {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sessions[sid]
}

// register lets requests find the session. It fails when the engine is shutting down.
func (e *Engine) register(s *Session) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing.Load() {
		return false
	}
	e.sessions[s.id] = s
	return true
}

func (e *Engine) unregister(s *Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.sessions, s.id)
}

// opens lets handOver find the session, whose id the library has just made.
func (e *Engine) opens(s *Session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opening[s.id] = s
}

// handOver takes one new session from the library, whichever is next, and starts it. It is called once for each that
// the library makes, so that none waits there and no goroutine has to; the library has it in its table by then, so that
// it can be removed from there.
func (e *Engine) handOver() {
	lib, err := e.lib.Accept()
	if err != nil {
		return // cannot be: the library's server is never closed, since a handshake would then panic
	}
	e.mu.Lock()
	s := e.opening[lib.ID()]
	delete(e.opening, lib.ID())
	e.mu.Unlock()
	s.start(lib)
}

// now is the time since the engine was made: an eighth of the size of three deadlines kept as time.Time.
func (e *Engine) now() time.Duration { return time.Since(e.started) }

// ids are the library's session ids. Its own are 1, 2, 3, and who knows one can read what its client is sent.
type ids struct{}

func (ids) NewID() string { return newID() }

// newID is 128 random bits.
func newID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(id[:])
}
