package socketauth_test

import (
	"context"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

func TestYoungTokenIsKept(t *testing.T) {
	inWorld(t, func(o *socketauth.Options[string]) { o.TokenLifetime, o.RefreshInterval = time.Hour, 10*time.Minute }, func(w *world) {
		_, token := w.in() // a code is always replaced
		for range 2 {
			c := w.dial("")
			c.authenticate(token)
			if c.token() != token {
				t.Error("a young token was replaced")
			}
			c.alive()
			d := w.dial("")
			o := d.confirms(token) // with an acknowledgement, for which nothing waits
			if o.token != token {
				t.Error("a young token was replaced")
			}
			d.alive()
			time.Sleep(20 * time.Second)
			d.alive()
			o.confirm()
			d.alive()
			c.silence() // nothing rotated
		}
		time.Sleep(10 * time.Minute)
		c := w.dial("")
		c.authenticate(token)
		next := c.token()
		if next == token {
			t.Error("an old token was kept")
		}
		time.Sleep(time.Minute)
		w.refuses(token, "token_reused")
		c.refusedAndGone("token_reused")
	})
}

func TestKeptTokenIsConfirmedByItsPresentation(t *testing.T) {
	inWorld(t, func(o *socketauth.Options[string]) { o.TokenLifetime, o.RefreshInterval = time.Hour, 10*time.Minute }, func(w *world) {
		code := w.code()
		c := w.dial("")
		o := c.confirms(code)
		c.close()
		d := w.dial("")
		if kept := d.confirms(o.token); kept.token != o.token {
			t.Error("a young token was replaced")
		}
		d.alive()
		time.Sleep(10 * time.Second)
		w.refuses(code, "token_reused")
	})
}

func TestTokenThatEndsSoonIsNotKept(t *testing.T) {
	// Guards: a token that Refresh has cut short must not be answered again and again until it expires.
	inWorld(t, func(o *socketauth.Options[string]) {
		o.TokenLifetime, o.RefreshInterval = time.Hour, 20*time.Minute
		o.Refresh = func(_ context.Context, c jwt.MapClaims) (string, error) {
			c["exp"] = c["iat"].(float64) + 600
			return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(testSecret)
		}
	}, func(w *world) {
		c, token := w.in()
		time.Sleep(6 * time.Minute)
		c.authenticate(token)
		if c.token() == token {
			t.Error("kept")
		}
	})
}

func TestRotatedGoesToTheOthersOnce(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, token := w.stays(w.code())
		b, token := w.stays(token)
		a.next(`42["rotated"]`)
		stranger, _ := w.in()
		o := b.confirms(token)
		a.silence() // not before it is confirmed
		o.confirm()
		a.next(`42["rotated"]`)
		b.authenticate(o.token) // plainly: confirmed at once
		b.token()
		a.next(`42["rotated"]`)
		for _, c := range []*client{a, b, stranger} {
			c.silence()
		}
	})
}
