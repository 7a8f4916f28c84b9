package redisstore

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A clock estimates what a server's clock shows. Each reply says what it showed at some moment
// between the request and the reply, which bounds how far it is ahead of this process's monotonic
// clock. So what is known is right whether this process's wall clock is set meanwhile or not.
type clock struct {
	mu           sync.Mutex
	known        bool
	at           time.Duration // when the bounds were right, since epoch
	heard        time.Duration // when the server replied last, since epoch
	lower, upper time.Duration // the server's Unix time is ahead of the time since epoch by
}

// epoch is what monotonic times of this process are counted from.
var epoch = time.Now()

const (
	// drift is how much faster than the other one of two clocks may go, in parts of a million.
	drift = 500
	// freshFor is for how long an estimate is good enough to stamp tokens: no longer, because the
	// server's clock may be set back.
	freshFor = 10 * time.Second
)

// bounds returns the bounds as they are at a time since epoch.
func (c *clock) bounds(now time.Duration) (lower, upper time.Duration) {
	off := (now - c.at).Abs() / 1_000_000 * drift
	return c.lower - off, c.upper + off
}

// observe notes that the server's clock showed a time, in a reply that was received just now.
func (c *clock) observe(shown time.Time, sent, received time.Duration) {
	unix := time.Duration(shown.UnixMicro()) * time.Microsecond
	c.mu.Lock()
	defer c.mu.Unlock()
	lower, upper := unix-received, unix+time.Microsecond-sent
	if c.known {
		oldLower, oldUpper := c.bounds(received)
		if max(lower, oldLower) <= min(upper, oldUpper) { // if not, the server's clock was set
			lower, upper = max(lower, oldLower), min(upper, oldUpper)
		}
	}
	c.known, c.at, c.heard, c.lower, c.upper = true, received, max(c.heard, received), lower, upper
}

// reading returns what the server's clock showed at t, which may not be in the future: never more
// than it did. fresh is false if the server has not replied for a while, or never.
func (c *clock) reading(t, now time.Time) (shown time.Time, fresh bool) {
	since := now.Sub(epoch)
	c.mu.Lock()
	defer c.mu.Unlock()
	lower, _ := c.bounds(since)
	return time.UnixMicro((t.Sub(epoch) + lower).Microseconds()), c.known && since-c.heard <= freshFor
}

// doubt has the estimate count as old, because another server may have taken over.
func (c *clock) doubt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = time.Since(epoch) - freshFor - time.Hour
}

// doubtClocks is called when a connection has failed. The clock of the server that is there next
// may be behind, and a token that is stamped by the former one's would survive a revocation.
func (s *Store) doubtClocks() {
	for b := range s.clocks {
		s.clocks[b].doubt()
	}
}

// shift returns how far the server's clock is ahead of this process's wall clock: 0 if nothing says
// that they differ. width is how far off that may be.
func (c *clock) shift(now time.Time) (shift, width time.Duration) {
	earliest, latest := wallClock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.known {
		return 0, 0
	}
	lower, upper := c.bounds(now.Sub(epoch))
	lower, upper = lower-latest, upper-earliest
	if lower <= 0 && upper >= 0 {
		return 0, upper - lower
	}
	return (lower + upper) / 2, upper - lower
}

// wallClock returns bounds of how far this process's wall clock is ahead of the time since epoch. A
// time.Time does not say it: its two readings are not made in one step, so on a busy machine the
// second may be many milliseconds later.
func wallClock() (earliest, latest time.Duration) {
	for range 3 {
		before := time.Since(epoch)
		wall := time.Duration(time.Now().UnixNano())
		after := time.Since(epoch)
		earliest, latest = wall-after, wall-before
		if after-before < 20*time.Microsecond {
			break
		}
	}
	return earliest, latest
}

// commonShift is shift for all buckets, if nothing says that their servers' clocks differ.
func (s *Store) commonShift() (shift time.Duration, ok bool) {
	now := s.now()
	var lower, upper time.Duration
	for b := range buckets {
		half, width := s.clockOf(b).shift(now)
		low, high := half-width/2, half+width/2
		if b == 0 || low > lower {
			lower = low
		}
		if b == 0 || high < upper {
			upper = high
		}
	}
	if lower <= 0 && upper >= 0 {
		return 0, true
	}
	return (lower + upper) / 2, lower <= upper
}

// now returns what this process's clock shows.
func (s *Store) now() time.Time { return time.Now().Add(s.ahead) }

// clockOf returns the clock of the server that a bucket is on. Buckets of a cluster have one each,
// because any of them may move to another server.
func (s *Store) clockOf(bucket int) *clock {
	if s.isCluster {
		return &s.clocks[bucket]
	}
	return &s.clocks[0]
}

// observe notes the time that a reply begins with, and returns it. It returns ErrClock if it
// differs too much from this process's.
func (s *Store) observe(bucket int, reply []any, sent time.Time) (now time.Time, err error) {
	received := s.now()
	micros, err := integer(reply, 0)
	if err != nil {
		return now, err
	}
	now = time.UnixMicro(micros)
	c := s.clockOf(bucket)
	c.observe(now, sent.Sub(epoch), received.Sub(epoch))
	if shift, width := c.shift(received); s.o.MaxSkew >= 0 && shift.Abs() > s.o.MaxSkew+width {
		return now, fmt.Errorf("%w: by %s", ErrClock, shift.Round(time.Millisecond))
	}
	return now, nil
}

// stored converts a time of the caller's to the store's clock, and shown does the reverse.
func (s *Store) stored(bucket int, t time.Time) time.Time {
	shift, _ := s.clockOf(bucket).shift(s.now())
	return t.Add(shift)
}

func (s *Store) shown(bucket int, t time.Time) time.Time {
	shift, _ := s.clockOf(bucket).shift(s.now())
	return t.Add(-shift)
}

// Time implements blacklist.Clock.
func (s *Store) Time(ctx context.Context, userID string, t time.Time) (time.Time, error) {
	b := userOf(userID).bucket
	if err := s.ready(ctx, b); err != nil {
		return time.Time{}, err
	}
	shown, fresh := s.clockOf(b).reading(t, s.now())
	state := s.states[b].Load()
	if !fresh || state == nil {
		var err error
		if state, err = s.touch(ctx, b); err != nil {
			return time.Time{}, err
		}
		shown, _ = s.clockOf(b).reading(t, s.now())
	}
	// The first login of all may be a moment older than what remembers it, where there is nothing
	// yet that it could have survived.
	if birth := time.UnixMicro(state.birth); state.isNew() && shown.Before(birth) && birth.Sub(shown) < freshFor {
		if now, _ := s.clockOf(b).reading(s.now(), s.now()); !now.Before(birth) {
			shown = birth
		}
	}
	return shown, nil
}
