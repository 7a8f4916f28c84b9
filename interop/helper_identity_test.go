package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// inBrowsers runs f in Chromium and in Firefox.
func inBrowsers(t *testing.T, f func(t *testing.T, browser string)) {
	for browser, program := range map[string]string{"Chromium": "/usr/bin/chromium", "Firefox": "/usr/bin/firefox-esr"} {
		t.Run(browser, func(t *testing.T) {
			if _, err := os.Stat(program); err != nil {
				t.Fatalf("%s is missing: run `apt-get install %s`", browser, filepath.Base(program))
			}
			f(t, browser)
		})
	}
}

// identity starts a scenario of helper_identity.mjs.
func identity(t *testing.T, scenario, browser, url, options string) *driver {
	t.Helper()
	return node(t, "socket.io-client-4.8.4", "helper_identity.mjs", scenario, browser, url, options)
}

// serveRequests serves an app as servePages does, which answers requests behind Middleware at
// /api/me and /api/role with the claims "sub" and "role". At /step it tells the scenario which step
// has been done. around, if not nil, sees each request first.
func serveRequests(t *testing.T, l *ledger, on *listener, step *atomic.Int32, around func(library http.Handler, w http.ResponseWriter, r *http.Request) (done bool), change options) *app {
	t.Helper()
	names := map[string]string{"/api/me": "sub", "/api/role": "role"}
	var a *app
	me := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, _ := socketauth.ClaimsFromContext(r.Context())
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(claims[names[r.URL.Path]])
	})
	a = serve(t, setup{
		on: on,
		options: func(o *socketauth.Options[string]) {
			o.Blacklist, o.ClientPath = l, "/socketauth/"
			if change != nil {
				change(o)
			}
		},
		server: func(s *http.Server) {
			library := s.Handler
			page := withPage(library, `tokenPath: "/token"`)
			s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch {
				case around != nil && around(library, w, r):
				case r.URL.Path == "/step":
					if n, _ := strconv.Atoi(r.URL.RawQuery); int(step.Load()) < n {
						http.Error(w, "", http.StatusServiceUnavailable)
					}
				case names[r.URL.Path] != "":
					a.Auth().Middleware(me).ServeHTTP(w, r)
				default:
					page.ServeHTTP(w, r)
				}
			})
		},
	})
	a.On("role", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		return s.Claims()["role"], nil
	})
	return a
}

// TestClientLoads: where the code of the client's requests could not be loaded, it is loaded at the
// next try; and a request that is redirected to another origin takes no token there.
func TestClientLoads(t *testing.T) {
	// Guards: Firefox asks once for the URL of a module, so that a page whose network failed then
	// could make no request until it was reloaded.
	inBrowsers(t, func(t *testing.T, browser string) {
		var loads atomic.Int32
		elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Access-Control-Allow-Origin", "*")
			w.Header().Set("Access-Control-Allow-Headers", "authorization")
			_, _ = io.WriteString(w, "token: "+r.Header.Get("Authorization"))
		}))
		defer elsewhere.Close()
		around := func(_ http.Handler, w http.ResponseWriter, r *http.Request) bool {
			switch {
			case r.URL.Path == "/elsewhere":
				http.Redirect(w, r, elsewhere.URL, http.StatusFound)
			case strings.HasSuffix(r.URL.Path, "/requests.js") && loads.Load() == 0:
				panic(http.ErrAbortHandler) // the connection is lost
			default:
				return false
			}
			return true
		}
		a := serveRequests(t, newLedger(blacklist.NewMemory()), nil, &loads, around, nil)
		d := identity(t, "loads", browser, a.url, "{}")
		d.hears("page", "is", "signed-out")
		d.hears("page", "is", "online")
		d.hears("page", "tells", "network")
		d.hears("client", "ready")
		loads.Store(1)
		d.hears("page", "tells", "alice")
		d.hears("page", "tells", "token: ")
		d.done()
	})
}

// tabsOpen expects the five tabs of a scenario to open.
func (d *driver) tabsOpen() {
	d.t.Helper()
	d.hears("tab 0", "is", "signed-out")
	for n := range 5 {
		d.hears(fmt.Sprintf("tab %d", n), "is", "online")
	}
}

// TestClientStepUp: a user proves again who they are in one of five tabs, and all five go on with
// that in the same session.
func TestClientStepUp(t *testing.T) {
	inBrowsers(t, func(t *testing.T, browser string) {
		var since atomic.Pointer[time.Time] // earlier proofs are too old
		var step atomic.Int32
		var a *app
		recent := func() time.Duration { return time.Since(*since.Load()) }
		around := func(_ http.Handler, w http.ResponseWriter, r *http.Request) bool {
			switch {
			case r.URL.Path == "/api/delete":
				a.Auth().Middleware(a.Auth().RequireRecent(recent())(deleted)).ServeHTTP(w, r)
			default:
				return false
			}
			return true
		}
		l := newLedger(blacklist.NewMemory())
		a = serveRequests(t, l, nil, &step, around, nil)
		a.On("delete", func(ctx context.Context, s *socketauth.Socket, in socketauth.Args) (any, error) {
			return socketauth.RequireRecent(recent())(func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) {
				return "deleted", nil
			})(ctx, s, in)
		})
		d := identity(t, "stepUp", browser, a.url, "{}")
		d.tabsOpen()
		d.hears("client", "ready")
		since.Store(ptr(time.Now()))
		step.Store(1)
		const required = "reauthentication_required"
		refused := []any{required, []string{"code", "maxAge"}}
		for _, tab := range []string{"tab 0", "tab 4"} {
			d.hears(tab, "tells", refused)
			d.hears(tab, "tells", []any{http.StatusUnauthorized, required})
		}
		d.hears("tab 0", "tells", "USER_INVALID")
		d.hears("tab 0", "tells", "USER_INVALID")
		d.hears("tab 0", "tells", refused)
		d.hears("tab 0", "tells", "proved")
		d.hears("tab 0", "tells", "deleted")
		d.hears("tab 0", "tells", []any{http.StatusOK, "deleted"})
		for n := range 5 {
			tab := fmt.Sprintf("tab %d", n)
			d.hears(tab, "same session", true)
			states := []string{"connecting", "online"}
			if n == 0 {
				states = []string{"connecting", "signed-out", "connecting", "online"}
			}
			d.hears(tab, "tells", states)
		}
		d.done()
		noAlarm(t, a)
		l.clean(t, 1)
		sessions(t, a, "alice", 1)
		if proofs := a.audited(socketauth.AuditStepUp); len(proofs) != 1 {
			t.Errorf("%d step-ups", len(proofs))
		}
	})
}

// deleted is what only those may do who have proved who they are.
var deleted = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, `{"code":"deleted"}`)
})

// roles is an app whose user's role is a number, which increases.
type roles struct {
	*app
	role, step atomic.Int32
	ledger     *ledger
}

// options are those of an app that brings the role up to date.
func (a *roles) options(o *socketauth.Options[string]) {
	o.UpdateClaims = func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
		old["role"] = a.role.Load()
		return old, nil
	}
}

// change gives alice another role, and expects that all her tabs have it.
func (a *roles) change(t *testing.T, d *driver, sockets int) {
	t.Helper()
	d.hears("client", "ready")
	role := a.role.Add(1)
	receipt, err := a.Auth().RefreshUser(t.Context(), "alice")
	if err != nil || receipt.Sessions != 1 || receipt.Sockets != sockets {
		t.Errorf("%+v, %v", receipt, err)
	}
	a.step.Add(1)
	d.hears("client", "roles", []any{role})
}

// unharmed expects that nothing was taken for theft, and that no presentation was refused.
func (a *roles) unharmed(t *testing.T) {
	t.Helper()
	noAlarm(t, a.app)
	sessions(t, a.app, "alice", 1)
	a.ledger.mu.Lock()
	defer a.ledger.mu.Unlock()
	for v, n := range a.ledger.verdicts {
		if v != blacklist.Accepted && v != blacklist.Stale {
			t.Errorf("%d presentations were judged %v", n, v)
		}
	}
}

// TestClientRefresh: the role of a user with five tabs changes again and again while the tabs go on
// asking. After each change the events and requests of all tabs have the new role, and no tab is
// disconnected.
func TestClientRefresh(t *testing.T) {
	inBrowsers(t, func(t *testing.T, browser string) {
		const rounds = 5
		a := &roles{ledger: newLedger(blacklist.NewMemory())}
		a.app = serveRequests(t, a.ledger, nil, &a.step, nil, a.options)
		d := identity(t, "refresh", browser, a.url, fmt.Sprintf(`{"rounds": %d}`, rounds))
		d.tabsOpen()
		for range rounds {
			a.change(t, d, 5)
		}
		for n := range 5 {
			states := []string{"connecting", "online"}
			if n == 0 {
				states = []string{"connecting", "signed-out", "connecting", "online"}
			}
			d.hears(fmt.Sprintf("tab %d", n), "tells", []any{states, []any{}})
		}
		d.done()
		a.unharmed(t)
	})
}

// TestClientRequests: the five tabs of a user make requests for whom no websocket gets through. Their
// role changes, they prove again who they are, and answers get lost. Nobody is signed out, and no
// token is taken for stolen.
func TestClientRequests(t *testing.T) {
	inBrowsers(t, func(t *testing.T, browser string) {
		const rounds = 4
		a := &roles{ledger: newLedger(blacklist.NewMemory())}
		var blocked atomic.Bool
		var exchanges atomic.Int32
		var since atomic.Pointer[time.Time]
		around := func(library http.Handler, w http.ResponseWriter, r *http.Request) bool {
			switch {
			case strings.HasPrefix(r.URL.Path, "/socket.io/") && blocked.Load():
				http.Error(w, "", http.StatusForbidden)
			case r.URL.Path == "/token" && exchanges.Add(1)%3 == 0:
				library.ServeHTTP(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler) // the answer is lost
			case r.URL.Path == "/api/delete":
				a.Auth().Middleware(a.Auth().RequireRecent(time.Since(*since.Load()))(deleted)).ServeHTTP(w, r)
			default:
				return false
			}
			return true
		}
		a.app = serveRequests(t, a.ledger, nil, &a.step, around, func(o *socketauth.Options[string]) {
			a.options(o)
			o.TokenPath = "/token"
		})
		d := identity(t, "requests", browser, a.url, fmt.Sprintf(`{"rounds": %d}`, rounds))
		d.tabsOpen()
		d.hears("client", "ready")
		blocked.Store(true)
		a.listener.cut()
		a.listener.mend()
		a.step.Add(1)
		for n := range 5 {
			d.hears(fmt.Sprintf("tab %d", n), "is", "offline")
		}
		for range rounds {
			a.change(t, d, 0)
		}
		since.Store(ptr(time.Now()))
		d.hears("tab 0", "tells", "USER_INVALID")
		d.hears("tab 0", "tells", "proved")
		for _, tab := range []string{"tab 0", "tab 3"} {
			d.hears(tab, "tells", []any{http.StatusOK, "deleted"})
		}
		d.hears("client", "ready")
		blocked.Store(false)
		a.step.Add(1)
		for n := range 5 {
			tab := fmt.Sprintf("tab %d", n)
			d.hears(tab, "is", "online")
			d.hears(tab, "tells", rounds)
		}
		d.done()
		a.unharmed(t)
	})
}

// TestHelperRefresh: as TestClientRefresh and TestClientStepUp, with each socket.io-client, and with
// tabs that see late what another one has stored.
func TestHelperRefresh(t *testing.T) {
	helpersBound(t, func(t *testing.T, version string) {
		for name, options := range map[string]string{
			"locks": `{"locks": true, "rounds": 3}`, "none": `{"locks": false, "rounds": 3}`,
		} {
			if strings.HasSuffix(version, boundSuffix) && name != "locks" {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				a := &roles{ledger: newLedger(blacklist.NewMemory())}
				a.app = serveRequests(t, a.ledger, nil, &a.step, nil, a.options)
				d := help(t, "refresh", version, a.url, options)
				for range 3 {
					a.change(t, d, 5)
				}
				var sessions []string
				for n := range 5 {
					sessions = append(sessions, string(d.hears(fmt.Sprintf("tab %d", n), "reply to who am I").Args[0]))
				}
				if sessions = slices.Compact(sessions); len(sessions) != 1 {
					t.Errorf("the tabs are of several sessions: %v", sessions)
				}
				d.done()
				a.unharmed(t)
				isBound(t, a.app, "alice", version)
				if came := a.audited(socketauth.AuditAuthenticated); len(came) > 10 {
					t.Errorf("the tabs came in %d times", len(came))
				}
			})
		}
	})
}

func ptr[T any](v T) *T { return &v }
