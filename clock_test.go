package socketauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/sharedtest"
)

// clocks are how far the clock of a store that processes share is ahead of that of the process.
var clocks = map[string]time.Duration{"ahead": 2 * time.Second, "the same": 0, "behind": -2 * time.Second}

// withShared runs a test against a server whose store other processes share. The store's clock is
// ahead by offset.
func withShared(t *testing.T, offset time.Duration, change func(*socketauth.Options[string]), test func(srv *testServer, store *sharedtest.Store)) {
	t.Helper()
	var store *sharedtest.Store
	withServer(t, func(o *socketauth.Options[string]) {
		store = sharedtest.New(offset).Open(0)
		o.Blacklist = store
		if change != nil {
			change(o)
		}
	}, func(srv *testServer) { test(srv, store) })
}

// onAllClocks is withShared for each of clocks.
func onAllClocks(t *testing.T, change func(*socketauth.Options[string]), test func(srv *testServer, store *sharedtest.Store, offset time.Duration)) {
	t.Helper()
	for name, offset := range clocks {
		t.Run("the store's clock is "+name, func(t *testing.T) {
			withShared(t, offset, change, func(srv *testServer, store *sharedtest.Store) { test(srv, store, offset) })
		})
	}
}

// near reports whether two times are the same, but for how well a store knows its clock.
func near(t, want time.Time) bool { return t.Sub(want).Abs() <= 10*time.Millisecond }

// timeOf returns a claim of a token that is a time.
func timeOf(t *testing.T, token, name string) time.Time {
	t.Helper()
	var seconds float64
	if err := json.Unmarshal(payloadOf(t, token)[name], &seconds); err != nil {
		t.Fatal(err)
	}
	return time.UnixMicro(int64(seconds * 1e6))
}

// TestStoreClockStamps checks that the times in tokens are by the clock of the store: those that
// are compared with its own, and so all.
func TestStoreClockStamps(t *testing.T) {
	onAllClocks(t, func(o *socketauth.Options[string]) {
		o.TokenLifetime, o.SessionLifetime = time.Hour, 90*time.Minute
	}, func(srv *testServer, _ *sharedtest.Store, offset time.Duration) {
		time.Sleep(time.Minute)
		login := time.Now().Add(offset)
		code := srv.loginCode()
		time.Sleep(time.Second)
		first := time.Now().Add(offset)
		c := srv.dial("")
		c.authenticate(code)
		token := c.expectToken()
		time.Sleep(45 * time.Minute)
		c.authenticate(token)
		last := c.expectToken()
		for _, want := range []struct {
			token, claim string
			at           time.Time
		}{
			{code, "iat", login}, {code, "auth_time", login}, {code, "exp", login.Add(30 * time.Second)},
			{token, "iat", first}, {token, "auth_time", login}, {token, "exp", first.Add(time.Hour)},
			{last, "iat", first.Add(45 * time.Minute)}, {last, "auth_time", login}, {last, "exp", login.Add(90 * time.Minute)},
		} {
			if got := timeOf(t, want.token, want.claim); !near(got, want.at) {
				t.Errorf("%s is %v off", want.claim, got.Sub(want.at))
			}
		}
	})
}

// TestStoreClockLifetimes checks that codes and tokens live as long as they should, whatever the
// clock of the process shows: on sockets, in Middleware, and as those that are young enough to be
// kept.
func TestStoreClockLifetimes(t *testing.T) {
	onAllClocks(t, func(o *socketauth.Options[string]) {
		o.CodeLifetime, o.TokenLifetime, o.RefreshInterval = time.Second, 4*time.Second, time.Second
	}, func(srv *testServer, _ *sharedtest.Store, _ time.Duration) {
		used, late := srv.code(), srv.code()
		time.Sleep(900 * time.Millisecond)
		c := srv.dial("")
		c.authenticate(used)
		token := c.expectToken()
		time.Sleep(200 * time.Millisecond)
		srv.expectTokenRefused(late, "token_expired")

		time.Sleep(700 * time.Millisecond)
		c.authenticate(token)
		if c.expectToken() != token {
			t.Error("a token was replaced that is younger than RefreshInterval")
		}
		time.Sleep(200 * time.Millisecond)
		c.authenticate(token)
		next := c.expectToken()
		if next == token {
			t.Error("a token was kept that is older than RefreshInterval")
		}

		time.Sleep(3900 * time.Millisecond)
		c.expectAuthenticated()
		if status, body, _ := srv.get(next); status != http.StatusOK {
			t.Errorf("Middleware answered %d %s a moment before the token expired", status, body)
		}
		time.Sleep(200 * time.Millisecond)
		c.expectRefused("token_expired")
		if status, _, _ := srv.get(next); status != http.StatusUnauthorized {
			t.Errorf("Middleware answered %d after the token expired", status)
		}
	})
}

// TestStoreClockRevocation checks that a login before a revocation by another process is dead, and
// one after it works, whatever the clock of the process shows.
func TestStoreClockRevocation(t *testing.T) {
	for name, r := range map[string]blacklist.Revocation{"a user": {UserID: "anna"}, "all": {All: true}} {
		t.Run(name, func(t *testing.T) {
			onAllClocks(t, nil, func(srv *testServer, store *sharedtest.Store, _ time.Duration) {
				code, issued := srv.loginCode(), srv.code()
				c, _ := srv.authenticated()
				time.Sleep(50 * time.Millisecond)
				r.Why, r.Keep = blacklist.Revoked, time.Hour
				if _, err := store.DB.Open(time.Second).Revoke(srv.Context(), r); err != nil {
					t.Fatal(err)
				}
				c.expectRefused("session_revoked")
				srv.expectTokenRefused(code, "session_revoked")
				srv.expectTokenRefused(issued, "session_revoked")
				time.Sleep(50 * time.Millisecond)
				c = srv.dial("")
				c.authenticate(srv.loginCode())
				c.expectToken()
				c.expectAuthenticated()
			})
		})
	}
}

// TestStoreClockPasswordCheck checks that a login whose password was checked before a revocation is
// dead, since its auth_time is from before the hook.
func TestStoreClockPasswordCheck(t *testing.T) {
	var at, goOn chan struct{}
	onAllClocks(t, func(o *socketauth.Options[string]) {
		at, goOn = make(chan struct{}), make(chan struct{})
		find := o.FindUserByCredentials
		o.FindUserByCredentials = func(ctx context.Context, c socketauth.Credentials) (string, error) {
			close(at)
			<-goOn
			return find(ctx, c)
		}
	}, func(srv *testServer, _ *sharedtest.Store, _ time.Duration) {
		codes := make(chan string)
		go func() { codes <- srv.loginCode() }()
		<-at
		time.Sleep(time.Millisecond)
		if _, err := srv.Auth().RevokeUser(srv.Context(), "anna"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		close(goOn)
		srv.expectTokenRefused(<-codes, "session_revoked")
	})
}

// TestStoreClockUnavailable checks that nothing is minted or accepted while the store cannot be
// asked for the time, that clients are told to come back, and that nothing is consumed by it.
func TestStoreClockUnavailable(t *testing.T) {
	withShared(t, 2*time.Second, nil, func(srv *testServer, store *sharedtest.Store) {
		c, token := srv.authenticated()
		code := srv.code()
		store.Down.Store(true)
		if got := srv.post("/login", `{"username":"anna","password":"secret"}`); got != `{"code":"UNAVAILABLE"}`+"\n" {
			t.Errorf("login is answered %q", got)
		}
		if _, err := srv.Auth().IssueCode(srv.Context(), claimsOf("anna")); !errors.Is(err, socketauth.ErrUnavailable) {
			t.Errorf("IssueCode: %v", err)
		}
		if status, body, _ := srv.get(token); status != http.StatusServiceUnavailable {
			t.Errorf("Middleware answered %d %s", status, body)
		}
		if u := srv.expectTokenRefused(code, "unavailable"); u.Terminal || u.RetryAfter != 1 {
			t.Errorf("%+v", u)
		}
		c.authenticate(token)
		c.expectUnauthorized("unavailable")
		srv.expectTokenRefused("e30.e30.e30", "invalid_token") // needs no clock
		srv.expectLogged("the blacklist's clock: sharedtest: the store is down")
		if strings.Contains(srv.logs.String(), "KeyFunc") {
			t.Error("the log blames a hook")
		}
		store.Down.Store(false)
		c.authenticate(token)
		c.expectToken()
		srv.dial("").authenticate(code)
		synctest.Wait()
		if n := len(socketauth.Authenticated(srv.Server.Server)); n != 2 {
			t.Errorf("%d sockets are authenticated, want 2", n)
		}
	})
}
