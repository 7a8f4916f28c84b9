package socketauth

import (
	"context"
	"fmt"
	"reflect"
	"slices"
)

// This file holds how an app registers its handlers, and what may stand around them.

// Use has every handler that On registers called through mw, in the order given: the first is
// called first, and calls the next one. What is given to On comes after it. Use it for what all
// events need, such as a check of the role, metrics or a limit. It panics after the first On, so
// that no handler is left out, and if a function of mw is nil.
//
//	srv.Use(logged, socketauth.RequireRecent(24*time.Hour))
func (s *Server) Use(mw ...func(Handler) Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.handlers.empty():
		panic("socketauth: Use after On: the handlers before it would be left out")
	case slices.ContainsFunc(mw, isNil):
		panic("socketauth: nil function for Use")
	}
	s.wrappers = append(s.wrappers, mw...)
}

// On registers the handler of an event. It is called through the functions of Use and then through
// mw, of which the first is called first. Call On before the http.Server serves. Like
// http.ServeMux, it panics if h or a function of mw is nil or the name is reserved, empty or taken.
// Reserved, here and in Emit, are the library's own names and those that clients use for their own
// connection and never send, such as "ping", "reconnect" and "connect_error".
func (s *Server) On(event string, h Handler, mw ...func(Handler) Handler) {
	switch {
	case slices.Contains(reserved, event):
		panic(fmt.Sprintf("socketauth: event name %q is reserved: the library or some client uses it itself; for connections there are OnAuthenticated and OnDisconnect", event))
	case h == nil:
		panic(fmt.Sprintf("socketauth: nil handler for event %q", event))
	case slices.ContainsFunc(mw, isNil):
		panic(fmt.Sprintf("socketauth: nil middleware for event %q", event))
	}
	s.mu.RLock()
	wrappers := slices.Concat(s.wrappers, mw)
	s.mu.RUnlock()
	for _, wrap := range slices.Backward(wrappers) { // without the lock: it may call methods of the server
		if h = wrap(h); h == nil {
			panic(fmt.Sprintf("socketauth: the middleware of event %q returned a nil handler", event))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.handlers.get(event) != nil {
		panic(fmt.Sprintf("socketauth: event %q has a handler already", event))
	}
	s.handlers.set(event, h)
}

func isNil(wrap func(Handler) Handler) bool { return wrap == nil }

// maxConcurrent is how many handlers of a socket may run beside its others.
const maxConcurrent = 16

// Concurrent is middleware for a handler that takes long, such as one that waits for another
// service: the socket's later events are handled while it runs. Up to 16 such handlers of a socket
// run at a time; a further one keeps its turn, and later events wait for it. Acknowledgements are
// sent as the handlers return. OnDisconnect is called when all of them have returned. A handler
// keeps the claims with which it began.
//
//	srv.On("report", report, socketauth.Concurrent)
func Concurrent(next Handler) Handler {
	if next == nil {
		return nil
	}
	return func(ctx context.Context, s *Socket, args Args) (any, error) {
		if c, ok := ctx.Value(callKey{}).(*call); ok {
			c.letOthersRun()
		}
		return next(ctx, s, args)
	}
}

// letOthersRun has the socket's later events handled beside the call, unless too many calls run so.
func (c *call) letOthersRun() {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.concurrent >= maxConcurrent || !c.runs.CompareAndSwap(inTurn, concurrently) {
		return
	}
	s.concurrent++
	if s.waiting != nil && s.waiting.calls.Len() > 0 { // they come before what the queue has
		s.handlers.PushAlways(&s.server.runner, s.task(func() { s.handleNext(nil) }))
	}
	s.handlers.Continue()
}

// Typed returns the handler that calls f with the event's first argument, decoded into a T as
// Args.Decode does: null, which is what JavaScript's undefined becomes, is the zero value of T. If
// T is struct{}, no argument is read. An event whose argument is missing or cannot be decoded does
// not reach f, and its acknowledgement is {error: {code: "bad_arguments"}}. The acknowledgement of
// any other is what f returns: R as JSON, or an empty one if R is nil, of whatever kind of type. If
// there is nothing to reply, let f return (any, error) with nil; struct{} is replied as {}.
func Typed[T, R any](f func(ctx context.Context, s *Socket, in T) (R, error)) Handler {
	if f == nil {
		return nil // On panics, and names the event
	}
	_, ignored := any(*new(T)).(struct{})
	nilable := false
	switch reflect.TypeFor[R]().Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface, reflect.Func, reflect.Chan, reflect.UnsafePointer:
		nilable = true
	}
	return func(ctx context.Context, s *Socket, args Args) (any, error) {
		var in T
		if !ignored {
			if err := args.Decode(&in); err != nil {
				return nil, err
			}
		}
		reply, err := f(ctx, s, in)
		if err != nil || nilable && reflect.ValueOf(&reply).Elem().IsNil() {
			return nil, err
		}
		return reply, nil
	}
}
