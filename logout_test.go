package socketauth_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// TestLogout checks that logging out, with or without an argument, ends all sockets and tokens of
// the session and of no other.
func TestLogout(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		for name, arg := range map[string]func(token string) []any{
			"token":   func(token string) []any { return []any{token} },
			"nothing": func(string) []any { return nil },
			"garbage": func(string) []any { return []any{map[string]any{"toString": 1}} },
			"null":    func(string) []any { return []any{nil} },
		} {
			a, token := srv.authenticated()
			a.close()
			a = srv.dial("")
			a.authenticate(token)
			token = a.expectToken()
			b := srv.dial("")
			b.authenticate(token) // a second socket of the session
			token = b.expectToken()
			a.expect(`42["rotated"]`)
			bystander, _ := srv.authenticated()

			a.emit("logout", arg(token)...)
			for _, c := range []*client{a, b} {
				c.expect(`42["logged_out"]`)
				c.expectDisconnected()
			}
			bystander.expectAuthenticated()
			c := srv.dial("")
			c.authenticate(token)
			if u := c.expectRefused("no_longer_valid"); !u.Terminal {
				t.Errorf("%s: not terminal", name)
			}
			if status, body, _ := srv.get(token); status != 401 || !strings.Contains(body, "no_longer_valid") {
				t.Errorf("%s: middleware %d %s", name, status, body)
			}
			bystander.close()
		}
	})
}

// TestLogoutOtherSession checks that logging out with another session's token is refused and
// revokes nothing.
func TestLogoutOtherSession(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		a, _ := srv.authenticated()
		b, foreign := srv.authenticatedAs(jwt.MapClaims{"sub": "otto"})
		if got := a.call("logout", foreign); !strings.Contains(got, "wrong_session") {
			t.Errorf("got %s", got)
		}
		if u := a.expectUnauthorized("wrong_session"); u.Terminal {
			t.Error("terminal")
		}
		a.expectAuthenticated()
		b.expectAuthenticated()
		b.authenticate(foreign)
		b.expectToken()
	})
}

// TestLogoutBeforeAuthentication checks that an unauthenticated socket can log out with a good
// session token, and with nothing else.
func TestLogoutBeforeAuthentication(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		code := srv.code()
		holder := srv.dial("")
		holder.authenticate(code)
		latest := holder.expectToken()
		time.Sleep(time.Minute)
		for name, c := range map[string]struct {
			arg  any
			code string
		}{
			"nothing": {nil, "invalid_token"},
			"object":  {map[string]any{"toString": 1}, "invalid_token"},
			"garbage": {"garbage", "invalid_token"},
			"code":    {srv.code(), "invalid_token"},
			"expired": {code, "token_expired"},
		} {
			unauthenticated := srv.dial("")
			unauthenticated.emit("logout", c.arg)
			unauthenticated.expectRefused(c.code)
			if t.Failed() {
				t.Fatal(name)
			}
		}
		holder.expectAuthenticated() // nothing was revoked
		unauthenticated := srv.dial("")
		unauthenticated.emit("logout", latest)
		for _, c := range []*client{unauthenticated, holder} {
			c.expect(`42["logged_out"]`)
			c.expectDisconnected()
		}
	})
}

// TestLogoutClientLeaves checks that a page that logs out and closes at once does not leave its
// session alive.
func TestLogoutClientLeaves(t *testing.T) {
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		c, token := srv.authenticated()
		asked, gone := make(chan struct{}), make(chan struct{})
		store.fail(func(string) error {
			close(asked)
			<-gone
			return nil
		}, nil)
		c.emit("logout")
		<-asked
		c.close()
		synctest.Wait()
		close(gone)
		synctest.Wait()
		store.fail(nil, nil)
		c = srv.dial("")
		c.authenticate(token)
		c.expectRefused("no_longer_valid")
	})
}

// TestLogoutsAtOnce checks that log-outs that a client sends together are one call of the store and
// one audit event.
func TestLogoutsAtOnce(t *testing.T) {
	logouts, calls := 0, 0
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) {
		store.Store = blacklist.NewMemory()
		o.Blacklist = store
		o.Audit = func(_ context.Context, e socketauth.AuditEvent) {
			if e.Kind == socketauth.AuditLogout {
				logouts++
			}
		}
	}, func(srv *testServer) {
		c, _ := srv.authenticated()
		sent := make(chan struct{})
		store.fail(func(string) error {
			calls++
			<-sent
			return nil
		}, nil)
		for range 100 {
			c.emit("logout")
		}
		synctest.Wait()
		close(sent)
		c.expect(`42["logged_out"]`)
		c.expectDisconnected()
		synctest.Wait()
		if logouts != 1 || calls != 1 {
			t.Errorf("%d log-outs recorded, %d calls of the store", logouts, calls)
		}
	})
}

// TestLogoutWithPredecessor checks that a confirming client that never got its next token logs out
// with the one it has.
func TestLogoutWithPredecessor(t *testing.T) {
	withShortTokens(t, socketauth.EndSession, nil, func(srv *testServer, seen *auditLog) {
		c, token := srv.authenticated()
		c.close()
		c = srv.dial("")
		c.offerFor(token)
		c.close()
		time.Sleep(time.Minute)
		c = srv.dial("")
		if got := c.call("logout", token); got != "[]" {
			t.Errorf("got %s", got)
		}
		c.expect(`42["logged_out"]`)
		c.expectDisconnected()
		if n := seen.count("logout "); n != 1 {
			t.Errorf("audited %d times", n)
		}
		c = srv.dial("")
		ack := c.call("logout", token)
		var said []struct{ Error struct{ Code string } }
		if err := json.Unmarshal([]byte(ack), &said); err != nil || said[0].Error.Code != "no_longer_valid" {
			t.Errorf("once more: %s, %v", ack, err)
		}
	})
}

// TestLogoutOnAllServers checks that logging out ends the session's sockets on all servers of its
// Auth.
func TestLogoutOnAllServers(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		mux := http.NewServeMux()
		other, err := srv.Auth().SocketServe(nil, mux)
		if err != nil {
			t.Fatal(err)
		}
		srv.Mux.Handle("second/", mux)
		c, token := srv.authenticated()
		d := srv.connectTo("second")
		d.send("40")
		d.expect(`40{"sid":`)
		d.authenticate(token)
		d.expectToken()
		c.expect(`42["rotated"]`)
		c.emit("logout")
		for _, c := range []*client{c, d} {
			c.expect(`42["logged_out"]`)
			c.expectDisconnected()
		}
		if err := other.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// TestLogoutStale checks that a token whose claims are out of date is good enough to end its
// session.
func TestLogoutStale(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		c, token := srv.authenticated()
		c.close()
		if _, err := srv.Auth().RefreshUser(srv.Context(), "anna"); err != nil {
			srv.Fatal(err)
		}
		c = srv.dial("")
		c.emit("logout", token)
		c.expect(`42["logged_out"]`)
		c.expectDisconnected()
		srv.expectTokenRefused(token, "no_longer_valid")
	})
}
