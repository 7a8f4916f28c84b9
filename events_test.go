package socketauth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// around returns middleware that writes its name before and after the handler.
func around(name string, written *strings.Builder) func(socketauth.Handler) socketauth.Handler {
	return func(next socketauth.Handler) socketauth.Handler {
		return func(ctx context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
			fmt.Fprintf(written, "%s %s, ", name, args.Event())
			defer fmt.Fprintf(written, "%s ended, ", name)
			return next(ctx, s, args)
		}
	}
}

// TestMiddlewareOrder guards that the first function of Use is the outermost one, and that those of
// On come after all of Use, for each event.
func TestMiddlewareOrder(t *testing.T) {
	onEngines(t, nil, func(srv *testServer) {
		var written strings.Builder
		srv.Use(around("a", &written), around("b", &written))
		srv.Use(around("c", &written))
		reply := func(_ context.Context, _ *socketauth.Socket, args socketauth.Args) (any, error) {
			return args.Event(), nil
		}
		srv.On("bare", reply)
		srv.On("more", reply, around("d", &written), around("e", &written))
		c, _ := srv.authenticated()
		for event, want := range map[string]string{
			"bare": "a bare, b bare, c bare, c ended, b ended, a ended, ",
			"more": "a more, b more, c more, d more, e more, e ended, d ended, c ended, b ended, a ended, ",
		} {
			written.Reset()
			if got := c.call(event); got != `["`+event+`"]` {
				t.Errorf("%s: the reply is %s", event, got)
			}
			if got := written.String(); got != want {
				t.Errorf("%s: %s, want %s", event, got, want)
			}
		}
	})
}

// TestMiddlewareRefuses guards that what middleware returns instead of calling the handler is the
// acknowledgement.
func TestMiddlewareRefuses(t *testing.T) {
	onEngines(t, nil, func(srv *testServer) {
		srv.Use(func(next socketauth.Handler) socketauth.Handler {
			return func(ctx context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
				if claims, _ := socketauth.ClaimsFromContext(ctx); claims["role"] != "admin" {
					return nil, &socketauth.PublicError{Code: "forbidden"}
				}
				return next(ctx, s, args)
			}
		})
		srv.On("wipe", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return "wiped", nil })
		admin, _ := srv.authenticatedAs(jwt.MapClaims{"sub": "anna", "role": "admin"})
		other, _ := srv.authenticatedAs(jwt.MapClaims{"sub": "bert"})
		if got := admin.call("wipe"); got != `["wiped"]` {
			t.Errorf("an admin is answered %s", got)
		}
		if got := other.call("wipe"); got != `[{"error":{"code":"forbidden"}}]` {
			t.Errorf("another user is answered %s", got)
		}
	})
}

// TestUsePanics guards that no handler is left without middleware by mistake: Use panics after the
// first On, and both panic for what is nil; so does what would fail for the first user who is let
// in.
func TestUsePanics(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		panics := func(want string, f func()) {
			t.Helper()
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
					t.Errorf("panicked with %q, want %q", got, want)
				}
			}()
			f()
		}
		h := func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return nil, nil }
		same := func(next socketauth.Handler) socketauth.Handler { return next }
		panics("nil function for Use", func() { srv.Use(same, nil) })
		panics(`nil middleware for event "x"`, func() { srv.On("x", h, nil) })
		panics(`the middleware of event "x" returned a nil handler`, func() {
			srv.On("x", h, func(socketauth.Handler) socketauth.Handler { return nil })
		})
		panics(`nil handler for event "x"`, func() { srv.On("x", socketauth.Typed[int, int](nil)) })
		recent := socketauth.RequireRecent(time.Minute)
		panics(`nil handler for event "x"`, func() { srv.On("x", recent(nil)) })
		// In an http.Server, a nil handler means http.DefaultServeMux, which asks for no token.
		panics("nil handler for Middleware", func() { srv.Auth().Middleware(nil) })
		panics("nil handler for RequireRecent", func() { srv.Auth().RequireRecent(time.Minute)(nil) })
		srv.Use(same)
		srv.On("x", h)
		panics("Use after On", func() { srv.Use(same) })
	})
}

// badArgument cannot be decoded.
type badArgument struct{}

func (*badArgument) UnmarshalJSON([]byte) error { return errors.New("never") }

// TestTyped guards what a typed handler is called with, and what its results become.
func TestTyped(t *testing.T) {
	type message struct {
		Text string `json:"text"`
	}
	onEngines(t, nil, func(srv *testServer) {
		srv.On("text", socketauth.Typed(func(_ context.Context, _ *socketauth.Socket, in message) (string, error) { return in.Text, nil }))
		srv.On("bytes", socketauth.Typed(func(_ context.Context, _ *socketauth.Socket, in []byte) (int, error) { return len(in), nil }))
		srv.On("none", socketauth.Typed(func(context.Context, *socketauth.Socket, struct{}) (bool, error) { return true, nil }))
		srv.On("fails", socketauth.Typed(func(context.Context, *socketauth.Socket, struct{}) (int, error) {
			return 1, &socketauth.PublicError{Code: "full"}
		}))
		srv.On("pointer", socketauth.Typed(func(context.Context, *socketauth.Socket, struct{}) (*message, error) { return nil, nil }))
		srv.On("map", socketauth.Typed(func(context.Context, *socketauth.Socket, struct{}) (map[string]int, error) { return nil, nil }))
		srv.On("slice", socketauth.Typed(func(context.Context, *socketauth.Socket, struct{}) ([]int, error) { return nil, nil }))
		srv.On("any", socketauth.Typed(func(context.Context, *socketauth.Socket, struct{}) (any, error) { return nil, nil }))
		srv.On("func", socketauth.Typed(func(context.Context, *socketauth.Socket, struct{}) (func(), error) { return nil, nil }))
		srv.On("chan", socketauth.Typed(func(context.Context, *socketauth.Socket, struct{}) (chan int, error) { return nil, nil }))
		srv.On("interface", socketauth.Typed(func(context.Context, *socketauth.Socket, struct{}) (error, error) { return nil, nil }))
		srv.On("unsafe", socketauth.Typed(func(context.Context, *socketauth.Socket, struct{}) (unsafe.Pointer, error) { return nil, nil }))
		srv.On("optional", socketauth.Typed(func(_ context.Context, _ *socketauth.Socket, in *message) (bool, error) { return in != nil, nil }))
		srv.On("bad", socketauth.Typed(func(context.Context, *socketauth.Socket, badArgument) (bool, error) { return true, nil }))
		srv.On("empty", socketauth.Typed(func(context.Context, *socketauth.Socket, struct{}) ([]int, error) { return []int{}, nil }))
		c, _ := srv.authenticated()
		const bad = `[{"error":{"code":"bad_arguments"}}]`
		for _, e := range []struct {
			event string
			args  []any
			want  string
		}{
			{"text", []any{message{"hello"}, "ignored"}, `["hello"]`},
			{"text", nil, bad},
			{"text", []any{5}, bad},
			{"bytes", []any{"aGVsbG8="}, `[5]`},
			{"none", nil, `[true]`},
			{"none", []any{"ignored"}, `[true]`},
			{"fails", nil, `[{"error":{"code":"full"}}]`},
			{"pointer", nil, `[]`},
			{"map", nil, `[]`},
			{"slice", nil, `[]`},
			{"any", nil, `[]`},
			{"func", nil, `[]`},
			{"chan", nil, `[]`},
			{"interface", nil, `[]`},
			{"unsafe", nil, `[]`},
			{"empty", nil, `[[]]`},
			{"text", []any{nil}, `[""]`}, // null is the zero value, as in json.Unmarshal
			{"text", []any{map[string]any{}}, `[""]`},
			{"optional", []any{nil}, `[false]`},
			{"optional", []any{message{"hello"}}, `[true]`},
			{"optional", nil, bad},
			{"bad", []any{1}, bad},
		} {
			if got := c.call(e.event, e.args...); got != e.want {
				t.Errorf("%s%v is answered %s, want %s", e.event, e.args, got, e.want)
			}
		}
	})
}

// TestMiddlewareThatRegisters guards that middleware may call methods of the server when it is
// given a handler: On holds no lock meanwhile.
func TestMiddlewareThatRegisters(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		ends := make(chan string, 1)
		srv.Use(func(next socketauth.Handler) socketauth.Handler {
			srv.OnDisconnect(func(_ context.Context, s *socketauth.Socket, _ string) { ends <- s.UserID() })
			return next
		})
		srv.On("x", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return nil, nil })
		c, _ := srv.authenticated()
		c.close()
		if got := <-ends; got != "anna" {
			t.Errorf("the end of %q was told", got)
		}
	})
}
