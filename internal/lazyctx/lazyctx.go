// Package lazyctx has contexts that are small, and start no timer, as long as nobody waits for
// their end. Only Done makes a context of package context, which behaves as usual from then on.
package lazyctx

import (
	"context"
	"sync/atomic"
	"time"
)

// Life is a context that ends when End is called. The zero value has not ended. It must not be
// copied.
type Life struct{ made atomic.Pointer[made] }

// made is the context that was made for another one.
type made struct {
	context.Context
	cancel context.CancelCauseFunc
}

// make returns the context made for l, which it makes if there is none.
func (l *Life) make() *made {
	if m := l.made.Load(); m != nil {
		return m
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	l.made.CompareAndSwap(nil, &made{ctx, cancel})
	return l.made.Load()
}

// End ends the context: its error is context.Canceled from now on, and cause is its cause, unless
// it has ended already.
func (l *Life) End(cause error) { l.make().cancel(cause) }

// Deadline implements context.Context.
func (*Life) Deadline() (deadline time.Time, ok bool) { return time.Time{}, false }

// Done implements context.Context.
func (l *Life) Done() <-chan struct{} { return l.make().Done() }

// Err implements context.Context.
func (l *Life) Err() error {
	if m := l.made.Load(); m != nil {
		return m.Err()
	}
	return nil
}

// Value implements context.Context. Package context looks for its own contexts with it.
func (l *Life) Value(key any) any {
	if m := l.made.Load(); m != nil {
		return m.Value(key)
	}
	return nil
}

// WithTimeout returns what context.WithTimeout returns, but makes the timer only when Done is
// called.
func WithTimeout(parent context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	t := &timed{parent: parent, deadline: time.Now().Add(timeout)}
	return t, t.cancel
}

type timed struct {
	parent   context.Context
	deadline time.Time
	made     atomic.Pointer[made]
}

// make returns the context made for t, which it makes if there is none.
func (t *timed) make() *made {
	if m := t.made.Load(); m != nil {
		return m
	}
	ctx, cancel := context.WithDeadline(t.parent, t.deadline)
	if m := (&made{ctx, func(error) { cancel() }}); t.made.CompareAndSwap(nil, m) {
		return m
	}
	cancel() // another goroutine was first
	return t.made.Load()
}

// ended is what is made for a context that was cancelled before anybody waited for it.
var ended = func() *made {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(nil)
	return &made{ctx, cancel}
}()

func (t *timed) cancel() {
	if !t.made.CompareAndSwap(nil, ended) {
		t.made.Load().cancel(nil)
	}
}

func (t *timed) Deadline() (deadline time.Time, ok bool) {
	if d, has := t.parent.Deadline(); has && d.Before(t.deadline) {
		return d, true
	}
	return t.deadline, true
}

func (t *timed) Done() <-chan struct{} { return t.make().Done() }

func (t *timed) Err() error {
	m := t.made.Load()
	if m == nil && t.parent.Err() == nil && time.Now().Before(t.deadline) {
		return nil
	}
	return t.make().Err() // from now on it is the same
}

func (t *timed) Value(key any) any {
	if m := t.made.Load(); m != nil {
		if v := m.Value(key); v != nil || m != ended {
			return v
		}
	}
	return t.parent.Value(key)
}
