package socketauth_test

import (
	"context"
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

// The ways in which a token comes on a new connection that is not, or not only, a presentation.
var ways = map[string]func(w *world, token string) *client{
	"logout": func(w *world, token string) *client {
		c := w.dial("")
		c.emit("logout", token)
		return c
	},
	"authenticate": func(w *world, token string) *client {
		c := w.dial("")
		c.authenticate(token)
		return c
	},
	"confirming": func(w *world, token string) *client {
		c := w.dial("")
		c.emit("authenticate", map[string]any{"token": token, "confirm": true})
		return c
	},
	"handshake": func(w *world, token string) *client { return w.dial(fmt.Sprintf(`{"token":%q}`, token)) },
}

// audits notes the kinds of what is audited.
type audits struct {
	mu    sync.Mutex
	kinds []string
}

func (a *audits) hook(_ context.Context, e socketauth.AuditEvent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kinds = append(a.kinds, string(e.Kind)+" "+e.Code)
}

// count returns how often that was audited since it was asked last.
func (a *audits) count(what string) (n int) {
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

// inWorldOfMinutes is inWorld with session tokens that live for ten minutes.
func inWorldOfMinutes(t *testing.T, policy socketauth.ReusePolicy, store *faultyStore, test func(w *world, seen *audits)) {
	t.Helper()
	seen := new(audits)
	inWorld(t, func(o *socketauth.Options[string]) {
		o.TokenLifetime, o.ReusePolicy, o.Audit = 10*time.Minute, policy, seen.hook
		if store != nil {
			store.Store = blacklist.NewMemory()
			o.Blacklist = store
		}
	}, func(w *world) { test(w, seen) })
}

// stolen is a session whose token a thief has replaced, with a token of it that its owner still has.
func stolen(w *world) (thief *client, owners string) {
	w.Helper()
	c, owners := w.in()
	c.close()
	thief = w.dial("")
	thief.authenticate(owners)
	next := thief.token()
	time.Sleep(6 * time.Minute)
	thief.authenticate(next)
	thief.token()
	return thief, owners
}

func TestDeadTokensAreRefusedUnderBothPolicies(t *testing.T) {
	for _, policy := range []socketauth.ReusePolicy{socketauth.EndSession, socketauth.RejectOnly} {
		for _, kind := range []string{"replayed code", "replaced token", "logged-out token", "logged-out code"} {
			t.Run(fmt.Sprint(policy, " ", kind), func(t *testing.T) {
				inWorld(t, func(o *socketauth.Options[string]) { o.ReusePolicy = policy }, func(w *world) {
					code := w.code()
					holder := w.dial("")
					holder.authenticate(code)
					first := holder.token()
					holder.authenticate(first)
					latest := holder.token()
					time.Sleep(time.Second)
					dead, loggedOut := map[string]string{
						"replayed code": code, "replaced token": first, "logged-out token": latest, "logged-out code": code,
					}[kind], strings.HasPrefix(kind, "logged-out")
					if loggedOut {
						holder.emit("logout", latest)
						holder.next(`42["logged_out"]`)
						holder.gone()
					}
					thief := w.dial("")
					thief.authenticate(dead)
					want := "no_longer_valid"
					if policy == socketauth.EndSession && !loggedOut {
						want = "token_reused"
					}
					u := thief.refusedAndGone(want)
					if !u.Terminal || u.Message == "" || u.Type != "UnauthorizedError" || u.Data.Code != want || u.Data.Message != u.Message || u.Data.Type != u.Type {
						t.Errorf("unauthorized is %+v", u)
					}
					switch {
					case loggedOut:
					case policy == socketauth.EndSession:
						holder.refusedAndGone("token_reused")
						w.logged("two clients have had the token")
						again := w.dial("")
						again.authenticate(latest)
						again.refusedAndGone("token_reused")
					default:
						holder.alive()
						again := w.dial("")
						again.authenticate(latest)
						again.token()
					}
				})
			})
		}
	}
}

func TestReplacedTokenIsReuseWhereverItComes(t *testing.T) {
	// Guards: logging out is no way in which a theft goes unnoticed, and neither is the expiry of
	// the copied token.
	for _, expired := range []bool{false, true} {
		for name, way := range ways {
			t.Run(fmt.Sprintf("%s, expired %v", name, expired), func(t *testing.T) {
				inWorldOfMinutes(t, socketauth.EndSession, nil, func(w *world, seen *audits) {
					thief, owners := stolen(w)
					bystander, _ := w.in()
					if expired {
						time.Sleep(5 * time.Minute)
						if _, body, _ := w.get(owners); !strings.Contains(body, "token_expired") {
							t.Fatalf("Middleware: %s", body)
						}
					}
					seen.count("")
					c := way(w, owners)
					if u := c.refusedAndGone("token_reused"); !u.Terminal {
						t.Error("not terminal")
					}
					if u := thief.refusedAndGone("token_reused"); !u.Terminal {
						t.Error("the thief's is not terminal")
					}
					if n := seen.count("reuse token_reused"); n != 1 {
						t.Errorf("audited %d times", n)
					}
					w.logged("a token was presented that had been replaced")
					if n := w.Auth().Stats().Reuses; n != 1 {
						t.Errorf("counted %d times", n)
					}
					if s, err := w.Auth().Sessions(context.Background(), "anna"); err != nil || len(s) != 1 {
						t.Errorf("%v, %v, want the bystander's session alone", s, err)
					}
					bystander.alive()
				})
			})
		}
	}
}

func TestReplacedTokenIsReuseWhereItsTenantIsRefused(t *testing.T) {
	// Guards: a client that is refused for good throws its token away, and with it the proof of a theft.
	var suspended atomic.Bool
	seen := new(audits)
	inWorld(t, func(o *socketauth.Options[string]) {
		o.Audit = seen.hook
		o.TenantID = func(context.Context, jwt.MapClaims) (string, error) {
			if suspended.Load() {
				return "", nil
			}
			return "a tenant", nil
		}
	}, func(w *world) {
		for name, way := range ways {
			suspended.Store(false)
			thief, owners := stolen(w)
			c, current := w.in()
			suspended.Store(true)
			if way(w, owners).refusedAndGone("token_reused"); t.Failed() {
				t.Fatal(name)
			}
			thief.refusedAndGone("token_reused")
			if n := seen.count("reuse token_reused"); n != 1 {
				t.Errorf("%s: audited %d times", name, n)
			}
			if name != "logout" { // which asks for no tenant
				way(w, current).refusedAndGone("invalid_tenant")
			}
			c.alive()
		}
	})
}

func TestReplacedTokenEndsNothingUnderRejectOnly(t *testing.T) {
	for name, way := range ways {
		inWorldOfMinutes(t, socketauth.RejectOnly, nil, func(w *world, seen *audits) {
			thief, owners := stolen(w)
			if u := way(w, owners).refusedAndGone("no_longer_valid"); !u.Terminal {
				t.Errorf("%s: not terminal", name)
			}
			time.Sleep(5 * time.Minute)
			way(w, owners).refusedAndGone("token_expired")
			if n := seen.count("reuse token_reused"); n != 0 {
				t.Errorf("%s: audited %d times", name, n)
			}
			thief.alive()
		})
	}
}

func TestThiefThatRotatesInAHurryIsStillNoticed(t *testing.T) {
	// Guards: the owner's presentation is reuse, however often the thief has replaced the token since.
	for _, rotations := range []int{1, 3, 8, 9, 10, 11, 20} {
		t.Run(fmt.Sprint(rotations), func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				_, token := w.stays(w.code())
				stolen, thief := token, w.dial("")
				for range rotations {
					o := thief.confirms(stolen)
					o.confirm()
					stolen = o.token
					time.Sleep(time.Millisecond)
				}
				w.refuses(token, "token_reused")
				thief.refusedAndGone("token_reused")
			})
		})
	}
}

func TestExpiredTokenOfAnHonestClientIsNoReuse(t *testing.T) {
	// Guards: whoever slept past the expiry is told so, and ends nothing that lives on.
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			inWorldOfMinutes(t, socketauth.EndSession, nil, func(w *world, seen *audits) {
				expire := func() { time.Sleep(10*time.Minute + time.Second) }
				is := func(what, token string) {
					t.Helper()
					if u := way(w, token).refusedAndGone("token_expired"); !u.Terminal {
						t.Errorf("%s: not terminal", what)
					}
				}

				c, current := w.in()
				c.close()
				expire()
				is("the current one", current)

				// Its client has stored the successor, and the acknowledgement was lost.
				c, old := w.in()
				c.close()
				time.Sleep(9 * time.Minute)
				c = w.dial("")
				o := c.confirms(old)
				c.close()
				time.Sleep(2 * time.Minute)
				is("the predecessor of what nobody holds", old)
				c = w.dial("")
				c.authenticate(o.token)
				newest := c.token()

				// It is late, on a connection that was open when the token was replaced.
				time.Sleep(10*time.Minute - time.Second)
				late := map[string]*client{"authenticate": w.dial(""), "logout": w.dial("")}
				c.authenticate(newest)
				next := c.token()
				time.Sleep(2 * time.Second)
				late["authenticate"].authenticate(newest)
				late["logout"].emit("logout", newest)
				for _, l := range late {
					l.refusedAndGone("token_expired")
				}
				c.alive()

				// It is another session's, on a socket that is authenticated.
				d, _ := w.inAs(jwt.MapClaims{"sub": "otto"})
				d.authenticate(newest)
				d.refusedAndGone("token_expired")
				d, _ = w.inAs(jwt.MapClaims{"sub": "otto"})
				d.emit("logout", newest) // which ends the socket's own session
				d.next(`42["logged_out"]`)
				d.gone()
				c.alive()

				// Its session is over already, or forgotten.
				c.authenticate(next)
				c.token()
				if _, err := w.Auth().RevokeUser(context.Background(), "anna"); err != nil {
					t.Fatal(err)
				}
				c.refusedAndGone("session_revoked")
				time.Sleep(9 * time.Minute)
				is("of a revoked session", newest)
				time.Sleep(time.Hour)
				is("of a session that is forgotten", newest)

				if n := seen.count("reuse token_reused"); n != 0 {
					t.Errorf("audited %d times", n)
				}
				if log := w.logs.String(); strings.Contains(log, "has lost state") {
					t.Errorf("a loss of state is logged:\n%s", log)
				}
			})
		})
	}
}

func TestExpiredCodeIsNoReuse(t *testing.T) {
	// Guards: a page that is opened again from the browser's history, with the code of then in its URL.
	for name, way := range ways {
		inWorldOfMinutes(t, socketauth.EndSession, nil, func(w *world, _ *audits) {
			code := w.code()
			c := w.dial("")
			c.authenticate(code)
			c.token()
			time.Sleep(time.Minute)
			way(w, code).refusedAndGone("token_expired")
			if c.alive(); t.Failed() {
				t.Fatal(name)
			}
		})
	}
}

func TestReuseIsFoundWhereTheStoreFails(t *testing.T) {
	// Guards: a store that is down, or whose reply is lost, neither hides a reuse nor finds it twice.
	store := new(faultyStore)
	inWorldOfMinutes(t, socketauth.EndSession, store, func(w *world, seen *audits) {
		for name, way := range ways {
			for _, expired := range []bool{false, true} {
				thief, owners := stolen(w)
				if expired {
					time.Sleep(5 * time.Minute)
				}
				store.fail(down, nil)
				if u := way(w, owners).refusedAndGone("unavailable"); u.Terminal {
					t.Errorf("%s: terminal", name)
				}
				thief.alive()
				seen.count("")
				lost := false
				store.fail(nil, func(call string) error {
					if call == "Present" && !lost {
						lost = true
						return errStoreDown
					}
					return nil
				})
				way(w, owners).refusedAndGone("token_reused")
				thief.refusedAndGone("token_reused")
				store.fail(nil, nil)
				if n := seen.count("reuse token_reused"); n != 1 || !lost {
					t.Errorf("%s, expired %v: audited %d times, a reply was lost: %v", name, expired, n, lost)
				}
			}
		}
	})
}

func TestReuseIsNoticedThoughItsSocketHangsUp(t *testing.T) {
	// Guards: a thief that presents and hangs up at once must not keep the alarm from the owner's sockets.
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		owner, token := w.in()
		owner.authenticate(token)
		owner.token()
		time.Sleep(time.Minute)
		thief := w.dial("")
		decided, gone := make(chan struct{}), make(chan struct{})
		var once sync.Once
		store.fail(nil, func(string) (err error) { // decided, but the reply is lost
			once.Do(func() { close(decided); <-gone; err = errStoreDown })
			return err
		})
		thief.authenticate(token)
		<-decided
		thief.close()
		synctest.Wait()
		close(gone)
		owner.refusedAndGone("token_reused")
		time.Sleep(time.Second)
		w.logged("two clients have had the token")
	})
}

func TestReuseIsNoticedThoughTheStoreFailedAndItsSocketHungUp(t *testing.T) {
	// Guards: nothing was decided by the call that failed, and the thief has gone, but its token was dead already.
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		owner, token := w.stays(w.code())
		owner.confirms(token).confirm()
		owner.alive()
		time.Sleep(time.Minute)
		thief := w.dial("")
		decided, gone := make(chan struct{}), make(chan struct{})
		var once sync.Once
		store.fail(func(string) (err error) {
			once.Do(func() { close(decided); <-gone; err = errStoreDown })
			return err
		}, nil)
		thief.authenticate(token)
		<-decided
		thief.close()
		synctest.Wait()
		close(gone)
		owner.refusedAndGone("token_reused")
		time.Sleep(time.Second)
		w.logged("two clients have had the token")
	})
}
