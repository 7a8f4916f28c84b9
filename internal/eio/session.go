package eio

import (
	"errors"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/workers"
)

// Receiver is called with what happens on one Engine.IO session. Its methods are called one at a
// time, without the lock of the session's state, so they may call the session.
type Receiver interface {
	// Message is called with each message of the client, valid UTF-8 unless it is binary. The
	// receiver owns data.
	Message(data []byte, binary bool)

	// Closed is called exactly once, last.
	Closed(reason engine.Reason)
}

// Session is one Engine.IO connection, over whichever transport. It is open, then closing, then
// closed. While it is closing, what is queued is still written and what the client sends is
// ignored.
type Session struct {
	e       *Engine
	link    Link
	id      string
	request any // what Describe returned for the first request
	trusted atomic.Bool

	// calls serializes the calls of recv and nothing else: no method that a receiver may call
	// locks it.
	calls sync.Mutex
	recv  Receiver

	mu     sync.Mutex // guards what follows
	state  state
	begun  bool          // accept has returned; nothing is written before
	evict  bool          // the session ends as soon as it has begun
	reason engine.Reason // why it is not open
	cause  error         // logged with reason
	alarms alarms
	out    outbox

	ws        *WebSocket               // nil while polling is the transport
	candidate *WebSocket               // the websocket that may become the transport
	probed    bool                     // candidate has sent its probe
	poll      *poll                    // the pending one
	posting   bool                     // a POST is being read or handled
	pollWrite *http.ResponseController // of the poll whose answer is being written
	postRead  *http.ResponseController // of the POST whose body is being read
	b64       bool                     // the client takes no binary data on this transport
}

type state uint8

const (
	open state = iota
	closing
	closed
)

// newSession returns a session for its link to open.
func (e *Engine) newSession(request any) *Session {
	s := &Session{e: e, request: request, recv: noopReceiver{}, out: outbox{lastPacket: closePacket}}
	s.link = e.protocol.NewLink(s)
	return s
}

// Begin calls accept with the session and then begins to write: OPEN before whatever accept has
// sent. With b64 the client takes binary data only as text.
func (s *Session) Begin(id string, open Packet, b64 bool) {
	s.calls.Lock()
	defer s.calls.Unlock()
	s.mu.Lock()
	s.id, s.b64, s.out.queue = id, b64, []Packet{open}
	s.mu.Unlock()
	registered := !s.evicted() && s.e.register(s)
	if registered {
		s.Contain(func() { s.recv = s.e.accept(s) })
	}
	s.mu.Lock()
	switch {
	case s.evict:
		s.closeLocked(engine.Evicted, 0)
	case !registered:
		s.closeLocked(engine.Shutdown, 0)
	}
	s.begun = true
	ws, ended := s.ws, s.state == closed
	s.flushNowLocked()
	s.mu.Unlock()
	if ws != nil && ended {
		// The response to the handshake is written together with the first frame, but a session that has
		// ended writes none. The client gets the response before the connection is closed.
		_ = ws.writeAccept(s.e.acceptTimeout())
	}
}

func (s *Session) evicted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.evict
}

// noopReceiver is the receiver until accept has returned one.
type noopReceiver struct{}

func (noopReceiver) Message([]byte, bool) {}
func (noopReceiver) Closed(engine.Reason) {}

// Options returns the engine's options.
func (s *Session) Options() *engine.Options { return &s.e.o }

// Request returns what Describe returned for the first request.
func (s *Session) Request() any { return s.request }

// ID returns the id that Begin was called with. It must not be called before.
func (s *Session) ID() string { return s.id }

// Trust lifts the limits for unauthenticated clients.
func (s *Session) Trust() { s.trusted.Store(true) }

// MaxPayload returns how long a message of the client may be now.
func (s *Session) MaxPayload() int {
	if s.trusted.Load() {
		return s.e.o.MaxPayload
	}
	return s.e.o.FirstPayload
}

func (s *Session) flushTimeout() time.Duration {
	if s.trusted.Load() {
		return s.e.o.FlushTimeout
	}
	return s.e.o.FirstFlush
}

// endLocked begins to close an open session: what is queued is still written, within the given
// time.
func (s *Session) endLocked(reason engine.Reason, within time.Duration) {
	s.state, s.reason = closing, reason
	s.alarms.clear()
	s.alarmLocked(flushDue, s.e.now()+within)
	s.flushLocked()
}

// dropLocked ends the session because of what the client did. Nothing that is queued is written,
// but the client is told of the end if that needs no further request of it.
func (s *Session) dropLocked(reason engine.Reason) {
	if s.state != open || s.ws == nil {
		s.closeLocked(reason, 0)
		return
	}
	s.out.discard()
	s.endLocked(reason, s.flushTimeout())
}

// closeLocked closes the session at once: nothing that is queued is written. A pending poll is
// answered; a client with a websocket has the time linger to answer the close frame.
func (s *Session) closeLocked(reason engine.Reason, linger time.Duration) {
	if s.state == closed {
		return
	}
	if s.state == open {
		s.reason = reason // of a closing session the first reason counts
	}
	s.state, s.out.queue, s.probed = closed, nil, false
	s.stopAlarmsLocked()
	s.signalDrainedLocked()
	if s.poll != nil {
		s.answerPollLocked(batch{packets: []Packet{s.out.lastPacket}})
	}
	if s.pollWrite != nil {
		within := min(s.e.o.WriteTimeout, s.e.o.FlushTimeout)
		_ = s.pollWrite.SetWriteDeadline(time.Now().Add(within))
	}
	if s.postRead != nil {
		_ = s.postRead.SetReadDeadline(past) // where this fails, the body's own deadline ends it
	}
	if s.candidate != nil {
		s.candidate.interrupt(0)
	}
	if s.ws != nil {
		s.ws.interrupt(linger)
	}
	s.link.Closed()
	s.e.unregister(s)
	s.Serialize(func() {
		s.e.o.Logger.Debug("engine: connection ended", "reason", string(s.reason), "cause", s.cause)
		defer s.e.o.Left(s.request)
		s.recv.Closed(s.reason)
	})
}

// Reconnect ends the session in such a way that its client reconnects. With a websocket, what is
// queued is written; with polling only if a poll is pending, because further ones are refused.
func (s *Session) Reconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == open {
		s.endLocked(engine.Shutdown, s.e.o.FlushTimeout)
	}
	if s.ws == nil {
		s.closeLocked(engine.Shutdown, 0)
	}
}

// Evict ends the session at once. Its client sees the transport close, and reconnects. A session
// that is not open yet ends as soon as it is.
func (s *Session) Evict() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.evict = true; s.begun {
		s.closeLocked(engine.Evicted, 0)
	}
}

// Fail ends the session, if it has not ended, because the client broke the protocol.
func (s *Session) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == open {
		s.failLocked(err)
	}
}

func (s *Session) failLocked(err error) {
	if s.state == open {
		s.cause = err
	}
	s.dropLocked(engine.ProtocolError)
}

// TransportFailed ends the session, if it has not ended, because its transport failed.
func (s *Session) TransportFailed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.transportFailedLocked(err)
}

func (s *Session) transportFailedLocked(err error) {
	if s.state == open {
		s.cause = err
	}
	s.closeLocked(engine.TransportClose, 0)
}

// isOpen reports whether the session is open: what the client sends later is ignored.
func (s *Session) isOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == open
}

// Hold counts a goroutine that is about to start. Shutdown waits until Done is called for it.
func (s *Session) Hold() { s.e.tasks.Add(1) }

// Done ends what Hold began.
func (s *Session) Done() { s.e.done() }

// Serialize calls f in another goroutine, while no receiver is being called, and recovers from its
// panics as Contain does.
func (s *Session) Serialize(f func()) {
	s.Hold()
	s.e.workers.Go(workers.Func(func() {
		defer s.Done()
		s.calls.Lock()
		defer s.calls.Unlock()
		s.Contain(f)
	}))
}

var errPanic = errors.New("the receiver panicked")

// Contain calls f, which is code outside this package. A panic in it ends this session instead of
// the process.
func (s *Session) Contain(f func()) {
	defer func() {
		if p := recover(); p != nil {
			s.e.o.Logger.Error("engine: panic", "panic", p, "stack", string(debug.Stack()))
			s.Fail(errPanic)
		}
	}()
	f()
}

// Deliver passes a message to the receiver.
func (s *Session) Deliver(data []byte, binary bool) {
	s.calls.Lock()
	defer s.calls.Unlock()
	if s.isOpen() {
		s.Contain(func() { s.recv.Message(data, binary) })
	}
}

// Leave handles the client's CLOSE. A pending poll is answered with a NOOP; one that has been sent
// but has not arrived still finds the session for a moment.
func (s *Session) Leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.lastPacket = noopPacket
	switch {
	case s.state != open || s.ws != nil || s.poll != nil:
		s.dropLocked(engine.ClientDisconnect)
	default:
		s.out.discard()
		s.endLocked(engine.ClientDisconnect, pollGrace)
	}
}
