package redisstore

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// Watch implements blacklist.Store. Changes come by pub/sub, which may lose messages without an
// error. So each bucket counts its changes, and Watch compares the counters with what it has heard.
// A Gap is sent
//
//   - first of all, and after each new subscription;
//   - if a number is left out between two messages of a bucket;
//   - if a counter in Redis is ahead of what was heard, for the time from one poll to the next;
//   - if a counter has gone back, because Redis has lost its last writes.
//
// While Redis can be reached, a change is heard, or a Gap, within twice Options.Poll. Changes are
// hints (Change.Hint), since anybody who can reach Redis may publish, except those of a token that
// this process has decided itself. A function that is so slow that too much waits for it gets a
// Gap.
//
// Watch returns an error only if Redis refuses the subscription, or the store was closed. As long
// as Redis cannot be reached, it tries again.
func (s *Store) Watch(ctx context.Context, fn func(blacklist.Change)) error {
	if ctx.Err() != nil {
		return nil
	}
	w := &watcher{
		inbox:  newInbox(fn, func() { fn(blacklist.Change{Gap: true}) }),
		failed: make(chan error, 1),
	}
	if err := s.join(w); err != nil {
		return err
	}
	defer s.leave(w)
	select {
	case <-ctx.Done():
		return nil
	case err := <-w.failed:
		return err
	case <-s.bus.life.Done():
		return errClosed
	}
}

// watcher is one call of Watch.
type watcher struct {
	inbox  *inbox[blacklist.Change]
	failed chan error
	begun  bool // it has got its first Gap; guarded by watch.mu
}

// watching are the calls of Watch, which share what they hear.
type watching struct {
	mu      sync.Mutex
	current *watch // nil: nobody watches
}

// watch is what the store hears of changes while somebody watches.
type watch struct {
	store    *Store
	listener *listener
	stop     context.CancelFunc
	wake     chan struct{} // a poll is due at once
	anew     chan struct{} // the same, because of a new subscription

	mu       sync.Mutex
	watchers []*watcher
	counts   counts
	since    int  // the number of the subscription
	on       bool // subscribed
	told     bool // a Gap was sent since the last subscription
}

func (s *Store) join(w *watcher) error {
	s.watching.mu.Lock()
	defer s.watching.mu.Unlock()
	if c := s.watching.current; c != nil {
		c.add(w)
		return nil
	}
	ctx, stop := context.WithCancel(s.bus.life)
	c := &watch{store: s, stop: stop, wake: make(chan struct{}, 1), anew: make(chan struct{}, 1), watchers: []*watcher{w}}
	c.listener = &listener{message: c.message, subscribed: c.subscribed, pong: c.pong, refused: c.refused}
	if err := s.bus.add(s.channel(), c.listener); err != nil {
		stop()
		return err
	}
	s.watching.current = c
	s.own.watch(true)
	s.bus.goes(func() { c.poll(ctx) })
	return nil
}

func (s *Store) leave(w *watcher) {
	s.watching.mu.Lock()
	if c := s.watching.current; c != nil && c.remove(w) {
		s.watching.current = nil
		s.own.watch(false)
		c.stop()
		s.bus.remove(s.channel(), c.listener)
	}
	s.watching.mu.Unlock()
	w.inbox.end()
}

// add has one more watcher hear. If that is so at once, so is its first Gap.
func (c *watch) add(w *watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers = append(c.watchers, w)
	if c.told {
		w.begun = true
		w.inbox.putGap()
	}
}

// remove reports whether nobody is left.
func (c *watch) remove(w *watcher) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers = slices.DeleteFunc(c.watchers, func(other *watcher) bool { return other == w })
	return len(c.watchers) == 0
}

// tell passes a change on to those who have had their first Gap.
func (c *watch) tell(change blacklist.Change) {
	for _, w := range c.watchers {
		if w.begun {
			w.inbox.put(change, len(change.UserID)+len(change.SessionID)+len(change.Except)+len(change.TokenID)+64)
		}
	}
}

// gap sends a Gap to all.
func (c *watch) gap() {
	c.told = true
	for _, w := range c.watchers {
		w.begun = true
		w.inbox.putGap()
	}
}

// subscribed notes a new subscription. What has happened before it may be lost.
func (c *watch) subscribed(bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since++
	c.on, c.told = true, false
	c.counts = counts{}
	c.pollNow()
	select {
	case c.anew <- struct{}{}:
	default:
	}
}

func (c *watch) refused(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.watchers {
		select {
		case w.failed <- err:
		default:
		}
	}
}

// message hears what was published on the store's channel. What is no message of the store is
// ignored: a change that is hidden in it shows by its counter.
func (c *watch) message(payload string) {
	m, err := parseMessage(payload)
	if err != nil {
		return
	}
	c.store.heard(m)
	c.mu.Lock()
	defer c.mu.Unlock()
	fits := true
	if m.all {
		for b, n := range m.counters {
			fits = c.counts.heard(b, n) && fits
		}
	} else {
		fits = c.counts.heard(m.bucket, m.counter)
	}
	if !fits {
		c.pollNow()
	}
	m.change.Hint = !c.store.own.take(said(payload))
	c.tell(m.change)
	if c.counts.certain() && c.told {
		c.tell(blacklist.Change{})
	}
}

// pong hears a sign of life, and with it that all was heard which Redis had sent before.
func (c *watch) pong(ping uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts.pong(ping) && c.told {
		c.tell(blacklist.Change{})
	}
}

func (c *watch) pollNow() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// poll compares what was heard with what Redis has counted, until ctx ends.
func (c *watch) poll(ctx context.Context) {
	interval := c.store.o.Poll * 4 / 5 // what is not heard at one poll is noticed at the next
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-c.wake:
		}
		select {
		case <-c.anew:
		default:
		}
		gap := c.compare(ctx)
		c.store.own.age()
		// Whoever can publish must not be able to have it polled all the time, and even less to
		// have all sessions looked up, which is what follows a Gap.
		sleep(ctx, min(interval/8, 50*time.Millisecond))
		if gap {
			c.rest(ctx, interval)
		}
	}
}

// compareTimeout is how long it may take to say again what Redis may have lost, and to read the
// counters.
const compareTimeout = 5 * time.Second

// compare reports whether it has sent a Gap.
func (c *watch) compare(ctx context.Context) (gap bool) {
	c.mu.Lock()
	on, since, fresh := c.on, c.since, !c.counts.known
	before := c.counts.last
	c.mu.Unlock()
	if !on {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, compareTimeout)
	defer cancel()
	var err error
	if fresh {
		err = c.store.subscribed(ctx)
	}
	var read [buckets]int64
	if err == nil {
		read, err = c.store.counters(ctx)
	}
	fence := uint64(0)
	if err == nil {
		fence = c.store.bus.fence()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case since != c.since: // there is another poll to come
	case err != nil:
		if gap = !c.told; gap {
			c.gap() // they hear from now on, but no sign that it is all
		}
	default:
		switch c.counts.compare(&before, &read, fence) {
		case baseline, skipped:
			c.gap()
			gap = true
		case lost:
			// There may be more that this connection does not hear. With a new one comes a Gap.
			c.store.bus.reconnect()
		case back:
			c.counts = counts{}
			c.pollNow()
		}
	}
	return gap
}

// rest waits, but not if there is a new subscription.
func (c *watch) rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-c.anew:
	}
}
