package socketauth_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/id"
)

func validID(s string) bool { _, ok := id.Parse(s); return ok }

func TestSocketsTellWhoTheyAre(t *testing.T) {
	inWorld(t, func(o *socketauth.Options[string]) {
		o.TenantID = func(context.Context, jwt.MapClaims) (string, error) { return "acme", nil }
		o.ClientIP = func(*http.Request) string { return "203.0.113.7" }
	}, func(w *world) {
		_, s := w.inWithSocket(jwt.MapClaims{"sub": "anna", "roles": []string{"a"}, "deep": map[string]any{"x": 1}})
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

func TestHandlersRunInOrderOneAtATimeAndHoldUpNothingElse(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		var got []int // no lock: two handlers at a time would be a race
		hold := make(chan struct{})
		w.On("slow", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { <-hold; return nil, nil })
		w.On("count", func(_ context.Context, _ *socketauth.Socket, args socketauth.Args) (any, error) {
			var n int
			err := args.Decode(&n)
			got = append(got, n)
			return nil, err
		})
		c, token := w.in()
		c.emit("slow")
		for n := range 100 {
			c.emit("count", n)
		}
		time.Sleep(10 * time.Minute) // heartbeats go on
		c.authenticate(token)        // and presentations
		c.token()
		other, _ := w.in() // and other sockets
		other.emit("count", 1000)
		synctest.Wait()
		close(hold)
		if ack := c.ask("count", 100); ack != "[]" {
			t.Errorf("got %s", ack)
		}
		for n, v := range got[1:] {
			if v != n {
				t.Fatalf("place %d has %d", n, v)
			}
		}
		if len(got) != 102 {
			t.Errorf("%d were handled", len(got))
		}
	})
}

func TestAcknowledgementsSayExactlyOneThing(t *testing.T) {
	inWorld(t, nil, func(w *world) {
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
			w.On(event, h)
		}
		c, _ := w.in()
		for event, want := range map[string]string{
			"value": `[{"n":5}]`, "nil": `[]`, "public": `[{"error":{"code":"FULL"}}]`, "wrapped": `[{"error":{"code":"FULL"}}]`,
			"fails": `[{"error":{"code":"server_error"}}]`, "decode": `[{"error":{"code":"bad_arguments"}}]`,
			"unfit": `[{"error":{"code":"server_error"}}]`, "panic": `[{"error":{"code":"server_error"}}]`,
			"marshal": `[{"error":{"code":"server_error"}}]`, "typed nil": `[{"error":{"code":"server_error"}}]`, "claims": `[["anna",true]]`,
		} {
			if got := c.ask(event, "x"); got != want {
				t.Errorf("%s: %s", event, got)
			}
			c.silence()
		}
		w.logged("database down")
		w.logged("of people")
	})
}

func TestArgsDecode(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		var n int
		var s string
		var b []byte
		var o struct{ X int }
		results := make(chan error, 1)
		w.On("args", func(_ context.Context, _ *socketauth.Socket, args socketauth.Args) (any, error) {
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
		c, _ := w.in()
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

func TestHandlerMayAskItsOwnClient(t *testing.T) {
	// Guards: acknowledgements never wait behind handlers.
	inWorld(t, nil, func(w *world) {
		w.On("ask me", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
			args, err := s.EmitWithAck(ctx, "what?")
			var answer string
			if err == nil {
				err = args.Decode(&answer)
			}
			return answer, err
		})
		c, _ := w.in()
		c.send(`427["ask me"]`)
		id, _, _ := strings.Cut(c.next("42"), "[")
		c.send("43" + id + `["this"]`)
		c.next(`437["this"]`)
	})
}

func TestSocketWithTooMuchWaitingIsClosed(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.On("slow", func(ctx context.Context, _ *socketauth.Socket, _ socketauth.Args) (any, error) {
			<-ctx.Done()
			return nil, nil
		})
		bystander, _ := w.in()
		c, _ := w.in()
		for range 1024 + 10 {
			if c.Write(`42["slow"]`) != nil {
				break
			}
		}
		c.gone()
		w.logged("limit=events")

		big := `42["slow","` + strings.Repeat("x", 900_000) + `"]`
		c, _ = w.in()
		for range (4<<20)/900_000 + 3 {
			if c.Write(big) != nil {
				break
			}
		}
		c.gone()
		bystander.alive()

		padded := `42["slow",` + strings.Repeat(" ", 900_000) + `1]` // what is waiting holds on to all of it
		c, _ = w.in()
		for range (4<<20)/900_000 + 3 {
			if c.Write(padded) != nil {
				break
			}
		}
		c.gone()
		bystander.alive()
	})
}

func TestFaultOfTheLibraryEndsOneSocketAlone(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		bystander, _ := w.in()
		c, s := w.inWithSocket(jwt.MapClaims{"sub": "anna"})
		socketauth.Guarded(s, func() { panic("a bug of ours") })
		c.gone()
		bystander.alive()
		w.logged("a bug of ours")
	})
}

func TestUseOfASocketFromManyGoroutines(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c, s := w.inWithSocket(jwt.MapClaims{"sub": "anna"})
		done := make(chan struct{})
		for n := range 8 {
			go func() {
				for range 50 {
					s.Join("room")
					_ = s.Emit("x", n)
					_ = w.To("room").Emit("y")
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
