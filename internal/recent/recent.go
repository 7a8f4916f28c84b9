// Package recent remembers values for a short time.
package recent

import (
	"sync"
	"time"
)

// List has the values that were added in the last Keep. Close ends it. The zero value, with Keep
// set, is ready to use. It is safe for concurrent use.
type List[T any] struct {
	Keep time.Duration

	mu     sync.Mutex
	items  []item[T] // in the order in which they were added
	timer  *time.Timer
	work   sync.WaitGroup // the timer
	closed bool
}

type item[T any] struct {
	value T
	until time.Time
}

// Add adds a value.
func (l *List[T]) Add(value T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.items = append(l.items, item[T]{value, time.Now().Add(l.Keep)})
	if l.timer == nil {
		l.startLocked(l.Keep)
	}
}

// All returns the values, the oldest first.
func (l *List[T]) All() []T {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.forgetLocked()
	values := make([]T, len(l.items))
	for n, i := range l.items {
		values[n] = i.value
	}
	return values
}

// Close forgets all values and those that are added later. When it returns, nothing of the list
// runs any more.
func (l *List[T]) Close() {
	l.mu.Lock()
	l.closed, l.items = true, nil
	if l.timer != nil && l.timer.Stop() {
		l.work.Done()
	}
	l.mu.Unlock()
	l.work.Wait()
}

// startLocked has the list forget what is too old, now and again until it is empty.
func (l *List[T]) startLocked(after time.Duration) {
	l.work.Add(1)
	l.timer = time.AfterFunc(after, func() {
		defer l.work.Done()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.timer = nil
		if l.forgetLocked(); len(l.items) > 0 {
			l.startLocked(max(time.Until(l.items[0].until), l.Keep/8))
		}
	})
}

// forgetLocked removes what is too old.
func (l *List[T]) forgetLocked() {
	now, old := time.Now(), 0
	for old < len(l.items) && !now.Before(l.items[old].until) {
		old++
	}
	clear(l.items[:old])
	if l.items = l.items[old:]; len(l.items) == 0 {
		l.items = nil
	}
}
