package socketauth

import (
	"context"
	"fmt"
)

// This file holds what Options.Trace is told.

// traceHook is Options.Trace.
type traceHook func(ctx context.Context, op string) (traced context.Context, end func(err error))

// span begins something that takes time. The caller uses the context within, and calls end once
// with what came of it. A hook that panics, or returns nil, traces nothing.
func (r *recorder) span(ctx context.Context, op string) (traced context.Context, end func(err error)) {
	return r.spanOf(ctx, op, "")
}

// spanOf is span for what has a name of its own.
func (r *recorder) spanOf(ctx context.Context, kind, name string) (traced context.Context, end func(err error)) {
	if r.trace == nil {
		return ctx, untraced
	}
	_ = r.contain("Trace", func() error { traced, end = r.trace(ctx, kind+name); return nil })
	if traced == nil {
		traced = ctx
	}
	hook := end
	if hook == nil {
		return traced, untraced
	}
	return traced, func(err error) { _ = r.contain("Trace", func() error { hook(short(err)); return nil }) }
}

func untraced(error) {}

// err returns the refusal for Options.Trace, and nil if there is none.
func (r *refusal) err() error {
	switch {
	case r == nil:
		return nil
	case r.cause == nil:
		return &PublicError{Code: r.code}
	}
	return fmt.Errorf("%s: %w", r.code, r.cause)
}
