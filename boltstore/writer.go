package boltstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// batch is how many steps share a transaction at most, which bounds how long the first of them
// waits.
const batch = 512

// errNothing rolls back a transaction in which nothing was written.
var errNothing = errors.New("nothing to write")

// step is one atomic step. It may run more than once, each time in another transaction, and its
// last run counts. It reports whether it has written anything; if it fails, whether it may have.
type step func(tx *bolt.Tx, now time.Time) (changed bool, err error)

// job is a step that waits to be run.
type job struct {
	ctx  context.Context
	step step
	err  error // once done is closed
	done chan struct{}

	mu       sync.Mutex
	over     bool   // done is closed
	deserted func() // what to do then for the caller, who has gone
}

// writer is the one goroutine that writes. While it waits for the disk, steps gather for its next
// transaction.
type writer struct {
	db    *bolt.DB
	over  chan struct{} // the goroutine has ended
	wake  chan struct{}
	heirs sync.WaitGroup // what is done for callers who have gone
	file  *os.File       // bolt's
	fails chan struct{}  // closed once broken is set

	mu     sync.Mutex
	queue  []*job
	closed bool
	broken error // bolt has panicked, and what it has in memory is not to be trusted
	stuck  bool  // and it may hold a lock
}

func newWriter(db *bolt.DB, file *os.File) *writer {
	w := &writer{db: db, file: file, over: make(chan struct{}), wake: make(chan struct{}, 1), fails: make(chan struct{})}
	go w.run()
	return w
}

// do runs the step and returns when it is on disk. If ctx ends before, the step may still be done;
// deserted is then called, in another goroutine.
func (w *writer) do(ctx context.Context, s step, deserted func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &job{ctx: ctx, step: s, done: make(chan struct{})}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return ErrClosed
	}
	w.queue = append(w.queue, j)
	w.mu.Unlock()
	w.nudge()
	select {
	case <-j.done:
		return j.err
	case <-w.fails: // bolt may never come back
		return w.fault()
	case <-ctx.Done():
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.over {
		return j.err
	}
	j.deserted = deserted
	return ctx.Err()
}

func (w *writer) nudge() {
	select {
	case w.wake <- struct{}{}:
	default: // it has been already
	}
}

// finish wakes the caller of a job. If the caller has gone, it does what the caller would have
// done.
func (w *writer) finish(j *job, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.over, j.err = true, err
	if j.deserted != nil && err == nil {
		w.heirs.Go(j.deserted)
	}
	close(j.done)
}

func (w *writer) run() {
	defer close(w.over)
	debug.SetPanicOnFault(true) // of this goroutine alone: a file cut short under us is an error
	for {
		jobs, closed := w.take()
		switch {
		case len(jobs) > 0:
			w.commit(jobs)
		case closed:
			return
		default:
			<-w.wake
		}
	}
}

func (w *writer) take() (jobs []*job, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(len(w.queue), batch)
	jobs, w.queue = w.queue[:n:n], w.queue[n:]
	if len(w.queue) == 0 {
		w.queue = nil // and not the array of all that ever waited
	}
	return jobs, w.closed
}

// commit runs the jobs in one transaction, except those whose callers have gone. If a job fails
// that has written, the jobs before it run again in one transaction and those after it in another,
// so that each runs at most twice.
func (w *writer) commit(jobs []*job) {
	jobs = slices.DeleteFunc(jobs, func(j *job) bool {
		err := j.ctx.Err()
		if err != nil {
			w.finish(j, err)
		}
		return err != nil
	})
	if len(jobs) == 0 {
		return
	}
	failures := make([]error, len(jobs))
	undone, err := w.attempt(jobs, failures)
	if undone >= 0 {
		w.commit(jobs[:undone])
		w.finish(jobs[undone], err)
		w.commit(jobs[undone+1:])
		return
	}
	for n, j := range jobs {
		w.finish(j, cmp.Or(failures[n], err))
	}
}

// attempt runs the jobs in one transaction. failures gets the errors of those that have written
// nothing. If a job fails that has written, all are undone, and undone is its index and err its
// error. Otherwise undone is -1, and err is the result of the transaction.
func (w *writer) attempt(jobs []*job, failures []error) (undone int, err error) {
	if err := w.fault(); err != nil {
		return -1, err
	}
	undone = -1
	var inside *bolt.Tx
	defer func() {
		if r := recover(); r != nil {
			undone, err = -1, w.breaks(r, inside)
		}
	}()
	err = w.db.Update(func(tx *bolt.Tx) error {
		inside = tx
		now := time.Now()
		changed := false
		for n, j := range jobs {
			wrote, err := j.step(tx, now)
			if err != nil && wrote {
				undone = n
				return err
			}
			failures[n], changed = err, changed || wrote
		}
		swept, err := sweep(tx, now, sweepsPerStep*len(jobs))
		if err == nil && !changed && !swept {
			return errNothing
		}
		return err
	})
	if errors.Is(err, errNothing) {
		err = nil
	}
	return undone, err
}

func (w *writer) isStuck() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stuck
}

// fault returns why nothing can be done any more, or nil.
func (w *writer) fault() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.broken
}

// breaks is called after a panic in a transaction; inside is nil if it had not begun. Bolt is not
// called any more from then on, because it may still hold a lock.
func (w *writer) breaks(cause any, inside *bolt.Tx) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stuck = w.stuck || inside == nil || inside.DB() != nil
	if w.broken == nil {
		w.broken = fmt.Errorf("%w: %v", ErrCorrupt, cause)
		close(w.fails)
	}
	return w.broken
}

// close waits for all that has begun, and closes the file.
func (w *writer) close() error {
	w.mu.Lock()
	closed := w.closed
	w.closed = true
	w.mu.Unlock()
	w.nudge()
	if w.isStuck() {
		if !closed {
			_ = w.file.Close() // at least the lock on the file; bolt would wait for its own
		}
		return w.fault()
	}
	<-w.over
	w.heirs.Wait()
	if closed {
		return nil
	}
	return w.db.Close()
}
