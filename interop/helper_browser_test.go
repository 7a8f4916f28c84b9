package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// TestHelperBrowserTabs: tabs in Chromium share a session, with Web Locks and without, while they
// are reloaded, lose their connections, and the server is restarted.
func TestHelperBrowserTabs(t *testing.T) {
	for _, c := range []struct {
		name     string
		count    int
		locks    bool
		interval time.Duration
	}{
		{"two, locks", 2, true, 0},
		{"two, none", 2, false, time.Hour},
		{"five, locks", 5, true, time.Hour},
		{"five, none", 5, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := open(t, filepath.Join(t.TempDir(), "sessions.db"))
			l := newLedger(store)
			change := func(o *socketauth.Options[string]) { o.RefreshInterval = c.interval }
			a := servePages(t, l, nil, change)
			options, _ := json.Marshal(map[string]any{"count": c.count, "locks": c.locks})
			d := chromium(t, "helper_browser.mjs", "tabs", a.url, string(options))
			all := func(event string, args ...any) {
				t.Helper()
				for n := range c.count {
					d.hears(fmt.Sprintf("tab %d", n), event, args...)
				}
			}
			d.hears("tab 0", "is", "signed-out")
			d.hears("tab 0", "tells", c.locks)
			all("is", "online")
			all("is", "online")

			d.hears("client", "ready")
			a.listener.cut()
			d.hears("client", "ready")
			a.listener.mend()
			all("is", "offline")
			all("is", "online")
			d.hears("client", "ready")
			a.stop(t)
			noAlarm(t, a)
			d.hears("client", "ready")
			a = servePages(t, l, a.listener, change)
			all("is", "offline")
			all("is", "online")

			all("user", "alice")
			d.hears("tab 0", "tells", true)
			all("is", "signed-out")
			// Guards: after a logout in one tab the reason in the others was "elsewhere".
			all("tells", "logged_out")
			all("is", "signed-out")
			d.hears("tab 0", "tells", nil)
			d.done()
			noAlarm(t, a)
			if c.interval == 0 {
				l.clean(t, 10) // a page that was interrupted presents its token again
			} else {
				l.clean(t, 1000)
			}
		})
	}
}

// TestHelperBack: a code in a link is used once and does not stay in the history, however often the
// page is reloaded or left and the link opened again while the code is valid.
func TestHelperBack(t *testing.T) {
	for name, client := range map[string]string{"unbound": "bind: false", "bound": "bind: true"} {
		t.Run(name, func(t *testing.T) {
			l := newLedger(blacklist.NewMemory())
			on := listen(t)
			a := servePagesWith(t, l, on, func(o *socketauth.Options[string]) {
				o.AppURL = func(code string) string { return "http://" + on.Addr().String() + "/page#code=" + code }
			}, client)
			d := chromium(t, "helper_browser.mjs", "back", a.url)
			d.hears("tab", "tells", "/page")
			for range 4 {
				d.hears("tab", "is", "online")
			}
			for range 2 {
				d.hears("again", "is", "online")
				d.hears("again", "user", "alice")
			}
			d.hears("tab", "is", "online")
			d.hears("tab", "user", "alice")
			d.hears("other", "is", "online")
			d.hears("other", "user", "bob")
			d.hears("other", "tells", "")
			d.done()
			noAlarm(t, a)
			l.clean(t, 4)
			isBound(t, a, "alice", "Chromium, "+name)
			isBound(t, a, "bob", "Chromium, "+name)
		})
	}
}

// TestHelperBrowserAsleep: after a sleep in which the token expired, pages are signed out; after a
// shorter one, the token is replaced.
func TestHelperBrowserAsleep(t *testing.T) {
	t.Run("past", func(t *testing.T) {
		l := newLedger(blacklist.NewMemory())
		a := servePages(t, l, nil, func(o *socketauth.Options[string]) { o.TokenLifetime = 3 * time.Second })
		d := chromium(t, "helper_browser.mjs", "asleep", a.url, `{"ms": 3500}`)
		for _, state := range []string{"online", "expired", "online"} {
			d.hears("tab", "is", state)
			d.hears("other", "is", state)
		}
		d.done()
		noAlarm(t, a)
	})
	t.Run("past, without a network", func(t *testing.T) {
		// Guards: only the first tab said that the token had expired; the other one's reason was
		// "elsewhere".
		l := newLedger(blacklist.NewMemory())
		a := servePages(t, l, nil, func(o *socketauth.Options[string]) { o.TokenLifetime = 3 * time.Second })
		d := chromium(t, "helper_browser.mjs", "away", a.url, `{"ms": 3500}`)
		for _, tab := range []string{"tab", "other"} {
			d.hears(tab, "is", "online")
		}
		d.hears("client", "ready")
		a.listener.cut()
		for _, tab := range []string{"tab", "other"} {
			d.hears(tab, "is", "offline")
		}
		d.hears("client", "ready")
		a.listener.mend()
		for _, tab := range []string{"tab", "other"} {
			d.hears(tab, "tells", []any{"expired", "token_expired"})
		}
		d.done()
		noAlarm(t, a)
	})
	t.Run("in time", func(t *testing.T) {
		l := newLedger(blacklist.NewMemory())
		a := servePages(t, l, nil, nil) // for 24 h
		d := chromium(t, "helper_browser.mjs", "clock", a.url, fmt.Sprintf(`{"ms": %d}`, (20*time.Hour).Milliseconds()))
		d.hears("tab", "is", "online")
		d.hears("tab", "tells", []any{1, "online"})
		d.done()
		l.clean(t, 1)
		if n := len(a.audited(socketauth.AuditRotated)); n != 1 {
			t.Errorf("the token was replaced %d times", n)
		}
	})
}

// TestHelperBrowserStorage: users can log in where the storage is refused or full, and no two tabs
// share a session by accident.
func TestHelperBrowserStorage(t *testing.T) {
	l := newLedger(blacklist.NewMemory())
	a := servePages(t, l, nil, nil)
	d := chromium(t, "helper_browser.mjs", "storage", a.url)
	for _, tab := range []string{"refused", "full", "full, no locks", "later", "later, no locks"} {
		d.hears(tab, "is", "online")
		d.hears(tab, "is", "online")
		d.hears(tab, "tells", strings.HasPrefix(tab, "later"))
		if tab == "full" {
			d.hears("copy", "is", "signed-out")
			d.hears("copy", "is", "online")
			d.hears("copy", "user", "bob")
		}
		d.hears(tab, "is", "online")
		d.hears(tab, "user", "alice")
		d.hears(tab, "tells", true)
		d.hears(tab, "is", "signed-out")
		d.hears(tab, "is", "online")
	}
	d.done()
	noAlarm(t, a)
	l.clean(t, 2)
}

// TestHelperKilled: after Chromium was killed seconds after a token was replaced, the user is
// signed in, and nothing is taken for theft.
func TestHelperKilled(t *testing.T) {
	// Guards: Chromium had the replaced token in localStorage again, so that the session was ended
	// as stolen.
	a := servePages(t, newLedger(blacklist.NewMemory()), nil, nil)
	d := chromium(t, "helper_browser.mjs", "killed", a.url, "{}")
	for range 5 {
		d.hears("page", "is", "online")
	}
	d.hears("page", "user", "alice")
	d.hears("page", "is", "online")
	d.hears("page", "user", "alice")
	d.hears("page", "is", "signed-out")
	d.done()
	noAlarm(t, a)
	sessions(t, a, "alice", 0)
}

// TestHelperKilledEarly: a browser is killed before its last write to localStorage is on disk:
// right after the first login, right after another one, and after a logout of which the server
// could not be told.
func TestHelperKilledEarly(t *testing.T) {
	// Guards: the user was signed out after the logins, and was signed in again after the logout.
	for _, browser := range []string{"Chromium", "Firefox"} {
		t.Run(browser, func(t *testing.T) {
			a := servePages(t, newLedger(blacklist.NewMemory()), nil, nil)
			program := map[string]string{"Chromium": "/usr/bin/chromium", "Firefox": "/usr/bin/firefox-esr"}[browser]
			if _, err := os.Stat(program); err != nil {
				t.Fatalf("%s is missing: run `apt-get install %s`", browser, filepath.Base(program))
			}
			d := node(t, "socket.io-client-4.8.4", "helper_killed.mjs", browser, a.url)
			d.hears("page", "comes", []any{"connecting", "signed-out"})
			d.hears("page", "is", "online")
			d.hears("page", "comes", []any{"connecting", "online"})
			d.hears("page", "user", "alice")

			d.hears("page", "is", "online")
			d.hears("page", "told", true)
			d.hears("page", "is", "online")
			d.hears("page", "comes", []any{"connecting", "online"})
			d.hears("page", "user", "bob")

			d.hears("page", "is", "online")
			d.hears("client", "ready")
			a.listener.cut()
			d.hears("page", "is", "offline")
			d.hears("page", "told", false)
			d.hears("client", "ready")
			sessions(t, a, "bob", 1)
			a.listener.mend()
			d.hears("page", "comes", []any{"connecting", "signed-out"})
			d.done()
			noAlarm(t, a)
			sessions(t, a, "bob", 0)
			sessions(t, a, "alice", 0)
		})
	}
}

// TestHelperHidden: a visible tab that asks for its turn after many hidden ones has it soon.
// Chromium throttles the hidden tabs' timers here as it does for users; browser drivers usually
// switch that off.
func TestHelperHidden(t *testing.T) {
	// Guards: each hidden tab had the turn for a second, and the visible one waited for all of
	// them.
	if _, err := exec.LookPath("Xvfb"); err != nil {
		t.Fatal("Xvfb is missing: run `apt-get install xvfb`")
	}
	l := newLedger(blacklist.NewMemory())
	a := servePages(t, l, nil, nil)
	d := chromium(t, "helper_hidden.mjs", a.url, "7")
	d.hears("client", "throttled", true, "visible")
	d.hears("client", "ready")
	a.listener.cut()
	a.listener.mend()
	var before int
	if err := json.Unmarshal(d.hears("client", "before the visible tab").Args[0], &before); err != nil || before > 1 {
		t.Errorf("%d hidden tabs had their turns before the visible one, %v", before, err)
	}
	d.done()
	t.Log(d.stderr.String())
	noAlarm(t, a)
}

// TestHelperDevices: when one device ends the session of another, all tabs of that other device are
// signed out, and nobody else is.
func TestHelperDevices(t *testing.T) {
	a := servePages(t, newLedger(blacklist.NewMemory()), nil, nil)
	d := chromium(t, "helper_browser.mjs", "devices", a.url)
	for _, tab := range []string{"tab 0", "tab 1", "other"} {
		d.hears(tab, "is", "online")
	}
	var session string
	if err := json.Unmarshal(d.hears("tab 0", "session").Args[0], &session); err != nil {
		t.Fatal(err)
	}
	d.hears("client", "ready")
	if ended, err := a.Auth().RevokeSession(t.Context(), "alice", session); err != nil || ended.Sockets != 2 {
		t.Errorf("%+v, %v", ended, err)
	}
	d.hears("tab 0", "is", "signed-out")
	d.hears("tab 1", "is", "signed-out")
	d.hears("tab 0", "tells", nil)
	d.hears("other", "user", "alice")
	d.done()
	noAlarm(t, a)
}
