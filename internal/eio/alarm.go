package eio

import (
	"errors"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

var errNoNamespace = errors.New("in no namespace for too long")

// alarm names one of the deadlines of a session.
type alarm int

const (
	heartbeatDue alarm = iota // what the client owes, or the next ping that it is owed
	joinDue                   // the client is in a namespace
	flushDue                  // the last messages are written
	roomDue                   // a poll that makes room for the answers to a POST
	noopDue                   // the end of a poll that is pending during an upgrade
	alarmCount
)

// alarms are the deadlines of one session, served by one timer: as Engine.now has it, 0 is none.
type alarms struct {
	due    [alarmCount]time.Duration
	owed   bool // heartbeatDue is for what the client owes: a pong (version 4), or its next ping (3)
	unsent bool // the ping that it owes an answer to waits to be written
	timer  *time.Timer
	set    time.Duration // when the timer fires; 0: not set
}

func (a *alarms) clear() { a.due = [alarmCount]time.Duration{} }

// alarmLocked sets a deadline, or with 0 clears it. A timer that fires too early as a consequence is set again then.
func (s *Session) alarmLocked(which alarm, at time.Duration) {
	s.alarms.due[which] = at
	if at > 0 && (s.alarms.set == 0 || at < s.alarms.set) {
		s.setTimerLocked(at)
	}
}

// setTimerLocked sets the timer. Each call of ring that is to come is one task of the engine.
func (s *Session) setTimerLocked(at time.Duration) {
	s.alarms.set = at
	wait := at - s.e.now()
	if s.alarms.timer == nil {
		s.e.tasks.Add(1)
		s.alarms.timer = time.AfterFunc(wait, s.ring)
	} else if !s.alarms.timer.Reset(wait) {
		s.e.tasks.Add(1)
	}
}

func (s *Session) stopAlarmsLocked() {
	s.alarms.clear()
	if s.alarms.timer != nil && s.alarms.timer.Stop() {
		s.e.done()
	}
}

// ring is the timer's call.
func (s *Session) ring() {
	defer s.e.done()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alarms.set = 0
	s.checkAlarmsLocked()
	var next time.Duration
	for _, at := range s.alarms.due {
		if at > 0 && (next == 0 || at < next) {
			next = at
		}
	}
	if next > 0 && s.alarms.set == 0 {
		s.setTimerLocked(next)
	}
}

// checkAlarmsLocked does what is due. Requests call it too, so that none finds a session that is past its time.
func (s *Session) checkAlarmsLocked() {
	now := s.e.now()
	due := func(a alarm) bool { return s.alarms.due[a] > 0 && s.alarms.due[a] <= now }
	if due(flushDue) {
		s.closeLocked(s.reason, 0)
	}
	if due(noopDue) {
		s.alarms.due[noopDue] = 0
		if s.poll != nil && s.probed {
			s.answerPollLocked(batch{packets: []Packet{noopPacket}})
		}
	}
	if due(joinDue) {
		s.alarms.due[joinDue] = 0
		s.failLocked(errNoNamespace)
	}
	if due(roomDue) && s.writing {
		s.alarmLocked(roomDue, now+s.e.o.WriteTimeout) // which is as long as that can last
	} else if due(roomDue) {
		s.closeLocked(engine.SlowPeer, 0)
	}
	switch {
	case !due(heartbeatDue):
	case !s.alarms.owed:
		s.pingLocked(now)
	case s.room != nil || s.alarms.unsent && s.writing: // it cannot be heard, or has not been reached
		s.alarmLocked(heartbeatDue, now+s.e.o.PingTimeout)
	default:
		s.closeLocked(engine.PingTimeout, 0)
	}
}

// graceLocked leaves a client that could not be heard for a while, or has just been reached by the ping, time to answer.
func (s *Session) graceLocked() {
	now, timeout := s.e.now(), s.e.o.PingTimeout
	if s.state == open && s.alarms.owed && s.alarms.due[heartbeatDue] < now+timeout/2 {
		s.alarmLocked(heartbeatDue, now+timeout)
	}
}

// Heard moves the deadline of the client's next ping, for which anything else will do: the heartbeat of version 3, if
// it is called before the session begins.
func (s *Session) Heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == open {
		s.alarms.owed = true
		s.alarmLocked(heartbeatDue, s.e.now()+s.e.o.PingInterval+s.e.o.PingTimeout)
	}
}

// PingClient has the client pinged: the heartbeat of version 4, if it is called before the session begins.
func (s *Session) PingClient() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alarmLocked(heartbeatDue, s.e.now()+s.e.o.PingInterval)
}

func (s *Session) pingLocked(now time.Duration) {
	s.alarms.owed, s.alarms.unsent = true, true
	// From when the ping was due, so that a late timer does not add up; but if it was very late the client still gets
	// half of its time.
	timeout := s.e.o.PingTimeout
	s.alarmLocked(heartbeatDue, max(s.alarms.due[heartbeatDue]+timeout, now+timeout/2))
	if s.queueLocked([]Packet{pingPacket}) == nil {
		s.kickLocked()
	}
}

// Pong is the client's answer to a ping. One that nobody asked for changes nothing.
func (s *Session) Pong() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == open && s.alarms.owed {
		s.alarms.owed = false
		// From when the last ping was due, if its pong is prompt, so that its way does not add up either.
		now, interval := s.e.now(), s.e.o.PingInterval
		next := s.alarms.due[heartbeatDue] - s.e.o.PingTimeout + interval
		if next < now+interval*3/4 {
			next = now + interval
		}
		s.alarmLocked(heartbeatDue, next)
	}
}

// JoinBy ends the session unless it is called again, with 0, in the given time. Until Trust was called, that is the time
// since the first call: who leaves has no more of it.
func (s *Session) JoinBy(within time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != open {
		return
	}
	if within == 0 {
		s.alarmLocked(joinDue, 0)
		return
	}
	if s.joinBy == 0 || s.trusted.Load() {
		s.joinBy = s.e.now() + within
	}
	s.alarmLocked(joinDue, s.joinBy)
}
