package socketauth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// presenters send a token on a new connection, in each way in which one can come.
var presenters = map[string]func(srv *testServer, token string) *client{
	"logout": func(srv *testServer, token string) *client {
		c := srv.dial("")
		c.emit("logout", token)
		return c
	},
	"authenticate": func(srv *testServer, token string) *client {
		c := srv.dial("")
		c.authenticate(token)
		return c
	},
	"confirming": func(srv *testServer, token string) *client {
		c := srv.dial("")
		c.emit("authenticate", map[string]any{"token": token, "confirm": true})
		return c
	},
	"handshake": func(srv *testServer, token string) *client { return srv.dial(fmt.Sprintf(`{"token":%q}`, token)) },
}

// auditLog records the kinds and codes of audit events.
type auditLog struct {
	mu    sync.Mutex
	kinds []string
}

func (a *auditLog) hook(_ context.Context, e socketauth.AuditEvent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kinds = append(a.kinds, string(e.Kind)+" "+e.Code)
}

// count returns the number of those events since the last call.
func (a *auditLog) count(what string) (n int) {
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, kind := range a.kinds {
		if kind == what {
			n++
		}
	}
	a.kinds = nil
	return n
}

// withShortTokens is withServer with session tokens that live for ten minutes.
func withShortTokens(t *testing.T, policy socketauth.ReusePolicy, store *faultyStore, test func(srv *testServer, seen *auditLog)) {
	t.Helper()
	seen := new(auditLog)
	withServer(t, func(o *socketauth.Options[string]) {
		o.TokenLifetime, o.ReusePolicy, o.Audit = 10*time.Minute, policy, seen.hook
		if store != nil {
			store.Store = blacklist.NewMemory()
			o.Blacklist = store
		}
	}, func(srv *testServer) { test(srv, seen) })
}

// stolenSession returns a thief that has replaced a session's token twice, and the token that the
// owner still has.
func stolenSession(srv *testServer) (thief *client, owners string) {
	srv.Helper()
	c, owners := srv.authenticated()
	c.close()
	thief = srv.dial("")
	thief.authenticate(owners)
	next := thief.expectToken()
	time.Sleep(6 * time.Minute)
	thief.authenticate(next)
	thief.expectToken()
	return thief, owners
}

// TestDeadTokens checks that used codes and replaced and logged-out tokens are refused under both
// policies, and end the session under EndSession alone.
func TestDeadTokens(t *testing.T) {
	for _, policy := range []socketauth.ReusePolicy{socketauth.EndSession, socketauth.RejectOnly} {
		for _, kind := range []string{"replayed code", "replaced token", "logged-out token", "logged-out code"} {
			t.Run(fmt.Sprint(policy, " ", kind), func(t *testing.T) {
				withServer(t, func(o *socketauth.Options[string]) { o.ReusePolicy = policy }, func(srv *testServer) {
					code := srv.code()
					holder := srv.dial("")
					holder.authenticate(code)
					first := holder.expectToken()
					holder.authenticate(first)
					latest := holder.expectToken()
					time.Sleep(time.Second)
					dead, loggedOut := map[string]string{
						"replayed code": code, "replaced token": first, "logged-out token": latest, "logged-out code": code,
					}[kind], strings.HasPrefix(kind, "logged-out")
					if loggedOut {
						holder.emit("logout", latest)
						holder.expect(`42["logged_out"]`)
						holder.expectDisconnected()
					}
					thief := srv.dial("")
					thief.authenticate(dead)
					want := "no_longer_valid"
					if policy == socketauth.EndSession && !loggedOut {
						want = "token_reused"
					}
					u := thief.expectRefused(want)
					if !u.Terminal || u.Message == "" || u.Type != "UnauthorizedError" || u.Data.Code != want || u.Data.Message != u.Message || u.Data.Type != u.Type {
						t.Errorf("unauthorized is %+v", u)
					}
					switch {
					case loggedOut:
					case policy == socketauth.EndSession:
						holder.expectRefused("token_reused")
						srv.expectLogged("two clients have had the token")
						again := srv.dial("")
						again.authenticate(latest)
						again.expectRefused("token_reused")
					default:
						holder.expectAuthenticated()
						again := srv.dial("")
						again.authenticate(latest)
						again.expectToken()
					}
				})
			})
		}
	}
}

// TestReuse checks that a replaced token is reuse on every way it can come, logging out included,
// and after it has expired.
func TestReuse(t *testing.T) {
	for _, expired := range []bool{false, true} {
		for name, present := range presenters {
			t.Run(fmt.Sprintf("%s, expired %v", name, expired), func(t *testing.T) {
				withShortTokens(t, socketauth.EndSession, nil, func(srv *testServer, seen *auditLog) {
					thief, owners := stolenSession(srv)
					bystander, _ := srv.authenticated()
					if expired {
						time.Sleep(5 * time.Minute)
						if _, body, _ := srv.get(owners); !strings.Contains(body, "token_expired") {
							t.Fatalf("Middleware: %s", body)
						}
					}
					seen.count("")
					c := present(srv, owners)
					if u := c.expectRefused("token_reused"); !u.Terminal {
						t.Error("not terminal")
					}
					if u := thief.expectRefused("token_reused"); !u.Terminal {
						t.Error("the thief's is not terminal")
					}
					if n := seen.count("reuse token_reused"); n != 1 {
						t.Errorf("audited %d times", n)
					}
					srv.expectLogged("a token was presented that had been replaced")
					if n := srv.Auth().Stats().Reuses; n != 1 {
						t.Errorf("counted %d times", n)
					}
					if s, err := srv.Auth().Sessions(context.Background(), "anna"); err != nil || len(s) != 1 {
						t.Errorf("%v, %v, want the bystander's session alone", s, err)
					}
					bystander.expectAuthenticated()
				})
			})
		}
	}
}

// TestReuseTenantRefused checks that reuse is found before the tenant is refused, since a client
// that is refused for good throws the proof of a theft away.
func TestReuseTenantRefused(t *testing.T) {
	var suspended atomic.Bool
	seen := new(auditLog)
	withServer(t, func(o *socketauth.Options[string]) {
		o.Audit = seen.hook
		o.TenantID = func(context.Context, jwt.MapClaims) (string, error) {
			if suspended.Load() {
				return "", nil
			}
			return "a tenant", nil
		}
	}, func(srv *testServer) {
		for name, present := range presenters {
			suspended.Store(false)
			thief, owners := stolenSession(srv)
			c, current := srv.authenticated()
			suspended.Store(true)
			if present(srv, owners).expectRefused("token_reused"); t.Failed() {
				t.Fatal(name)
			}
			thief.expectRefused("token_reused")
			if n := seen.count("reuse token_reused"); n != 1 {
				t.Errorf("%s: audited %d times", name, n)
			}
			if name != "logout" { // logging out asks for no tenant
				present(srv, current).expectRefused("invalid_tenant")
			}
			c.expectAuthenticated()
		}
	})
}

// TestReuseRejectOnly checks that under RejectOnly a replaced token is refused and ends nothing.
func TestReuseRejectOnly(t *testing.T) {
	for name, present := range presenters {
		withShortTokens(t, socketauth.RejectOnly, nil, func(srv *testServer, seen *auditLog) {
			thief, owners := stolenSession(srv)
			if u := present(srv, owners).expectRefused("no_longer_valid"); !u.Terminal {
				t.Errorf("%s: not terminal", name)
			}
			time.Sleep(5 * time.Minute)
			present(srv, owners).expectRefused("token_expired")
			if n := seen.count("reuse token_reused"); n != 0 {
				t.Errorf("%s: audited %d times", name, n)
			}
			thief.expectAuthenticated()
		})
	}
}

// TestReuseAfterManyRotations checks that the owner's token is reuse however often a thief has
// replaced it since.
func TestReuseAfterManyRotations(t *testing.T) {
	for _, rotations := range []int{1, 3, 8, 9, 10, 11, 20} {
		t.Run(fmt.Sprint(rotations), func(t *testing.T) {
			withServer(t, nil, func(srv *testServer) {
				_, token := srv.confirmed(srv.code())
				stolen, thief := token, srv.dial("")
				for range rotations {
					o := thief.offerFor(stolen)
					o.confirm()
					stolen = o.token
					time.Sleep(time.Millisecond)
				}
				srv.expectTokenRefused(token, "token_reused")
				thief.expectRefused("token_reused")
			})
		})
	}
}

// TestExpiredTokenIsNoReuse checks that a client that slept past the expiry, or comes late, is told
// that its token expired, and ends nothing that lives on.
func TestExpiredTokenIsNoReuse(t *testing.T) {
	for name, present := range presenters {
		t.Run(name, func(t *testing.T) {
			withShortTokens(t, socketauth.EndSession, nil, func(srv *testServer, seen *auditLog) {
				expire := func() { time.Sleep(10*time.Minute + time.Second) }
				is := func(what, token string) {
					t.Helper()
					if u := present(srv, token).expectRefused("token_expired"); !u.Terminal {
						t.Errorf("%s: not terminal", what)
					}
				}

				c, current := srv.authenticated()
				c.close()
				expire()
				is("the current one", current)

				// Its client has stored the successor, and the acknowledgement was lost.
				c, old := srv.authenticated()
				c.close()
				time.Sleep(9 * time.Minute)
				c = srv.dial("")
				o := c.offerFor(old)
				c.close()
				time.Sleep(2 * time.Minute)
				is("the predecessor of what nobody holds", old)
				c = srv.dial("")
				c.authenticate(o.token)
				newest := c.expectToken()

				// It is late, on a connection that was open when the token was replaced.
				time.Sleep(10*time.Minute - time.Second)
				late := map[string]*client{"authenticate": srv.dial(""), "logout": srv.dial("")}
				c.authenticate(newest)
				next := c.expectToken()
				time.Sleep(2 * time.Second)
				late["authenticate"].authenticate(newest)
				late["logout"].emit("logout", newest)
				for _, l := range late {
					l.expectRefused("token_expired")
				}
				c.expectAuthenticated()

				// It is another session's, on a socket that is authenticated.
				d, _ := srv.authenticatedAs(jwt.MapClaims{"sub": "otto"})
				d.authenticate(newest)
				d.expectRefused("token_expired")
				d, _ = srv.authenticatedAs(jwt.MapClaims{"sub": "otto"})
				d.emit("logout", newest) // which ends the socket's own session
				d.expect(`42["logged_out"]`)
				d.expectDisconnected()
				c.expectAuthenticated()

				// Its session is over already, or forgotten.
				c.authenticate(next)
				c.expectToken()
				if _, err := srv.Auth().RevokeUser(context.Background(), "anna"); err != nil {
					t.Fatal(err)
				}
				c.expectRefused("session_revoked")
				time.Sleep(9 * time.Minute)
				is("of a revoked session", newest)
				time.Sleep(time.Hour)
				is("of a session that is forgotten", newest)

				if n := seen.count("reuse token_reused"); n != 0 {
					t.Errorf("audited %d times", n)
				}
				if log := srv.logs.String(); strings.Contains(log, "has lost state") {
					t.Errorf("a loss of state is logged:\n%s", log)
				}
			})
		})
	}
}

// TestExpiredCodeIsNoReuse checks that a page opened again from the browser's history, with the old
// code in its URL, ends nothing.
func TestExpiredCodeIsNoReuse(t *testing.T) {
	for name, present := range presenters {
		withShortTokens(t, socketauth.EndSession, nil, func(srv *testServer, _ *auditLog) {
			code := srv.code()
			c := srv.dial("")
			c.authenticate(code)
			c.expectToken()
			time.Sleep(time.Minute)
			present(srv, code).expectRefused("token_expired")
			if c.expectAuthenticated(); t.Failed() {
				t.Fatal(name)
			}
		})
	}
}

// TestReuseStoreFailure checks that an outage or a lost reply of the store neither hides a reuse
// nor finds it twice.
func TestReuseStoreFailure(t *testing.T) {
	store := new(faultyStore)
	withShortTokens(t, socketauth.EndSession, store, func(srv *testServer, seen *auditLog) {
		for name, present := range presenters {
			for _, expired := range []bool{false, true} {
				thief, owners := stolenSession(srv)
				if expired {
					time.Sleep(5 * time.Minute)
				}
				store.fail(storeDown, nil)
				if u := present(srv, owners).expectRefused("unavailable"); u.Terminal {
					t.Errorf("%s: terminal", name)
				}
				thief.expectAuthenticated()
				seen.count("")
				lost := false
				store.fail(nil, func(call string) error {
					if call == "Present" && !lost {
						lost = true
						return errStoreDown
					}
					return nil
				})
				present(srv, owners).expectRefused("token_reused")
				thief.expectRefused("token_reused")
				store.fail(nil, nil)
				if n := seen.count("reuse token_reused"); n != 1 || !lost {
					t.Errorf("%s, expired %v: audited %d times, a reply was lost: %v", name, expired, n, lost)
				}
			}
		}
	})
}

// TestReuseSocketClosed checks that a thief who presents a replaced token and hangs up at once does
// not keep the alarm from the owner's sockets.
func TestReuseSocketClosed(t *testing.T) {
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		owner, token := srv.authenticated()
		owner.authenticate(token)
		owner.expectToken()
		srv.thiefHangsUp(owner, token, func(once func(string) error) {
			store.fail(nil, once) // the store has decided, but the reply is lost
		})
	})
}

// TestReuseStoreFailureSocketClosed checks that reuse is found where the store's first call failed
// and the thief hung up meanwhile.
func TestReuseStoreFailureSocketClosed(t *testing.T) {
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		owner, token := srv.confirmed(srv.code())
		owner.offerFor(token).confirm()
		owner.expectAuthenticated()
		srv.thiefHangsUp(owner, token, func(once func(string) error) { store.fail(once, nil) })
	})
}

// thiefHangsUp presents a replaced token on a socket whose client hangs up during the call to the
// store, and expects that the owner's socket is ended for reuse all the same. fail is given a
// function that blocks until then and fails, once.
func (srv *testServer) thiefHangsUp(owner *client, token string, fail func(once func(string) error)) {
	srv.Helper()
	time.Sleep(time.Minute)
	thief := srv.dial("")
	asked, gone := make(chan struct{}), make(chan struct{})
	var once sync.Once
	fail(func(string) (err error) {
		once.Do(func() { close(asked); <-gone; err = errStoreDown })
		return err
	})
	thief.authenticate(token)
	<-asked
	thief.close()
	synctest.Wait()
	close(gone)
	owner.expectRefused("token_reused")
	time.Sleep(time.Second)
	srv.expectLogged("two clients have had the token")
}

// TestReuseDetectedDuringFailingPresentation checks that a socket whose session is ended for reuse
// while the store fails to decide on its own token is told so once that call has failed.
func TestReuseDetectedDuringFailingPresentation(t *testing.T) {
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		c, old := srv.authenticated()
		c.authenticate(old)
		token := c.expectToken()
		time.Sleep(time.Minute)
		store.fail(func(call string) error {
			if call == "Present" {
				return errors.New("down")
			}
			return nil
		}, nil)
		c.authenticate(token)
		synctest.Wait()
		store.fail(nil, nil)
		thief := srv.dial("")
		thief.authenticate(old)
		synctest.Wait()
		store.fail(func(string) error { return errors.New("down") }, nil)
		thief.expectRefused("token_reused")
		c.expectUnauthorized("unavailable")
		c.expectRefused("token_reused")
	})
}
