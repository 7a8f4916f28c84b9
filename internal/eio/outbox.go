package eio

import (
	"errors"
	"net"
	"slices"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

// outbox holds what is to be written to one client. Its owner's lock guards it.
//
// There is at most one writer, which has taken a batch. No other batch is taken before that one is
// written or requeued, so that packets stay in order across transports and what is counted as
// waiting includes what is being written.
type outbox struct {
	queue      []Packet
	pong       *Packet       // the latest: it answers earlier pings too (RFC 6455 section 5.5.3)
	waiting    int           // the cost of queue and of what is being written
	inFlight   int           // the part of waiting that is being written
	writing    bool          // a batch has been taken and is neither written nor requeued
	drained    chan struct{} // closed when little is waiting again; nil if nothing waits for it
	lastPacket Packet        // ends the last poll
	lastTaken  bool          // the batch that ends the session has been taken
	flushed    time.Duration // when Flush last wrote something, as Engine.now returns it
}

// batch is what one writer writes in one go.
type batch struct {
	packets    []Packet
	b64        bool     // binary data is written as text
	last       bool     // it ends the session, after these packets
	lastPacket Packet   // what a poll gets that ends the session
	queued     bool     // it was taken from the queue, so that the writer must call wroteLocked
	refusal    *Refusal // if not nil, a poll gets this instead
	ping       bool     // it contains the ping that the client has to answer
}

// empty reports whether there is nothing to take.
func (o *outbox) empty() bool { return len(o.queue) == 0 && o.pong == nil }

// add appends packets to the queue. It keeps the slice, which may be shared, without changing it.
func (o *outbox) add(packets []Packet) {
	o.waiting += cost(packets)
	if len(o.queue) == 0 {
		o.queue = slices.Clip(packets)
	} else {
		o.queue = append(o.queue, packets...)
	}
}

// take returns what is queued as one batch, for a writer to begin. If the session is closing, the
// batch is its last one, except that with polling the end is a batch of its own: clients act on a
// CLOSE at once, but on the messages that came with it a moment later, and by then ignore them.
func (o *outbox) take(closing, polling bool) batch {
	if o.pong != nil {
		o.queue, o.pong = append(o.queue, *o.pong), nil
	}
	b := batch{packets: o.queue, lastPacket: o.lastPacket, queued: true}
	b.last = closing && (!polling || len(o.queue) == 0)
	o.queue, o.inFlight, o.writing, o.lastTaken = nil, o.waiting, true, b.last
	return b
}

// wrote ends what take began.
func (o *outbox) wrote() {
	o.writing = false
	o.waiting -= o.inFlight
	o.inFlight = 0
}

// stopWriting ends what take began when nothing was written.
func (o *outbox) stopWriting() { o.writing, o.lastTaken, o.inFlight = false, false, 0 }

// discard removes what is queued. What is being written stays.
func (o *outbox) discard() {
	o.queue = nil
	o.waiting = o.inFlight
}

// signalDrained wakes who waits for drained and reports whether there was anybody.
func (o *outbox) signalDrained() bool {
	if o.drained == nil {
		return false
	}
	close(o.drained)
	o.drained = nil
	return true
}

// CloseAfter ends the session once what is queued, followed by last, has been written, or after
// FlushTimeout.
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
	s.out.add(packets)
	if s.out.waiting > s.maxQueue() {
		s.closeLocked(engine.SlowPeer, 0)
		return engine.ErrSlow
	}
	return nil
}

// unwrittenLocked reports whether there is something to write: packets, or the end.
func (s *Session) unwrittenLocked() bool {
	switch {
	case !s.begun:
	case s.state == open:
		return !s.out.empty()
	case s.state == closing:
		return !s.out.lastTaken
	}
	return false
}

// takeLocked takes the queue. The caller writes it and calls wroteLocked.
func (s *Session) takeLocked() batch {
	b := s.out.take(s.state == closing, s.ws == nil)
	b.b64, b.ping = s.b64, s.alarms.unsent
	return b
}

// wroteLocked ends what takeLocked began.
func (s *Session) wroteLocked(b batch, err error) {
	if b.ping {
		s.alarms.unsent = false
		if s.ws != nil {
			s.extendHeartbeatLocked()
		}
	}
	s.out.wrote()
	if s.out.waiting <= s.lowWater() {
		s.signalDrainedLocked()
	}
	switch {
	case s.state == closed:
	case err != nil && isTimeout(err):
		s.closeLocked(engine.SlowPeer, 0)
	case err != nil:
		s.transportFailedLocked(err)
	case s.out.lastTaken:
		s.closeLocked(s.reason, lingerTimeout)
	}
}

// requeue puts back a batch that was taken and not written.
func (s *Session) requeue(b batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requeueLocked(b)
}

func (s *Session) requeueLocked(b batch) {
	s.out.stopWriting()
	if s.state != closed {
		s.out.queue = append(b.packets, s.out.queue...)
		s.flushLocked()
	}
}

// maxQueue returns how much may wait for the client before the session is closed.
func (s *Session) maxQueue() int {
	if s.trusted.Load() {
		return s.e.o.MaxQueue
	}
	return s.e.o.FirstQueue
}

// lowWater returns how much may wait for the client while more is read from it.
func (s *Session) lowWater() int { return s.maxQueue() / 2 }

// awaitDrained waits until little is waiting for the client, so that no client is closed as slow
// for the answers to messages it sent in quick succession. Nothing is read from the client
// meanwhile, so its heartbeat is not due. The wait is bounded: a write to a websocket has a
// deadline, and with polling there is an alarm.
func (s *Session) awaitDrained() {
	s.mu.Lock()
	if s.state != open || s.out.waiting <= s.lowWater() {
		s.mu.Unlock()
		return
	}
	drained := make(chan struct{})
	s.out.drained = drained
	if s.ws == nil {
		s.alarmLocked(drainDue, s.e.now()+s.e.o.WriteTimeout)
	}
	s.mu.Unlock()
	<-drained
}

func (s *Session) signalDrainedLocked() {
	if s.out.signalDrained() && s.state == open {
		s.alarmLocked(drainDue, 0)
		s.extendHeartbeatLocked()
	}
}

func isTimeout(err error) bool {
	var network net.Error // a wrapped connection may hide os.ErrDeadlineExceeded
	return errors.As(err, &network) && network.Timeout()
}
