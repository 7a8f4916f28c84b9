package interop

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// TestHelperTabs: tabs that share a storage never present one token at the same time, with Web
// Locks or without, and all of them see a logout.
func TestHelperTabs(t *testing.T) {
	helpersBound(t, func(t *testing.T, version string) {
		for name, options := range map[string]string{
			"two, locks":  `{"count": 2, "locks": true, "rounds": 3, "restarts": 0, "patient": true}`,
			"two, none":   `{"count": 2, "locks": false, "rounds": 3, "restarts": 0, "patient": true}`,
			"five, locks": `{"count": 5, "locks": true, "rounds": 3, "restarts": 2, "patient": true}`,
			"five, none":  `{"count": 5, "locks": false, "rounds": 2, "restarts": 2, "patient": true}`,
			"wild, locks": `{"count": 5, "locks": true, "rounds": 5, "restarts": 0}`,
			"wild, none":  `{"count": 5, "locks": false, "rounds": 3, "restarts": 0}`,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				five := strings.HasPrefix(name, "five")
				bound := strings.HasSuffix(version, boundSuffix)
				if version != "own" && !five || bound && name != "five, locks" {
					return
				}
				store := open(t, filepath.Join(t.TempDir(), "sessions.db"))
				l := newLedger(store)
				a := serve(t, setup{options: keepIn(l)})
				reused := 0
				d := help(t, "tabs", version, a.url, options)
				if five {
					d.hears("client", "ready")
					l.clean(t, 1)
					isBound(t, a, "alice", version)
					a.listener.cut()
					time.AfterFunc(300*time.Millisecond, a.listener.mend)
					d.hears("client", "ready")
					reused += len(a.audited(socketauth.AuditReuse))
					a.stop(t)
					a = serve(t, setup{options: keepIn(l), on: a.listener})
				}
				d.hears("tab 0", "reply to who am I")
				tabs := []string{"tab 0", "tab 1", "tab 2", "tab 3", "tab 4"}
				if strings.HasPrefix(name, "two") {
					tabs = tabs[:2]
				}
				for _, tab := range tabs[1:] {
					d.hears(tab, "reply to who am I")
				}
				for _, tab := range tabs {
					d.hears(tab, "signed-out", "logged_out")
				}
				d.hears("client", "report", nil)
				d.done()
				if reused += len(a.audited(socketauth.AuditReuse)); reused > 0 {
					t.Errorf("%d tokens were taken for stolen", reused)
				}
				if strings.HasPrefix(name, "two") {
					l.clean(t, 1)
				} else {
					l.clean(t, 10) // a page that was interrupted presents its token again
				}
			})
		}
	})
}

// TestHelperShelves: tabs that share an asynchronous storage read it anew in each turn.
func TestHelperShelves(t *testing.T) {
	t.Parallel()
	l := newLedger(blacklist.NewMemory())
	a := serve(t, setup{options: keepIn(l)})
	d := help(t, "shelves", "own", a.url, "{}")
	for _, state := range []string{"online", "offline", "signed-out"} {
		d.ignore(state)
	}
	tabs := []string{"tab 0", "tab 1", "tab 2"}
	for _, tab := range tabs {
		d.hears(tab, "reply to who am I")
	}
	for _, tab := range tabs {
		d.hears(tab, "reason", "logged_out")
	}
	d.hears("client", "report", []string{})
	d.done()
	noAlarm(t, a)
	l.clean(t, 1)
	sessions(t, a, "alice", 0)
}

// TestHelperStolen: a tab that lost its turn while it slept does not change what another tab has
// stored.
func TestHelperStolen(t *testing.T) {
	t.Parallel()
	for _, early := range []string{"false", "true"} {
		t.Run("early "+early, func(t *testing.T) {
			t.Parallel()
			l := newLedger(blacklist.NewMemory())
			a := serve(t, setup{options: keepIn(l)})
			d := help(t, "stolen", "own", a.url, `{"early": `+early+`}`)
			d.hears("frozen", "signed-out")
			d.hears("other", "online")
			d.hears("client", "report", true)
			d.hears("frozen", "offline")
			d.hears("frozen", "online")
			d.hears("other", "reply to who am I")
			d.hears("frozen", "reply to who am I")
			d.done()
			l.clean(t, 2)
		})
	}
}

// TestHelperTwoUsers: when another user has logged in to a page's storage, the page connects anew
// as that user.
func TestHelperTwoUsers(t *testing.T) {
	helpers(t, func(t *testing.T, version string) {
		l := newLedger(blacklist.NewMemory())
		a := serve(t, setup{options: func(o *socketauth.Options[string]) {
			o.Blacklist, o.TokenLifetime = l, 40*time.Second
		}})
		d := help(t, "twoUsers", version, a.url, "{}")
		d.entersPage("alice")
		d.entersPage("bob")
		d.self("bob", "bob")
		d.hears("alice", "online")
		d.self("alice", "bob")
		d.done()
		l.clean(t, 1)
	})
}

// TestHelperAgain: a login where another user is signed in replaces that user in all tabs and ends
// the session.
func TestHelperAgain(t *testing.T) {
	helpersBound(t, func(t *testing.T, version string) {
		a := serve(t, setup{})
		d := help(t, "again", version, a.url, "{}")
		d.ignore("offline")
		d.entersPage("page")
		d.hears("tab", "online")
		d.hears("page", "online")
		d.hears("tab", "online")
		for _, name := range []string{"page", "tab"} {
			if self := string(d.hears(name, "reply to who am I").Args[0]); !strings.Contains(self, `"bob"`) {
				t.Errorf("%s is %s", name, self)
			}
		}
		d.done()
		sessions(t, a, "alice", 0)
		sessions(t, a, "bob", 1)
		if n := len(a.audited(socketauth.AuditReuse)); n != 0 {
			t.Errorf("%d false alarms", n)
		}
	})
}
