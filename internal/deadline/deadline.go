// Package deadline has deadlines that share a timer, sets deadlines for the bodies of requests and
// for answers, and waits for goroutines until a deadline.
package deadline

import (
	"context"
	"sync"
	"time"
)

// Queue has deadlines and calls a function for each that has passed. All of them share one timer.
// It must not be copied, and is safe for concurrent use.
type Queue[T any] struct {
	call  func(value T, now time.Time)
	work  *sync.WaitGroup
	start time.Time // due counts from here, so that it does not depend on the wall clock

	mu    sync.Mutex
	heap  []slot[T] // the earliest first: a parent is never later than its four children
	timer *time.Timer
	set   time.Duration // when the timer fires, while it runs
	runs  bool          // the timer runs
}

// Entry is a deadline of a queue, which can be moved. The zero value, with Value set, is not set.
type Entry[T any] struct {
	Value T // what the queue calls its function with; it must not change

	// Guarded by the queue's lock.
	at    time.Time     // what it is set to
	due   time.Duration // the same, from the start of the queue
	index int           // of its slot, plus 1; 0 if it is not set
}

// slot is an entry's place in the heap.
type slot[T any] struct {
	entry *Entry[T]
	key   time.Duration // due, or earlier if the entry was moved since
}

// NewQueue returns an empty queue that calls call for each deadline that has passed, in a goroutine
// of its own. work counts the entries that are set, and the calls. call gets the current time, but
// never one before the deadline: the wall clock may have been set back since, but that much time
// has passed. A call that has begun cannot be cancelled, so it has to check whether there is still
// something to do.
func NewQueue[T any](work *sync.WaitGroup, call func(value T, now time.Time)) *Queue[T] {
	return &Queue[T]{call: call, work: work, start: time.Now()}
}

// Set sets a deadline, or moves it.
func (q *Queue[T]) Set(e *Entry[T], at time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.index > 0 && e.at.Equal(at) {
		return
	}
	now := time.Now()
	e.at, e.due = at, now.Sub(q.start)+min(at.Sub(now), maxWait)
	switch n := e.index - 1; {
	case n < 0:
		q.work.Add(1)
		q.heap = append(q.heap, slot[T]{e, e.due})
		q.up(len(q.heap) - 1)
	case e.due < q.heap[n].key:
		q.heap[n].key = e.due
		q.up(n)
	}
	// One that has become later keeps its slot until the timer fires for it.
	q.arm(now)
}

// Stop cancels a deadline, if it is set.
func (q *Queue[T]) Stop(e *Entry[T]) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.index == 0 {
		return
	}
	q.remove(e.index - 1)
	q.work.Done()
	if len(q.heap) == 0 && q.runs && q.timer.Stop() {
		q.runs = false
		q.work.Done()
	}
}

// arm has the timer fire when the first entry is due, or earlier.
func (q *Queue[T]) arm(now time.Time) {
	if len(q.heap) == 0 {
		return
	}
	first := q.heap[0].key
	if q.runs && q.set <= first {
		return
	}
	wait := first - now.Sub(q.start)
	switch {
	case q.timer == nil:
		q.work.Add(1)
		q.timer = time.AfterFunc(wait, q.fire)
	case !q.timer.Reset(wait):
		q.work.Add(1)
	}
	q.runs, q.set = true, first
}

// fire calls the function for what is due, and sets the timer again.
func (q *Queue[T]) fire() {
	defer q.work.Done()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.runs = false
	now := time.Now()
	for passed := now.Sub(q.start); len(q.heap) > 0 && q.heap[0].key <= passed; {
		e := q.heap[0].entry
		if e.due > passed { // it was moved
			q.heap[0].key = e.due
			q.down(0)
			continue
		}
		q.remove(0)
		value, at := e.Value, later(now, e.at)
		go func() {
			defer q.work.Done() // for the entry
			q.call(value, at)
		}()
	}
	q.arm(now)
}

// remove takes the entry with an index out of the heap.
func (q *Queue[T]) remove(n int) {
	q.heap[n].entry.index = 0
	end := len(q.heap) - 1
	moved := q.heap[end]
	q.heap[end] = slot[T]{}
	if q.heap = q.heap[:end]; n < end {
		q.heap[n] = moved
		q.down(n)
		q.up(moved.entry.index - 1)
	}
	if room := cap(q.heap); room > minRoom && end <= room/4 {
		q.heap = append(make([]slot[T], 0, room/2), q.heap...)
	}
}

const (
	children = 4       // of a slot
	minRoom  = 64      // a heap with room for as many entries is not made smaller
	maxWait  = 1 << 62 // 146 years; what is later is called then
)

// up moves a slot up to where it belongs.
func (q *Queue[T]) up(n int) {
	moved := q.heap[n]
	for n > 0 {
		parent := (n - 1) / children
		if q.heap[parent].key <= moved.key {
			break
		}
		q.put(n, q.heap[parent])
		n = parent
	}
	q.put(n, moved)
}

// down moves a slot down to where it belongs.
func (q *Queue[T]) down(n int) {
	moved := q.heap[n]
	for {
		least := n
		key := moved.key
		for c := n*children + 1; c <= n*children+children && c < len(q.heap); c++ {
			if q.heap[c].key < key {
				least, key = c, q.heap[c].key
			}
		}
		if least == n {
			break
		}
		q.put(n, q.heap[least])
		n = least
	}
	q.put(n, moved)
}

func (q *Queue[T]) put(n int, s slot[T]) {
	q.heap[n] = s
	s.entry.index = n + 1
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
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
