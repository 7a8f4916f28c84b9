package histories

import (
	"fmt"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// token is a token as a client holds it: its text, and the claims in it.
type token struct {
	text string
	ref  blacklist.TokenRef

	proved time.Time // when its owner proved who they are last
	role   int
	key    string // without whose proof it is worth nothing; "" if it is not bound
}

func (t token) String() string {
	if t.text == "" {
		return "none"
	}
	return name(t.ref)
}

// name returns a token's name in traces: its session, its generation, and the start of its id.
func name(t blacklist.TokenRef) string {
	return fmt.Sprintf("%.4s/%d.%.4s", t.SessionID, t.Generation, t.TokenID)
}

type kind string

// The kinds of frames. Clients send authenticate, acknowledge and logout; the server sends the
// others.
const (
	authenticate  kind = "authenticate"
	acknowledge   kind = "acknowledge"
	logout        kind = "logout"
	opened        kind = "opened"
	authenticated kind = "authenticated"
	unauthorized  kind = "unauthorized"
	rotated       kind = "rotated"
	loggedOut     kind = "logged_out"
	news          kind = "news"    // a broadcast of the app
	refreshed     kind = "refresh" // the claims are out of date
	act           kind = "act"     // an event of the app's, from the client
	closed        kind = "closed"
)

type frame struct {
	kind     kind
	token    token
	confirm  bool   // authenticate: the client will acknowledge
	stepUp   token  // authenticate: the step-up code that comes with the token, if any
	proof    proof  // authenticate, logout: what comes with the token
	least    []int  // news: the roles that users have at least
	id       string // opened: that of the connection, with a real server
	ack      string // authenticated: the id to acknowledge, "" for none; acknowledge: that id
	code     string // unauthorized
	terminal bool   // unauthorized
}

func (f frame) String() string {
	switch f.kind {
	case authenticate, authenticated, logout:
		return fmt.Sprintf("%s %s%s", f.kind, f.token, f.proof)
	case acknowledge:
		return fmt.Sprintf("%s %.4s", f.kind, f.ack)
	case unauthorized:
		return fmt.Sprintf("%s %s terminal=%v", f.kind, f.code, f.terminal)
	}
	return string(f.kind)
}

// server is the server's side: it receives what arrives on sockets, and requests over HTTP, where
// nothing is lost.
type server interface {
	open(s *socket) // answers "opened"
	receive(s *socket, f frame)
	tear(s *socket, f frame) // a part of the frame arrives, then the connection ends
	hangUp(s *socket)        // the connection ends

	login(userID, key string, got func(token)) // with a key, the code is bound to it
	check(t token, key string)                 // through Middleware, with a proof by that key if there is one
	changeRole(userID string)
	exchange(from string, t token, key string, confirm bool, got func(answer)) // at TokenPath
	replay(from, another string)                                               // another's last request there
	stepUp(userID, sid string, got func(code token))
	revoke(r blacklist.Revocation)
}

// socket is one connection. The frames of each direction stay in order. When the connection breaks,
// all later frames are lost.
type socket struct {
	w     *world
	name  string
	thief bool
	key   string // of its client; "" for none
	peer  server
	on    func(frame) // the client's handler

	up, down  direction
	givenUp   bool
	givenUpAt time.Time
	closed    bool  // the server has closed it
	told      token // the token of the last "authenticated"
	state     any   // the server's state of the connection

	stepUps []token // that were presented
}

type direction struct {
	cut     bool
	arrived time.Time // when the last frame arrives
}

// dial opens a socket. on is called with "opened", then with the frames that the server sends,
// until the client gives the socket up.
func (w *world) dial(peer server, name string, thief bool, key string, on func(frame)) *socket {
	s := &socket{w: w, name: name, thief: thief, key: key, peer: peer, on: on}
	s.transport(&s.up, func() { peer.open(s) }, nil)
	return s
}

// send sends a frame from the client to the server.
func (s *socket) send(f frame) {
	if s.givenUp {
		return
	}
	s.w.note("%s -> %s", s.name, f)
	s.transport(&s.up, func() {
		s.w.note("     %s's %s arrives", s.name, f)
		if s.givenUp {
			s.w.counts.Late++
		}
		s.peer.receive(s, f)
	}, func() { s.peer.tear(s, f) })
}

// answer sends a frame from the server to the client.
func (s *socket) answer(f frame) {
	s.transport(&s.down, func() {
		if s.givenUp {
			return
		}
		s.w.note("%s <- %s", s.name, f)
		switch f.kind {
		case closed:
			s.closed = true
		case authenticated:
			s.told = f.token
		case news:
			s.w.ledger.heard(s)
			s.heardUnder(f)
			return
		}
		s.on(f)
	}, nil)
}

// transport delivers a frame, or breaks the connection before, inside or after it.
func (s *socket) transport(d *direction, arrive, tear func()) {
	if d.cut {
		return
	}
	w := s.w
	delay := w.between(time.Millisecond, w.slowest)
	if w.chance(w.stalls) {
		delay = w.upTo(w.timeout)
		w.counts.Stalls++
	}
	at := w.now.Add(delay)
	if !at.After(d.arrived) {
		at = d.arrived.Add(time.Microsecond)
	}
	breaks, where := w.chance(w.cuts), w.IntN(3)
	if breaks {
		defer s.breakOff()
		if where == 0 {
			return
		}
		if where == 1 {
			if arrive = tear; tear == nil {
				return
			}
		}
	}
	d.arrived = at
	up := d == &s.up
	w.after(at.Sub(w.now), func() {
		if up && s.givenUp && w.now.Sub(s.givenUpAt) > w.timeout { // see the assumptions in doc.go
			return
		}
		arrive()
	})
}

// breakOff breaks the connection: all that is sent from now on is lost. Each side notices it after
// some time, or never.
func (s *socket) breakOff() {
	w := s.w
	if s.up.cut {
		return
	}
	w.counts.Cuts++
	w.note("%s breaks", s.name)
	s.up.cut, s.down.cut = true, true
	if w.chance(0.7) {
		w.after(w.between(time.Millisecond, w.timeout), func() {
			if !s.givenUp {
				w.note("%s <- break", s.name)
				s.on(frame{kind: closed})
			}
		})
	}
	if w.chance(0.7) {
		w.after(w.between(time.Millisecond, w.timeout), func() { s.peer.hangUp(s) })
	}
}

// giveUp makes the client stop using the socket: it receives no more frames. The server is told
// only if politely is true; a crashed client does not tell it.
func (s *socket) giveUp(politely bool) {
	if s.givenUp {
		return
	}
	w := s.w
	w.counts.GivenUp++
	w.note("%s is given up, politely=%v", s.name, politely)
	s.givenUp, s.givenUpAt = true, w.now
	if politely {
		s.transport(&s.up, func() { s.peer.hangUp(s) }, nil)
	}
	s.up.cut = true
}
