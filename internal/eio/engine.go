// Package eio implements what versions 3 and 4 of the Engine.IO protocol have in common: sessions,
// how requests carry them, and how they end.
//
// A Session (session.go) has its deadlines in alarm.go and what is to be written to its client in
// outbox.go. Its packets (packet.go) are carried by requests (polling.go) or by a websocket
// (websocket.go), to which it can move (upgrade.go). What a version has to itself is a Protocol and
// its Links (protocol.go).
package eio

import (
	"context"
	"io"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/z-open/socketauth/internal/deadline"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/logonce"
	"github.com/z-open/socketauth/internal/query"
	"github.com/z-open/socketauth/internal/workers"
)

// Engine serves the requests of one version of the protocol. Use New to create one.
type Engine struct {
	o        engine.Options
	protocol Protocol
	accept   func(*Session) Receiver
	buffers  sync.Pool // *bytes.Buffer, for what is read or written in one go
	encoded  sync.Pool // *frames
	flusher  flusher
	delayed  delayed
	chunks   sync.Pool // *[chunkSize]byte
	workers  workers.Pool
	started  time.Time // the zero of now

	unsupported logonce.Minute // websocket handshakes that middleware made impossible

	mu       sync.Mutex
	sessions map[string]*Session // those that requests may name

	closing atomic.Bool
	tasks   atomic.Int64  // requests, goroutines and set timers
	drained chan struct{} // closed when closing is set and tasks is zero
	drain   sync.Once
}

var _ engine.Engine = (*Engine)(nil)

// New returns an engine. It calls accept with each new session before anything of it is read;
// accept may already send to it.
func New(o engine.Options, p Protocol, accept func(s *Session) Receiver) *Engine {
	o = o.WithDefaults()
	e := &Engine{
		o:        o,
		protocol: p,
		accept:   accept,
		started:  time.Now(),
		sessions: make(map[string]*Session),
		drained:  make(chan struct{}),
	}
	e.flusher.pool, e.flusher.most = &e.workers, runtime.GOMAXPROCS(0)
	return e
}

var (
	errTransport        = &Refusal{http.StatusBadRequest, `{"code":0,"message":"Transport unknown"}`}
	errSession          = &Refusal{http.StatusBadRequest, `{"code":1,"message":"Session ID unknown"}`}
	errMethod           = &Refusal{http.StatusBadRequest, `{"code":2,"message":"Bad handshake method"}`}
	errTooLarge         = &Refusal{http.StatusRequestEntityTooLarge, `{"code":3,"message":"Payload too large"}`}
	errEnded            = &Refusal{http.StatusInternalServerError, `{"code":3,"message":"Session ended"}`}
	errFull             = &Refusal{http.StatusServiceUnavailable, `{"code":3,"message":"Too many connections"}`}
	errWebsocketVersion = &Refusal{http.StatusUpgradeRequired, `{"code":3,"message":"Unsupported WebSocket version"}`}
	errShuttingDown     = &Refusal{http.StatusServiceUnavailable, `{"code":3,"message":"Server is shutting down"}`}
)

// ServeHTTP answers one request: a handshake, a poll, a POST, or the upgrade to a websocket.
func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refusal := errShuttingDown
	if e.enter() {
		defer e.done()
		refusal = e.serve(w, r)
	}
	if refusal != nil {
		deadline.Body(w, r)
		if refusal == errWebsocketVersion {
			askForVersion13(w.Header())
		}
		e.refuse(w, refusal)
	}
}

func (e *Engine) serve(w http.ResponseWriter, r *http.Request) *Refusal {
	if refusal := e.protocol.Refuse(r.URL.RawQuery); refusal != nil {
		return refusal
	}
	transport, sid := query.Value(r.URL.RawQuery, "transport"), query.Value(r.URL.RawQuery, "sid")
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
	case r.Method == http.MethodGet && hasBody(w, r):
		return ErrRequest
	case transport == "websocket":
		return e.serveHandshake(s, w, r)
	case s == nil:
		return e.openPolling(w, r)
	case r.Method == http.MethodGet:
		return s.servePoll(w, r)
	case r.Method == http.MethodPost:
		return s.servePost(w, r)
	}
	return ErrRequest
}

// serveHandshake serves the handshake of a websocket, for the session that the request names or for
// a new one.
func (e *Engine) serveHandshake(s *Session, w http.ResponseWriter, r *http.Request) *Refusal {
	if refusal := refuseHandshake(r); refusal != nil {
		return refusal
	}
	if s == nil {
		return e.openByWorker(w, r)
	}
	return s.serveUpgrade(w, r)
}

// hasBody reports whether a request has a body. If its length is unknown, hasBody tries to read a
// byte, for a limited time: HTTP/3, HTTP/2 with END_STREAM in a frame of its own, and chunked
// HTTP/1 do not say in advance that there is no body.
func hasBody(w http.ResponseWriter, r *http.Request) bool {
	if r.ContentLength >= 0 {
		return r.ContentLength > 0
	}
	deadline.Body(w, r)
	_, err := io.ReadFull(r.Body, make([]byte, 1))
	return err != io.EOF
}

// Shutdown implements engine.Engine. It waits for receivers that are being called, so none of them
// may call it.
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
		s.Reconnect()
	}
	e.done()
	select {
	case <-e.drained:
	default:
		select {
		case <-e.drained:
		case <-ctx.Done():
			_ = e.workers.Close(ctx) // it waits no longer, but goroutines end when they can
			return ctx.Err()
		}
	}
	return e.workers.Close(ctx)
}

// enter counts a request as a task, unless the engine is shutting down.
func (e *Engine) enter() bool {
	e.tasks.Add(1)
	if e.closing.Load() {
		e.done()
		return false
	}
	return true
}

// done ends a task that enter or tasks.Add counted.
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

// register lets requests find the session. It fails while the engine is shutting down.
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

// now returns the time since the engine was created. Deadlines are kept in this form because
// time.Time needs three times the memory.
func (e *Engine) now() time.Duration { return time.Since(e.started) }

// IdleWorkers returns how many goroutines wait for something to do. It is for tests.
func (e *Engine) IdleWorkers() int { return e.workers.Idle() }

// Left returns how many sessions there are, and how many requests, goroutines and set timers. It
// is for tests.
func (e *Engine) Left() (sessions, tasks int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.sessions), int(e.tasks.Load())
}
