package socketauth_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// TestUpdateClaims guards what UpdateClaims is called with and when, and what its results do to the
// token, to the session and to the client.
func TestUpdateClaims(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		d.set("anna", "")
		c := srv.dial("")
		c.authenticate(srv.codeFor(jwt.MapClaims{"sub": "anna", "n": int64(1<<62 + 1), "role": "x"}))
		first := c.expectToken()
		before, after := payloadOf(t, srv.codeFor(jwt.MapClaims{"sub": "anna", "n": int64(1<<62 + 1), "role": "x"})), payloadOf(t, first)
		if string(before["n"]) != string(after["n"]) || string(after["role"]) != `"x"` {
			t.Errorf("unchanged claims became %s, %s", after["n"], after["role"])
		}
		if calls := d.called(); len(calls) != 1 || calls[0]["sub"] != "anna" || calls[0]["role"] != "x" || calls[0]["token_use"] == nil {
			t.Errorf("called with %v", calls)
		}
		own := claimsIn(t, first)
		d.failing(func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
			return jwt.MapClaims{"list": []int{1}}, nil // "sub" and the library's claims are left out
		})
		c.authenticate(first)
		second := claimsIn(t, c.expectToken())
		if second["sub"] != "anna" || second["sid"] != own["sid"] || second["role"] != nil || fmt.Sprint(second["list"]) != "[1]" {
			t.Errorf("the claims are %v", second)
		}
		c.expectAuthenticated()
	})
}

// TestUpdateClaimsFails guards what each failure of UpdateClaims does, that none uses up the token
// that was presented or ends an authenticated client's connection, and that ErrInvalidCredentials
// ends the session.
func TestUpdateClaimsFails(t *testing.T) {
	for name, c := range map[string]struct {
		hook func(ctx context.Context, old jwt.MapClaims) (jwt.MapClaims, error)
		code string
		log  string
	}{
		"public": {func(context.Context, jwt.MapClaims) (jwt.MapClaims, error) {
			return nil, &socketauth.PublicError{Code: "banned"}
		}, "banned", ""},
		"unavailable": {func(context.Context, jwt.MapClaims) (jwt.MapClaims, error) { return nil, socketauth.ErrUnavailable }, "unavailable", ""},
		"any error":   {func(context.Context, jwt.MapClaims) (jwt.MapClaims, error) { return nil, errors.New("a bug") }, "server_error", "a bug"},
		"panics":      {func(context.Context, jwt.MapClaims) (jwt.MapClaims, error) { panic("a bug") }, "server_error", "a bug"},
		"nothing":     {func(context.Context, jwt.MapClaims) (jwt.MapClaims, error) { return nil, nil }, "server_error", "sub"},
		"another user": {func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
			old["sub"] = "bert"
			return old, nil
		}, "server_error", "sub"},
		"no text": {func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) { old["sub"] = 1; return old, nil }, "server_error", "sub"},
		"not JSON": {func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
			old["x"] = func() {}
			return old, nil
		}, "server_error", "func"},
		"a longer life": {func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) { old["exp"] = 1e10; return old, nil }, "server_error", "exp"},
		"a proof":       {func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) { old["acr"] = "phr"; return old, nil }, "server_error", "acr"},
		"a mark":        {func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) { old["mark"] = 1e15; return old, nil }, "server_error", "mark"},
		"exits":         {func(context.Context, jwt.MapClaims) (jwt.MapClaims, error) { runtime.Goexit(); return nil, nil }, "server_error", "ended its goroutine"},
		"hangs": {func(ctx context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}, "server_error", ""},
		"hangs on": {func(ctx context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
			time.Sleep(time.Minute)
			return old, nil
		}, "server_error", "not returned within Timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			withDirectory(t, nil, func(srv *testServer, d *directory) {
				live, token := srv.authenticated()
				code := srv.code()
				d.failing(c.hook)
				live.authenticate(token)
				live.expectUnauthorized(c.code)
				if c.log != "" {
					srv.expectLogged(c.log)
				}
				live.expectAuthenticated()
				srv.dial(fmt.Sprintf(`{"token":%q}`, code)).expectRefused(c.code)
				d.failing(nil)
				d.set("anna", "guest")
				live.authenticate(token) // at once, also while the call before hangs
				live.expectToken()
				if got := live.call("role"); got != `["guest"]` {
					t.Errorf("the role is %s", got)
				}
				fresh := srv.dial("")
				fresh.authenticate(code)
				fresh.expectToken()
				time.Sleep(2 * time.Minute) // whatever hung
				live.expectAuthenticated()
			})
		})
	}
	t.Run("gone", func(t *testing.T) {
		withDirectory(t, nil, func(srv *testServer, d *directory) {
			one, token := srv.confirmed(srv.code())
			two, token := srv.confirmed(token)
			one.expect(`42["rotated"]`)
			other, _ := srv.authenticated()
			d.failing(func(context.Context, jwt.MapClaims) (jwt.MapClaims, error) {
				return nil, fmt.Errorf("%w: no such user", socketauth.ErrInvalidCredentials)
			})
			two.authenticate(token)
			one.expectRefused("session_revoked")
			two.expectRefused("session_revoked")
			other.expectAuthenticated() // another session, which UpdateClaims was not asked about
			d.failing(nil)
			srv.expectTokenRefused(token, "session_revoked")
		})
	})
}

// TestUpdateClaimsOfDeadTokens guards that UpdateClaims is not called for a token that the store
// would not accept, and that such a token comes to what it comes to without UpdateClaims: reuse
// ends the session, also that of a code.
func TestUpdateClaimsOfDeadTokens(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		revoked, dead := srv.authenticated()
		if _, err := srv.Auth().RevokeUser(srv.Context(), "anna"); err != nil {
			t.Fatal(err)
		}
		revoked.expectRefused("session_revoked")
		time.Sleep(time.Millisecond)
		for _, generation := range []int{0, 1} {
			tokens := []string{srv.code()}
			c := srv.dial("")
			for range 3 {
				c.authenticate(tokens[len(tokens)-1])
				tokens = append(tokens, c.expectToken())
			}
			d.called()
			time.Sleep(10 * time.Second)
			d.failing(func(context.Context, jwt.MapClaims) (jwt.MapClaims, error) {
				return nil, socketauth.ErrInvalidCredentials
			})
			srv.expectTokenRefused(dead, "session_revoked")
			c.expectAuthenticated()
			srv.expectTokenRefused(srv.foreignToken(), "no_longer_valid")
			srv.expectTokenRefused(tokens[generation], "token_reused")
			c.expectRefused("token_reused")
			if calls := d.called(); len(calls) != 0 {
				t.Errorf("UpdateClaims was called with %v", calls)
			}
			d.failing(nil)
		}
	})
}

// TestUpdateClaimsTakesLong guards that a client which has presented its token in time is not
// closed while UpdateClaims runs, because of that token's expiry; and that nothing is wrong if a
// client leaves then.
func TestUpdateClaimsTakesLong(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		c, s := srv.authenticatedSocket(claimsOf("anna"))
		goOn := make(chan struct{})
		d.failing(func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) { <-goOn; return old, nil })
		time.Sleep(time.Until(socketauth.ExpiresAt(s)) - time.Second)
		c.authenticate(c.current)
		time.Sleep(2 * time.Second)
		close(goOn)
		c.expectToken()
		c.expectAuthenticated()

		goOn = make(chan struct{})
		c.authenticate(c.current)
		synctest.Wait()
		c.close()
		synctest.Wait()
		close(goOn)
		synctest.Wait()
		if log := srv.logs.String(); strings.Contains(log, "level=ERROR") || strings.Contains(log, "level=WARN") {
			t.Errorf("logged:\n%s", log)
		}
	})
}

// TestPresentedInTime guards that a client which has presented its token in time is not closed
// because the hooks that follow take longer than it had: neither UpdateClaims nor, after or without
// it, TenantID.
func TestPresentedInTime(t *testing.T) {
	for name, updates := range map[string]bool{"UpdateClaims and TenantID": true, "TenantID": false} {
		t.Run(name, func(t *testing.T) {
			var takes time.Duration
			hook := func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
				time.Sleep(takes)
				return old, nil
			}
			onEngines(t, func(o *socketauth.Options[string]) {
				if updates {
					o.UpdateClaims = hook
				}
				o.TenantID = func(ctx context.Context, c jwt.MapClaims) (string, error) {
					_, err := hook(ctx, c)
					return "t", err
				}
			}, func(srv *testServer) {
				takes = 0
				c, s := srv.authenticatedSocket(claimsOf("anna"))
				time.Sleep(time.Until(socketauth.ExpiresAt(s)) - time.Second)
				takes = 2 * time.Second
				c.authenticate(c.current)
				c.expectToken()
				c.expectAuthenticated()
				if !updates {
					return
				}
				c = srv.dial("")
				time.Sleep(4 * time.Second) // of 5
				c.authenticate(srv.code())
				c.expectToken()
				c.expectAuthenticated()
			})
		})
	}
}

// TestPresentedForEver guards that no socket lives on after its token by presentations: one that a hook
// never returns from, and those of a client that presents again and again while they fail, each of which
// begins before the deadline of the one before is looked at.
func TestPresentedForEver(t *testing.T) {
	for name, c := range map[string]struct {
		takes time.Duration
		times int
	}{"a hook that hangs": {time.Hour, 1}, "again and again": {4 * time.Second, 20}} {
		t.Run(name, func(t *testing.T) {
			var slow atomic.Bool
			onEngines(t, func(o *socketauth.Options[string]) {
				o.TenantID = func(context.Context, jwt.MapClaims) (string, error) {
					if slow.Load() {
						time.Sleep(c.takes)
						return "", errors.New("down")
					}
					return "t", nil
				}
			}, func(srv *testServer) {
				slow.Store(false)
				cl, s := srv.authenticatedSocket(claimsOf("anna"))
				ended := make(chan time.Time, 2)
				srv.OnDisconnect(func(context.Context, *socketauth.Socket, string) { ended <- time.Now() })
				expires := socketauth.ExpiresAt(s)
				time.Sleep(time.Until(expires) - time.Second)
				other := srv.dial("")
				other.authenticate(cl.current)
				token := other.expectToken()
				other.close()
				<-ended
				slow.Store(true)
				for range c.times {
					cl.authenticate(token)
				}
				if at := <-ended; at.After(expires.Add(10 * time.Second)) {
					t.Errorf("it ended %v after its token", at.Sub(expires))
				}
				time.Sleep(c.takes) // the server waits for the hook
			})
		})
	}
}

// TestEventsOfClosedSocketAreForgotten guards that nothing is kept of a socket that has ended while
// its events waited for newer claims, also of those that were queued behind a handler.
func TestEventsOfClosedSocketAreForgotten(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		goOn := make(chan struct{})
		srv.On("wait", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { <-goOn; return nil, nil })
		c, s := srv.authenticatedSocket(claimsOf("anna"))
		c.send(`42["wait"]`)
		c.send(`42["role"]`)
		synctest.Wait()
		srv.demote(d, "anna", "guest")
		_ = s.Emit("x")
		if !socketauth.Waiting(s) {
			t.Error("nothing waits")
		}
		c.close()
		synctest.Wait()
		close(goOn)
		synctest.Wait()
		if socketauth.Waiting(s) {
			t.Error("something still waits")
		}
	})
}

// TestUpdateClaimsShared guards that sockets of a session that are brought up to date at once share
// a call of UpdateClaims, and those of another session do not.
func TestUpdateClaimsShared(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		one, token := srv.confirmed(srv.code())
		two, token := srv.confirmed(token)
		one.expect(`42["rotated"]`)
		other, foreign := srv.authenticated()
		srv.demote(d, "anna", "guest")
		d.called()
		goOn := make(chan struct{})
		d.failing(func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) { <-goOn; return old, nil })
		for _, c := range []*client{one, two} {
			c.expect(refreshEvent)
			c.emit("authenticate", map[string]any{"token": token, "confirm": true})
		}
		other.expect(refreshEvent)
		other.authenticate(foreign)
		synctest.Wait()
		if calls := d.called(); len(calls) != 2 {
			t.Errorf("%d calls, want one for each session", len(calls))
		}
		close(goOn)
		synctest.Wait()
		one.expectOffer().confirm()
		two.expectOffer()
		other.expectToken()
	})
}

// TestUpdateClaimsOfBadToken guards that claims which make the next token invalid are an error of
// the server, which uses nothing up: the client stored that token, and its session was lost.
func TestUpdateClaimsOfBadToken(t *testing.T) {
	var nbf atomic.Value
	withServer(t, func(o *socketauth.Options[string]) {
		nbf.Store("soon")
		o.UpdateClaims = func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
			if v := nbf.Load(); v != "" {
				old["nbf"] = v
			}
			return old, nil
		}
	}, func(srv *testServer) {
		code := srv.code()
		c := srv.dial("")
		c.authenticate(code)
		c.expectRefused("server_error")
		nbf.Store("")
		c = srv.dial("")
		c.authenticate(code)
		c.expectToken()
	})
}
