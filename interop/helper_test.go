package interop

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// helpers runs f for client/socketauth.js on its own, and on each client that it can be given.
func helpers(t *testing.T, f func(t *testing.T, version string)) {
	t.Parallel()
	for _, version := range []string{"own", "2.5.0", "3.1.3", "4.8.4"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			f(t, version)
		})
	}
}

// ledger is a Blacklist that counts what is presented, and can be out of reach.
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

func (l *ledger) Present(ctx context.Context, p blacklist.Presentation) (blacklist.Verdict, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return 0, errors.New("out of reach")
	}
	v, err := l.Store.Present(ctx, p)
	l.presented[p.Token.TokenID]++
	l.verdicts[v]++
	return v, err
}

func (l *ledger) isDown(down bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = down
}

// clean expects all that was presented to have been accepted, and no token to have been presented more often than most.
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
	d := node(t, "socket.io-client-4.8.4", "helper.mjs", scenario, version, url, options)
	d.ignore("connecting")
	return d
}

// entersPage expects a page to go from the login to being in.
func (d *driver) entersPage(page string) {
	d.t.Helper()
	d.hears(page, "signed-out")
	d.hears(page, "online")
}

// TestHelperLife: wrong password, login, replies, reload, a cut, a restart, log-out; no token is presented twice but
// those that a cut or a restart may have caught on their way.
func TestHelperLife(t *testing.T) {
	helpers(t, func(t *testing.T, version string) {
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

// TestHelperAgain: who logs in where somebody is signed in takes their place in all tabs, and their session is over.
func TestHelperAgain(t *testing.T) {
	helpers(t, func(t *testing.T, version string) {
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

// TestHelperFiles: a storage that answers with promises keeps a session as well as one that answers at once.
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

// TestHelperShelves: tabs that share a storage which answers with promises read it anew in their turns.
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

// TestHelperRenewal: a page that stays has its token replaced in time, whatever its wall clock says.
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

// TestHelperExpiry: who comes back too late is told so, and can log in again.
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

// TestHelperAsleep: a page that becomes visible looks at the clocks.
func TestHelperAsleep(t *testing.T) {
	helpers(t, func(t *testing.T, version string) {
		a := serve(t, setup{options: func(o *socketauth.Options[string]) { o.TokenLifetime = 40 * time.Second }})
		d := help(t, "asleep", version, a.url, "{}")
		d.entersPage("page")
		d.hears("page", "replaced", false)
		d.hears("page", "renewed", true)
		d.done()
	})
}

// TestHelperRevoked: a session that was ended elsewhere is over, and its token thrown away; another session's is not.
func TestHelperRevoked(t *testing.T) {
	helpers(t, func(t *testing.T, version string) {
		a := serve(t, setup{})
		d := help(t, "revoked", version, a.url, "{}")
		d.entersPage("page")
		d.entersPage("other")
		phone, bob := d.self("page", "alice"), d.self("other", "bob")
		d.entersPage("carol")
		d.hears("client", "ready")
		for _, session := range []string{phone, bob} {
			if _, err := a.Auth().RevokeSession(t.Context(), session); err != nil {
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

// TestHelperDead: a token that is none is thrown away.
func TestHelperDead(t *testing.T) {
	helpers(t, func(t *testing.T, version string) {
		d := help(t, "dead", version, serve(t, setup{}).url, "{}")
		d.hears("garbage", "signed-out", "invalid_token")
		d.hears("garbage", "left", nil)
		d.done()
	})
}

// TestHelperUnavailable: where the store is out of reach nobody is signed out, at a connect as at a renewal.
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

// TestHelperCrowded: a client that is told to come back in 30 s does not before, and can log out all the same.
func TestHelperCrowded(t *testing.T) {
	helpers(t, func(t *testing.T, version string) {
		a := serve(t, setup{options: func(o *socketauth.Options[string]) { o.Limits.SocketsPerUser = 1 }})
		d := help(t, "crowded", version, a.url, "{}")
		d.entersPage("first")
		d.hears("second", "signed-out")
		d.ignore("offline")
		d.hears("second", "login", "too_many_connections", 30)
		d.hears("second", "refused", "too_many_connections", 30, true)
		d.hears("second", "signed-out", "logged_out_here") // it has nothing but a code yet, which ends no session
		d.hears("second", "told", false)
		d.done()
		if n := len(a.audited(socketauth.AuditRefused)); n > 2 { // the presentation, and the log-out with a code
			t.Errorf("it was refused %d times", n)
		}
	})
}

// TestHelperBanned: a login whom OnAuthenticated refuses rejects with its code, though the token was good.
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

// TestHelperLost: connections that break as a token is offered, or before it is acknowledged, cost nothing.
func TestHelperLost(t *testing.T) {
	helpers(t, func(t *testing.T, version string) {
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

// TestHelperTabs: tabs that share a storage never present one token at once, by Web Locks or without; a log-out is seen
// by all of them.
func TestHelperTabs(t *testing.T) {
	helpers(t, func(t *testing.T, version string) {
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
				if version != "own" && !five {
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
					l.clean(t, 10) // a page that was reloaded or cut off on its way comes again
				}
			})
		}
	})
}

// TestHelperStolen: a tab that slept over its turn leaves what another has stored.
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

// TestHelperFull: a storage that is refused or full keeps nobody out: the token is kept in memory, and the page is told.
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
			for d.hearsAny(page) != "online" { // offline still, for another reason
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

// TestHelperStrangers: who else has logged in to a storage is whom a live page becomes, on a connection of its own.
func TestHelperStrangers(t *testing.T) {
	helpers(t, func(t *testing.T, version string) {
		l := newLedger(blacklist.NewMemory())
		a := serve(t, setup{options: func(o *socketauth.Options[string]) {
			o.Blacklist, o.TokenLifetime = l, 40*time.Second
		}})
		d := help(t, "strangers", version, a.url, "{}")
		d.entersPage("alice")
		d.entersPage("bob")
		d.self("bob", "bob")
		d.hears("alice", "online")
		d.self("alice", "bob")
		d.done()
		l.clean(t, 1)
	})
}

// TestHelperUnit is what the helper does with a server that is made up, by a clock that is turned by hand.
func TestHelperUnit(t *testing.T) {
	t.Parallel()
	d := node(t, "socket.io-client-4.8.4", "helper_unit.mjs")
	n := 0
	for d.hearsAny("unit") != "end" {
		n++
	}
	if n < 46 {
		t.Errorf("%d tests passed, there are more", n)
	}
	d.done()
}

// hearsAny expects a line of a socket, and gives its event.
func (d *driver) hearsAny(socket string) string {
	d.t.Helper()
	l, ok := d.next(socket)
	if !ok {
		d.t.Fatalf("%s: the driver ended too early", socket)
	}
	return l.Event
}
