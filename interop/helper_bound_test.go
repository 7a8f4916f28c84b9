package interop

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/z-open/socketauth"
)

// boundPage is a page whose sessions are bound to the device. It notes everything that it sends and
// receives, and its clock may be wrong.
const boundPage = `<!doctype html><link rel="icon" href="data:,"><script>
	const skew = Number(new URLSearchParams(location.search).get("skew"));
	const now = Date.now;
	if (skew) Date.now = () => now() + skew;
	globalThis.loot = [];
	globalThis.WebSocket = class extends WebSocket {
		constructor(...args) {
			super(...args);
			this.addEventListener("message", ({ data }) => loot.push(data));
		}
		send(data) {
			loot.push(data);
			super.send(data);
		}
	};
	const send = fetch;
	globalThis.fetch = async (input, init) => {
		loot.push(String(input.url ?? input), JSON.stringify([...new Headers(init?.headers)]), String(init?.body));
		const response = await send(input, init);
		loot.push(await response.clone().text());
		return response;
	};
</script><script type="module">
	import { connect } from "/socketauth/socketauth.js";
	globalThis.client = connect({ bind: true, tokenPath: "/token", minDelay: 200, maxDelay: 1000 });
	globalThis.states = [];
	globalThis.notices = [];
	client.on("state", (state, reason) => states.push(reason ? state + ": " + reason : state));
	client.on("notice", (notice) => notices.push(notice));
</script>`

// TestClientBound: a session that is bound to the device lives through reloads, a restart of the
// server and the sudden end of the browser in five tabs, and is of no use to a thief who has all
// tokens and frames of it, and a copy of what a script can read of the storages. The owner notices
// nothing.
func TestClientBound(t *testing.T) {
	inBrowsers(t, func(t *testing.T, browser string) {
		store := open(t, filepath.Join(t.TempDir(), "sessions.db"))
		a := &roles{ledger: newLedger(store)}
		var blocked atomic.Bool
		around := func(_ http.Handler, w http.ResponseWriter, r *http.Request) bool {
			switch {
			case r.URL.Path == "/page":
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				_, _ = io.WriteString(w, boundPage)
			case strings.HasSuffix(r.URL.Path, "/proofs.js") && a.step.Load() == 0:
				panic(http.ErrAbortHandler) // the connection is lost
			case strings.HasPrefix(r.URL.Path, "/socket.io/") && blocked.Load():
				http.Error(w, "", http.StatusForbidden)
			default:
				return false
			}
			return true
		}
		change := func(o *socketauth.Options[string]) {
			a.options(o)
			o.TokenPath = "/token"
			// So that each of the thief's attempts is judged by its proof.
			o.Limits.FailuresPerAddress = socketauth.NoLimit
			o.Limits.UnauthenticatedPerAddress = socketauth.NoLimit
		}
		start := func(on *listener) {
			a.app = serveRequests(t, a.ledger, on, &a.step, around, change)
		}
		start(nil)
		attempts := soaking(100, 10_000) // of each on sockets and in requests
		d := node(t, "socket.io-client-4.8.4", "helper_bound.mjs", browser, a.url, strconv.Itoa(attempts))
		in := func(user string) []any { return []any{true, user, user} }
		tabs := func(f func(tab string)) {
			for n := range 5 {
				f(fmt.Sprintf("tab %d", n))
			}
		}
		next := func(f func()) {
			t.Helper()
			d.hears("client", "ready")
			f()
			a.step.Add(1)
		}
		changeRole := func() {
			t.Helper()
			a.role.Add(1)
			if _, err := a.Auth().RefreshUser(t.Context(), "alice"); err != nil {
				t.Error(err)
			}
		}
		d.hears("first", "is", "signed-out")
		d.hears("first", "tells", "network")
		next(func() {})
		d.hears("first", "is", "online")
		tabs(func(tab string) { d.hears(tab, "is", "online") }) // after the browser was killed
		tabs(func(tab string) {
			d.hears(tab, "is", "online")
			d.hears(tab, "tells", in("alice"))
		})
		next(func() {
			a.stop(t)
			noAlarm(t, a.app)
			start(a.listener)
		})
		tabs(func(tab string) { d.hears(tab, "is", "online") })
		tabs(func(tab string) { d.hears(tab, "tells", in("alice")) })

		for range 3 {
			next(changeRole)
			d.hears("tab 0", "tells", a.role.Load())
		}
		next(func() {
			blocked.Store(true)
			a.listener.cut()
			a.listener.mend()
		})
		d.hears("tab 0", "is", "offline")
		next(changeRole)
		d.hears("tab 0", "tells", a.role.Load())
		next(func() { blocked.Store(false) })
		d.hears("tab 0", "is", "online")
		d.hears("tab 0", "tells", in("alice"))
		d.hears("tab 0", "keys", 1, []any{})

		d.hears("thief", "has", true, true)
		for _, user := range []string{"bob", "carol"} {
			d.hears(user, "is", "signed-out")
			d.hears(user, "is", "online")
			d.hears(user, "tells", in(user))
			d.hears(user, "is", "signed-out")
		}
		a.unharmed(t)
		before := a.ledger.presentations()
		d.hears("thief", "is", "signed-out")
		d.hears("thief", "tells", []any{"signed-out: key_lost", nil})
		for range 2 {
			l := d.hears("thief", "gets")
			t.Logf("a thief gets: %s", l.Args[1])
			if string(l.Args[0]) != "0" {
				t.Errorf("a thief's attempts were accepted: %s", l.Args[1])
			}
		}
		if after := a.ledger.presentations(); after != before {
			t.Errorf("%d of a thief's presentations came to the store", after-before)
		}
		if refused := a.audited(socketauth.AuditProofRefused); len(refused) == 0 {
			t.Error("nothing was audited")
		}

		d.hears("tab 0", "tells", in("alice"))
		d.hears("tab 0", "tells", []any{[]any{}, []any{}})
		next(changeRole)
		d.hears("tab 0", "tells", a.role.Load())
		a.unharmed(t)
		d.hears("tab 0", "tells", true)
		d.done()
		sessions(t, a.app, "alice", 0)
	})
}

// presentations returns how many presentations came to the store.
func (l *ledger) presentations() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, times := range l.presented {
		n += times
	}
	return n
}
