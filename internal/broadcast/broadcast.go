// Package broadcast tells whoever listens of what happens, in the caller's goroutine.
package broadcast

import (
	"context"
	"slices"
	"sync"
)

// List is who listens. The zero value is nobody. It is safe for concurrent use.
type List[T any] struct {
	mu        sync.RWMutex
	listeners []*func(T)
}

// Watch has f called for each Tell from now on, until ctx ends. A call that has begun by then may still go on.
func (l *List[T]) Watch(ctx context.Context, f func(T)) {
	listener := &f
	l.mu.Lock()
	l.listeners = append(slices.Clip(l.listeners), listener) // Tell may be going through the old one
	l.mu.Unlock()
	<-ctx.Done()
	l.mu.Lock()
	l.listeners = slices.DeleteFunc(slices.Clone(l.listeners), func(other *func(T)) bool { return other == listener })
	l.mu.Unlock()
}

// Tell calls who listens, one after the other, with no lock held.
func (l *List[T]) Tell(what T) {
	l.mu.RLock()
	listeners := l.listeners
	l.mu.RUnlock()
	for _, f := range listeners {
		(*f)(what)
	}
}
