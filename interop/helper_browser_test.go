package interop

import (
	"encoding/json"
	"fmt"
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

// TestHelperBrowserAsleep: pages that had no network when their token expired say so; after a sleep
// in which it did not expire, it is replaced. TestHelperBrowsers has the sleep in which it did.
func TestHelperBrowserAsleep(t *testing.T) {
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
