package socketauth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

func TestTenantsAndWhatTheyRefuse(t *testing.T) {
	inWorld(t, func(o *socketauth.Options[string]) {
		o.TenantID = func(_ context.Context, c jwt.MapClaims) (string, error) {
			if c["tenant"] == "down" {
				return "", errors.New("directory down")
			}
			tenant, _ := c["tenant"].(string)
			return tenant, nil
		}
	}, func(w *world) {
		tenants := make(chan string, 1)
		w.OnAuthenticated(func(_ context.Context, s *socketauth.Socket) error { tenants <- s.TenantID(); return nil })
		w.inAs(jwt.MapClaims{"sub": "anna", "tenant": "acme"})
		if got := <-tenants; got != "acme" {
			t.Errorf("tenant %q", got)
		}
		c := w.dial("")
		c.authenticate(w.code())
		c.refusedAndGone("invalid_tenant")
		c = w.dial("")
		c.authenticate(w.codeFor(jwt.MapClaims{"sub": "anna", "tenant": "down"}))
		if u := c.refusedAndGone("server_error"); u.Terminal || u.RetryAfter < 1 || strings.Contains(fmt.Sprint(u), "directory") {
			t.Errorf("%+v", u)
		}
		w.logged("directory down")
	})
}

func TestRefreshHookMintsAndItsFailureConsumesNothing(t *testing.T) {
	var fail atomic.Bool
	inWorld(t, func(o *socketauth.Options[string]) {
		o.Refresh = func(_ context.Context, c jwt.MapClaims) (string, error) {
			if fail.Load() {
				return "", errors.New("signer down")
			}
			c["role"] = "admin"
			return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(testSecret)
		}
	}, func(w *world) {
		roles := make(chan any, 1)
		w.OnAuthenticated(func(_ context.Context, s *socketauth.Socket) error { roles <- s.Claims()["role"]; return nil })
		code := w.code()
		fail.Store(true)
		c := w.dial("")
		c.authenticate(code)
		c.refusedAndGone("server_error")
		fail.Store(false)
		c = w.dial("")
		c.authenticate(code)
		token := c.token()
		if got := <-roles; got != "admin" {
			t.Errorf("role %v", got)
		}
		fail.Store(true)
		c.authenticate(token)
		if u := c.refusedWith("server_error"); u.Terminal || u.RetryAfter < 1 {
			t.Errorf("%+v", u)
		}
		c.alive() // its identity and expiry are as they were
	})
}

func TestHookThatHangsDoesNotStopTheDeadline(t *testing.T) {
	// Guards: an attempt that fails or hangs must not stop the authentication deadline, and consumes nothing.
	var hang chan struct{}
	var hanging atomic.Bool
	inWorld(t, func(o *socketauth.Options[string]) {
		hang = make(chan struct{})
		o.TenantID = func(ctx context.Context, _ jwt.MapClaims) (string, error) {
			if !hanging.Load() {
				return "t", nil
			}
			<-ctx.Done()
			<-hang
			return "", ctx.Err()
		}
	}, func(w *world) {
		hanging.Store(true)
		code := w.code()
		c := w.dial(fmt.Sprintf(`{"token":%q}`, code))
		c.refusedAndGone("timeout")
		close(hang)
		hanging.Store(false)
		c = w.dial(fmt.Sprintf(`{"token":%q}`, code))
		c.token()
	})
}

func TestOnAuthenticatedRefusesWithoutConsumingTheToken(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		var refuse error
		var left atomic.Int32
		w.OnAuthenticated(func(context.Context, *socketauth.Socket) error { return refuse })
		w.OnDisconnect(func(context.Context, *socketauth.Socket, string) { left.Add(1) })
		code := w.code()
		for _, c := range []struct {
			err  error
			code string
		}{
			{errors.New("database down"), "server_error"},
			{socketauth.ErrUnavailable, "unavailable"},
			{socketauth.ErrTooManyAttempts, "too_many_attempts"},
			{&socketauth.PublicError{Code: "BANNED", Err: errors.New("for good")}, "BANNED"},
			{(*socketauth.PublicError)(nil), "server_error"},
		} {
			refuse = c.err
			s := w.dial("")
			s.authenticate(code)
			s.refusedAndGone(c.code)
		}
		if left.Load() != 0 {
			t.Error("OnDisconnect was called for a socket that was never let in")
		}
		refuse = nil
		s := w.dial("")
		s.authenticate(code)
		s.token()
		s.close()
		synctest.Wait()
		if left.Load() != 1 {
			t.Errorf("OnDisconnect was called %d times", left.Load())
		}
	})
}

func TestOnAuthenticatedMayJoinAndEmit(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		var ask error
		w.OnAuthenticated(func(ctx context.Context, s *socketauth.Socket) error {
			s.Join("lobby")
			if err := w.To("lobby").Emit("too early"); err != nil {
				return err
			}
			_, ask = s.EmitWithAck(ctx, "question")
			claims, _ := socketauth.ClaimsFromContext(ctx)
			return s.Emit("welcome", claims["sub"])
		})
		c, token := w.in()
		c.next(`42["welcome","anna"]`)
		c.silence()
		if !errors.Is(ask, socketauth.ErrNotAuthenticated) {
			t.Errorf("asking before the client is in: %v", ask)
		}
		if err := w.To("lobby").Emit("hello"); err != nil {
			t.Error(err)
		}
		c.next(`42["hello"]`)
		c.authenticate(token)
		c.token()
		c.silence() // no second welcome
	})
}

func TestNoSocketGetsInPastOnAuthenticated(t *testing.T) {
	// Guards: where the store cannot say beforehand whether the token is good, the socket is not let in unseen.
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		var called, left atomic.Int32
		w.OnAuthenticated(func(context.Context, *socketauth.Socket) error { called.Add(1); return nil })
		w.OnDisconnect(func(context.Context, *socketauth.Socket, string) { left.Add(1) })
		failing := func(which string) func(string) error {
			return func(call string) error {
				if call == which {
					return errStoreDown
				}
				return nil
			}
		}
		store.fail(failing("Check"), nil)
		c := w.dial("")
		c.authenticate(w.code())
		c.refusedAndGone("unavailable")
		synctest.Wait()
		if called.Load() != 0 || left.Load() != 0 {
			t.Errorf("called %d times, left %d", called.Load(), left.Load())
		}
		store.fail(failing("Present"), nil)
		c = w.dial("")
		c.authenticate(w.code())
		c.refusedAndGone("unavailable")
		synctest.Wait()
		if called.Load() != 1 || left.Load() != 1 {
			t.Errorf("let in by the app, not by the store: called %d times, left %d", called.Load(), left.Load())
		}
	})
}

func TestSocketWhoseTokenWasConfirmedElsewhereStillMeetsOnAuthenticated(t *testing.T) {
	// Guards: where the store accepts what it would have refused a moment ago, nobody gets in unseen by OnAuthenticated.
	inWorld(t, func(o *socketauth.Options[string]) { o.TokenLifetime, o.RefreshInterval = time.Hour, 10*time.Minute }, func(w *world) {
		seen := make(map[string]bool)
		w.OnAuthenticated(func(_ context.Context, s *socketauth.Socket) error { seen[s.ID()] = true; return nil })
		w.On("seen", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
			return seen[s.ID()], nil
		})
		code := w.code()
		a := w.dial("")
		o := a.confirms(code)
		b := w.dial("")
		b.authenticate(o.token) // young, so it is kept, and confirmed
		b.token()
		a.authenticate(code) // gets the same token again
		a.token()
		if got := a.ask("seen"); got != "[true]" {
			t.Errorf("seen: %s", got)
		}
	})
}

func TestOnDisconnectFollowsAnOnAuthenticatedThatCameTooLate(t *testing.T) {
	// Guards: an app that counts who is in must not count for ever one that left while it was let in.
	inWorld(t, nil, func(w *world) {
		asked, gone := make(chan struct{}), make(chan struct{})
		var left atomic.Int32
		w.OnAuthenticated(func(context.Context, *socketauth.Socket) error { close(asked); <-gone; return nil })
		w.OnDisconnect(func(context.Context, *socketauth.Socket, string) { left.Add(1) })
		c := w.dial("")
		c.authenticate(w.code())
		<-asked
		c.close()
		synctest.Wait()
		close(gone)
		synctest.Wait()
		if left.Load() != 1 {
			t.Errorf("OnDisconnect was called %d times", left.Load())
		}
	})
}

func TestOnDisconnectIsCalledOnceAfterTheLastHandler(t *testing.T) {
	for want, end := range map[string]func(w *world, c *client, s *socketauth.Socket){
		"client disconnect": func(_ *world, c *client, _ *socketauth.Socket) { c.send("41") },
		"transport close":   func(_ *world, c *client, _ *socketauth.Socket) { c.close() },
		"server disconnect": func(_ *world, _ *client, s *socketauth.Socket) { s.Disconnect() },
		"logged out":        func(_ *world, c *client, _ *socketauth.Socket) { c.emit("logout") },
		"token_expired": func(_ *world, _ *client, s *socketauth.Socket) {
			time.Sleep(time.Until(socketauth.ExpiresAt(s)) + time.Second)
		},
		"protocol error": func(_ *world, c *client, _ *socketauth.Socket) { c.send("4x") },
		"shutdown":       func(w *world, _ *client, _ *socketauth.Socket) { _ = w.Shutdown(context.Background()) },
	} {
		t.Run(want, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				var calls, handled atomic.Int32
				reasons := make(chan string, 2)
				w.On("work", func(ctx context.Context, _ *socketauth.Socket, _ socketauth.Args) (any, error) {
					<-ctx.Done()
					time.Sleep(time.Second)
					handled.Add(1)
					return nil, nil
				})
				w.OnDisconnect(func(ctx context.Context, s *socketauth.Socket, reason string) {
					claims, _ := socketauth.ClaimsFromContext(ctx)
					if ctx.Err() == nil || claims["sub"] != "anna" || s.UserID() != "anna" || handled.Load() != 1 {
						t.Errorf("context %v, claims %v, %d handled", ctx.Err(), claims, handled.Load())
					}
					calls.Add(1)
					reasons <- reason
				})
				c, s := w.inWithSocket(jwt.MapClaims{"sub": "anna"})
				c.emit("work")
				synctest.Wait()
				end(w, c, s)
				if got := <-reasons; got != want {
					t.Errorf("reason %q", got)
				}
				s.Disconnect()
				synctest.Wait()
				if calls.Load() != 1 {
					t.Errorf("called %d times", calls.Load())
				}
			})
		})
	}
}

func TestPanicsInHooksFailOneRequestAlone(t *testing.T) {
	var where atomic.Value
	where.Store("")
	maybe := func(hook string) {
		if where.Load() == hook {
			panic("a bug in " + hook)
		}
	}
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) {
		store.Store = blacklist.NewMemory()
		o.Blacklist = store
		o.Secret = nil
		key := socketauth.Key{Method: jwt.SigningMethodHS256, Sign: testSecret, Verify: testSecret}
		o.KeyFunc = func(_ context.Context, t *jwt.Token) (socketauth.Key, error) {
			if t.Raw != "" {
				maybe("KeyFunc")
			}
			return key, nil
		}
		o.TenantID = func(context.Context, jwt.MapClaims) (string, error) { maybe("TenantID"); return "t", nil }
		o.Refresh = func(_ context.Context, c jwt.MapClaims) (string, error) {
			maybe("Refresh")
			return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(testSecret)
		}
	}, func(w *world) {
		w.OnAuthenticated(func(context.Context, *socketauth.Socket) error { maybe("OnAuthenticated"); return nil })
		w.OnDisconnect(func(context.Context, *socketauth.Socket, string) { maybe("OnDisconnect") })
		w.On("boom", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) {
			maybe("handler of boom")
			return "fine", nil
		})
		store.fail(func(string) error { maybe("Blacklist"); return nil }, nil)
		bystander, _ := w.in()
		for hook, code := range map[string]string{
			"KeyFunc": "server_error", "TenantID": "server_error", "Refresh": "server_error", "OnAuthenticated": "server_error", "Blacklist": "unavailable",
		} {
			token := w.code()
			where.Store(hook)
			c := w.dial("")
			c.authenticate(token)
			c.refusedAndGone(code)
			where.Store("")
			w.logged("a bug in " + hook)
			c = w.dial("")
			c.authenticate(token)
			c.token()
			c.close()
		}
		where.Store("handler of boom")
		if got := bystander.ask("boom"); got != `[{"error":{"code":"server_error"}}]` {
			t.Errorf("got %s", got)
		}
		where.Store("OnDisconnect")
		other, _ := w.in()
		other.close()
		synctest.Wait()
		w.logged("a bug in OnDisconnect")
		w.logged("goroutine ")
		where.Store("")
		if got := bystander.ask("boom"); got != `["fine"]` {
			t.Errorf("got %s", got)
		}
	})
}
