package socketauth

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/blacklist"
)

// What comes late, from a client that has given up the connection it came on, is no theft.

func TestLateFrameIsJudgedByWhenItCame(t *testing.T) {
	// Guards: slow hooks and a store that has to be asked again must not make a theft of a frame that came in time.
	t.Run("store", func(t *testing.T) {
		store := new(faultyStore)
		inWorld(t, func(o *Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
			c, token := w.stays(w.code())
			c.close()
			time.Sleep(time.Minute)
			late := w.open()
			time.Sleep(time.Second)
			b, _ := w.stays(token)
			time.Sleep(3 * time.Second)
			since := time.Now()
			store.fail(func(call string) error {
				if call == "Present" && time.Since(since) < 4*time.Second {
					return errStoreDown
				}
				return nil
			}, nil)
			late.send(fmt.Sprintf(`40{"token":%q,"confirm":true}`, token)) // 3 s after, decided 7 s after
			late.next(`40{"sid":`)
			if u := late.refusedAndGone("no_longer_valid"); u.Terminal {
				t.Error("terminal")
			}
			store.fail(nil, nil)
			b.alive()
		})
	})
	t.Run("hook", func(t *testing.T) {
		var slow atomic.Bool
		inWorld(t, func(o *Options[string]) {
			o.TenantID = func(context.Context, jwt.MapClaims) (string, error) {
				if slow.CompareAndSwap(true, false) {
					time.Sleep(4 * time.Second)
				}
				return "t", nil
			}
		}, func(w *world) {
			late, token := w.stays(w.code()) // a stranger would have no time left for such a hook
			time.Sleep(time.Minute)
			b, _ := w.stays(token)
			late.next(`42["rotated"]`)
			time.Sleep(3 * time.Second)
			slow.Store(true)
			late.authenticate(token)
			if u := late.refusedWith("no_longer_valid"); u.Terminal {
				t.Error("terminal")
			}
			b.alive()
		})
	})
}

func TestLateFrameOfAClientThatCameBackAgainAndAgain(t *testing.T) {
	// Guards: on a flapping network several generations may have passed.
	inWorld(t, nil, func(w *world) {
		_, token := w.stays(w.code())
		stale := token
		late := w.dial("")
		var c *client
		for range 9 {
			time.Sleep(time.Second / 2)
			c, token = w.stays(token)
		}
		late.emit("authenticate", map[string]any{"token": stale, "confirm": true})
		late.refusedAndGone("no_longer_valid")
		c.alive()
	})
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

func TestSocketWhoseTokenWasConfirmedElsewhereStillMeetsOnAuthenticated(t *testing.T) {
	// Guards: where the store accepts what it would have refused a moment ago, nobody gets in unseen by OnAuthenticated.
	inWorld(t, func(o *Options[string]) { o.TokenLifetime, o.RefreshInterval = time.Hour, 10*time.Minute }, func(w *world) {
		seen := make(map[string]bool)
		w.OnAuthenticated(func(_ context.Context, s *Socket) error { seen[s.ID()] = true; return nil })
		w.On("seen", func(_ context.Context, s *Socket, _ Args) (any, error) { return seen[s.ID()], nil })
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

func TestSocketThatIsEnteringIsLookedAtToo(t *testing.T) {
	// Guards: what another process has revoked, and nobody has told, is found out also for a socket on its way in.
	for _, how := range []string{"the reply is on its way", "OnAuthenticated runs after the confirmation"} {
		t.Run(how, func(t *testing.T) {
			faulty := new(faultyStore)
			store := &otherProcess{Store: faulty, watch: func(ctx context.Context) error { <-ctx.Done(); return nil }}
			inWorld(t, func(o *Options[string]) { faulty.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
				at, goOn := make(chan struct{}), make(chan struct{})
				var sid string
				faulty.seen = func(t blacklist.TokenRef) { sid = t.SessionID }
				c := w.dial("")
				if how[0] == 't' {
					faulty.fail(nil, func(call string) error {
						if call == "Present" {
							close(at)
							<-goOn
						}
						return nil
					})
					c.authenticate(w.code())
				} else {
					w.OnAuthenticated(func(context.Context, *Socket) error { close(at); <-goOn; return nil })
					c.confirms(w.code()).confirm()
				}
				<-at
				faulty.fail(nil, nil)
				if _, err := faulty.Store.Revoke(w.Context(), blacklist.Revocation{SessionID: sid, Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
					t.Fatal(err)
				}
				store.heard(blacklist.Change{Gap: true})
				synctest.Wait()
				close(goOn)
				c.refusedAndGone("session_revoked")
			})
		})
	}
}

func TestWhatHappensBetweenTwoWatchesIsLookedUp(t *testing.T) {
	// Guards: a store that fails to watch, and then watches from then on, must not leave sockets of dead sessions.
	var calls atomic.Int32
	store := &otherProcess{watch: func(ctx context.Context) error {
		if calls.Add(1) == 1 {
			return errStoreDown
		}
		<-ctx.Done()
		return nil
	}}
	inWorld(t, func(o *Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		c, _ := w.in()
		if _, err := store.Store.Revoke(w.Context(), blacklist.Revocation{SessionID: w.sessionOf(c), Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
			t.Fatal(err)
		}
		c.refusedAndGone("session_revoked")
	})
}
