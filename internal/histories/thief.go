package histories

import (
	"fmt"
	"time"
)

// thief copies a device's storage at some moments, and uses the tokens without following any rules.
type thief struct {
	w      *world
	peer   server
	ledger *ledger
	victim *device
	name   string

	key     string  // of its own; "" for none
	tokens  []token // tokens stolen and received, the newest last
	sockets []*socket
	acks    map[*socket]string
	dialed  int
	left    int

	confirming  float64 // how often it presents as a confirming client
	withholds   bool    // it does not acknowledge at once
	inLockStep  bool    // it presents when the device presents or stores
	inAdvance   bool    // it opens a socket before it has a token
	impatience  time.Duration
	presentsOld float64
}

func (w *world) newThief(n int, victim *device, peer server, l *ledger) *thief {
	t := &thief{
		w: w, peer: peer, ledger: l, victim: victim, name: fmt.Sprintf("thief%d", n),
		acks: make(map[*socket]string), left: 2 + w.IntN(8),
		withholds: w.chance(0.4), inLockStep: w.chance(0.3), inAdvance: w.chance(0.4),
		confirming: []float64{0, 0.5, 1, 1}[w.IntN(4)], impatience: w.between(10*time.Millisecond, w.longestPause),
		presentsOld: []float64{0, 0.3, 1}[w.IntN(3)],
	}
	if w.chance(0.6) {
		t.key = w.newKey(t.name)
	}
	l.opened(&socket{w: w, name: t.name + ".http", thief: true, key: t.key})
	w.counts.Thieves++
	w.note("%s of %s: confirming=%.1f, withholds=%v, in lock-step=%v, in advance=%v", t.name, victim.name, t.confirming, t.withholds, t.inLockStep, t.inAdvance)
	if t.inLockStep {
		victim.watchers = append(victim.watchers, func(stored bool) {
			if t.left <= 0 || t.w.chance(0.3) {
				return
			}
			if stored {
				t.steal()
			}
			t.w.after(t.w.between(100*time.Microsecond, t.impatience), t.present)
		})
	}
	t.again()
	return t
}

func (t *thief) again() { t.w.after(t.w.between(time.Millisecond, t.impatience), t.act) }

func (t *thief) act() {
	if t.left--; t.left <= 0 {
		return
	}
	defer t.again()
	switch n := t.w.IntN(13); {
	case len(t.tokens) == 0 && t.inAdvance && len(t.sockets) == 0:
		t.dial(nil, authenticate)
	case len(t.tokens) == 0, n < 2:
		t.steal()
	case n < 8:
		t.present()
	case n < 9:
		t.peer.check(t.pick(), t.key)
	case n < 10:
		picked := t.pick()
		t.dial(&picked, logout)
	case n < 11 && t.victim.key != "":
		t.peer.replay(t.name+".http", t.victim.name+".http")
	case n < 12:
		t.exchange(t.pick())
	default:
		t.acknowledge(t.w.IntN(max(1, len(t.sockets)))) // an acknowledgement that it withheld
	}
}

func (t *thief) steal() {
	if stolen := t.victim.storage; stolen.text != "" {
		t.w.note("%s steals %s", t.name, stolen)
		t.tokens = append(t.tokens, stolen)
	}
}

// exchange presents a token by a request.
func (t *thief) exchange(what token) {
	t.peer.exchange(t.name+".http", what, t.key, t.w.chance(0.3), func(a answer) {
		if t.isRefused(a.code); a.token.text != "" {
			t.gains(a.token)
		}
	})
}

// gains notes a token that the thief is given.
func (t *thief) gains(given token) {
	if given.key != "" && given.key != t.key {
		t.w.violate("%s is given %s, which is bound to %q", t.name, given, given.key)
	}
	t.tokens = append(t.tokens, given)
}

func (t *thief) pick() token {
	if t.w.chance(t.presentsOld) {
		return t.tokens[t.w.IntN(len(t.tokens))]
	}
	return t.tokens[len(t.tokens)-1]
}

// present presents a token, on a socket that is open or on a new one.
func (t *thief) present() {
	if len(t.tokens) == 0 {
		return
	}
	picked := t.pick()
	if len(t.sockets) > 0 && t.w.chance(0.5) {
		t.send(t.sockets[t.w.IntN(len(t.sockets))], picked)
		return
	}
	t.dial(&picked, authenticate)
}

// dial opens a socket, and presents a token on it or logs out with it, if there is one.
func (t *thief) dial(first *token, to kind) {
	t.dialed++
	var s *socket
	s = t.w.dial(t.peer, fmt.Sprintf("%s.%d", t.name, t.dialed), true, t.key, func(f frame) {
		switch f.kind {
		case opened:
			switch {
			case first == nil:
			case to == logout:
				t.w.note("%s logs out with %s", s.name, *first)
				s.send(frame{kind: logout, token: *first, proof: t.prove(s, *first)})
			default:
				t.send(s, *first)
			}
		case unauthorized:
			t.isRefused(f.code)
		case authenticated:
			t.gains(f.token)
			if t.acks[s] = f.ack; !t.withholds {
				t.reply(s)
			}
		}
	})
	t.ledger.opened(s)
	t.sockets = append(t.sockets, s)
}

func (t *thief) send(s *socket, what token) {
	s.send(frame{kind: authenticate, token: what, confirm: t.w.chance(t.confirming), proof: t.prove(s, what)})
}

func (t *thief) acknowledge(n int) {
	if n < len(t.sockets) {
		t.reply(t.sockets[n])
	}
}

func (t *thief) reply(s *socket) {
	if id := t.acks[s]; id != "" {
		s.send(frame{kind: acknowledge, ack: id})
	}
}
