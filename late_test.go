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

// TestLateFrameArrivalTime checks that a late frame is judged by when it arrived: slow hooks and a
// failing store do not make a reuse of it.
func TestLateFrameArrivalTime(t *testing.T) {
	t.Run("store", func(t *testing.T) {
		store := new(faultyStore)
		withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
			c, token := srv.confirmed(srv.code())
			c.close()
			time.Sleep(time.Minute)
			late := srv.connect()
			time.Sleep(time.Second)
			b, _ := srv.confirmed(token)
			time.Sleep(3 * time.Second)
			since := time.Now()
			store.fail(func(call string) error {
				if call == "Present" && time.Since(since) < 4*time.Second {
					return errStoreDown
				}
				return nil
			}, nil)
			late.send(fmt.Sprintf(`40{"token":%q,"confirm":true}`, token)) // 3 s after the token was replaced; decided after 7 s
			late.expect(`40{"sid":`)
			if u := late.expectRefused("no_longer_valid"); u.Terminal {
				t.Error("terminal")
			}
			store.fail(nil, nil)
			b.expectAuthenticated()
		})
	})
	t.Run("hook", func(t *testing.T) {
		var slow atomic.Bool
		withServer(t, func(o *socketauth.Options[string]) {
			o.TenantID = func(context.Context, jwt.MapClaims) (string, error) {
				if slow.CompareAndSwap(true, false) {
					time.Sleep(4 * time.Second)
				}
				return "t", nil
			}
		}, func(srv *testServer) {
			late, token := srv.confirmed(srv.code()) // authenticated: Timeout would be over before the hook returns
			time.Sleep(time.Minute)
			b, _ := srv.confirmed(token)
			late.expect(`42["rotated"]`)
			time.Sleep(3 * time.Second)
			slow.Store(true)
			late.authenticate(token)
			if u := late.expectUnauthorized("no_longer_valid"); u.Terminal {
				t.Error("terminal")
			}
			b.expectAuthenticated()
		})
	})
}

// TestLateFrameAfterManyReconnects checks that a late frame is no reuse also after several
// generations, as on a flapping network.
func TestLateFrameAfterManyReconnects(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		_, token := srv.confirmed(srv.code())
		stale := token
		late := srv.dial("")
		var c *client
		for range 9 {
			time.Sleep(time.Second / 2)
			c, token = srv.confirmed(token)
		}
		late.emit("authenticate", map[string]any{"token": stale, "confirm": true})
		late.expectRefused("no_longer_valid")
		c.expectAuthenticated()
	})
}

// TestLateFrameOnAuthenticatedSocket checks that a token sent twice on one socket is no reuse.
func TestLateFrameOnAuthenticatedSocket(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		c, token := srv.authenticated()
		time.Sleep(time.Second)
		c.authenticate(token)
		c.authenticate(token) // again, before the answer came
		next := c.expectToken()
		if u := c.expectUnauthorized("no_longer_valid"); u.Terminal {
			t.Error("terminal")
		}
		c.expectAuthenticated()
		c.authenticate(next)
		c.expectToken()
	})
}

// TestLateHandshake checks that a connection counts from its first request, not from the handshake
// with the token, which may be late because the client gave up and came back on another.
func TestLateHandshake(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		_, token := srv.confirmed(srv.code())
		late := srv.connect()
		time.Sleep(time.Second)
		c, _ := srv.confirmed(token)
		time.Sleep(time.Second)
		late.send(fmt.Sprintf(`40{"token":%q,"confirm":true}`, token))
		late.expect(`40{"sid":`)
		if u := late.expectRefused("no_longer_valid"); u.Terminal {
			t.Error("terminal")
		}
		c.expectAuthenticated()
	})
}

// TestLateLogout checks that a tab that logs out while another tab's token replaces its own is no
// reuse.
func TestLateLogout(t *testing.T) {
	withShortTokens(t, socketauth.EndSession, nil, func(srv *testServer, _ *auditLog) {
		c, token := srv.authenticated()
		d := srv.dial("")
		c.authenticate(token)
		next := c.expectToken()
		time.Sleep(4 * time.Second)
		d.emit("logout", token)
		if u := d.expectRefused("no_longer_valid"); u.Terminal {
			t.Error("terminal")
		}
		c.expectAuthenticated()
		d = srv.dial("")
		d.emit("logout", next)
		for _, c := range []*client{d, c} {
			c.expect(`42["logged_out"]`)
			c.expectDisconnected()
		}
	})
}
