package socketauth_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"github.com/z-open/socketauth"
)

// spans are what Trace was told: each operation with those that it is within, and how it has ended.
type spans struct {
	mu   sync.Mutex
	list []string
	open int
}

type spanKey struct{}

// trace is Options.Trace.
func (s *spans) trace(ctx context.Context, op string) (context.Context, func(error)) {
	if outer, ok := ctx.Value(spanKey{}).(string); ok {
		op = outer + " > " + op
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open++
	ended := false
	return context.WithValue(ctx, spanKey{}, op), func(err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if ended {
			s.list = append(s.list, op+" ended twice")
		}
		ended = true
		s.open--
		if err != nil {
			op += ": " + err.Error()
		}
		s.list = append(s.list, op)
	}
}

// all returns what has ended since the last time, in order.
func (s *spans) all(t *testing.T) []string {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.list
	s.list = nil
	if s.open != 0 {
		t.Errorf("%d have not ended", s.open)
	}
	return list
}

// TestTrace guards what Trace is told of a login, presentations, store calls and handlers, what is
// within what, and with which error each ends.
func TestTrace(t *testing.T) {
	for _, version := range []string{"3", "4"} {
		t.Run("Engine.IO "+version, func(t *testing.T) { testTrace(t, version) })
	}
}

func testTrace(t *testing.T, version string) {
	traced := new(spans)
	withTokens(t, func(o *socketauth.Options[string]) { o.Trace = traced.trace }, func(srv *testServer) {
		srv.version = version
		var within string
		srv.On("ask", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
			within, _ = ctx.Value(spanKey{}).(string)
			if claims, ok := socketauth.ClaimsFromContext(ctx); !ok || claims["sub"] != s.UserID() {
				return nil, errors.New("no claims")
			}
			return nil, nil
		})
		srv.On("fail", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) {
			return nil, errors.New("broken")
		})
		want := func(what string, want ...string) {
			t.Helper()
			if got := traced.all(t); !slices.Equal(got, want) {
				t.Errorf("%s: traced\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
		code := srv.loginCode()
		want("login", "login")
		if status, _, _ := post(srv.Config.Handler, "/login", jsonType, credentialsJSON("anna", "wrong")); status != http.StatusUnauthorized {
			t.Errorf("status %d", status)
		}
		want("wrong password", "login: "+socketauth.ErrInvalidCredentials.Error())
		c := srv.dial("")
		c.authenticate(code)
		token := c.expectToken()
		want("presentation", "presentation > store Present", "presentation > store Sessions", "presentation")
		c.call("ask")
		if want("handler", "handler ask"); within != "handler ask" {
			t.Errorf("the handler is within %q", within)
		}
		c.call("fail")
		want("failing handler", "handler fail: broken")
		c.authenticate("garbage")
		c.expectUnauthorized("invalid_token")
		if got := traced.all(t); len(got) != 1 || !strings.HasPrefix(got[0], "presentation: invalid_token") {
			t.Errorf("invalid token: traced %q", got)
		}
		srv.exchange(token)
		want("TokenPath", "presentation > store Present", "presentation")
	})
}

// TestTraceFaults guards that a Trace that panics, or returns nothing, harms nothing.
func TestTraceFaults(t *testing.T) {
	for name, trace := range map[string]func(context.Context, string) (context.Context, func(error)){
		"nothing": func(context.Context, string) (context.Context, func(error)) { return nil, nil },
		"panics":  func(context.Context, string) (context.Context, func(error)) { panic("broken") },
		"end panics": func(ctx context.Context, _ string) (context.Context, func(error)) {
			return ctx, func(error) { panic("broken") }
		},
		"only a func":  func(context.Context, string) (context.Context, func(error)) { return nil, func(error) {} },
		"only context": func(ctx context.Context, _ string) (context.Context, func(error)) { return ctx, nil },
	} {
		t.Run(name, func(t *testing.T) {
			withServer(t, func(o *socketauth.Options[string]) { o.Trace = trace }, func(srv *testServer) {
				srv.On("ask", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return fmt.Sprint(name), nil })
				c, _ := srv.authenticated()
				if got := c.call("ask"); got != `["`+name+`"]` {
					t.Errorf("answered %s", got)
				}
			})
		})
	}
}

// TestClientsTextIsCut guards that what a client sends does not make an error, a line of the log or
// what Trace is told long, nor what is told invalid UTF-8.
func TestClientsTextIsCut(t *testing.T) {
	const most = 2 << 10
	digits := strings.Repeat("1", 60000)
	var mu sync.Mutex
	var traced []error
	onEngines(t, func(o *socketauth.Options[string]) {
		o.FindUserByCredentials = func(_ context.Context, c socketauth.Credentials) (string, error) {
			return "", errors.New("no user " + c.Get("username"))
		}
		o.Trace = func(ctx context.Context, _ string) (context.Context, func(error)) {
			return ctx, func(err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					traced = append(traced, err)
				}
			}
		}
	}, func(srv *testServer) {
		traced = nil
		var decoding error
		srv.On("number", socketauth.Typed(func(_ context.Context, _ *socketauth.Socket, n int) (int, error) { return n, nil }))
		srv.On("decode", func(_ context.Context, _ *socketauth.Socket, args socketauth.Args) (any, error) {
			var n int
			decoding = args.Decode(&n)
			return nil, decoding
		})
		public := &socketauth.PublicError{Code: "unknown"}
		srv.On("quote", func(_ context.Context, _ *socketauth.Socket, args socketauth.Args) (any, error) {
			var b []byte
			if err := args.Decode(&b); err != nil {
				return nil, err
			}
			public.Err = errors.New(string(b))
			return nil, public
		})
		c, _ := srv.authenticated()
		const bad, unknown = `[{"error":{"code":"bad_arguments"}}]`, `[{"error":{"code":"unknown"}}]`
		for _, call := range []struct {
			event string
			arg   any
			want  string
		}{
			{"number", json.RawMessage(digits), bad},
			{"decode", json.RawMessage(digits), bad},
			{"quote", []byte("a\xffb"), unknown},
			{"quote", []byte(strings.Repeat("\xc3", 30000)), unknown},
		} {
			if got := c.call(call.event, call.arg); got != call.want {
				t.Errorf("%s: answered %s", call.event, got)
			}
		}
		header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","x":` + digits[:10000] + `}`))
		c.authenticate(header + ".e30.e30")
		c.expectUnauthorized("invalid_token")
		if status, _, _ := post(srv.Config.Handler, "/login", jsonType, credentialsJSON(digits, "p")); status != http.StatusInternalServerError {
			t.Errorf("login: status %d", status)
		}
		synctest.Wait()

		var typ *json.UnmarshalTypeError
		if len(decoding.Error()) > most || !errors.Is(decoding, socketauth.ErrBadArguments) || !errors.As(decoding, &typ) {
			t.Errorf("Decode: %d bytes, %T", len(decoding.Error()), typ)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(traced) != 6 || !errors.Is(traced[0], socketauth.ErrBadArguments) || !errors.Is(traced[2], public) {
			t.Errorf("%d errors were traced", len(traced))
		}
		for n, err := range traced {
			if text := err.Error(); len(text) > most || !utf8.ValidString(text) {
				t.Errorf("error %d: %d bytes, %.100q", n, len(text), text)
			}
		}
		for line := range strings.Lines(srv.logs.String()) {
			if len(line) > 2*most {
				t.Errorf("a line of %d bytes: %.100s", len(line), line)
			}
		}
	})
}
