// Package deadline has a timer that can be moved, sets deadlines for the bodies of requests and for
// answers, and waits for goroutines until a deadline.
package deadline

import (
	"context"
	"sync"
	"time"
)

// Deadline is a timer with at most one pending call. The zero value has none. It is safe for
// concurrent use.
type Deadline struct {
	mu    sync.Mutex
	timer *time.Timer
}

// Set calls f at the given time, in a goroutine of its own that wg counts from now on. It cancels a
// pending call. f gets the current time, but never one before at: the wall clock may have been set
// back since, but that much time has passed. A call that has begun cannot be cancelled, so f has to
// check whether there is still something to do.
func (d *Deadline) Set(wg *sync.WaitGroup, at time.Time, f func(now time.Time)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stop(wg)
	wg.Add(1)
	d.timer = time.AfterFunc(time.Until(at), func() {
		defer wg.Done()
		f(later(time.Now(), at))
	})
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// Stop cancels the pending call, if there is one.
func (d *Deadline) Stop(wg *sync.WaitGroup) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stop(wg)
}

func (d *Deadline) stop(wg *sync.WaitGroup) {
	if d.timer != nil && d.timer.Stop() {
		wg.Done()
	}
	d.timer = nil
}

// Wait waits for a group or for the end of ctx, and returns the error of ctx.
func Wait(ctx context.Context, wg *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
