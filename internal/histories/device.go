package histories

import (
	"fmt"
	"time"
)

// device is an honest client: one storage, and one or two tabs that obey section 3.
type device struct {
	w      *world
	peer   server
	ledger *ledger
	name   string
	userID string

	confirming bool
	storage    token // the zero token: none
	turn       *tab  // of the tabs, which reads, presents, stores and acknowledges
	presented  []time.Time
	tabs       []*tab
	sockets    int
	watchers   []func(stored bool) // thieves, when it presents and when it has stored
}

// tab is one page of the device's. It has a socket, or is about to open one.
type tab struct {
	*device
	socket   *socket
	sent     token   // in flight, or the last that was
	lived    []token // what this socket has lived on
	in       bool    // authenticated on this socket
	patience *event
	next     *event
	left     int  // actions
	leaving  bool // what it says first on its next connection is that it logs out
}

// maxPace is how many presentations an honest client makes while one it gave up on may be under way.
const maxPace = 10

func (w *world) newDevice(n int, peer server, l *ledger) *device {
	d := &device{w: w, peer: peer, ledger: l, name: fmt.Sprintf("device%d", n), userID: fmt.Sprintf("user%d", w.IntN(2)), confirming: w.chance(0.8)}
	for range 1 + w.IntN(2) {
		d.tabs = append(d.tabs, &tab{device: d, left: w.actions})
	}
	for _, t := range d.tabs {
		t.wait(w.between(time.Millisecond, w.longestPause), t.connect)
	}
	w.counts.Devices++
	w.note("%s: %s, confirming=%v, %d tabs", d.name, d.userID, d.confirming, len(d.tabs))
	return d
}

func (t *tab) wait(d time.Duration, then func()) {
	t.next.stop()
	t.next = t.w.after(d, then)
}

// soon tries something again.
func (t *tab) soon(then func()) { t.wait(t.w.between(10*time.Millisecond, time.Second), then) }

// takeTurn says whether the tab may present now: no other is at it, and not too many came before.
func (t *tab) takeTurn() bool {
	for len(t.presented) > 0 && t.w.now.Sub(t.presented[0]) > t.w.underWay {
		t.presented = t.presented[1:]
	}
	if t.turn != nil || len(t.presented) >= maxPace {
		return false
	}
	t.turn = t
	return true
}

func (t *tab) endTurn() {
	t.patience.stop()
	if t.turn == t {
		t.turn = nil
	}
}

// connect opens a socket, with what the storage holds by then, after a login where it holds nothing that is any good.
func (t *tab) connect() {
	if !t.takeTurn() {
		t.soon(t.connect)
		return
	}
	expired := !t.w.now.Before(t.storage.ref.ExpiresAt)
	if t.storage.text == "" || expired && t.w.chance(0.5) { // not every client looks at what it has
		t.peer.login(t.userID, func(code token) {
			t.w.note("%s logs in: %s", t.name, code)
			t.ledger.begun(code.ref, t.confirming)
			t.storage = code
			t.dial()
		})
		return
	}
	t.dial()
}

func (t *tab) dial() {
	t.device.sockets++
	var s *socket
	s = t.w.dial(t.peer, fmt.Sprintf("%s.%d", t.name, t.device.sockets), false, func(f frame) { t.hear(s, f) })
	t.ledger.opened(s)
	t.socket, t.in, t.lived = s, false, nil
	t.beginPatience()
}

func (t *tab) beginPatience() {
	t.patience.stop()
	t.patience = t.w.after(t.w.between(t.w.patience/4, t.w.patience), func() { t.leave(t.w.chance(0.7)) })
}

// leave gives the socket up, and comes back some time.
func (t *tab) leave(politely bool) {
	t.socket.giveUp(politely)
	t.in = false
	t.endTurn()
	t.soon(t.connect)
}

// crash loses everything but the storage.
func (t *tab) crash(where string) bool {
	if !t.w.chance(t.w.crashes) {
		return false
	}
	t.w.counts.Crashes++
	t.w.note("%s crashes %s", t.socket.name, where)
	t.leave(t.w.chance(0.3)) // the system may close its connection
	return true
}

func (t *tab) present() {
	t.sent = t.storage
	t.presented = append(t.presented, t.w.now)
	t.socket.send(frame{kind: authenticate, token: t.sent, confirm: t.confirming})
	t.watched(false)
	t.crash("after presenting")
}

func (d *device) watched(stored bool) {
	for _, watch := range d.watchers {
		watch(stored)
	}
}

func (t *tab) hear(s *socket, f frame) {
	if s != t.socket {
		return
	}
	switch f.kind {
	case opened:
		if t.storage.text == "" { // another tab has lost it meanwhile
			t.leaving = false
			t.leave(true)
			return
		}
		if t.leaving {
			t.leaving = false
			if t.storage.ref.Generation > 0 { // another tab may have logged in, and a code ends nothing
				t.sent = t.storage
				t.socket.send(frame{kind: logout, token: t.sent})
				return
			}
		}
		t.present()
	case authenticated:
		t.store(f)
	case unauthorized:
		t.refused(f)
	case loggedOut:
		t.storage = token{}
	case closed:
		t.leave(true)
	}
}

// store is what the client owes for "authenticated": first the storage, then the acknowledgement.
func (t *tab) store(f frame) {
	if t.turn != t || t.crash("before storing") {
		return
	}
	t.storage, t.lived = f.token, append(t.lived, t.sent, f.token)
	t.ledger.has(f.token.ref)
	t.watched(true)
	if t.crash("before acknowledging") {
		return
	}
	if f.ack != "" {
		t.socket.send(frame{kind: acknowledge, ack: f.ack})
	}
	t.in = true
	t.endTurn()
	if !t.crash("after acknowledging") {
		t.rest()
	}
}

// refused is "unauthorized". What is terminal speaks of the token presented last, which is thrown away if it is still
// what is stored; but for an expiry, which may be of a token that the socket lived on before.
func (t *tab) refused(f frame) {
	about := t.sent
	if f.code == "token_expired" {
		for _, lived := range t.lived {
			if !t.w.now.Before(lived.ref.ExpiresAt) {
				about = lived
			}
		}
	}
	if f.terminal {
		t.ledger.lockedOut(about.ref, f.code)
		if t.storage.text == about.text || f.code == "token_reused" || f.code == "session_revoked" {
			t.storage = token{}
		}
	}
	t.endTurn()
	if t.in {
		t.rest()
	}
}

// rest does nothing for a while, then something.
func (t *tab) rest() {
	if t.left <= 0 {
		return
	}
	t.left--
	t.wait(t.w.between(10*time.Millisecond, t.w.longestPause), t.act)
}

func (t *tab) act() {
	switch n := t.w.IntN(20); {
	case n < 8:
		t.refresh()
	case n < 13:
		t.leave(true)
	case n < 16:
		t.leave(false)
	case n < 18:
		t.socket.breakOff()
		t.wait(t.w.between(time.Millisecond, t.w.timeout), func() { t.leave(true) })
	case n < 19 && t.takeTurn():
		t.w.note("%s logs out", t.socket.name)
		t.w.counts.Logouts++
		if t.storage.text != "" && t.w.chance(0.3) { // on a connection of its own
			t.socket.giveUp(t.w.chance(0.7))
			t.leaving = true
			t.dial()
			return
		}
		t.socket.send(frame{kind: logout})
		t.beginPatience()
	default:
		if t.storage.text != "" {
			t.peer.check(t.storage)
		}
		t.rest()
	}
}

// refresh asks for a new token on the live socket.
func (t *tab) refresh() {
	if !t.takeTurn() {
		t.soon(t.refresh)
		return
	}
	if t.storage.ref.SessionID != t.sent.ref.SessionID { // a socket is for one session
		t.leave(true)
		return
	}
	t.beginPatience()
	t.present()
}

// settle is the last act: the tab's socket is given up, or not, and it has to get in.
func (t *tab) settle() {
	t.left, t.leaving = 0, false
	if t.socket != nil && t.in && t.w.chance(0.3) {
		return
	}
	if t.socket != nil {
		t.socket.giveUp(t.w.chance(0.5))
	}
	t.in = false
	t.endTurn()
	t.connect()
}
