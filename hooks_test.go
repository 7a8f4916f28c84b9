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

// TestTenantID checks that sockets get their tenant, that none is a refusal for good, and that an
// error is one for now that tells the client nothing.
func TestTenantID(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) {
		o.TenantID = func(_ context.Context, c jwt.MapClaims) (string, error) {
			if c["tenant"] == "down" {
				return "", errors.New("directory down")
			}
			tenant, _ := c["tenant"].(string)
			return tenant, nil
		}
	}, func(srv *testServer) {
		tenants := make(chan string, 1)
		srv.OnAuthenticated(func(_ context.Context, s *socketauth.Socket) error { tenants <- s.TenantID(); return nil })
		srv.authenticatedAs(jwt.MapClaims{"sub": "anna", "tenant": "acme"})
		if got := <-tenants; got != "acme" {
			t.Errorf("tenant %q", got)
		}
		c := srv.dial("")
		c.authenticate(srv.code())
		c.expectRefused("invalid_tenant")
		c = srv.dial("")
		c.authenticate(srv.codeFor(jwt.MapClaims{"sub": "anna", "tenant": "down"}))
		if u := c.expectRefused("server_error"); u.Terminal || u.RetryAfter < 1 || strings.Contains(fmt.Sprint(u), "directory") {
			t.Errorf("%+v", u)
		}
		srv.expectLogged("directory down")
	})
}

// TestRefreshHook checks that session tokens are those that Refresh returned, and that its failure
// consumes nothing and changes nothing.
func TestRefreshHook(t *testing.T) {
	var fail atomic.Bool
	withServer(t, func(o *socketauth.Options[string]) {
		o.Refresh = func(_ context.Context, c jwt.MapClaims) (string, error) {
			if fail.Load() {
				return "", errors.New("signer down")
			}
			c["role"] = "admin"
			return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(testSecret)
		}
	}, func(srv *testServer) {
		roles := make(chan any, 1)
		srv.OnAuthenticated(func(_ context.Context, s *socketauth.Socket) error { roles <- s.Claims()["role"]; return nil })
		code := srv.code()
		fail.Store(true)
		c := srv.dial("")
		c.authenticate(code)
		c.expectRefused("server_error")
		fail.Store(false)
		c = srv.dial("")
		c.authenticate(code)
		token := c.expectToken()
		if got := <-roles; got != "admin" {
			t.Errorf("role %v", got)
		}
		fail.Store(true)
		c.authenticate(token)
		if u := c.expectUnauthorized("server_error"); u.Terminal || u.RetryAfter < 1 {
			t.Errorf("%+v", u)
		}
		c.expectAuthenticated() // its identity and expiry are as they were
	})
}

// TestHangingHookDeadline checks that a hook that hangs does not stop the authentication deadline,
// and that the attempt consumes nothing.
func TestHangingHookDeadline(t *testing.T) {
	var hang chan struct{}
	var hanging atomic.Bool
	withServer(t, func(o *socketauth.Options[string]) {
		hang = make(chan struct{})
		o.TenantID = func(ctx context.Context, _ jwt.MapClaims) (string, error) {
			if !hanging.Load() {
				return "t", nil
			}
			<-ctx.Done()
			<-hang
			return "", ctx.Err()
		}
	}, func(srv *testServer) {
		hanging.Store(true)
		code := srv.code()
		c := srv.dial(fmt.Sprintf(`{"token":%q}`, code))
		c.expectRefused("timeout")
		close(hang)
		hanging.Store(false)
		c = srv.dial(fmt.Sprintf(`{"token":%q}`, code))
		c.expectToken()
	})
}

// TestOnAuthenticatedRefuses checks that an error of OnAuthenticated refuses the socket with its
// code, consumes no token, and is not followed by OnDisconnect.
func TestOnAuthenticatedRefuses(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		var refuse error
		var left atomic.Int32
		srv.OnAuthenticated(func(context.Context, *socketauth.Socket) error { return refuse })
		srv.OnDisconnect(func(context.Context, *socketauth.Socket, string) { left.Add(1) })
		code := srv.code()
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
			s := srv.dial("")
			s.authenticate(code)
			s.expectRefused(c.code)
		}
		if left.Load() != 0 {
			t.Error("OnDisconnect was called for a socket that was refused")
		}
		refuse = nil
		s := srv.dial("")
		s.authenticate(code)
		s.expectToken()
		s.close()
		synctest.Wait()
		if left.Load() != 1 {
			t.Errorf("OnDisconnect was called %d times", left.Load())
		}
	})
}

// TestOnAuthenticatedJoinsAndEmits checks that OnAuthenticated may join rooms and emit, which
// reaches the client behind its token and once, and that it cannot wait for the client.
func TestOnAuthenticatedJoinsAndEmits(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		var ask error
		srv.OnAuthenticated(func(ctx context.Context, s *socketauth.Socket) error {
			s.Join("lobby")
			if err := srv.To("lobby").Emit("too early"); err != nil {
				return err
			}
			_, ask = s.EmitWithAck(ctx, "question")
			claims, _ := socketauth.ClaimsFromContext(ctx)
			return s.Emit("welcome", claims["sub"])
		})
		c, token := srv.authenticated()
		c.expect(`42["welcome","anna"]`)
		c.expectNothing()
		if !errors.Is(ask, socketauth.ErrNotAuthenticated) {
			t.Errorf("asking before the client is in: %v", ask)
		}
		if err := srv.To("lobby").Emit("hello"); err != nil {
			t.Error(err)
		}
		c.expect(`42["hello"]`)
		c.authenticate(token)
		c.expectToken()
		c.expectNothing() // no second welcome
	})
}

// TestOnAuthenticatedStoreFailure checks that no socket is authenticated without OnAuthenticated,
// also where the store cannot say beforehand whether the token is good.
func TestOnAuthenticatedStoreFailure(t *testing.T) {
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		var called, left atomic.Int32
		srv.OnAuthenticated(func(context.Context, *socketauth.Socket) error { called.Add(1); return nil })
		srv.OnDisconnect(func(context.Context, *socketauth.Socket, string) { left.Add(1) })
		failing := func(which string) func(string) error {
			return func(call string) error {
				if call == which {
					return errStoreDown
				}
				return nil
			}
		}
		store.fail(failing("Check"), nil)
		c := srv.dial("")
		c.authenticate(srv.code())
		c.expectRefused("unavailable")
		synctest.Wait()
		if called.Load() != 0 || left.Load() != 0 {
			t.Errorf("called %d times, left %d", called.Load(), left.Load())
		}
		store.fail(failing("Present"), nil)
		c = srv.dial("")
		c.authenticate(srv.code())
		c.expectRefused("unavailable")
		synctest.Wait()
		if called.Load() != 1 || left.Load() != 1 {
			t.Errorf("accepted by the app, not by the store: OnAuthenticated called %d times, OnDisconnect %d", called.Load(), left.Load())
		}
	})
}

// TestOnAuthenticatedConfirmedElsewhere checks that OnAuthenticated is called where the store
// accepts what it would have refused a moment before.
func TestOnAuthenticatedConfirmedElsewhere(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.TokenLifetime, o.RefreshInterval = time.Hour, 10*time.Minute }, func(srv *testServer) {
		seen := make(map[string]bool)
		srv.OnAuthenticated(func(_ context.Context, s *socketauth.Socket) error { seen[s.ID()] = true; return nil })
		srv.On("seen", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
			return seen[s.ID()], nil
		})
		code := srv.code()
		a := srv.dial("")
		o := a.offerFor(code)
		b := srv.dial("")
		b.authenticate(o.token) // within RefreshInterval, so it is kept, and confirmed
		b.expectToken()
		a.authenticate(code) // gets the same token again
		a.expectToken()
		if got := a.call("seen"); got != "[true]" {
			t.Errorf("seen: %s", got)
		}
	})
}

// TestOnDisconnectAfterLateOnAuthenticated checks that OnDisconnect is called for a socket that
// ended while OnAuthenticated ran, so that an app's count of users comes out even.
func TestOnDisconnectAfterLateOnAuthenticated(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		asked, gone := make(chan struct{}), make(chan struct{})
		var left atomic.Int32
		srv.OnAuthenticated(func(context.Context, *socketauth.Socket) error { close(asked); <-gone; return nil })
		srv.OnDisconnect(func(context.Context, *socketauth.Socket, string) { left.Add(1) })
		c := srv.dial("")
		c.authenticate(srv.code())
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

// TestOnDisconnect checks that OnDisconnect is called once, after the last handler, with the reason
// and the claims, however the socket ends.
func TestOnDisconnect(t *testing.T) {
	for want, end := range map[string]func(srv *testServer, c *client, s *socketauth.Socket){
		"client disconnect": func(_ *testServer, c *client, _ *socketauth.Socket) { c.send("41") },
		"transport close":   func(_ *testServer, c *client, _ *socketauth.Socket) { c.close() },
		"server disconnect": func(_ *testServer, _ *client, s *socketauth.Socket) { s.Disconnect() },
		"logged out":        func(_ *testServer, c *client, _ *socketauth.Socket) { c.emit("logout") },
		"token_expired": func(_ *testServer, _ *client, s *socketauth.Socket) {
			time.Sleep(time.Until(socketauth.ExpiresAt(s)) + time.Second)
		},
		"protocol error": func(_ *testServer, c *client, _ *socketauth.Socket) { c.send("4x") },
		"shutdown":       func(srv *testServer, _ *client, _ *socketauth.Socket) { _ = srv.Shutdown(context.Background()) },
	} {
		t.Run(want, func(t *testing.T) {
			withServer(t, nil, func(srv *testServer) {
				var calls, handled atomic.Int32
				reasons := make(chan string, 2)
				srv.On("work", func(ctx context.Context, _ *socketauth.Socket, _ socketauth.Args) (any, error) {
					<-ctx.Done()
					time.Sleep(time.Second)
					handled.Add(1)
					return nil, nil
				})
				srv.OnDisconnect(func(ctx context.Context, s *socketauth.Socket, reason string) {
					claims, _ := socketauth.ClaimsFromContext(ctx)
					if ctx.Err() == nil || claims["sub"] != "anna" || s.UserID() != "anna" || handled.Load() != 1 {
						t.Errorf("context %v, claims %v, %d handled", ctx.Err(), claims, handled.Load())
					}
					calls.Add(1)
					reasons <- reason
				})
				c, s := srv.authenticatedSocket(jwt.MapClaims{"sub": "anna"})
				c.emit("work")
				synctest.Wait()
				end(srv, c, s)
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

// TestHookPanics checks that a panic in a hook, a handler or the store fails one request, is logged
// with its stack, and does no other harm.
func TestHookPanics(t *testing.T) {
	var where atomic.Value
	where.Store("")
	maybe := func(hook string) {
		if where.Load() == hook {
			panic("a bug in " + hook)
		}
	}
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) {
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
	}, func(srv *testServer) {
		srv.OnAuthenticated(func(context.Context, *socketauth.Socket) error { maybe("OnAuthenticated"); return nil })
		srv.OnDisconnect(func(context.Context, *socketauth.Socket, string) { maybe("OnDisconnect") })
		srv.On("boom", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) {
			maybe("handler of boom")
			return "fine", nil
		})
		store.fail(func(string) error { maybe("Blacklist"); return nil }, nil)
		bystander, _ := srv.authenticated()
		for hook, code := range map[string]string{
			"KeyFunc": "server_error", "TenantID": "server_error", "Refresh": "server_error", "OnAuthenticated": "server_error", "Blacklist": "unavailable",
		} {
			token := srv.code()
			where.Store(hook)
			c := srv.dial("")
			c.authenticate(token)
			c.expectRefused(code)
			where.Store("")
			srv.expectLogged("a bug in " + hook)
			c = srv.dial("")
			c.authenticate(token)
			c.expectToken()
			c.close()
		}
		where.Store("handler of boom")
		if got := bystander.call("boom"); got != `[{"error":{"code":"server_error"}}]` {
			t.Errorf("got %s", got)
		}
		where.Store("OnDisconnect")
		other, _ := srv.authenticated()
		other.close()
		synctest.Wait()
		srv.expectLogged("a bug in OnDisconnect")
		srv.expectLogged("goroutine ")
		where.Store("")
		if got := bystander.call("boom"); got != `["fine"]` {
			t.Errorf("got %s", got)
		}
	})
}
