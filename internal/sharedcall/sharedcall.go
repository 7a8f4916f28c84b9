// Package sharedcall has callers that want the same at the same time share one call.
package sharedcall

import (
	"context"
	"errors"
	"sync"
)

// Group has the calls that are running, by key. The zero value has none. It must not be copied, and
// is safe for concurrent use.
type Group[K comparable, V any] struct {
	mu    sync.Mutex
	calls map[K]*call[V]
}

type call[V any] struct {
	done  chan struct{} // closed when it has ended
	value V
	err   error
}

var errPanicked = errors.New("the call that was shared has panicked")

// Do returns what f returns. If a call for the key is running, it waits for that one, or for the
// end of ctx, and returns what it returns instead.
func (g *Group[K, V]) Do(ctx context.Context, key K, f func() (V, error)) (V, error) {
	g.mu.Lock()
	if c := g.calls[key]; c != nil {
		g.mu.Unlock()
		select {
		case <-c.done:
			return c.value, c.err
		case <-ctx.Done():
			var none V
			return none, ctx.Err()
		}
	}
	c := &call[V]{done: make(chan struct{}), err: errPanicked}
	if g.calls == nil {
		g.calls = make(map[K]*call[V])
	}
	g.calls[key] = c
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.calls, key)
		g.mu.Unlock()
		close(c.done)
	}()
	c.value, c.err = f()
	return c.value, c.err
}
