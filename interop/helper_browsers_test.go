package interop

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// TestHelperBrowsers: in Chromium, Firefox and WebKit, users stay signed in as long as they should,
// and nothing is taken for theft, while pages are reloaded and hidden, browsers are closed, killed
// and stopped, and the network fails.
func TestHelperBrowsers(t *testing.T) {
	// Guards: browsers that were killed had a replaced token again, or none, or one that was logged
	// out. Of many hidden tabs each had its turn before the visible one.
	if _, err := exec.LookPath("Xvfb"); err != nil {
		t.Fatal("Xvfb is missing: run `apt-get install xvfb`")
	}
	var browsers sync.WaitGroup // whose waiting for the heartbeat takes longer than all else
	for browser, where := range map[string]struct{ pattern, needs, cannot string }{
		"Chromium": {"/usr/bin/chromium", "chromium", "nothing of the list"},
		"Firefox":  {"/usr/bin/firefox-esr", "firefox-esr", "nothing of the list"},
		"WebKit": {"/usr/lib/*/webkit*gtk-*/MiniBrowser", "webkit2gtk-driver",
			"open tabs once it runs, bring another tab to the front, be closed but by a signal"},
	} {
		browsers.Go(func() {
			t.Run(browser, func(t *testing.T) {
				if found, _ := filepath.Glob(where.pattern); len(found) == 0 {
					t.Fatalf("%s is missing: run `apt-get install %s`", browser, where.needs)
				}
				t.Log("what it cannot do here:", where.cannot)
				helperBrowser(t, browser)
			})
		})
	}
	browsers.Wait()
}

// site is an app that a browser has in some tabs.
type site struct {
	*app
	version atomic.Int64 // a claim of the app's own

	mu      sync.Mutex
	sockets int           // that are authenticated
	ended   []string      // why others have ended
	changed chan struct{} // closed at the next change, if somebody waits for it
}

func newSite(t *testing.T, page string, lifetime time.Duration) *site {
	t.Helper()
	s := &site{changed: make(chan struct{})}
	s.version.Store(1)
	s.app = servePagesWith(t, newLedger(blacklist.NewMemory()), nil, func(o *socketauth.Options[string]) {
		o.TokenLifetime = lifetime
		o.UpdateClaims = func(_ context.Context, claims jwt.MapClaims) (jwt.MapClaims, error) {
			claims["version"] = s.version.Load()
			return claims, nil
		}
	}, page)
	change := func(f func()) {
		s.mu.Lock()
		defer s.mu.Unlock()
		f()
		close(s.changed)
		s.changed = make(chan struct{})
	}
	s.OnAuthenticated(func(context.Context, *socketauth.Socket) error {
		change(func() { s.sockets++ })
		return nil
	})
	s.OnDisconnect(func(_ context.Context, _ *socketauth.Socket, reason string) {
		change(func() {
			s.sockets--
			s.ended = append(s.ended, reason)
		})
	})
	return s
}

// awaitNobody waits until all sockets have ended, and returns why they have.
func (s *site) awaitNobody(ctx context.Context) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.sockets > 0 && ctx.Err() == nil {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		s.mu.Lock()
	}
	return slices.Clone(s.ended)
}

// has expects a user to have some sessions, and returns their ids.
func (s *site) has(t *testing.T, user string, count int) []string {
	t.Helper()
	all, err := s.Auth().Sessions(t.Context(), user)
	if err != nil || len(all) != count {
		t.Errorf("the sessions of %s: %+v, %v, there should be %d", user, all, err, count)
	}
	var ids []string
	for _, session := range all {
		ids = append(ids, session.ID)
	}
	return ids
}

// comes expects the tabs of a site to have gone from a state to "online", and to have had a session
// all the time. A busy machine may make one of them connect twice: where another tab's presentation
// of the next token is quicker than the acknowledgement of that token, for example.
func (d *driver) comes(site, from string) {
	d.t.Helper()
	for _, raw := range d.hears(site, "came").Args {
		var states []string
		if err := json.Unmarshal(raw, &states); err != nil || len(states) < 2 || states[0] != from ||
			states[len(states)-1] != "online" || slices.Contains(states, "signed-out") || slices.Contains(states, "expired") {
			d.t.Errorf("%s: a tab came online through %s", site, raw)
		}
	}
}

func helperBrowser(t *testing.T, browser string) {
	const day = 24 * time.Hour
	plain, bound := newSite(t, "", day), newSite(t, "bind: true", day)
	early, steady := newSite(t, "", day), newSite(t, "", day)
	asleep := newSite(t, "", day)
	// Longer than a busy machine takes from the login to where the browser is stopped, and shorter
	// than the wait for the heartbeat.
	brief := newSite(t, "", 15*time.Second)
	stopped := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Log("asleep:", asleep.awaitNobody(r.Context()), "brief:", brief.awaitNobody(r.Context()))
	}))
	t.Cleanup(stopped.Close)
	d := nodeFor(t, 8*time.Minute, nil, "socket.io-client-4.8.4", "helper_browsers.mjs", browser, stopped.URL,
		plain.url, bound.url, early.url, steady.url, asleep.url, brief.url)

	// Some tabs are stopped until the end.
	d.hears("asleep", "are", "online")
	d.hears("brief", "are", "online")
	before := asleep.has(t, "alice", 1)

	// The first run.
	both := map[string]*site{"plain": plain, "bound": bound}
	for name, site := range both {
		d.hears(name, "are", "signed-out")
		if name == "plain" {
			args := d.hears(name, "browser").Args
			if t.Logf("version %s", args[0]); string(args[1]) != "[]" {
				t.Errorf("the browser has no %s, which docs/clients.md does not say", args[1])
			}
		}
		d.hears(name, "are", "online")
		d.hears(name, "are", "online") // reloaded
		d.hears(name, "users", "alice")
		d.hears(name, "bound", name == "bound")
		d.hears(name, "ready")
		site.has(t, "alice", 1)
		site.version.Store(2)
		if _, err := site.Auth().RefreshUser(t.Context(), "alice"); err != nil {
			t.Error(err)
		}
		d.hears(name, "renewed")
	}
	for name := range both {
		d.hears(name, "are", "online") // reloaded
	}
	for _, name := range []string{"early", "steady"} {
		d.hears(name, "are", "signed-out")
		d.hears(name, "are", "online")
	}

	// Started again, after it was killed.
	for _, name := range []string{"plain", "bound", "early", "steady"} {
		d.hears(name, "are", "online")
		d.comes(name, "connecting")
		d.hears(name, "users", "alice")
	}
	d.hears("bound", "bound", true)
	d.hears("plain", "throttled", true)
	d.hears("plain", "ready")
	plain.listener.cut()
	plain.listener.mend()
	d.hears("plain", "are", "online")
	if l := d.hears("plain", "before the visible tab"); string(l.Args[0]) != "0" && string(l.Args[0]) != "1" {
		t.Errorf("%s hidden tabs had their turns before the visible one", l.Args)
	}
	for name := range both {
		d.hears(name, "told", true)
		d.hears(name, "are", "signed-out")
		d.hears(name, "reasons", "logged_out")
		d.hears(name, "are", "online")
	}

	// Started again, after it was closed.
	for _, name := range []string{"plain", "bound", "early", "steady"} {
		d.hears(name, "are", "online")
	}
	for name, site := range both {
		d.hears(name, "ready")
		site.has(t, "alice", 0)
		site.has(t, "carol", 1)
		site.listener.cut()
		d.hears(name, "are", "offline")
	}
	for name := range both {
		d.hears(name, "told", false)
		d.hears(name, "are", "signed-out")
		d.hears(name, "reasons", "logged_out_here", "logged_out")
	}
	d.hears("early", "told", true)
	d.hears("early", "are", "signed-out")
	d.hears("early", "reasons", "logged_out")
	d.hears("early", "are", "online") // as another user
	for range 3 {
		d.hears("steady", "are", "online") // reloaded
	}
	for name, site := range both {
		d.hears(name, "ready")
		site.listener.mend()
	}

	// Started again, after it was killed.
	for name, site := range both {
		d.hears(name, "are", "signed-out")
		d.hears(name, "came", []string{"connecting", "signed-out"})
		d.hears(name, "knows")
		site.has(t, "carol", 0)
	}
	for name, user := range map[string]string{"early": "bob", "steady": "alice"} {
		d.hears(name, "are", "online")
		d.comes(name, "connecting")
		d.hears(name, "users", user)
	}
	early.has(t, "alice", 0)

	// Those that were stopped go on, after the server has ended all their connections.
	d.hears("asleep", "woke")
	d.comes("asleep", "offline")
	d.hears("asleep", "users", "alice")
	if after := asleep.has(t, "alice", 1); !slices.Equal(before, after) {
		t.Errorf("the session was %s, and is %s", before, after)
	}
	d.hears("brief", "are", "expired")
	d.hears("brief", "reasons", "token_expired")
	d.hears("brief", "are", "online")
	d.done()
	t.Log(d.stderr.String())
	for _, site := range []*site{plain, bound, early, steady, asleep, brief} {
		noAlarm(t, site.app)
	}
}
