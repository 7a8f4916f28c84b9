package socketauth_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// TestOnClaimsChanged guards when OnClaimsChanged is called and with what, at a rotation that
// nobody has asked for too; that what it emits and joins comes before later events; and what its
// errors do.
func TestOnClaimsChanged(t *testing.T) {
	withDirectory(t, func(o *socketauth.Options[string]) {
		o.TenantID = func(_ context.Context, c jwt.MapClaims) (string, error) { return "of " + role(c), nil }
	}, func(srv *testServer, d *directory) {
		var seen []string
		var fail error
		var left time.Duration
		srv.OnClaimsChanged(func(ctx context.Context, s *socketauth.Socket, old jwt.MapClaims) error {
			claims, _ := socketauth.ClaimsFromContext(ctx)
			seen = append(seen, fmt.Sprint(role(old), ">", role(s.Claims()), " ", role(claims), " ", s.TenantID()))
			at, _ := ctx.Deadline()
			left = time.Until(at)
			if _, err := s.EmitWithAck(ctx, "question"); !errors.Is(err, socketauth.ErrNotAuthenticated) {
				t.Errorf("EmitWithAck: %v", err)
			}
			_ = s.Emit("changed")
			_ = srv.To("guest").Emit("guests")
			return fail
		})
		c, token := srv.authenticated()
		c.authenticate(token)
		c.expectToken()
		c.expectAuthenticated() // nothing has changed
		d.set("anna", "guest")
		c.authenticate(c.current)
		c.send(`4291["role"]`)
		c.expectToken()
		c.expect(`42["changed"]`)
		c.expect(`42["guests"]`)
		c.expect(`4391["guest"]`)
		srv.demote(d, "anna", "guest") // which is nothing new
		c.expect(refreshEvent)
		c.authenticate(c.current)
		c.expectToken()
		c.expectAuthenticated()
		if want := []string{"admin>guest guest of guest"}; !slices.Equal(seen, want) || left != 5*time.Second {
			t.Errorf("called with %q, and %v left", seen, left)
		}
		for _, f := range []struct {
			err  error
			code string
		}{
			{&socketauth.PublicError{Code: "banned"}, "banned"}, {socketauth.ErrUnavailable, "unavailable"}, {errors.New("a bug"), "server_error"},
		} {
			fail = f.err
			srv.demote(d, "anna", "refused as "+f.code)
			c.expect(refreshEvent)
			c.send(`4292["role"]`)
			c.authenticate(c.current)
			c.expectToken()
			c.expectRefused(f.code)
			fail = nil
			next := srv.dial("")
			next.authenticate(c.current)
			next.expectToken()
			c = next
			if got := c.call("role"); got != `["refused as `+f.code+`"]` {
				t.Errorf("after coming back the role is %s", got)
			}
		}
		defer func() {
			if recover() == nil {
				t.Error("a nil function is taken")
			}
		}()
		srv.OnClaimsChanged(nil)
	})
}

// TestClaimsChangedElsewhere guards a socket that has presented a token with claims that the app
// has not seen, where the next one is then not confirmed: neither do its events wait for ever, nor
// does it go on with the new claims and its old tenant. It comes back.
func TestClaimsChangedElsewhere(t *testing.T) {
	store := new(faultyStore)
	withDirectory(t, func(o *socketauth.Options[string]) {
		store.Store = blacklist.NewMemory()
		o.Blacklist = store
		o.TenantID = func(_ context.Context, c jwt.MapClaims) (string, error) { return fmt.Sprint(c["role"]), nil }
	}, func(srv *testServer, d *directory) {
		srv.On("tenant", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
			return s.TenantID(), nil
		})
		c, token := srv.confirmed(srv.code())
		other, token := srv.confirmed(token)
		c.expect(`42["rotated"]`)
		d.set("anna", "guest")
		o := other.offerFor(token)
		o.confirm()
		other.expectAuthenticated()
		c.expect(`42["rotated"]`)
		next := c.offerFor(o.token)
		store.fail(storeDown, nil)
		next.confirm()
		c.expectUnauthorized("unavailable")
		c.expectClosed()
		store.fail(nil, nil)
		c, token = srv.confirmed(o.token)
		other.expect(`42["rotated"]`)
		if got := c.call("tenant"); got != `["guest"]` {
			t.Errorf("the tenant is %s", got)
		}

		// The same if the acknowledgement comes when the session is further.
		d.set("anna", "nobody")
		o = other.offerFor(token)
		o.confirm()
		other.expectAuthenticated()
		c.expect(`42["rotated"]`)
		next = c.offerFor(o.token)
		o = next
		for range 2 {
			o = other.offerFor(o.token)
			o.confirm()
			other.expectAuthenticated()
			c.expect(`42["rotated"]`)
		}
		c.send(`4291["role"]`)
		c.expectNothing() // until it is known whether OnClaimsChanged need not be asked about the next token
		next.confirm()
		c.expectClosed()
	})
}

// TestRefreshWhileOffered guards that a token which was offered before RefreshUser does not let its
// client in, or stay in, once it is confirmed: a client that was in is told to present it, another
// comes back.
func TestRefreshWhileOffered(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		c := srv.dial("")
		o := c.offerFor(srv.code())
		srv.demote(d, "anna", "guest")
		o.confirm()
		c.expectClosed() // in a way after which it comes back
		c, token := srv.confirmed(o.token)
		if got := c.call("role"); got != `["guest"]` {
			t.Errorf("the role is %s", got)
		}
		o = c.offerFor(token)
		srv.demote(d, "anna", "nobody")
		c.expect(refreshEvent)
		c.send(`4291["role"]`)
		o.confirm()
		c.expectNothing()
		last := c.offerFor(o.token)
		c.expectNothing()
		last.confirm()
		c.expect(`4391["nobody"]`)
	})
}

// TestRefreshDuringPresentation guards that a presentation during which RefreshUser is called ends
// with the claims of after it, whether the store has decided before or not; that OnAuthenticated's
// rooms are corrected by OnClaimsChanged; and that after three times the client is told to come
// back.
func TestRefreshDuringPresentation(t *testing.T) {
	for _, confirm := range []bool{false, true} {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("confirming %v, decided %v", confirm, after), func(t *testing.T) {
				store := new(faultyStore)
				withDirectory(t, func(o *socketauth.Options[string]) {
					store.Store = blacklist.NewMemory()
					o.Blacklist = store
				}, func(srv *testServer, d *directory) {
					raced := false
					race := func(call string) error {
						if call == "Present" && !raced {
							raced = true
							srv.demote(d, "anna", "guest")
						}
						return nil
					}
					if after {
						store.fail(nil, race)
					} else {
						store.fail(race, nil)
					}
					c := srv.dial("")
					c.emit("authenticate", map[string]any{"token": srv.code(), "confirm": confirm})
					switch {
					case confirm && after:
						o := c.expectOffer()
						o.confirm()
						c.expectClosed() // it comes back with what it has stored
						c, _ = srv.confirmed(o.token)
					case confirm:
						c.expectOffer().confirm()
					case after:
						token := c.expectToken()
						c.send(`4290["role"]`)
						c.expect(refreshEvent)
						c.expectNothing()
						c.authenticate(token)
						c.expectToken()
						c.expect(`4390["guest"]`)
					default:
						c.expectToken()
					}
					if got := c.call("role"); got != `["guest"]` {
						t.Errorf("the role is %s", got)
					}
					if err := errors.Join(srv.To("admin").Emit("secret"), srv.To("guest").Emit("open")); err != nil {
						t.Error(err)
					}
					c.expect(`42["open"]`)
				})
			})
		}
	}
	t.Run("again and again", func(t *testing.T) {
		withDirectory(t, nil, func(srv *testServer, d *directory) {
			c, token := srv.authenticated()
			d.called()
			d.failing(func(ctx context.Context, old jwt.MapClaims) (jwt.MapClaims, error) { // a bug of the app
				_, err := srv.Auth().RefreshUser(ctx, "anna")
				return old, err
			})
			c.authenticate(token)
			for range 3 {
				c.expect(refreshEvent)
			}
			c.expectUnauthorized("unavailable")
			if calls := d.called(); len(calls) != 3 {
				t.Errorf("UpdateClaims was called %d times, want 3", len(calls))
			}
			d.failing(nil)
			c.authenticate(token)
			c.expectToken()
			c.expectAuthenticated()
		})
	})
}

// TestRefreshFromHooks guards that RefreshUser may be called within OnAuthenticated and
// OnClaimsChanged: the client is let in, or stays, with claims of after that.
func TestRefreshFromHooks(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		var inHook string // the role that is given in the next hook
		give := func() error {
			if inHook == "" {
				return nil
			}
			d.set("anna", inHook)
			inHook = ""
			_, err := srv.Auth().RefreshUser(srv.Context(), "anna")
			return err
		}
		srv.OnAuthenticated(func(context.Context, *socketauth.Socket) error { return give() })
		srv.OnClaimsChanged(func(context.Context, *socketauth.Socket, jwt.MapClaims) error { return give() })
		inHook = "guest"
		c := srv.dial("")
		c.authenticate(srv.code())
		c.expectToken()
		if got := c.call("role"); got != `["guest"]` {
			t.Errorf("after OnAuthenticated: %s", got)
		}
		inHook = "nobody"
		srv.demote(d, "anna", "visitor")
		c.expect(refreshEvent)
		c.send(`4290["role"]`)
		c.authenticate(c.current)
		c.expectToken()
		c.expect(refreshEvent)
		c.expectNothing()
		c.authenticate(c.current)
		c.expectToken()
		c.expect(`4390["nobody"]`)
		if err := errors.Join(srv.To("guest", "visitor").Emit("secret"), srv.To("nobody").Emit("open")); err != nil {
			t.Error(err)
		}
		c.expect(`42["open"]`)
	})
}

// TestHeldLimits guards that what waits for a socket whose client does not refresh is bounded: too
// many messages or events disconnect it so that it comes back.
func TestHeldLimits(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		reasons := make(chan string, 1)
		srv.OnDisconnect(func(_ context.Context, _ *socketauth.Socket, reason string) { reasons <- reason })
		for name, c := range map[string]struct {
			burst  func(c *client, s *socketauth.Socket)
			reason string
		}{
			"messages": {func(_ *client, s *socketauth.Socket) { emitMany(1025, func() { _ = s.Emit("x") }) }, "outdated"},
			"emits":    {func(*client, *socketauth.Socket) { emitMany(1025, func() { _ = srv.Emit("x") }) }, "outdated"},
			"large": {func(*client, *socketauth.Socket) {
				emitMany(9, func() { _ = srv.Emit("x", strings.Repeat("x", 1<<19)) })
			}, "outdated"},
			"enough": {func(*client, *socketauth.Socket) { emitMany(1024, func() { _ = srv.Emit("x") }) }, ""},
			"events": {func(c *client, _ *socketauth.Socket) {
				emitMany(1025, func() { c.send(`42["role"]`); synctest.Wait() })
			}, "outdated"},
			"few":       {func(c *client, _ *socketauth.Socket) { emitMany(1024, func() { c.send(`42["role"]`) }) }, ""},
			"left":      {func(c *client, _ *socketauth.Socket) { c.close() }, "transport close"},
			"logs out":  {func(c *client, _ *socketauth.Socket) { c.emit("logout", c.current) }, "logged out"},
			"is thrown": {func(_ *client, s *socketauth.Socket) { s.Disconnect() }, "server disconnect"},
		} {
			client, s := srv.authenticatedSocket(claimsOf("anna"))
			srv.demote(d, "anna", "guest")
			client.expect(refreshEvent)
			c.burst(client, s)
			synctest.Wait()
			select {
			case reason := <-reasons:
				if reason != c.reason {
					t.Errorf("%s: disconnected for %q, want %q", name, reason, c.reason)
				}
			default:
				if c.reason != "" {
					t.Errorf("%s: not disconnected", name)
				}
				time.Sleep(6 * time.Second)
				<-reasons
			}
			client.close()
		}
	})
}

func emitMany(n int, emit func()) {
	for range n {
		emit()
	}
}

// TestShutdownWhileHeld guards that Shutdown ends a socket that waits for newer claims, and one
// whose OnClaimsChanged runs: its context ends.
func TestShutdownWhileHeld(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
		srv.OnClaimsChanged(func(ctx context.Context, _ *socketauth.Socket, _ jwt.MapClaims) error {
			<-ctx.Done()
			return ctx.Err()
		})
		c, token := srv.authenticated()
		other, s := srv.authenticatedSocket(claimsOf("anna"))
		srv.demote(d, "anna", "guest")
		c.expect(refreshEvent)
		other.expect(refreshEvent)
		_ = s.Emit("waits")
		c.authenticate(token)
		c.expectToken()
		synctest.Wait()
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// TestRefreshCopiedClaims guards that RefreshUser works without UpdateClaims: the claims stay, and
// nothing is called.
func TestRefreshCopiedClaims(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.RefreshInterval = time.Minute }, func(srv *testServer) {
		srv.OnClaimsChanged(func(context.Context, *socketauth.Socket, jwt.MapClaims) error {
			t.Error("OnClaimsChanged was called")
			return nil
		})
		c, token := srv.authenticated()
		r, err := srv.Auth().RefreshUser(srv.Context(), "anna")
		expectReceipt(t, r, err, 1, 1, 1)
		c.expect(refreshEvent)
		c.authenticate(token)
		if next := c.expectToken(); next == token {
			t.Error("a token below the mark was kept")
		}
		c.expectAuthenticated()
		last := c.current
		c.authenticate(last)
		if c.expectToken() != last {
			t.Error("a young token was replaced")
		}
	})
}
