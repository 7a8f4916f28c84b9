package socketauth_test

import (
	"context"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// TestYoungTokenIsKept checks that within RefreshInterval a token is answered with itself, and
// replaced after it.
func TestYoungTokenIsKept(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.TokenLifetime, o.RefreshInterval = time.Hour, 10*time.Minute }, func(srv *testServer) {
		_, token := srv.authenticated() // a code is always replaced
		for range 2 {
			c := srv.dial("")
			c.authenticate(token)
			if c.expectToken() != token {
				t.Error("a token was replaced within RefreshInterval")
			}
			c.expectAuthenticated()
			d := srv.dial("")
			o := d.offerFor(token) // whose acknowledgement nothing waits for
			if o.token != token {
				t.Error("a token was replaced within RefreshInterval")
			}
			d.expectAuthenticated()
			time.Sleep(20 * time.Second)
			d.expectAuthenticated()
			o.confirm()
			d.expectAuthenticated()
			c.expectNothing() // nothing rotated
		}
		time.Sleep(10 * time.Minute)
		c := srv.dial("")
		c.authenticate(token)
		next := c.expectToken()
		if next == token {
			t.Error("a token was kept after RefreshInterval")
		}
		time.Sleep(time.Minute)
		srv.expectTokenRefused(token, "token_reused")
		c.expectRefused("token_reused")
	})
}

// TestKeptTokenIsConfirmed checks that presenting an offered token confirms it also where it is
// kept.
func TestKeptTokenIsConfirmed(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.TokenLifetime, o.RefreshInterval = time.Hour, 10*time.Minute }, func(srv *testServer) {
		code := srv.code()
		c := srv.dial("")
		o := c.offerFor(code)
		c.close()
		d := srv.dial("")
		if kept := d.offerFor(o.token); kept.token != o.token {
			t.Error("a token was replaced within RefreshInterval")
		}
		d.expectAuthenticated()
		time.Sleep(10 * time.Second)
		srv.expectTokenRefused(code, "token_reused")
	})
}

// TestTokenEndingSoonIsReplaced checks that a token that Refresh cut short is replaced before it
// expires, RefreshInterval or not.
func TestTokenEndingSoonIsReplaced(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) {
		o.TokenLifetime, o.RefreshInterval = time.Hour, 20*time.Minute
		o.Refresh = func(_ context.Context, c jwt.MapClaims) (string, error) {
			c["exp"] = c["iat"].(float64) + 600
			return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(testSecret)
		}
	}, func(srv *testServer) {
		c, token := srv.authenticated()
		time.Sleep(6 * time.Minute)
		c.authenticate(token)
		if c.expectToken() == token {
			t.Error("kept")
		}
	})
}

// TestRotatedEvent checks that the other sockets of a session, and no others, are told once of each
// confirmed token.
func TestRotatedEvent(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		a, token := srv.confirmed(srv.code())
		b, token := srv.confirmed(token)
		a.expect(`42["rotated"]`)
		other, _ := srv.authenticated()
		o := b.offerFor(token)
		a.expectNothing() // not before it is confirmed
		o.confirm()
		a.expect(`42["rotated"]`)
		b.authenticate(o.token) // without confirm, so confirmed at once
		b.expectToken()
		a.expect(`42["rotated"]`)
		for _, c := range []*client{a, b, other} {
			c.expectNothing()
		}
	})
}
