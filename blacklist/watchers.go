package blacklist

import (
	"context"
	"slices"
	"sync"
)

// Watchers are those who watch a store in this process, for stores to keep. The zero value is an
// empty list, ready to use. It is safe for concurrent use.
type Watchers struct {
	mu        sync.RWMutex
	listeners []*func(Change)
}

// Watch calls fn for each Tell from now on, until ctx ends. A call of fn that has begun by then may
// still go on when Watch returns.
func (w *Watchers) Watch(ctx context.Context, fn func(Change)) {
	listener := &fn
	w.mu.Lock()
	w.listeners = append(slices.Clip(w.listeners), listener) // Tell may be using the old array
	w.mu.Unlock()
	<-ctx.Done()
	w.mu.Lock()
	w.listeners = slices.DeleteFunc(slices.Clone(w.listeners), func(other *func(Change)) bool { return other == listener })
	w.mu.Unlock()
}

// Tell calls every function that watches, one after the other, in the caller's goroutine and with
// no lock held.
func (w *Watchers) Tell(c Change) {
	w.mu.RLock()
	listeners := w.listeners
	w.mu.RUnlock()
	for _, fn := range listeners {
		(*fn)(c)
	}
}
