package histories

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/z-open/socketauth/internal/dpop/dpoptest"
)

// world runs the events of one history, in the order of their times, in one goroutine, from one
// seed.
type world struct {
	*rand.Rand
	conditions
	counts *Counts
	ledger *ledger
	began  time.Time
	now    time.Time
	queue  queue
	events int

	identities bool // there are refreshes and step-ups: only with real servers
	processes  int
	roles      roles
	keys       map[string]*dpoptest.Key // by thumbprint; only with real servers
	ids        map[string]string        // the Engine.IO ids of sockets, by name; the same
	requests   map[string]*http.Request // the last one of each client; the same
	offset     time.Duration            // how far the store's clock is ahead
	inbox      chan func()              // functions from a real server's goroutines, to be called here; nil if there is none

	tracing  bool
	mu       sync.Mutex // guards trace, violated, conditions and what the stores count
	trace    []string
	violated string // the first violated invariant
}

// event is a function that will be called at a time. A stopped event does nothing.
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

// after calls run after d. Times are multiples of a microsecond, which is the precision of stores,
// or of a coarser unit.
func (w *world) after(d time.Duration, run func()) *event {
	w.events++
	e := &event{at: w.now.Add(d.Truncate(w.grain)), order: w.events, run: run}
	heap.Push(&w.queue, e)
	return e
}

// tooMany is a number of events that a history reaches only if it does not end.
const tooMany = 100_000

// runUntil runs events until the condition is true, an invariant is violated, or no event is left.
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
		if e.at.After(w.now) {
			w.now = e.at
		}
		if e.run != nil {
			e.run()
		}
	}
}

// sleepUntil waits until a time. It returns false if it called a function from the inbox before
// that, which may have added earlier events.
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

// chance returns true with the probability p.
func (w *world) chance(p float64) bool { return p > 0 && w.Float64() < p }

// between returns a random duration, spread evenly over the orders of magnitude: most are short.
func (w *world) between(low, high time.Duration) time.Duration {
	return time.Duration(float64(low) * math.Pow(float64(high)/float64(low), w.Float64()))
}

// upTo returns a random duration below longest.
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

// violate records that an invariant does not hold, which ends the history.
func (w *world) violate(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	w.note("VIOLATION: %s", what)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.violated == "" {
		w.violated = what
	}
}

// weather returns the present conditions. It is for a real server's goroutines, since the
// conditions change when the calm phase begins.
func (w *world) weather() conditions {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.conditions
}

func (w *world) violation() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.violated
}

// queue is a heap of events, ordered by their time.
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
