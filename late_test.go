package socketauth_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

func TestLateFrameIsJudgedByWhenItCame(t *testing.T) {
	// Guards: slow hooks and a store that has to be asked again must not make a theft of a frame that came in time.
	t.Run("store", func(t *testing.T) {
		store := new(faultyStore)
		inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
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
		inWorld(t, func(o *socketauth.Options[string]) {
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

func TestLateFrameOnALiveSocketIsNoAlarm(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c, token := w.in()
		time.Sleep(time.Second)
		c.authenticate(token)
		c.authenticate(token) // the same again before the answer came
		next := c.token()
		if u := c.refusedWith("no_longer_valid"); u.Terminal {
			t.Error("terminal")
		}
		c.alive()
		c.authenticate(next)
		c.token()
	})
}

func TestLateHandshakeWithATokenIsNoTheft(t *testing.T) {
	// Guards: a connection counts from its first request, not from the handshake that brings the token: that may have been
	// on its way while the client gave up and came back on another.
	inWorld(t, nil, func(w *world) {
		_, token := w.stays(w.code())
		late := w.open()
		time.Sleep(time.Second)
		c, _ := w.stays(token)
		time.Sleep(time.Second)
		late.send(fmt.Sprintf(`40{"token":%q,"confirm":true}`, token))
		late.next(`40{"sid":`)
		if u := late.refusedAndGone("no_longer_valid"); u.Terminal {
			t.Error("terminal")
		}
		c.alive()
	})
}

func TestLogoutWithATokenReplacedAMomentAgoIsNoReuse(t *testing.T) {
	// Guards: a tab that opens a connection to log out while another tab has the token replaced.
	inWorldOfMinutes(t, socketauth.EndSession, nil, func(w *world, _ *audits) {
		c, token := w.in()
		d := w.dial("")
		c.authenticate(token)
		next := c.token()
		time.Sleep(4 * time.Second)
		d.emit("logout", token)
		if u := d.refusedAndGone("no_longer_valid"); u.Terminal {
			t.Error("terminal")
		}
		c.alive()
		d = w.dial("")
		d.emit("logout", next)
		for _, c := range []*client{d, c} {
			c.next(`42["logged_out"]`)
			c.gone()
		}
	})
}
