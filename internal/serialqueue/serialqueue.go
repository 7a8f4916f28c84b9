// Package serialqueue runs tasks one at a time and in order. No goroutine of a queue waits while
// there is nothing to run.
package serialqueue

import (
	"errors"
	"sync"

	"github.com/z-open/socketauth/internal/backlog"
	"github.com/z-open/socketauth/internal/workers"
)

// ErrFull is returned by Push if the queue has reached its limits.
var ErrFull = errors.New("serialqueue: queue full")

// Limits bound what waits in a queue. An empty queue takes any task.
type Limits = backlog.Limits

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
	queue     *Queue
	runner    *Runner
	tasks     backlog.Queue[workers.Task]
	continued bool // the running task has let the others go on without it
}

// maxKept is the capacity of the longest list of tasks that is used again.
const maxKept = 64

// Push adds a task, or returns ErrFull. All calls for a queue have the same runner.
func (q *Queue) Push(r *Runner, l Limits, cost int, t workers.Task) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p := q.pending; p != nil {
		if !p.tasks.Push(l, cost, t) {
			return ErrFull
		}
		return nil
	}
	p := q.begin(r)
	p.tasks.Add(cost, t)
	p.start()
	return nil
}

// PushAlways adds a task regardless of the limits, for tasks that have to run.
func (q *Queue) PushAlways(r *Runner, t workers.Task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if p := q.pending; p != nil {
		p.tasks.Add(0, t)
		return
	}
	p := q.begin(r)
	p.tasks.Add(0, t)
	p.start()
}

// Continue lets the other tasks run beside the one that calls it, which must be the one that runs
// and may do so once.
func (q *Queue) Continue() {
	q.mu.Lock()
	defer q.mu.Unlock()
	p := q.pending
	p.continued, q.pending = true, nil
	if p.tasks.Len() > 0 {
		next := q.begin(p.runner)
		next.tasks, p.tasks = p.tasks, next.tasks
		next.start()
	}
}

// begin makes the pending of a queue that has none.
func (q *Queue) begin(r *Runner) *pending {
	p, _ := r.free.Get().(*pending)
	if p == nil {
		p = new(pending)
	}
	p.queue, p.runner, q.pending = q, r, p
	return p
}

// start runs the tasks, and those that are added until none is left.
func (p *pending) start() {
	p.runner.Work.Add(1)
	if p.runner.Pool == nil {
		go p.Run()
	} else {
		p.runner.Pool.Go(p)
	}
}

// Busy reports whether a task is running or waiting.
func (q *Queue) Busy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pending != nil
}

// Run implements workers.Task.
func (p *pending) Run() {
	runner := p.runner
	defer runner.Work.Done() // also if a task ends the goroutine
	for t := p.take(); t != nil; t = p.take() {
		t.Run()
	}
	if p.tasks.Cap() <= maxKept {
		p.queue, p.runner, p.continued = nil, nil, false
		runner.free.Put(p)
	}
}

// take returns the next task. If there is none, the queue has nothing to run any more, and take
// returns nil. It also does after Continue: then the others are another goroutine's.
func (p *pending) take() workers.Task {
	p.queue.mu.Lock()
	defer p.queue.mu.Unlock()
	if p.continued {
		return nil
	}
	t, ok := p.tasks.Pop()
	if !ok {
		p.queue.pending = nil
	}
	return t
}
