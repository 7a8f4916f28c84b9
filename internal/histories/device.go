package histories

import (
	"fmt"
	"time"
)

// device is an honest client: one storage, and one or two tabs that follow section 3 of DESIGN.
type device struct {
	w      *world
	peer   server
	ledger *ledger
	name   string
	userID string

	confirming bool
	key        string  // to which it binds its sessions; "" if it does not
	proofs     []proof // that it has sent
	storage    token   // the zero token if the storage is empty
	turn       *tab    // the tab that may read, present, store and acknowledge; nil if none does
	presented  []time.Time
	tabs       []*tab
	sockets    int
	stepUp     token               // a code that is to be presented with the next token, if any
	oldStepUps []token             // codes that were presented before
	watchers   []func(stored bool) // called when the device presents, and when it has stored
}

// tab is one page on the device. It has a socket, or is about to open one.
type tab struct {
	*device
	socket   *socket
	sent     token   // the token presented last
	lived    []token // the tokens this socket presented with success or was given
	in       bool    // authenticated on this socket
	patience *event
	next     *event
	left     int  // number of actions still to take
	outdated bool // the server has asked for the token
	asks     int  // counts requests at TokenPath, and the ends of waiting for them
	leaving  bool // log out first on the next connection, instead of presenting
}

// maxPace is how many presentations an honest client makes while one that it gave up on may still
// reach the store.
const maxPace = 10

func (w *world) newDevice(n int, peer server, l *ledger) *device {
	d := &device{w: w, peer: peer, ledger: l, name: fmt.Sprintf("device%d", n), userID: fmt.Sprintf("user%d", w.IntN(2)), confirming: w.chance(0.8)}
	if w.chance(w.binds) {
		d.key = w.newKey(d.name)
	}
	l.opened(&socket{w: w, name: d.name + ".http", key: d.key})
	for range 1 + w.IntN(2) {
		d.tabs = append(d.tabs, &tab{device: d, left: w.actions})
	}
	for _, t := range d.tabs {
		t.wait(w.between(time.Millisecond, w.longestPause), t.connect)
	}
	w.counts.Devices++
	w.note("%s: %s, confirming=%v, %d tabs, key %q", d.name, d.userID, d.confirming, len(d.tabs), d.key)
	return d
}

func (t *tab) wait(d time.Duration, then func()) {
	t.next.stop()
	t.next = t.w.after(d, then)
}

// soon calls then after a short delay, to try something again.
func (t *tab) soon(then func()) { t.wait(t.w.between(10*time.Millisecond, time.Second), then) }

// takeTurn gives the tab the turn and returns true, unless another tab has it or the device has
// presented too often in a short time.
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
	t.asks++
	t.patience.stop()
	if t.turn == t {
		t.turn = nil
	}
}

// connect opens a socket. If the storage holds no usable token by then, it logs in first.
func (t *tab) connect() {
	if !t.takeTurn() {
		t.soon(t.connect)
		return
	}
	expired := !t.w.now.Before(t.storage.ref.ExpiresAt)
	// Some clients do not check the expiry, and present an expired token.
	if t.storage.text == "" || expired && t.w.chance(0.5) {
		key := ""
		if t.w.chance(0.5) { // otherwise the code is bound by its trade
			key = t.key
		}
		t.peer.login(t.userID, key, func(code token) {
			t.w.note("%s logs in: %s, bound: %q", t.name, code, code.key)
			if code.key != key {
				t.w.violate("a code is bound to %q, and the login was with %q", code.key, key)
			}
			t.ledger.begun(code, t.confirming, t.key)
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
	s = t.w.dial(t.peer, fmt.Sprintf("%s.%d", t.name, t.device.sockets), false, t.key, func(f frame) { t.hear(s, f) })
	t.ledger.opened(s)
	t.socket, t.in, t.lived = s, false, nil
	t.beginPatience()
}

func (t *tab) beginPatience() {
	t.patience.stop()
	t.patience = t.w.after(t.w.between(t.w.patience/4, t.w.patience), func() { t.leave(t.w.chance(0.7)) })
}

// leave gives the socket up, and connects again after a short delay.
func (t *tab) leave(politely bool) {
	t.socket.giveUp(politely)
	t.in = false
	t.endTurn()
	t.soon(t.connect)
}

// crash makes the tab crash sometimes, which loses everything but the storage. It reports whether
// the tab crashed.
func (t *tab) crash(where string) bool {
	if !t.w.chance(t.w.crashes) {
		return false
	}
	t.w.counts.Crashes++
	t.w.note("%s crashes %s", t.socket.name, where)
	t.leave(t.w.chance(0.3)) // the operating system may close the connection
	return true
}

func (t *tab) present() {
	t.sent = t.storage
	t.presented = append(t.presented, t.w.now)
	t.outdated = false
	f := frame{kind: authenticate, token: t.sent, confirm: t.confirming, proof: t.prove()}
	switch old := t.oldStepUps; {
	case t.sent.ref.Generation == 0:
	case t.device.stepUp.text != "":
		f.stepUp = t.device.stepUp
		t.oldStepUps = append(old, f.stepUp)
	case len(old) > 0 && t.w.chance(0.2):
		f.stepUp = old[t.w.IntN(len(old))]
	}
	if f.stepUp.text != "" {
		t.socket.stepUps = append(t.socket.stepUps, f.stepUp)
	}
	t.socket.send(f)
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
		if t.storage.text == "" { // another tab has removed the token meanwhile
			t.leaving = false
			t.leave(true)
			return
		}
		if t.leaving {
			t.leaving = false
			if t.storage.ref.Generation > 0 { // a code of another tab's login cannot log out
				t.sent = t.storage
				t.socket.send(frame{kind: logout, token: t.sent, proof: t.prove()})
				return
			}
		}
		t.present()
	case authenticated:
		t.store(f)
	case refreshed:
		if t.outdated = true; t.in && t.turn != t {
			t.soon(t.refresh)
		}
	case unauthorized:
		t.refused(f)
	case loggedOut:
		t.storage = token{}
	case closed:
		t.leave(true)
	}
}

// store handles "authenticated" as a client has to: it stores the token, then acknowledges it.
func (t *tab) store(f frame) {
	if t.turn != t || t.crash("before storing") {
		return
	}
	s := t.socket
	t.w.isBoundTo(t.sent, f.token, t.key)
	if t.w.identities {
		s.proved(t.sent, f.token)
		t.w.lasts(f.token)
	}
	if up := t.device.stepUp; up.text != "" && len(s.stepUps) > 0 && s.stepUps[len(s.stepUps)-1].text == up.text {
		t.device.stepUp = token{} // it was good
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

// refused handles "unauthorized". A terminal refusal is about the token presented last, and the tab
// removes that token if it is still the stored one. Only token_expired may be about a token that
// the socket used before.
func (t *tab) refused(f frame) {
	switch f.code {
	case "step_up_refused":
		t.device.stepUp = token{}
	case proofRequired, invalidProof:
		t.w.violate("%s, whose key is %q, is refused: %s", t.name, t.key, f.code)
	}
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

// rest waits for a while, then takes the next action, if any is left.
func (t *tab) rest() {
	if t.outdated {
		t.soon(t.refresh)
		return
	}
	if t.left <= 0 {
		return
	}
	t.left--
	t.wait(t.w.between(10*time.Millisecond, t.w.longestPause), t.act)
}

func (t *tab) act() {
	if t.w.identities {
		for range t.w.IntN(4) {
			t.socket.send(frame{kind: act, token: t.sent})
		}
	}
	if t.storage.ref.Generation > 0 && t.w.chance(t.w.stepsUp) {
		t.w.note("%s: the user proves again who they are", t.socket.name)
		t.peer.stepUp(t.userID, t.storage.ref.SessionID, func(code token) { t.device.stepUp = code })
	}
	switch n := t.w.IntN(20); {
	case n < 4 && t.w.identities:
		t.exchange()
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
		if t.storage.text != "" && t.w.chance(0.3) { // on a new connection
			t.socket.giveUp(t.w.chance(0.7))
			t.leaving = true
			t.dial()
			return
		}
		t.socket.send(frame{kind: logout})
		t.beginPatience()
	default:
		if t.storage.text != "" {
			t.peer.check(t.storage, t.key)
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
	if t.storage.ref.SessionID != t.sent.ref.SessionID { // a socket belongs to one session
		t.leave(true)
		return
	}
	t.beginPatience()
	t.present()
}

// settle begins the last phase: the tab may keep its socket if that is authenticated, else it must
// be able to authenticate on a new one.
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
