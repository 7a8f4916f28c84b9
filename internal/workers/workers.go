// Package workers runs tasks in goroutines that are used again. A new goroutine begins with a small
// stack, and to grow it would take longer than a task of a few microseconds.
package workers

import (
	"context"
	"sync"
)

// maxIdle is how many goroutines of a pool wait for a task. Those that are not needed otherwise
// end.
const maxIdle = 64

// Task is what a pool runs. A type that has several tasks can be converted to a type for each, so
// that none needs a closure.
type Task interface{ Run() }

// Func is a Task of a function.
type Func func()

// Run calls f.
func (f Func) Run() { f() }

// Pool runs tasks, each in a goroutine that runs no other at the same time. How many run at a time
// is not bounded. The zero value is ready to use. It is safe for concurrent use.
type Pool struct {
	mu     sync.Mutex
	idle   []chan Task   // of the goroutines that wait; the last one that began to wait is used first
	count  int           // the goroutines, idle or not
	closed bool          // no goroutine waits any more
	gone   chan struct{} // closed when count is 0; nil if nobody waits for that
}

// Go runs a task as a go statement does. After Close it still does so.
func (p *Pool) Go(t Task) {
	p.mu.Lock()
	if last := len(p.idle) - 1; last >= 0 {
		w := p.idle[last]
		p.idle[last] = nil
		p.idle = p.idle[:last]
		p.mu.Unlock()
		w <- t // does not block: one that waits has an empty channel
		return
	}
	p.count++
	p.mu.Unlock()
	go p.work(t)
}

// work runs tasks until there is no place for the goroutine to wait in.
func (p *Pool) work(t Task) {
	defer p.exit() // also if a task ends the goroutine
	w := make(chan Task, 1)
	for ok := true; ok; t, ok = <-w {
		t.Run()
		t = nil // so that the garbage collector can have it
		if !p.park(w) {
			return
		}
	}
}

// park lets a goroutine wait for a task, if there is room.
func (p *Pool) park(w chan Task) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) == maxIdle {
		return false
	}
	p.idle = append(p.idle, w)
	return true
}

// Idle returns how many goroutines wait for a task. It is for tests.
func (p *Pool) Idle() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle)
}

func (p *Pool) exit() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count--; p.count == 0 && p.gone != nil {
		close(p.gone)
		p.gone = nil
	}
}

// Close ends the goroutines that wait, and the others when their tasks are done. It returns when
// there are none, or with the error of ctx. It may be called again, but not by a task.
func (p *Pool) Close(ctx context.Context) error {
	gone := p.close()
	if gone == nil {
		return nil
	}
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close returns nil if there is no goroutine.
func (p *Pool) close() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, w := range p.idle {
		close(w)
	}
	p.idle = nil
	if p.count == 0 {
		return nil
	}
	if p.gone == nil {
		p.gone = make(chan struct{})
	}
	return p.gone
}
