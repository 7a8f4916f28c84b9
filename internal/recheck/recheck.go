// Package recheck looks up sessions of which a change may have been missed, and knows up to when
// none was.
package recheck

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// A Queue is the sessions that are still to be looked up. New makes one. It is safe for concurrent
// use.
type Queue struct {
	size, parallel int
	check          func(sessions []string) (unanswered []string)

	mu       sync.Mutex
	waiting  map[string]time.Time // by session, since when a change of it may have been missed
	checking map[string]time.Time // those that are being looked up
	later    map[string]time.Time // those that the store did not answer for, until no others wait
	running  bool
	heard    time.Time // when the store said last that it listens
	hears    bool      // it has said so

	shared  atomic.Bool
	certain atomic.Pointer[time.Time] // every change made before was heard, or seen by a look
}

// New returns a queue from which check is called for up to size sessions, by up to parallel
// goroutines at once. It returns those that the store did not answer for. began is from when on no
// change can have been missed yet.
func New(began time.Time, size, parallel int, check func(sessions []string) (unanswered []string)) *Queue {
	q := &Queue{size: size, parallel: parallel, check: check, waiting: make(map[string]time.Time), later: make(map[string]time.Time), heard: began}
	q.certain.Store(&began)
	return q
}

// Add adds sessions of which a change may have been missed from now on. It reports whether the
// caller must call Run.
func (q *Queue) Add(now time.Time, sessions []string) (run bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.addLocked(now, sessions)
}

// Missed adds all sessions, of which changes may have been missed since the store was heard last.
// It reports whether the caller must call Run.
func (q *Queue) Missed(sessions []string) (run bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.addLocked(q.heard, sessions) // those that wait already do so since before
}

// Gap is Missed at the word of the store, which listens from now on.
func (q *Queue) Gap(now time.Time, sessions []string) (run bool) {
	q.shared.Store(true)
	q.mu.Lock()
	defer q.mu.Unlock()
	run = q.addLocked(q.heard, sessions)
	q.heard, q.hears = now, true
	q.updateLocked()
	return run
}

// Heard records that the store has said that no change was missed until now.
func (q *Queue) Heard(now time.Time) {
	q.shared.Store(true)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.heard, q.hears = now, true
	q.updateLocked()
}

// Shared records that the store is one that processes share, from which something has to be heard.
// Gap and Heard imply it.
func (q *Queue) Shared() { q.shared.Store(true) }

// Silence returns for how long changes may have been missed, by whichever of the wall clock and the
// monotonic clock says more: one of them stands still while the machine or the process does. It is
// zero if the store is not shared.
func (q *Queue) Silence(now time.Time) time.Duration {
	if !q.shared.Load() {
		return 0
	}
	certain := *q.certain.Load()
	return max(0, now.Sub(certain), now.Round(0).Sub(certain.Round(0)))
}

// Hears reports whether the store has said that it listens. It is true if the store is not shared.
func (q *Queue) Hears() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.hears || !q.shared.Load()
}

// Left returns how many sessions are still to be looked up.
func (q *Queue) Left() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) + len(q.checking) + len(q.later)
}

func (q *Queue) addLocked(since time.Time, sessions []string) (run bool) {
	for _, sid := range sessions {
		keep(q.waiting, sid, since)
	}
	run = len(q.waiting) > 0 && !q.running
	q.running = q.running || run
	return run
}

// keep adds a session to a map, or sets its time back.
func keep(sessions map[string]time.Time, sid string, since time.Time) {
	if old, ok := sessions[sid]; !ok || since.Before(old) {
		sessions[sid] = since
	}
}

// updateLocked sets the certain time: when the store was heard last, or since when a session waits.
func (q *Queue) updateLocked() {
	certain := q.heard
	for _, waiting := range [...]map[string]time.Time{q.waiting, q.checking, q.later} {
		for _, since := range waiting {
			if since.Before(certain) {
				certain = since
			}
		}
	}
	if certain.After(*q.certain.Load()) {
		q.certain.Store(&certain)
	}
}

// Run looks up sessions until none is left or ctx ends. Those that the store does not answer for
// come last. As long as it answers for none, Run waits ever longer in between, from pause to a
// minute. It is to be called when another method says so, in a goroutine of its own.
func (q *Queue) Run(ctx context.Context, pause time.Duration) {
	for wait := pause; ; {
		all, done := q.take()
		if done {
			return
		}
		unanswered := q.lookUp(all)
		q.putBack(unanswered)
		if len(unanswered) < len(all) {
			wait = pause
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		wait = min(2*wait, time.Minute)
		q.retry()
	}
}

// take takes as many sessions as are looked up at once, first of all those that have waited
// longest: however often all are added again, each has its turn. It takes none if only those are
// left that the store did not answer for. If none is left at all, it ends Run.
func (q *Queue) take() (sessions []string, done bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting)+len(q.later) == 0 {
		q.running = false
		return nil, true
	}
	n := min(len(q.waiting), q.size*q.parallel)
	sessions = make([]string, 0, n)
	q.checking = make(map[string]time.Time, n)
	takeSome := func(until time.Time) {
		for sid, since := range q.waiting {
			switch {
			case len(sessions) == n:
				return
			case since.After(until):
				continue
			}
			sessions = append(sessions, sid)
			q.checking[sid] = since
			delete(q.waiting, sid)
		}
	}
	var first, last time.Time
	for _, since := range q.waiting {
		if first.IsZero() || since.Before(first) {
			first = since
		}
		if since.After(last) {
			last = since
		}
	}
	takeSome(first)
	takeSome(last)
	return sessions, false
}

// retry has those sessions looked up again that the store did not answer for.
func (q *Queue) retry() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for sid, since := range q.later {
		keep(q.waiting, sid, since)
	}
	clear(q.later)
}

// lookUp looks up sessions, several parts of them at once, and returns those that the store did not
// answer for.
func (q *Queue) lookUp(sessions []string) (unanswered []string) {
	// Few sessions are spread too, so that none waits for the one before it.
	size := min(q.size, (len(sessions)+q.parallel-1)/q.parallel)
	var mu sync.Mutex
	var parts sync.WaitGroup
	for len(sessions) > 0 {
		part := sessions[:min(size, len(sessions))]
		sessions = sessions[len(part):]
		parts.Go(func() {
			rest := q.check(part)
			mu.Lock()
			defer mu.Unlock()
			unanswered = append(unanswered, rest...)
		})
	}
	parts.Wait()
	return unanswered
}

// putBack ends what take began.
func (q *Queue) putBack(unanswered []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, sid := range unanswered {
		keep(q.later, sid, q.checking[sid])
	}
	q.checking = nil
	q.updateLocked()
}
