package eio

import (
	"errors"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/engine"
)

// Receiver hears what one Engine.IO session does. Its methods are called one at a time and with no lock of the
// session's state held, so they may call the session.
type Receiver interface {
	// Message is one message of the client, valid UTF-8 unless it is binary. It owns data.
	Message(data []byte, binary bool)

	// Closed is the last call, made exactly once.
	Closed(reason engine.Reason)
}

// Session is one Engine.IO connection, over whichever transport.
//
// Its life is open, closing, closed. While it is closing, what waits is written and what comes is dropped. There is
// at most one writer: whoever set writing took the queue, and nobody takes more until that is written, so that order
// holds across transports and what is counted as waiting includes what is being written.
type Session struct {
	e       *Engine
	link    Link
	id      string
	request any // what Describe made of the first request
	trusted atomic.Bool

	// turn is whose turn it is to call recv, and no more than that: nothing a receiver can call takes it.
	turn sync.Mutex
	recv Receiver

	mu     sync.Mutex
	state  state
	begun  bool          // accept was told; nothing is written before
	evict  bool          // the end is due as soon as it has begun
	reason engine.Reason // why, once it is not open
	cause  error         // what there is to log beside it
	alarms alarms
	joinBy time.Duration // what JoinBy has said last

	queue    []Packet
	pong     *Packet       // the last that waits: it answers the pings before it too (RFC 6455 section 5.5.3)
	waiting  int           // cost of the queue and of what is being written
	inFlight int           // of that, what is being written
	writing  bool          // someone is
	room     chan struct{} // closed when less is waiting; nil: nobody waits for that
	farewell Packet        // ends the last poll
	finished bool          // the farewell, or the close frame, was given to the writer

	ws        *websocket.Conn          // nil while polling is the transport
	candidate *websocket.Conn          // the websocket that may become it
	probed    bool                     // candidate has said "2probe"
	poll      *poll                    // the pending one
	posting   bool                     // a POST is being read or handled
	answer    *http.ResponseController // of the poll whose answer is being written
	body      *http.ResponseController // of the POST whose body is being read
	b64       bool                     // the transport's client takes no binary frames
}

type state uint8

const (
	open state = iota
	closing
	closed
)

// newSession makes a session for its link to open.
func (e *Engine) newSession(request any) *Session {
	s := &Session{e: e, request: request, recv: nobody{}, farewell: closePacket}
	s.link = e.protocol.NewLink(s)
	return s
}

// Begin tells accept of the session, and then begins to write: OPEN before whatever accept has sent. With b64 the client
// takes binary data only as text.
func (s *Session) Begin(id string, open Packet, b64 bool) {
	s.turn.Lock()
	defer s.turn.Unlock()
	s.mu.Lock()
	s.id, s.b64, s.queue = id, b64, []Packet{open}
	evict := s.evict
	s.mu.Unlock()
	registered := !evict && s.e.register(s)
	if registered {
		s.Contain(func() { s.recv = s.e.accept(s) })
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.evict:
		s.closeLocked(engine.Evicted, 0)
	case !registered:
		s.closeLocked(engine.Shutdown, 0)
	}
	s.begun = true
	s.kickLocked()
}

// nobody stands in for the receiver until accept has named it.
type nobody struct{}

func (nobody) Message([]byte, bool) {}
func (nobody) Closed(engine.Reason) {}

// Options are the engine's.
func (s *Session) Options() *engine.Options { return &s.e.o }

// Request is what Describe made of the first request.
func (s *Session) Request() any { return s.request }

// Trust lifts the limits that are for clients of whom nothing is known.
func (s *Session) Trust() { s.trusted.Store(true) }

// MaxPayload is how long a message of the client may be now.
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

// Send queues packets that belong together, and must not be changed afterwards. Errors: engine.ErrClosed,
// engine.ErrSlow, engine.ErrTooLarge.
func (s *Session) Send(packets ...Packet) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == open && cost(packets) > s.maxQueue() {
		return engine.ErrTooLarge
	}
	if err := s.queueLocked(packets); err != nil {
		return err
	}
	s.kickLocked()
	return nil
}

// CloseAfter ends the session once what waits, and last after it, is written, or FlushTimeout is over.
func (s *Session) CloseAfter(last ...Packet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queueLocked(last) == nil {
		s.endLocked(engine.ServerDisconnect, s.flushTimeout())
	}
}

func (s *Session) queueLocked(packets []Packet) error {
	if s.state != open {
		return engine.ErrClosed
	}
	s.waiting += cost(packets)
	s.queue = append(s.queue, packets...)
	if s.waiting > s.maxQueue() {
		s.closeLocked(engine.SlowPeer, 0)
		return engine.ErrSlow
	}
	return nil
}

// kickLocked hands the queue to a writer, if there is something to write and someone who can.
func (s *Session) kickLocked() {
	switch {
	case s.writing || !s.unwrittenLocked():
	case s.ws != nil:
		s.writing = true
		s.Hold()
		go s.writeLoop(s.ws)
	case s.poll != nil:
		s.answerPollLocked(s.takeLocked())
	}
}

// unwrittenLocked says whether there is something to write: packets, or the end.
func (s *Session) unwrittenLocked() bool {
	switch {
	case !s.begun:
	case s.state == open:
		return len(s.queue) > 0 || s.pong != nil
	case s.state == closing:
		return !s.finished
	}
	return false
}

// batch is what one writer writes in one go.
type batch struct {
	packets  []Packet
	b64      bool     // binary data as text
	last     bool     // it ends the session, after these packets
	farewell Packet   // for a poll that does
	queued   bool     // it was taken from the queue, so that the writer owes a wroteLocked
	refusal  *Refusal // for a poll: this instead
	ping     bool     // it holds the ping that the client has to answer
}

// takeLocked takes the queue. The caller writes it and calls wroteLocked. With polling the end is a batch of its own:
// clients handle a CLOSE at once, but messages that came with it a moment later, and then no more.
func (s *Session) takeLocked() batch {
	if s.pong != nil {
		s.queue, s.pong = append(s.queue, *s.pong), nil
	}
	b := batch{packets: s.queue, farewell: s.farewell, b64: s.b64, ping: s.alarms.unsent, queued: true}
	b.last = s.state == closing && (s.ws != nil || len(s.queue) == 0)
	s.queue, s.inFlight, s.writing = nil, s.waiting, true
	s.finished = b.last
	return b
}

// wroteLocked ends what takeLocked began.
func (s *Session) wroteLocked(b batch, err error) {
	s.writing = false
	if b.ping {
		s.alarms.unsent = false
		if s.ws != nil {
			s.graceLocked()
		}
	}
	s.waiting -= s.inFlight
	s.inFlight = 0
	if s.waiting <= s.roomLimit() {
		s.makeRoomLocked()
	}
	switch {
	case s.state == closed:
	case isTimeout(err):
		s.closeLocked(engine.SlowPeer, 0)
	case err != nil:
		s.lostLocked(err)
	case s.finished:
		s.closeLocked(s.reason, lingerTimeout)
	}
}

// roomLimit is how much may be waiting for a client that is still heard.
func (s *Session) roomLimit() int { return s.maxQueue() / 2 }

// maxQueue is how much may wait for the client at all.
func (s *Session) maxQueue() int {
	if s.trusted.Load() {
		return s.e.o.MaxQueue
	}
	return s.e.o.FirstQueue
}

// awaitRoom waits until less is waiting for the client, so that none is dropped as slow for the answers to what it
// sent in a hurry. What it says meanwhile is not heard, so its heartbeat is not due. The wait is bounded: a websocket is
// being written to, and with polling there is an alarm.
func (s *Session) awaitRoom() {
	s.mu.Lock()
	if s.state != open || s.waiting <= s.roomLimit() {
		s.mu.Unlock()
		return
	}
	room := make(chan struct{})
	s.room = room
	if s.ws == nil {
		s.alarmLocked(roomDue, s.e.now()+s.e.o.WriteTimeout)
	}
	s.mu.Unlock()
	<-room
}

func (s *Session) makeRoomLocked() {
	if s.room == nil {
		return
	}
	close(s.room)
	s.room = nil
	if s.state == open {
		s.alarmLocked(roomDue, 0)
		s.graceLocked()
	}
}

func isTimeout(err error) bool {
	var network net.Error // gorilla hides os.ErrDeadlineExceeded
	return errors.As(err, &network) && network.Timeout()
}

// giveBack returns what was taken and not written.
func (s *Session) giveBack(b batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveBackLocked(b)
}

func (s *Session) giveBackLocked(b batch) {
	s.writing, s.finished, s.inFlight = false, false, 0
	if s.state != closed {
		s.queue = append(b.packets, s.queue...)
		s.kickLocked()
	}
}

// endLocked begins the end of an open session: what waits is still written, in the given time.
func (s *Session) endLocked(reason engine.Reason, within time.Duration) {
	s.state, s.reason = closing, reason
	s.alarms.clear()
	s.alarmLocked(flushDue, s.e.now()+within)
	s.kickLocked()
}

// dropLocked ends the session for what the client did. Nothing that waits is written, but the client is told of the
// end if that needs no further request of it.
func (s *Session) dropLocked(reason engine.Reason) {
	if s.state != open || s.ws == nil {
		s.closeLocked(reason, 0)
		return
	}
	s.queue = nil
	s.waiting = s.inFlight
	s.endLocked(reason, s.flushTimeout())
}

// closeLocked makes an end at once: nothing that waits is written. A pending poll is told; a websocket is given linger
// to answer the close frame.
func (s *Session) closeLocked(reason engine.Reason, linger time.Duration) {
	if s.state == closed {
		return
	}
	if s.state == open {
		s.reason = reason // of a closing one the first reason counts
	}
	s.state, s.queue, s.probed = closed, nil, false
	s.stopAlarmsLocked()
	s.makeRoomLocked()
	if s.poll != nil {
		s.answerPollLocked(batch{packets: []Packet{s.farewell}})
	}
	if s.answer != nil {
		_ = s.answer.SetWriteDeadline(time.Now().Add(min(s.e.o.WriteTimeout, s.e.o.FlushTimeout)))
	}
	if s.body != nil {
		s.body.SetReadDeadline(past) // where that cannot be done, the body's own deadline ends it
	}
	if s.candidate != nil {
		interrupt(s.candidate, 0)
	}
	if s.ws != nil {
		interrupt(s.ws, linger)
	}
	s.link.Closed()
	s.e.unregister(s)
	s.InTurn(func() {
		s.e.o.Logger.Debug("engine: connection ended", "reason", string(s.reason), "cause", s.cause)
		defer s.e.o.Left(s.request)
		s.recv.Closed(s.reason)
	})
}

// shutdown ends the session so that its client comes back: with a websocket what waits is written, with polling only
// if a poll is pending, since further ones are refused.
func (s *Session) shutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == open {
		s.endLocked(engine.Shutdown, s.e.o.FlushTimeout)
	}
	if s.ws == nil {
		s.closeLocked(engine.Shutdown, 0)
	}
}

// Evict ends the session at once, so that its client sees a transport close and comes back by itself. One that is not
// open yet ends as soon as it is.
func (s *Session) Evict() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.evict = true; s.begun {
		s.closeLocked(engine.Evicted, 0)
	}
}

// Fail ends the session, if it has not ended, since the client broke the protocol.
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

// Lost ends the session, if it has not ended, since its transport failed.
func (s *Session) Lost(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lostLocked(err)
}

// lostLocked ends the session since its transport failed.
func (s *Session) lostLocked(err error) {
	if s.state == open {
		s.cause = err
	}
	s.closeLocked(engine.TransportClose, 0)
}

// isOpen says whether what the client sends still counts.
func (s *Session) isOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == open
}

// Hold counts a goroutine that is about to begin, for which Shutdown waits.
func (s *Session) Hold() { s.e.tasks.Add(1) }

// Done ends what Hold began.
func (s *Session) Done() { s.e.done() }

// InTurn calls f, contained and on a goroutine of its own, when no receiver is being called.
func (s *Session) InTurn(f func()) {
	s.Hold()
	go func() {
		defer s.Done()
		s.turn.Lock()
		defer s.turn.Unlock()
		s.Contain(f)
	}()
}

var errPanic = errors.New("panic of whoever heard of it")

// Contain calls f, which is not ours. If it panics, that is the end of this session, not of the process.
func (s *Session) Contain(f func()) {
	defer func() {
		if p := recover(); p != nil {
			s.e.o.Logger.Error("engine: panic", "panic", p, "stack", string(debug.Stack()))
			s.Fail(errPanic)
		}
	}()
	f()
}

// Deliver gives a message to the receiver.
func (s *Session) Deliver(data []byte, binary bool) {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.isOpen() {
		s.Contain(func() { s.recv.Message(data, binary) })
	}
}

// Leave is the client's CLOSE. Its pending poll is answered with a NOOP; one that is still on its way finds the
// session for a moment longer.
func (s *Session) Leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.farewell = noopPacket
	switch {
	case s.state != open || s.ws != nil || s.poll != nil:
		s.dropLocked(engine.ClientDisconnect)
	default:
		s.queue = nil
		s.waiting = s.inFlight
		s.endLocked(engine.ClientDisconnect, pollGrace)
	}
}
