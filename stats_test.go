package socketauth_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// TestStats checks what each of the counters counts.
func TestStats(t *testing.T) {
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) {
		store.Store = blacklist.NewMemory()
		o.Blacklist = store
		o.TokenLifetime = time.Hour
	}, func(srv *testServer) {
		srv.loginCode()
		srv.post("/login", `{"username":"anna","password":"wrong"}`)
		unauthenticated := srv.dial("")
		c, token := srv.authenticated()
		c.authenticate(token)
		token = c.expectToken()
		srv.expectTokenRefused("x", "invalid_token")
		srv.get("x")
		d, _ := srv.authenticated()
		d.emit("logout")
		d.expect(`42["logged_out"]`)
		store.fail(storeDown, nil)
		e := srv.dial("")
		e.authenticate(token)
		e.expectRefused("unavailable")
		store.fail(nil, nil)
		synctest.Wait()
		unauthenticated.expectRefused("timeout")

		s := srv.Auth().Stats()
		if got := s.Sockets["4"]; got.Connecting != 0 || got.Authenticated != 1 {
			t.Errorf("sockets %+v", s.Sockets)
		}
		for name, is := range map[string]bool{
			"logins":          fmt.Sprint(s.Logins) == "map[OK:1 USER_INVALID:1]",
			"authentications": fmt.Sprint(s.Authentications) == "map[invalid_token:1 ok:2 timeout:1 unavailable:1]",
			"requests":        fmt.Sprint(s.Requests) == "map[invalid_token:1]",
			"rotations":       s.Rotations == 1,
			"logouts":         s.Logouts == 1,
			"errors of store": s.Store.Errors > 1,
			"calls of store":  s.Store.Calls > s.Store.Errors+3,
			"buckets":         s.Store.Buckets[len(s.Store.Buckets)-1].Calls == s.Store.Calls,
		} {
			if !is {
				t.Errorf("%s: %+v", name, s)
			}
		}
		time.Sleep(time.Hour)
		c.expectRefused("token_expired")
		c, token = srv.authenticated()
		c.authenticate(token)
		c.expectToken()
		time.Sleep(time.Minute)
		srv.expectTokenRefused(token, "token_reused")
		c.expectRefused("token_reused")
		synctest.Wait()
		if _, err := srv.Auth().RevokeAll(srv.Context()); err != nil {
			t.Fatal(err)
		}
		if s = srv.Auth().Stats(); s.Expiries != 1 || s.Reuses != 1 || s.Revocations != 1 || s.Sockets["4"].Connecting != 0 || s.Sockets["4"].Authenticated != 0 {
			t.Errorf("%+v", s)
		}
	})
}
