package histories

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/dpop/dpoptest"
)

// Outcome is the result of one history.
type Outcome struct {
	Counts    Counts
	Violation string // "" if all invariants held
	trace     []string
}

// Trace returns the lines that say what happened, or "" if the history kept no trace.
func (o Outcome) Trace() string { return strings.Join(o.trace, "\n") }

// Run runs the history of a seed on a store, in the caller's bubble of testing/synctest. Unless the
// store is a Machine, its answers are compared with those of one.
func Run(seed uint64, blacklist blacklist.Store, tracing bool) Outcome {
	w, l, s := newWorld(seed, blacklist, false)
	w.tracing = tracing
	if _, ok := blacklist.(*Machine); !ok {
		s.Store = &twin{Store: blacklist, model: NewMachine(None), w: w}
	}
	w.play(newPlayedServer(w, s), s, l)
	return w.outcome()
}

// newWorld begins the history of a seed. With identities, roles change and users prove again who
// they are.
func newWorld(seed uint64, blacklist blacklist.Store, identities bool) (*world, *ledger, *store) {
	now := time.Now().Truncate(time.Microsecond)
	w := &world{Rand: rand.New(rand.NewPCG(seed, 4)), counts: &Counts{Histories: 1}, began: now, now: now, identities: identities, roles: roles{now: make(map[string]int)}, keys: make(map[string]*dpoptest.Key), ids: make(map[string]string), requests: make(map[string]*http.Request)}
	w.conditions = w.drawConditions()
	l := newLedger(w)
	w.ledger = l
	return w, l, &store{Store: blacklist, w: w, ledger: l, rand: rand.New(rand.NewPCG(seed, 5))}
}

func (w *world) outcome() Outcome {
	o := Outcome{Counts: *w.counts, Violation: w.violation(), trace: w.trace}
	if o.Violation != "" {
		o.Counts.Violations = 1
	}
	return o
}

// play runs one history: a phase with faults, then a calm phase in which honest clients must be
// able to authenticate and thieves must be detected.
func (w *world) play(peer server, s *store, l *ledger) {
	w.note("%+v", w.conditions)
	var devices []*device
	var thieves []*thief
	for n := range w.devices {
		devices = append(devices, w.newDevice(n+1, peer, l))
	}
	for n := range w.thieves {
		thieves = append(thieves, w.newThief(n+1, devices[w.IntN(len(devices))], peer, l))
	}
	ending := false // no more revocations, so that all processes can have heard of the last one
	for range w.revocations {
		w.after(w.between(10*time.Millisecond, 4*w.longestPause), func() {
			if !ending {
				w.revoke(peer, l)
			}
		})
	}
	for range w.refreshes {
		w.after(w.between(10*time.Millisecond, 4*w.longestPause), func() {
			if !ending {
				peer.changeRole(fmt.Sprintf("user%d", w.IntN(2)))
			}
		})
	}
	stormy := true
	w.after(w.between(w.timeout, time.Duration(1+w.actions)*w.longestPause), func() { stormy = false })
	w.runUntil(func() bool { return !stormy })

	w.note("all is calm now")
	w.mu.Lock()
	w.conditions = w.calm()
	w.mu.Unlock()
	for _, t := range thieves {
		t.left = 0
	}
	if w.chance(0.5) { // otherwise late frames arrive while the honest clients authenticate
		w.pass(2 * w.timeout)
	}
	for _, d := range devices {
		for _, t := range d.tabs {
			t.settle()
		}
	}
	settled := func() bool {
		for _, d := range devices {
			for _, t := range d.tabs {
				if !t.in {
					return false
				}
			}
		}
		return true
	}
	calm := w.now
	w.runUntil(func() bool { return settled() || w.now.Sub(calm) > 20*w.timeout })
	if w.violation() == "" && !settled() {
		w.violate("an honest client does not get in any more")
	}
	w.pass(2 * w.timeout)
	for _, t := range thieves {
		for range min(3, len(t.tokens)) {
			old := &t.tokens[len(t.tokens)-1-w.IntN(len(t.tokens))]
			replaced, has := l.replaced(old.ref), old.key == "" || old.key == t.key
			switch w.IntN(3) {
			case 0:
				t.dial(old, logout)
			case 1:
				if !has { // who has the key may be late
					t.exchange(*old)
					break
				}
				fallthrough
			default:
				t.dial(old, authenticate)
			}
			w.pass(w.timeout)
			if replaced && has && w.endOnReuse && w.violation() == "" && l.lives(old.ref.SessionID) {
				w.violate("%s was replaced and came again, and nobody has noticed", *old)
			}
		}
	}
	ending = true
	w.pass(w.timeout)
	if w.inbox != nil { // the servers watch their store
		l.allClosed()
	}
	w.list(s, l)
}

// pass runs the events of the next d.
func (w *world) pass(d time.Duration) {
	over := false
	w.after(d, func() { over = true })
	w.runUntil(func() bool { return over })
}

// revoke makes a random revocation, as the operator.
func (w *world) revoke(peer server, l *ledger) {
	r := blacklist.Revocation{Why: blacklist.Revoked}
	switch w.IntN(3) {
	case 0:
		r.All = true
	case 1:
		r.UserID = "user0"
		begun := l.alive(1)
		if begun = append(begun, ""); w.IntN(2) == 0 {
			r.Except = begun[w.IntN(len(begun))]
		}
	default:
		sids := l.alive(0)
		if len(sids) == 0 {
			return
		}
		r.SessionID = sids[w.IntN(len(sids))]
		r.UserID = l.userOf(r.SessionID)
		// Sometimes the session is another user's. Such a revocation ends nothing.
		if begun := l.alive(1); len(begun) > 0 && w.chance(0.2) {
			r.SessionID = begun[w.IntN(len(begun))]
			r.UserID = "nobody"
		}
	}
	peer.revoke(r)
}

// list checks that the store lists exactly the sessions that are alive.
func (w *world) list(s *store, l *ledger) {
	for _, userID := range []string{"user0", "user1"} {
		sessions, err := s.Sessions(context.Background(), userID)
		if err != nil {
			w.violate("listing sessions: %v", err)
			return
		}
		living := l.living(userID)
		for _, session := range sessions {
			if session.Bound != l.bound(session.ID) {
				w.violate("session %.4s is listed as bound: %v", session.ID, session.Bound)
			}
			if until := living[session.ID]; !w.now.Before(until.Add(time.Second)) { // expiry may be rounded up
				w.violate("session %.4s is listed, and is over", session.ID)
			}
			delete(living, session.ID)
		}
		for sid, until := range living {
			if w.now.Before(until) {
				w.violate("session %.4s of %s lives, and is not listed", sid, userID)
			}
		}
	}
}
