package socketauth_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

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
