// Package deadline calls a function at one time that may be moved, and bounds the time of bodies and of answers.
package deadline

import (
	"sync"
	"time"
)

// Deadline has at most one call ahead. The zero value has none. It is safe for concurrent use.
type Deadline struct {
	mu    sync.Mutex
	timer *time.Timer
}

// Set calls f at the given time, in a goroutine of its own that wg counts from now on, and takes back
// the call that was ahead. f gets the time that it is, and never one before at: the wall clock may
// have been set back since, but that much time has passed. A call that has begun cannot be taken back,
// so f must look whether it still has reason to act.
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

// Stop takes back the call that is ahead, if any.
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
