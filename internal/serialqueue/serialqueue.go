// Package serialqueue runs tasks one at a time and in order. No goroutine of a queue waits while
// there is nothing to run.
package serialqueue

import (
	"errors"
	"sync"

	"github.com/z-open/socketauth/internal/workers"
)

// ErrFull is returned by Push if the queue has reached its limits.
var ErrFull = errors.New("serialqueue: queue full")

// Limits bound what waits in a queue. An empty queue takes any task.
type Limits struct {
	Items int
	Cost  int
}

// Runner runs the queues of one owner. It is safe for concurrent use.
type Runner struct {
	Work *sync.WaitGroup // counts the queues that have something to run
	Pool *workers.Pool   // runs them; if it is nil, each in a new goroutine

	free sync.Pool // *pending
}

// Queue runs tasks one after the other. The zero value is ready to use. It is safe for concurrent
// use.
type Queue struct {
	mu      sync.Mutex
	pending *pending // nil if nothing is running
}

// pending is what a queue has while it has something to run. It is the task that runs all others,
// and is used again by other queues.
type pending struct {
	queue  *Queue
	runner *Runner
	jobs   []job // those before next have run
	next   int
	cost   int
}

type job struct {
	task workers.Task
	cost int
}

// maxKept is the capacity of the longest list of jobs that is used again.
const maxKept = 64

// Push adds a task, or returns ErrFull. All calls for a queue have the same runner.
func (q *Queue) Push(r *Runner, l Limits, cost int, t workers.Task) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p := q.pending; p != nil {
		if waiting := len(p.jobs) - p.next; waiting > 0 && (waiting >= l.Items || p.cost+cost > l.Cost) {
			return ErrFull
		}
	}
	q.push(r, job{t, cost})
	return nil
}

// PushAlways adds a task regardless of the limits, for tasks that have to run.
func (q *Queue) PushAlways(r *Runner, t workers.Task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.push(r, job{t, 0})
}

func (q *Queue) push(r *Runner, j job) {
	p := q.pending
	if p != nil {
		p.add(j)
		return
	}
	if p, _ = r.free.Get().(*pending); p == nil {
		p = new(pending)
	}
	p.queue, p.runner, q.pending = q, r, p
	p.add(j)
	r.Work.Add(1)
	if r.Pool == nil {
		go p.Run()
	} else {
		r.Pool.Go(p)
	}
}

// Busy reports whether a task is running or waiting.
func (q *Queue) Busy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pending != nil
}

func (p *pending) add(j job) {
	// Use the space of those that have run, if it is worth moving the others.
	if len(p.jobs) == cap(p.jobs) && p.next > len(p.jobs)/2 {
		n := copy(p.jobs, p.jobs[p.next:])
		clear(p.jobs[n:])
		p.jobs, p.next = p.jobs[:n], 0
	}
	p.jobs = append(p.jobs, j)
	p.cost += j.cost
}

// Run implements workers.Task.
func (p *pending) Run() {
	runner := p.runner
	defer runner.Work.Done() // also if a task ends the goroutine
	for t := p.take(); t != nil; t = p.take() {
		t.Run()
	}
	if cap(p.jobs) <= maxKept {
		p.jobs, p.next, p.queue, p.runner = p.jobs[:0], 0, nil, nil
		runner.free.Put(p)
	}
}

// take returns the next task. If there is none, the queue has nothing to run any more, and take
// returns nil.
func (p *pending) take() workers.Task {
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	if p.next == len(p.jobs) {
		p.queue.pending = nil
		return nil
	}
	j := p.jobs[p.next]
	p.jobs[p.next] = job{}
	p.next++
	p.cost -= j.cost
	return j.task
}
