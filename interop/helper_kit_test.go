package interop

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// helpers runs f with the client's own Socket.IO, and with each socket.io-client that it can be
// given.
func helpers(t *testing.T, f func(t *testing.T, version string)) {
	t.Parallel()
	for _, version := range []string{"own", "2.5.0", "3.1.3", "4.8.4"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f(t, version)
		})
	}
}

// helpersBound runs f as helpers does, and again with sessions that are bound to the device.
func helpersBound(t *testing.T, f func(t *testing.T, version string)) {
	helpers(t, func(t *testing.T, version string) {
		f(t, version)
		t.Run("bound", func(t *testing.T) {
			t.Parallel()
			f(t, version+boundSuffix)
		})
	})
}

// boundSuffix follows the version of the client in tests whose sessions are bound to the device.
const boundSuffix = ", bound"

// isBound expects a user's sessions to be bound to the device, or not to be.
func isBound(t *testing.T, a *app, user, version string) {
	t.Helper()
	all, err := a.Auth().Sessions(t.Context(), user)
	if err != nil || len(all) == 0 {
		t.Errorf("the sessions of %s: %v, %v", user, all, err)
	}
	for _, s := range all {
		if s.Bound != strings.HasSuffix(version, boundSuffix) {
			t.Errorf("with %s a session is bound: %v", version, s.Bound)
		}
	}
}

// ledger is a store that counts what is presented. It can be made to fail.
type ledger struct {
	blacklist.Store
	mu        sync.Mutex
	presented map[string]int // by the token's id
	verdicts  map[blacklist.Verdict]int
	down      bool
}

func newLedger(b blacklist.Store) *ledger {
	return &ledger{Store: b, presented: make(map[string]int), verdicts: make(map[blacklist.Verdict]int)}
}

func (l *ledger) Present(ctx context.Context, p blacklist.Presentation) (blacklist.Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return blacklist.Result{}, errors.New("out of reach")
	}
	r, err := l.Store.Present(ctx, p)
	l.presented[p.Token.TokenID]++
	l.verdicts[r.Verdict]++
	return r, err
}

func (l *ledger) isDown(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
}

// clean expects that all presentations were accepted, and that no token was presented more than
// most times.
func (l *ledger) clean(t *testing.T, most int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.presented) == 0 {
		t.Error("nothing was presented")
	}
	for id, n := range l.presented {
		if n > most {
			t.Errorf("token %s was presented %d times", id[:4], n)
		}
	}
	for v, n := range l.verdicts {
		if v != blacklist.Accepted {
			t.Errorf("%d presentations were judged %v", n, v)
		}
	}
}

// help starts a scenario of helper.mjs.
func help(t *testing.T, scenario, version, url, options string) *driver {
	t.Helper()
	version, bound := strings.CutSuffix(version, boundSuffix)
	var env []string
	if bound {
		env = []string{"BIND=1"}
	}
	d := nodeWith(t, env, "socket.io-client-4.8.4", "helper.mjs", scenario, version, url, options)
	d.ignore("connecting")
	return d
}

// entersPage expects a page to be signed out, and then online.
func (d *driver) entersPage(page string) {
	d.t.Helper()
	d.hears(page, "signed-out")
	d.hears(page, "online")
}

// hearsAny expects a line of a socket, and returns its event.
func (d *driver) hearsAny(socket string) string {
	d.t.Helper()
	l, ok := d.next(socket)
	if !ok {
		d.t.Fatalf("%s: the driver ended too early", socket)
	}
	return l.Event
}

// noAlarm expects that nothing was taken for theft.
func noAlarm(t *testing.T, a *app) {
	t.Helper()
	if reused := a.audited(socketauth.AuditReuse); len(reused) > 0 {
		t.Errorf("taken for theft: %v", reused)
	}
}

// servePages serves an app that has the client at ClientPath, and a page that uses it.
func servePages(t *testing.T, l *ledger, on *listener, change options) *app {
	t.Helper()
	return servePagesWith(t, l, on, change, "")
}

// servePagesWith is servePages with additional options of the client.
func servePagesWith(t *testing.T, l *ledger, on *listener, change options, client string) *app {
	t.Helper()
	return serve(t, setup{
		on: on,
		options: func(o *socketauth.Options[string]) {
			o.Blacklist, o.ClientPath = l, "/socketauth/"
			if change != nil {
				change(o)
			}
		},
		server: func(s *http.Server) {
			s.Handler = withPage(s.Handler, client)
		},
	})
}

// withPage serves a page at /page that uses the client, with additional options.
func withPage(library http.Handler, options string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/page":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = fmt.Fprintf(w, `<!doctype html><title>page</title><link rel="icon" href="data:,">`+
				`<script type="module">import { connect } from "/socketauth/socketauth.js"; globalThis.client = connect({ minDelay: 200, maxDelay: 1000, %s });`+
				`globalThis.states = []; client.on("state", (state) => states.push(state));`+
				`globalThis.heard = []; for (const event of ["state", "notice"]) client.on(event, (...args) => heard.push([Date.now(), ...args]));</script>`, options)
		default:
			library.ServeHTTP(w, r)
		}
	})
}
