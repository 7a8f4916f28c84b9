package interop

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// TestHelperLife: wrong password, login, replies, reload, lost connection, restart of the server,
// logout. No token is presented twice, except where the connection was lost or the server restarted
// meanwhile.
func TestHelperLife(t *testing.T) {
	helpersBound(t, func(t *testing.T, version string) {
		store := open(t, filepath.Join(t.TempDir(), "sessions.db"))
		l := newLedger(store)
		a := serve(t, setup{options: keepIn(l)})
		d := help(t, "life", version, a.url, "{}")
		d.hears("page", "signed-out")
		d.hears("page", "error", "USER_INVALID")
		d.hears("page", "online")
		d.hears("page", "reply to echo", "hello")
		d.hears("page", "reply to refuse", map[string]any{"error": "OUT_OF_STOCK"})
		d.hears("page", "reply to no such event", map[string]any{"error": "unknown_event"})
		d.hears("page", "reply to binary")
		d.hears("page", "online")
		self := d.hears("page", "reply to who am I")
		isBound(t, a, "alice", version)
		l.clean(t, 1)

		d.hears("client", "ready")
		a.listener.cut()
		d.hears("page", "offline")
		d.hears("page", "sent", false)
		d.hears("page", "reply to echo", map[string]any{"error": "offline"})
		a.listener.mend()
		d.ignore("offline")
		d.hears("page", "online")

		d.hears("client", "ready")
		a.stop(t)
		a = serve(t, setup{options: keepIn(l), on: a.listener})
		d.hears("page", "online")
		d.hears("page", "reply to who am I", self.Args[0])
		d.hears("page", "signed-out", "logged_out")
		d.hears("page", "told", true)
		d.hears("page", "left", nil, nil)
		d.hears("page", "signed-out")
		d.done()
		l.clean(t, 3)
		sessions(t, a, "alice", 0)
	})
}

// TestHelperFiles: an asynchronous storage keeps a session as well as a synchronous one.
func TestHelperFiles(t *testing.T) {
	helpers(t, func(t *testing.T, version string) {
		l := newLedger(blacklist.NewMemory())
		a := serve(t, setup{options: keepIn(l)})
		d := help(t, "files", version, a.url, "{}")
		d.hears("page", "signed-out")
		d.hears("page", "online")
		d.hears("page", "online")
		d.hears("page", "reply to who am I")
		d.hears("other", "online")
		d.hears("page", "online")
		d.hears("client", "ready")
		l.clean(t, 1)
		a.listener.cut()
		d.hears("page", "offline")
		a.listener.mend()
		d.ignore("offline")
		d.hears("page", "online")
		d.hears("page", "signed-out", "logged_out")
		d.hears("page", "told", true)
		d.hears("page", "left", []string{})
		d.hears("page", "signed-out")
		d.done()
		sessions(t, a, "alice", 0)
	})
}

// TestHelperRenewal: the token of an open page is replaced in time, whatever the wall clock says.
func TestHelperRenewal(t *testing.T) {
	helpers(t, func(t *testing.T, version string) {
		for name, interval := range map[string]time.Duration{"each": 0, "interval": time.Second} {
			if interval > 0 && version != "own" {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				l := newLedger(blacklist.NewMemory())
				a := serve(t, setup{options: func(o *socketauth.Options[string]) {
					o.Blacklist, o.TokenLifetime, o.RefreshInterval = l, 3*time.Second, interval
				}})
				d := help(t, "renewal", version, a.url, `{"stay": 5300}`)
				d.entersPage("page")
				d.hears("page", "reply to who am I")
				d.done()
				if n := len(a.audited(socketauth.AuditRotated)); n < 2 {
					t.Errorf("the token was replaced %d times", n)
				}
				if n := len(a.audited(socketauth.AuditAuthenticated)); n != 1 {
					t.Errorf("the page came in %d times", n)
				}
				l.clean(t, 1)
			})
		}
	})
}

// TestHelperExpiry: a page that is opened after its token has expired says so, and its user can log
// in again.
func TestHelperExpiry(t *testing.T) {
	helpers(t, func(t *testing.T, version string) {
		a := serve(t, setup{options: func(o *socketauth.Options[string]) { o.TokenLifetime = 2 * time.Second }})
		d := help(t, "expiry", version, a.url, `{"life": 2500}`)
		d.entersPage("page")
		d.hears("page", "expired", "token_expired")
		d.hears("page", "left", nil)
		d.hears("page", "online")
		d.done()
	})
}

// TestHelperAsleep: a page that becomes visible checks whether its token is to be replaced.
func TestHelperAsleep(t *testing.T) {
	helpersBound(t, func(t *testing.T, version string) {
		a := serve(t, setup{options: func(o *socketauth.Options[string]) { o.TokenLifetime = 40 * time.Second }})
		d := help(t, "asleep", version, a.url, "{}")
		d.entersPage("page")
		d.hears("page", "replaced", false)
		d.hears("page", "renewed", true)
		d.done()
	})
}

// TestHelperRevoked: the token of a session that was revoked is removed, and the token of another
// session is not.
func TestHelperRevoked(t *testing.T) {
	helpers(t, func(t *testing.T, version string) {
		a := serve(t, setup{})
		d := help(t, "revoked", version, a.url, "{}")
		d.entersPage("page")
		d.entersPage("other")
		phone, bob := d.self("page", "alice"), d.self("other", "bob")
		d.entersPage("carol")
		d.hears("client", "ready")
		for user, session := range map[string]string{"alice": phone, "bob": bob} {
			if _, err := a.Auth().RevokeSession(t.Context(), user, session); err != nil {
				t.Fatal(err)
			}
		}
		d.hears("page", "signed-out", "session_revoked")
		d.hears("page", "left", nil)
		d.hears("other", "offline")
		d.hears("other", "online")
		d.self("other", "carol")
		d.done()
	})
}

// TestHelperDead: what is no valid token is removed.
func TestHelperDead(t *testing.T) {
	helpers(t, func(t *testing.T, version string) {
		d := help(t, "dead", version, serve(t, setup{}).url, "{}")
		d.hears("garbage", "signed-out", "invalid_token")
		d.hears("garbage", "left", nil)
		d.done()
	})
}

// TestHelperUnavailable: a store that cannot be reached signs nobody out, neither at a connect nor
// at a renewal.
func TestHelperUnavailable(t *testing.T) {
	helpers(t, func(t *testing.T, version string) {
		l := newLedger(blacklist.NewMemory())
		l.isDown(true)
		a := serve(t, setup{options: func(o *socketauth.Options[string]) {
			o.Blacklist, o.Timeout, o.TokenLifetime = l, 500*time.Millisecond, 40*time.Second
		}})
		d := help(t, "unavailable", version, a.url, "{}")
		d.hears("page", "signed-out")
		d.ignore("offline")
		d.hears("page", "refused", "unavailable", 1, true)
		d.hears("client", "ready")
		l.isDown(false)
		d.hears("page", "online")
		d.hears("page", "reply to echo", "in")
		d.hears("client", "ready")
		l.isDown(true)
		speak(t, a, "alice")
		d.hears("page", "refused", "unavailable", 1, true)
		d.hears("client", "ready")
		l.isDown(false)
		d.hears("page", "reply to echo", "in")
		d.hears("client", "ready")
		d.done()
		l.clean(t, 1)
		if n := len(a.audited(socketauth.AuditAuthenticated)); n != 1 {
			t.Errorf("the page came in %d times", n)
		}
	})
}

// TestHelperCrowded: a client that is told to come back in 30 s does not come back earlier, and can
// log out.
func TestHelperCrowded(t *testing.T) {
	helpers(t, func(t *testing.T, version string) {
		a := serve(t, setup{options: func(o *socketauth.Options[string]) { o.Limits.SocketsPerUser = 1 }})
		d := help(t, "crowded", version, a.url, "{}")
		d.entersPage("first")
		d.hears("second", "signed-out")
		d.ignore("offline")
		d.hears("second", "login", "too_many_connections", 30)
		d.hears("second", "refused", "too_many_connections", 30, true)
		d.hears("second", "signed-out", "logged_out_here") // it only has a code, which ends no session
		d.hears("second", "told", false)
		d.done()
		if n := len(a.audited(socketauth.AuditRefused)); n > 2 { // the presentation, and the logout with a code
			t.Errorf("it was refused %d times", n)
		}
	})
}

// TestHelperBanned: where OnAuthenticated refuses, login rejects with its code, though the token
// was valid.
func TestHelperBanned(t *testing.T) {
	helpers(t, func(t *testing.T, version string) {
		a := serve(t, setup{})
		a.OnAuthenticated(func(_ context.Context, s *socketauth.Socket) error {
			if s.UserID() == "alice" {
				return &socketauth.PublicError{Code: "BANNED"}
			}
			return nil
		})
		d := help(t, "banned", version, a.url, "{}")
		d.ignore("offline")
		d.entersPage("page")
		d.hears("page", "login", "BANNED")
		d.hears("page", "reason", "BANNED")
		d.hears("page", "signed-out", "logged_out")
		d.hears("page", "told", true)
		d.hears("page", "online")
		d.hears("page", "is", "online")
		d.self("page", "bob")
		d.done()
		sessions(t, a, "alice", 0)
	})
}

// TestHelperLost: connections that break when a token is offered, or before it is acknowledged,
// cost nobody the session.
func TestHelperLost(t *testing.T) {
	helpersBound(t, func(t *testing.T, version string) {
		l := newLedger(blacklist.NewMemory())
		a := serve(t, setup{options: func(o *socketauth.Options[string]) {
			o.Blacklist, o.CodeLifetime = l, patience
		}})
		d := help(t, "lost", version, a.url, "{}")
		d.ignore("offline")
		d.ignore("online") // it may be for a moment
		d.hears("page", "signed-out")
		d.hears("client", "report", 0)
		d.hears("page", "reply to echo", "in")
		d.done()
		l.clean(t, 7)
		if len(a.audited(socketauth.AuditReuse)) > 0 {
			t.Error("taken for theft")
		}
	})
}

// TestHelperFull: where the storage is refused or full, the token is kept in memory, and the page
// hears a notice.
func TestHelperFull(t *testing.T) {
	helpers(t, func(t *testing.T, version string) {
		l := newLedger(blacklist.NewMemory())
		a := serve(t, setup{options: keepIn(l)})
		d := help(t, "full", version, a.url, "{}")
		left := map[string]any{"refused": nil, "full": nil, "filling": ""}
		notices := map[string]string{"refused": "storage_refused", "full": "storage_full", "filling": "storage_full"}
		for _, page := range []string{"refused", "full", "filling"} {
			d.entersPage(page)
			d.hears("client", "ready")
			a.listener.cut()
			d.hears(page, "offline")
			a.listener.mend()
			for d.hearsAny(page) != "online" { // it may be offline again, for another reason
			}
			d.hears(page, "reply to who am I")
			d.hears(page, "shared", false, left[page])
			d.hears(page, "notices", []string{notices[page]})
			d.hears(page, "signed-out", "logged_out")
			d.hears(page, "online")
		}
		d.done()
		l.clean(t, 3)
	})
}

// TestHelperUnit: the client's unit tests, with a fake server and mock timers.
func TestHelperUnit(t *testing.T) {
	t.Parallel()
	d := node(t, "socket.io-client-4.8.4", "helper_unit.mjs")
	n := 0
	for d.hearsAny("unit") != "end" {
		n++
	}
	if n < 144 {
		t.Errorf("%d tests passed, there are more", n)
	}
	d.done()
}
