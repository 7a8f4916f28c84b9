package socketauth_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// TestStoreOutage checks that nothing is accepted while the store is out of reach, that
// authenticated sockets go on, and that short outages and lost replies are ridden out.
func TestStoreOutage(t *testing.T) {
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		live, token := srv.authenticated()
		code := srv.code()

		store.fail(storeDown, nil)
		start := time.Now()
		c := srv.dial(fmt.Sprintf(`{"token":%q}`, code))
		if u := c.expectRefused("unavailable"); u.Terminal || u.RetryAfter < 1 || time.Since(start) > 6*time.Second {
			t.Errorf("after %v: %+v", time.Since(start), u)
		}
		live.authenticate(token)
		live.expectUnauthorized("unavailable")
		live.emit("logout")
		live.expectUnauthorized("unavailable")
		live.expectAuthenticated() // authenticated sockets go on
		if status, body, header := srv.get(token); status != 503 || !strings.Contains(body, "unavailable") || header.Get("Retry-After") == "" {
			t.Errorf("middleware: %d %s", status, body)
		}

		failures := 0
		store.fail(func(string) error { // back after a moment, while the server retries
			if failures++; failures < 5 {
				return errStoreDown
			}
			return nil
		}, nil)
		live.authenticate(token)
		token = live.expectToken()

		replies := 0
		store.fail(nil, func(string) error { // the call takes effect, and its reply is lost
			if replies++; replies < 3 {
				return errStoreDown
			}
			return nil
		})
		live.authenticate(token)
		token = live.expectToken()
		store.fail(nil, nil)
		live.authenticate(token)
		live.expectToken()
	})
}

// TestNoBroadcastsWhileStoreDecides checks that a socket that the store decides on hears no
// broadcasts, though a revocation would find it.
func TestNoBroadcastsWhileStoreDecides(t *testing.T) {
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		deciding, goOn := make(chan struct{}), make(chan struct{})
		store.fail(func(string) error { close(deciding); <-goOn; return nil }, nil)
		c := srv.dial("")
		c.authenticate(srv.code())
		<-deciding
		if n := len(socketauth.Members(srv.ToUser("anna"))); n != 1 {
			t.Errorf("%d sockets would be found by a revocation", n)
		}
		if err := srv.ToUser("anna").Emit("secret"); err != nil {
			t.Error(err)
		}
		c.expectNothing()
		close(goOn)
		c.expectToken()
	})
}

// TestDeadlineWaitsForStore checks that a call of the store that has begun is waited for past the
// deadline: a timeout would cost a plain client its session.
func TestDeadlineWaitsForStore(t *testing.T) {
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		c := srv.dial("")
		store.fail(func(string) error { time.Sleep(2 * time.Second); return nil }, nil)
		time.Sleep(4 * time.Second)
		c.authenticate(srv.code()) // decided a second after the deadline
		c.expectToken()
		c.expectAuthenticated()
	})
}

// TestStoreLostState checks that a token of a session that the store does not know is refused and
// logged, and is no reuse.
func TestStoreLostState(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		c := srv.dial("")
		c.authenticate(srv.foreignToken())
		if u := c.expectRefused("no_longer_valid"); !u.Terminal {
			t.Error("not terminal")
		}
		srv.expectLogged("lost state")
	})
}

// TestStoreIgnoresContext checks that a call of the store that never returns keeps no connection
// unauthenticated for ever, nor its client without an answer.
func TestStoreIgnoresContext(t *testing.T) {
	for _, call := range []string{"Present", "Confirm", "Revoke"} {
		store := new(faultyStore)
		withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
			authenticated, token := srv.authenticated()
			c := srv.dial("")
			goOn := make(chan struct{})
			store.fail(func(name string) error {
				if name == call {
					<-goOn
					return errStoreDown
				}
				return nil
			}, nil)
			began := time.Now()
			switch call {
			case "Present":
				c.authenticate(token)
			case "Confirm":
				c.offerFor(token).confirm()
			case "Revoke":
				c.emit("logout", token)
			}
			if u := c.expectRefused("unavailable"); u.Terminal || u.RetryAfter == 0 {
				t.Errorf("%s: %+v", call, u)
			}
			if d := time.Since(began); d > 11*time.Second {
				t.Errorf("%s: after %v", call, d)
			}
			synctest.Wait()
			if n := srv.Auth().Stats().Sockets["4"]; n.Connecting != 0 || n.Authenticated != 1 {
				t.Errorf("%s: %+v", call, n)
			}
			authenticated.expectAuthenticated()
			store.fail(nil, nil)
			close(goOn)
		})
	}
}

// TestClientGaveUpDuringOutage checks that the token of a client that left during an outage is not
// consumed once the store is back.
func TestClientGaveUpDuringOutage(t *testing.T) {
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		c, token := srv.authenticated()
		c.close()
		store.fail(storeDown, nil)
		c = srv.dial("")
		c.authenticate(token)
		time.Sleep(time.Second)
		c.close()
		time.Sleep(time.Second)
		store.fail(nil, nil)
		time.Sleep(time.Second)
		c = srv.dial("")
		c.authenticate(token)
		c.expectToken()
	})
}

// TestClientLeavesDuringPresentation checks that a socket that is registered under its session
// after it has ended is removed again.
func TestClientLeavesDuringPresentation(t *testing.T) {
	var minting, gone chan struct{}
	withServer(t, func(o *socketauth.Options[string]) {
		minting, gone = make(chan struct{}, 1), make(chan struct{}) // made in the bubble
		o.Refresh = func(_ context.Context, c jwt.MapClaims) (string, error) {
			minting <- struct{}{}
			<-gone
			return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(testSecret)
		}
	}, func(srv *testServer) {
		c := srv.dial("")
		c.authenticate(srv.code())
		<-minting
		c.close()
		synctest.Wait()
		close(gone)
		synctest.Wait()
		if !socketauth.HubEmpty(srv.Server.Server) {
			t.Error("the hub remembers it")
		}
	})
}
