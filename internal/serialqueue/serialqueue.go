// Package serialqueue runs functions one at a time and in order. No goroutine waits while there is
// nothing to run.
package serialqueue

import (
	"errors"
	"sync"
)

// ErrFull is returned by Push if the queue has reached its limits.
var ErrFull = errors.New("serialqueue: queue full")

// Limits bound what waits in a queue. An empty queue takes any function.
type Limits struct {
	Items int
	Cost  int
}

// Queue runs functions one after the other, in a goroutine that exists only while there is
// something to run. The zero value is ready to use. It is safe for concurrent use.
type Queue struct {
	mu      sync.Mutex
	waiting []job
	cost    int
	running bool
}

type job struct {
	run  func()
	cost int
}

// Push adds f, or returns ErrFull. If it starts a goroutine, wg counts that.
func (q *Queue) Push(wg *sync.WaitGroup, l Limits, cost int, f func()) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) > 0 && (len(q.waiting) >= l.Items || q.cost+cost > l.Cost) {
		return ErrFull
	}
	q.push(wg, job{f, cost})
	return nil
}

// PushAlways adds f regardless of the limits, for functions that have to run.
func (q *Queue) PushAlways(wg *sync.WaitGroup, f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.push(wg, job{f, 0})
}

func (q *Queue) push(wg *sync.WaitGroup, j job) {
	q.waiting = append(q.waiting, j)
	q.cost += j.cost
	if !q.running {
		q.running = true
		wg.Go(q.work)
	}
}

// Busy reports whether a function is running or waiting.
func (q *Queue) Busy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.running
}

func (q *Queue) work() {
	for {
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.waiting, q.running = nil, false
			q.mu.Unlock()
			return
		}
		next := q.waiting[0]
		q.waiting[0] = job{}
		q.waiting = q.waiting[1:]
		q.cost -= next.cost
		q.mu.Unlock()
		next.run()
	}
}
