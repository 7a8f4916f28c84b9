package socketauth_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

func TestStats(t *testing.T) {
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) {
		store.Store = blacklist.NewMemory()
		o.Blacklist = store
		o.TokenLifetime = time.Hour
	}, func(w *world) {
		w.login()
		w.post("/login", `{"username":"anna","password":"wrong"}`)
		stranger := w.dial("")
		c, token := w.in()
		c.authenticate(token)
		token = c.token()
		w.refuses("x", "invalid_token")
		w.get("x")
		d, _ := w.in()
		d.emit("logout")
		d.next(`42["logged_out"]`)
		store.fail(down, nil)
		e := w.dial("")
		e.authenticate(token)
		e.refusedAndGone("unavailable")
		store.fail(nil, nil)
		synctest.Wait()
		stranger.refusedAndGone("timeout")

		s := w.Auth().Stats()
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
		c.refusedAndGone("token_expired")
		c, token = w.in()
		c.authenticate(token)
		c.token()
		time.Sleep(time.Minute)
		w.refuses(token, "token_reused")
		c.refusedAndGone("token_reused")
		synctest.Wait()
		if _, err := w.Auth().RevokeAll(w.Context()); err != nil {
			t.Fatal(err)
		}
		if s = w.Auth().Stats(); s.Expiries != 1 || s.Reuses != 1 || s.Revocations != 1 || s.Sockets["4"].Connecting != 0 || s.Sockets["4"].Authenticated != 0 {
			t.Errorf("%+v", s)
		}
	})
}
