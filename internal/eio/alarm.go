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
	heartbeatDue alarm = iota // the client's heartbeat, or the next ping to the client
	joinDue                   // the client is in a namespace
	flushDue                  // the last messages are written
	drainDue                  // a poll takes the answers to a POST
	noopDue                   // the end of a poll that is pending during an upgrade
	alarmCount
)

// alarms are the deadlines of one session, which share one timer. Times are as Engine.now returns
// them; 0 means not set.
type alarms struct {
	due    [alarmCount]time.Duration
	owed   bool          // heartbeatDue is for the client's pong (version 4) or its next ping (version 3)
	unsent bool          // the ping that asks for the pong waits to be written
	joinBy time.Duration // the deadline that JoinBy set last
	timer  *time.Timer
	set    time.Duration // when the timer fires; 0: not set
}

func (a *alarms) clear() { a.due = [alarmCount]time.Duration{} }

// alarmLocked sets a deadline, or clears it if at is 0. A timer that therefore fires too early is
// set again when it does.
func (s *Session) alarmLocked(which alarm, at time.Duration) {
	s.alarms.due[which] = at
	if at > 0 && (s.alarms.set == 0 || at < s.alarms.set) {
		s.setTimerLocked(at)
	}
}

// setTimerLocked sets the timer. Each call of onTimer to come counts as one task of the engine.
func (s *Session) setTimerLocked(at time.Duration) {
	s.alarms.set = at
	wait := at - s.e.now()
	if s.alarms.timer == nil {
		s.e.tasks.Add(1)
		s.alarms.timer = time.AfterFunc(wait, s.onTimer)
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

func (s *Session) onTimer() {
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

// checkAlarmsLocked does what is due. Requests call it too, so that none finds a session that is
// past its deadline.
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
	if due(drainDue) && s.out.writing {
		s.alarmLocked(drainDue, now+s.e.o.WriteTimeout) // a write lasts no longer
	} else if due(drainDue) {
		s.closeLocked(engine.SlowPeer, 0)
	}
	switch {
	case !due(heartbeatDue):
	case !s.alarms.owed:
		s.pingLocked(now)
	case s.out.drained != nil || s.alarms.unsent && s.out.writing:
		// Nothing is read from the client, or the ping has not reached it.
		s.alarmLocked(heartbeatDue, now+s.e.o.PingTimeout)
	default:
		s.closeLocked(engine.PingTimeout, 0)
	}
}

// extendHeartbeatLocked gives a client time to answer after nothing was read from it for a while,
// or after the ping has just been written.
func (s *Session) extendHeartbeatLocked() {
	now, timeout := s.e.now(), s.e.o.PingTimeout
	if s.state == open && s.alarms.owed && s.alarms.due[heartbeatDue] < now+timeout/2 {
		s.alarmLocked(heartbeatDue, now+timeout)
	}
}

// ExpectPing sets the deadline of the client's next ping, in place of which any other packet will
// do. Called before Begin, it selects the heartbeat of version 3.
func (s *Session) ExpectPing() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == open {
		s.alarms.owed = true
		s.alarmLocked(heartbeatDue, s.e.now()+s.e.o.PingInterval+s.e.o.PingTimeout)
	}
}

// PingClient schedules the first ping to the client. Called before Begin, it selects the heartbeat
// of version 4.
func (s *Session) PingClient() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alarmLocked(heartbeatDue, s.e.now()+s.e.o.PingInterval)
}

func (s *Session) pingLocked(now time.Duration) {
	s.alarms.owed, s.alarms.unsent = true, true
	// Count from when the ping was due, so that late timers do not add up; but after a very late
	// one the client still gets half of its time.
	timeout := s.e.o.PingTimeout
	s.alarmLocked(heartbeatDue, max(s.alarms.due[heartbeatDue]+timeout, now+timeout/2))
	if s.queueLocked([]Packet{pingPacket}) == nil {
		s.flushLocked()
	}
}

// Pong handles the client's answer to a ping. Without a ping it changes nothing.
func (s *Session) Pong() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == open && s.alarms.owed {
		s.alarms.owed = false
		// If the pong is prompt, count from when the last ping was due, so that round trips do not
		// add up.
		now, interval := s.e.now(), s.e.o.PingInterval
		next := s.alarms.due[heartbeatDue] - s.e.o.PingTimeout + interval
		if next < now+interval*3/4 {
			next = now + interval
		}
		s.alarmLocked(heartbeatDue, next)
	}
}

// JoinBy ends the session after the given time, unless it is called again with 0 by then. Until
// Trust is called the time counts from the first call, so that a client that leaves its namespace
// has no more of it.
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
	if s.alarms.joinBy == 0 || s.trusted.Load() {
		s.alarms.joinBy = s.e.now() + within
	}
	s.alarmLocked(joinDue, s.alarms.joinBy)
}
