package socketauth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/id"
)

func validID(s string) bool { _, ok := id.Parse(s); return ok }

// TestSocketIdentity checks what a Socket says of its user, session, tenant, claims and request,
// and that claims are copies.
func TestSocketIdentity(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) {
		o.TenantID = func(context.Context, jwt.MapClaims) (string, error) { return "acme", nil }
		o.ClientIP = func(*http.Request) string { return "203.0.113.7" }
	}, func(srv *testServer) {
		_, s := srv.authenticatedSocket(jwt.MapClaims{"sub": "anna", "roles": []string{"a"}, "deep": map[string]any{"x": 1}})
		if s.UserID() != "anna" || s.TenantID() != "acme" || !validID(s.SessionID()) || !validID(s.ID()) || s.ID() == s.SessionID() {
			t.Errorf("%q %q %q %q", s.UserID(), s.TenantID(), s.SessionID(), s.ID())
		}
		s.Claims()["sub"] = "root"
		s.Claims()["deep"].(map[string]any)["x"] = 2
		s.Claims()["roles"].([]any)[0] = "admin"
		if c := s.Claims(); c["sub"] != "anna" || !reflect.DeepEqual(c["deep"], map[string]any{"x": 1.0}) || !reflect.DeepEqual(c["roles"], []any{"a"}) {
			t.Errorf("claims were changed from outside: %v", c)
		}
		if r := s.Request(); r.ClientIP != "203.0.113.7" || r.Host != "server" || r.RemoteAddr != "pipe" {
			t.Errorf("request %+v", r)
		}
		s.Set("room", 5)
		if s.Value("room") != 5 || s.Value("other") != nil {
			t.Error("values are lost")
		}
	})
}

// TestHandlerOrder checks that a socket's handlers run in order, one at a time, and delay neither
// its heartbeat and tokens nor other sockets.
func TestHandlerOrder(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		var got []int // no lock: two handlers at a time would be a race
		hold := make(chan struct{})
		srv.On("slow", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { <-hold; return nil, nil })
		srv.On("count", func(_ context.Context, _ *socketauth.Socket, args socketauth.Args) (any, error) {
			var n int
			err := args.Decode(&n)
			got = append(got, n)
			return nil, err
		})
		c, token := srv.authenticated()
		c.emit("slow")
		for n := range 100 {
			c.emit("count", n)
		}
		time.Sleep(10 * time.Minute) // heartbeats go on
		c.authenticate(token)        // and presentations
		c.expectToken()
		other, _ := srv.authenticated() // and other sockets
		other.emit("count", 1000)
		synctest.Wait()
		close(hold)
		if ack := c.call("count", 100); ack != "[]" {
			t.Errorf("got %s", ack)
		}
		for n, v := range got[1:] {
			if v != n {
				t.Fatalf("number %d is %d", n, v)
			}
		}
		if len(got) != 102 {
			t.Errorf("%d were handled", len(got))
		}
	})
}

// TestAcknowledgements checks the one answer that a client gets for each outcome of a handler,
// panics included.
func TestAcknowledgements(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		for event, h := range map[string]socketauth.Handler{
			"value": func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) {
				return map[string]int{"n": 5}, nil
			},
			"nil": func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return nil, nil },
			"public": func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) {
				return nil, &socketauth.PublicError{Code: "FULL", Err: errors.New("of people")}
			},
			"wrapped": func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) {
				return nil, fmt.Errorf("joining: %w", &socketauth.PublicError{Code: "FULL"})
			},
			"fails": func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) {
				return "both", errors.New("database down")
			},
			"decode": func(_ context.Context, _ *socketauth.Socket, args socketauth.Args) (any, error) {
				var n int
				return nil, args.Decode(&n)
			},
			"unfit": func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return func() {}, nil },
			"panic": func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { panic("a bug") },
			"marshal": func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) {
				return struct{ *time.Time }{}, nil
			}, // MarshalJSON on nil panics
			"typed nil": func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) {
				var none *socketauth.PublicError
				return nil, none
			},
			"claims": func(ctx context.Context, _ *socketauth.Socket, _ socketauth.Args) (any, error) {
				claims, ok := socketauth.ClaimsFromContext(ctx)
				return []any{claims["sub"], ok}, nil
			},
		} {
			srv.On(event, h)
		}
		c, _ := srv.authenticated()
		for event, want := range map[string]string{
			"value": `[{"n":5}]`, "nil": `[]`, "public": `[{"error":{"code":"FULL"}}]`, "wrapped": `[{"error":{"code":"FULL"}}]`,
			"fails": `[{"error":{"code":"server_error"}}]`, "decode": `[{"error":{"code":"bad_arguments"}}]`,
			"unfit": `[{"error":{"code":"server_error"}}]`, "panic": `[{"error":{"code":"server_error"}}]`,
			"marshal": `[{"error":{"code":"server_error"}}]`, "typed nil": `[{"error":{"code":"server_error"}}]`, "claims": `[["anna",true]]`,
		} {
			if got := c.call(event, "x"); got != want {
				t.Errorf("%s: %s", event, got)
			}
			c.expectNothing()
		}
		srv.expectLogged("database down")
		srv.expectLogged("of people")
	})
}

// TestArgsDecode checks how Args are decoded, attachments included, and that arguments of other
// types are ErrBadArguments.
func TestArgsDecode(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		var n int
		var s string
		var b []byte
		var o struct{ X int }
		results := make(chan error, 1)
		srv.On("args", func(_ context.Context, _ *socketauth.Socket, args socketauth.Args) (any, error) {
			switch args.Len() {
			case 4:
				results <- args.Decode(&n, nil, &o)
			case 2:
				results <- args.Decode(&s, &b)
			default:
				results <- args.Decode(&n, &s)
			}
			return nil, nil
		})
		c, _ := srv.authenticated()
		c.emit("args", 5, "skipped", map[string]int{"X": 7}, "ignored")
		if err := <-results; err != nil || n != 5 || o.X != 7 {
			t.Errorf("%v, %d, %+v", err, n, o)
		}
		c.send(`451-["args","file",{"_placeholder":true,"num":0}]`)
		c.send("bAAH/")
		if err := <-results; err != nil || s != "file" || !bytes.Equal(b, []byte{0, 1, 255}) {
			t.Errorf("%v, %q, %x", err, s, b)
		}
		for _, args := range [][]any{{5}, {"x", "y", "z"}, {}} {
			c.emit("args", args...)
			if err := <-results; !errors.Is(err, socketauth.ErrBadArguments) {
				t.Errorf("%v: %v", args, err)
			}
		}
	})
}

// TestHandlerAsksItsClient checks that acknowledgements do not wait behind handlers.
func TestHandlerAsksItsClient(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		srv.On("ask me", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
			args, err := s.EmitWithAck(ctx, "what?")
			var answer string
			if err == nil {
				err = args.Decode(&answer)
			}
			return answer, err
		})
		c, _ := srv.authenticated()
		c.send(`427["ask me"]`)
		id, _, _ := strings.Cut(c.expect("42"), "[")
		c.send("43" + id + `["this"]`)
		c.expect(`437["this"]`)
	})
}

// TestWaitingEventsBounded checks that a socket whose waiting events are too many or too large is
// closed, and no other.
func TestWaitingEventsBounded(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		srv.On("slow", func(ctx context.Context, _ *socketauth.Socket, _ socketauth.Args) (any, error) {
			<-ctx.Done()
			return nil, nil
		})
		bystander, _ := srv.authenticated()
		c, _ := srv.authenticated()
		for range 1024 + 10 {
			if c.Write(`42["slow"]`) != nil {
				break
			}
		}
		c.expectDisconnected()
		srv.expectLogged("limit=events")

		big := `42["slow","` + strings.Repeat("x", 900_000) + `"]`
		c, _ = srv.authenticated()
		for range (4<<20)/900_000 + 3 {
			if c.Write(big) != nil {
				break
			}
		}
		c.expectDisconnected()
		bystander.expectAuthenticated()

		padded := `42["slow",` + strings.Repeat(" ", 900_000) + `1]` // a waiting event keeps all of its text in memory
		c, _ = srv.authenticated()
		for range (4<<20)/900_000 + 3 {
			if c.Write(padded) != nil {
				break
			}
		}
		c.expectDisconnected()
		bystander.expectAuthenticated()
	})
}

// TestLibraryPanic checks that a panic in the library's own code ends one socket and is logged.
func TestLibraryPanic(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		bystander, _ := srv.authenticated()
		c, s := srv.authenticatedSocket(jwt.MapClaims{"sub": "anna"})
		socketauth.Guarded(s, func() { panic("a bug of ours") })
		c.expectDisconnected()
		bystander.expectAuthenticated()
		srv.expectLogged("a bug of ours")
	})
}

// TestSocketConcurrentUse checks that a Socket may be used by many goroutines while it ends.
func TestSocketConcurrentUse(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		c, s := srv.authenticatedSocket(jwt.MapClaims{"sub": "anna"})
		done := make(chan struct{})
		for n := range 8 {
			go func() {
				for range 50 {
					s.Join("room")
					_ = s.Emit("x", n)
					_ = srv.To("room").Emit("y")
					s.Set("k", n)
					s.Value("k")
					s.Claims()
					s.Leave("room")
				}
				done <- struct{}{}
			}()
		}
		s.Disconnect() // while they are at it
		for range 8 {
			<-done
		}
		for frame := range c.Packets() {
			if !strings.HasPrefix(frame, `42["x",`) && frame != `42["y"]` && frame != "41" {
				t.Errorf("got %q", frame)
			}
		}
	})
}

// TestDroppedEventsAreLogged checks that an event without a handler, and one that came before the
// client was authenticated, are logged with what to do, once a minute each and in short lines.
func TestDroppedEventsAreLogged(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		c := srv.dial("")
		for range 3 {
			c.send(`42["early"]`)
		}
		srv.expectLogged(`no handler was called for an event" address=pipe event=early code=unauthorized more_since_last=0 fix="the client must wait`)
		c.authenticate(srv.code())
		c.expectToken()
		c.expectAuthenticated() // by sending what nobody handles
		srv.expectLogged(`event="nobody handles this" code=unknown_event more_since_last=0 fix="register a handler with Server.On`)
		time.Sleep(time.Minute)
		c.send(`42["misspelt"]`)
		c.send(`42["` + strings.Repeat("x", 5000) + `"]`)
		time.Sleep(time.Minute)
		c.send(`42["` + strings.Repeat("y", 5000) + `"]`)
		srv.expectLogged("event=" + strings.Repeat("y", 64) + "... code=unknown_event more_since_last=1 ")
		if n := strings.Count(srv.logs.String(), "no handler was called"); n != 4 {
			t.Errorf("%d lines, want 1 and 3", n)
		}
	})
}

// TestManyEventsWhileAuthenticating guards clients that have emitted a lot while they were offline:
// socket.io-client sends all of it when it connects, and did not come back by itself from the
// disconnect that was the answer. What is more than the queue holds is refused, the rest waits for
// the token, and the connection stays open.
func TestManyEventsWhileAuthenticating(t *testing.T) {
	slow := func(o *socketauth.Options[string]) {
		o.UpdateClaims = func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
			time.Sleep(time.Second)
			return old, nil
		}
	}
	withServer(t, slow, func(srv *testServer) {
		srv.On("chat", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return "hello", nil })
		c := srv.dial("")
		c.authenticate(srv.code())
		synctest.Wait() // UpdateClaims has been called
		const kept, sent = 16, 100
		for n := range sent {
			c.send(fmt.Sprintf(`42%d["chat"]`, 1000+n))
		}
		for n := kept; n < sent; n++ {
			c.expect(fmt.Sprintf(`43%d[{"error":{"code":"unauthorized"}}]`, 1000+n))
		}
		c.expectToken()
		for n := range kept {
			c.expect(fmt.Sprintf(`43%d["hello"]`, 1000+n))
		}
		if got := c.call("chat"); got != `["hello"]` {
			t.Errorf("the next event: %s", got)
		}
		srv.expectLogged("event=chat code=unauthorized")
	})
	// What is not the app's still ends the connection.
	withServer(t, slow, func(srv *testServer) {
		c := srv.dial("")
		code := srv.code()
		c.authenticate(code)
		synctest.Wait()
		for range 17 {
			c.authenticate(code)
		}
		c.expectDisconnected()
	})
}

// TestProbeNotLogged checks that what the library's own browser client sends at a login is
// answered, and not logged as an event that the app should have a handler for.
func TestProbeNotLogged(t *testing.T) {
	const probe = "socketauth:probe"
	if text, err := os.ReadFile("client/login.js"); err != nil || !strings.Contains(string(text), strconv.Quote(probe)) {
		t.Fatalf("the browser client has another name for it, or: %v", err)
	}
	withServer(t, nil, func(srv *testServer) {
		early := srv.dial("")
		c, _ := srv.authenticated()
		for c, code := range map[*client]string{early: "unauthorized", c: "unknown_event"} {
			if answer := c.call(probe); !strings.Contains(answer, code) {
				t.Errorf("answered %q, want %s", answer, code)
			}
		}
		srv.expectNotLogged("no handler was called")
		c.call("other")
		srv.expectLogged("no handler was called")
	})
}
