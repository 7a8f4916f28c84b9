package histories

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// world is the time of one history: what happens, in which order, in one goroutine, all from one seed.
type world struct {
	*rand.Rand
	conditions
	counts *Counts
	began  time.Time
	now    time.Time
	queue  queue
	events int
	inbox  chan func() // what goroutines of a real server have to tell; nil where there is none

	tracing  bool
	mu       sync.Mutex // a real server has goroutines that find things out
	trace    []string
	violated string // the first invariant that was
}

// event is something that is going to happen. A stopped one does nothing.
type event struct {
	at    time.Time
	order int
	run   func()
}

func (e *event) stop() {
	if e != nil {
		e.run = nil
	}
}

// after has something happen. Times are whole microseconds, the unit in which stores remember.
func (w *world) after(d time.Duration, run func()) *event {
	w.events++
	e := &event{at: w.now.Add(d.Truncate(time.Microsecond)), order: w.events, run: run}
	heap.Push(&w.queue, e)
	return e
}

// tooMany events in one history mean that it does not end.
const tooMany = 100_000

// runUntil lets time pass until the condition is true, an invariant is violated, or nothing is left to happen.
func (w *world) runUntil(done func() bool) {
	for w.violation() == "" && !done() {
		if w.events > tooMany {
			w.violate("the history does not end")
			return
		}
		if len(w.queue) == 0 {
			return
		}
		if w.queue[0].run == nil {
			heap.Pop(&w.queue)
			continue
		}
		if !w.sleepUntil(w.queue[0].at) {
			continue
		}
		e := heap.Pop(&w.queue).(*event)
		if w.now = e.at; e.run != nil {
			e.run()
		}
	}
}

// sleepUntil says false where something was told before, which may have put other events in front.
func (w *world) sleepUntil(at time.Time) bool {
	d := time.Until(at)
	if w.inbox == nil {
		time.Sleep(d)
		return true
	}
	timer := time.NewTimer(max(d, 0))
	defer timer.Stop()
	select {
	case told := <-w.inbox:
		w.now = time.Now().Truncate(time.Microsecond)
		told()
		return false
	case <-timer.C:
		return true
	}
}

// chance is true with the probability p.
func (w *world) chance(p float64) bool { return p > 0 && w.Float64() < p }

// between is a random duration, spread evenly over the orders of magnitude: most are short.
func (w *world) between(low, high time.Duration) time.Duration {
	return time.Duration(float64(low) * math.Pow(float64(high)/float64(low), w.Float64()))
}

// upTo is any duration up to the longest.
func (w *world) upTo(longest time.Duration) time.Duration {
	return time.Duration(w.Int64N(int64(longest)))
}

// note adds a line to the trace.
func (w *world) note(format string, args ...any) {
	if w.tracing {
		line := fmt.Sprintf("%11.6f  ", time.Since(w.began).Seconds()) + fmt.Sprintf(format, args...)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.trace = append(w.trace, line)
	}
}

// violate ends the history: an invariant does not hold.
func (w *world) violate(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	w.note("VIOLATION: %s", what)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.violated == "" {
		w.violated = what
	}
}

func (w *world) violation() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.violated
}

// queue is a heap of events by their time.
type queue []*event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	if q[i].at.Equal(q[j].at) {
		return q[i].order < q[j].order
	}
	return q[i].at.Before(q[j].at)
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(*event)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	*q = (*q)[:last]
	return e
}
