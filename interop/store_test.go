package interop

import (
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/boltstore"
)

// options change the options of an app.
type options = func(*socketauth.Options[string])

// stores runs f for each run of a matrix with the Blacklist in memory, and for each client with the
// one in a file.
func stores(t *testing.T, cells func(*testing.T, func(*testing.T, run)), f func(t *testing.T, r run, keep options)) {
	cells(t, func(t *testing.T, r run) {
		t.Run("memory", func(t *testing.T) {
			t.Parallel()
			f(t, r, func(*socketauth.Options[string]) {})
		})
		if r.transport != "upgrade" { // the store does not depend on the transport
			return
		}
		t.Run("file", func(t *testing.T) {
			t.Parallel()
			f(t, r, keepIn(open(t, filepath.Join(t.TempDir(), "sessions.db"))))
		})
	})
}

func keepIn(store blacklist.Store) options {
	return func(o *socketauth.Options[string]) { o.Blacklist = store }
}

// open opens a store, which is closed at the end of the test at the latest.
func open(t *testing.T, path string) *boltstore.Store {
	t.Helper()
	store, err := boltstore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// TestDurable: with a store in a file, clients stay signed in when the app restarts, an offered
// token that was not acknowledged does not cost the session, and ended sessions stay ended.
func TestDurable(t *testing.T) {
	entries(t, func(t *testing.T, r run) {
		path := filepath.Join(t.TempDir(), "sessions.db")
		store := open(t, path)
		a := serve(t, setup{options: keepIn(store)})
		var reused []socketauth.AuditEvent
		restart := func() {
			t.Helper()
			a.stop(t)
			reused = append(reused, a.audited(socketauth.AuditReuse)...)
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			store = open(t, path)
			a = serve(t, setup{options: keepIn(store), on: a.listener})
		}
		d := play(t, r, "durable", a.url, nil)
		d.ignore("connect_error")
		d.entersConfirming("member")
		self := d.hears("member", "reply to who am I")
		d.entersConfirming("hesitant")
		d.entersConfirming("leaver")
		d.hears("leaver", "logged_out")
		d.ends("leaver")
		d.enters("banned")
		if ended, err := a.Auth().RevokeUser(t.Context(), "carol"); err != nil || ended.Sessions != 1 || ended.Sockets != 1 {
			t.Errorf("RevokeUser: %+v, %v", ended, err)
		}
		d.refused("banned", "session_revoked")
		d.hears("client", "ready")
		before := sessions(t, a, "alice", 1)[0]

		restart()
		d.lost("member")
		d.lost("hesitant")
		d.entersConfirming("hesitant")
		d.hears("hesitant", "reply to echo", "in")
		d.entersConfirming("member")
		d.hears("member", "reply to who am I", self.Args[0])
		d.hears("leaver", "connect")
		d.refused("leaver", "no_longer_valid")
		d.hears("banned", "connect")
		d.refused("banned", "session_revoked")
		d.hears("hesitant", "disconnect", "io client disconnect")
		d.hears("client", "ready")

		restart()
		d.lost("member")
		d.entersConfirming("member")
		d.hears("member", "reply to who am I", self.Args[0])
		d.hears("client", "ready")
		after := sessions(t, a, "alice", 1)[0]
		if !after.LastSeen.After(before.LastSeen) {
			t.Errorf("last seen %v, before the restarts %v", after.LastSeen, before.LastSeen)
		}
		after.LastSeen, after.ExpiresAt = before.LastSeen, before.ExpiresAt
		if after.Sockets != 1 || !reflect.DeepEqual(after, before) {
			t.Errorf("the session is %+v, before the restarts it was %+v", after, before)
		}
		if reused = append(reused, a.audited(socketauth.AuditReuse)...); len(reused) > 0 {
			t.Errorf("audited as theft: %v", reused)
		}
		speak(t, a, "alice")
		d.hears("member", "news", "go on")
		d.done()
	})
}

// sessions returns the sessions of a user, and expects their number to be n.
func sessions(t *testing.T, a *app, user string, n int) []socketauth.Session {
	t.Helper()
	found, err := a.Auth().Sessions(t.Context(), user)
	if err != nil || len(found) != n {
		t.Fatalf("Sessions of %s: %+v, %v, there should be %d", user, found, err, n)
	}
	for _, s := range found {
		if now := time.Now(); s.UserID != user || s.Since.After(s.LastSeen) || s.LastSeen.After(now) || now.Sub(s.Since) > patience || s.ExpiresAt.Before(now) {
			t.Errorf("Sessions of %s: %+v", user, s)
		}
	}
	return found
}

// speak tells a user's sockets to continue.
func speak(t *testing.T, a *app, user string) {
	t.Helper()
	if err := a.ToUser(user).Emit("news", "go on"); err != nil {
		t.Fatal(err)
	}
}
