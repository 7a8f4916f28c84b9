package histories

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/authn"
)

// playedServer simulates how the library's server handles a presentation, with each wait as a
// separate event. The state of its connections is the library's own machine.
type playedServer struct {
	w      *world
	store  *store
	minted map[string]*authn.Token // by text
	conns  map[string][]*conn      // by session ID
	sids   []string                // the keys of conns, in the order in which they were added

	// byStore returns what the store's clock showed at a time.
	byStore func(time.Time) time.Time
}

// conn is a socket on the server.
type conn struct {
	*socket
	state    authn.Machine
	openedAt time.Time
	timer    *event              // for the state's deadline
	queue    []func(done func()) // the client's requests, handled one after the other
	busy     bool
}

// The causes of a session's end.
const (
	byUser  authn.Cause = "logged out"
	byApp   authn.Cause = "session_revoked"
	byReuse authn.Cause = "token_reused"
)

func newPlayedServer(w *world, s *store) *playedServer {
	return &playedServer{
		w: w, store: s, minted: make(map[string]*authn.Token), conns: make(map[string][]*conn),
		byStore: func(t time.Time) time.Time { return t },
	}
}

// step passes one event to a connection's machine, and applies its effects.
func (p *playedServer) step(c *conn, event func(m *authn.Machine) authn.Effects) authn.Effects {
	e := event(&c.state)
	c.timer.stop()
	if at := c.state.Deadline(); !at.IsZero() {
		c.timer = p.w.after(at.Sub(p.w.now)+p.w.grain, func() {
			p.step(c, func(m *authn.Machine) authn.Effects { return m.Tick(p.w.now) })
		})
	}
	switch {
	case e.Refuse != "":
		p.farewell(c, frame{kind: unauthorized, code: e.Refuse, terminal: e.Refuse == authn.TokenExpired})
	case e.Ended == byUser:
		p.farewell(c, frame{kind: loggedOut})
	case e.Ended != "":
		p.farewell(c, frame{kind: unauthorized, code: string(e.Ended), terminal: true})
	}
	if e.Rotated {
		c.answer(frame{kind: rotated})
	}
	return e
}

// farewell sends a connection's last frame, and closes it.
func (p *playedServer) farewell(c *conn, last frame) {
	c.answer(last)
	c.answer(frame{kind: closed})
}

func (c *conn) closed() bool { return c.state.Phase() == authn.Closed }

func (w *world) newID() string {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], w.Uint64())
	binary.LittleEndian.PutUint64(b[8:], w.Uint64())
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// login issues a code some time after the password was checked, so that a revocation may come
// between the two.
func (p *playedServer) login(userID, key string, got func(token)) {
	authTime := p.w.now
	p.w.after(p.w.between(time.Millisecond, 500*time.Millisecond), func() {
		code := asToken(p.mint(authn.Token{
			SessionID: p.w.newID(), UserID: userID, AuthTime: p.byStore(authTime),
			ExpiresAt: p.byStore(p.w.now).Add(p.w.codeLifetime), Thumbprint: key,
		}))
		code.ref.AuthTime = authTime
		got(code)
	})
}

func (p *playedServer) mint(t authn.Token) *authn.Token {
	t.ID, t.IssuedAt = p.w.newID(), p.byStore(p.w.now)
	t.Text = t.ID
	p.minted[t.Text] = &t
	return &t
}

func asToken(t *authn.Token) token { return token{text: t.Text, ref: refOf(t), key: t.Thumbprint} }

// refOf returns a token as it is described to a store.
func refOf(t *authn.Token) blacklist.TokenRef {
	return blacklist.TokenRef{
		SessionID: t.SessionID, UserID: t.UserID, TokenID: t.ID, Generation: t.Generation,
		IssuedAt: t.IssuedAt, AuthTime: t.AuthTime, ExpiresAt: t.ExpiresAt, Bound: t.Thumbprint != "",
	}
}

func (p *playedServer) open(s *socket) {
	s.state = &conn{socket: s, openedAt: p.w.now, state: authn.New(p.w.now, p.w.timeout)}
	s.answer(frame{kind: opened})
}

func (p *playedServer) tear(s *socket, _ frame) { p.hangUp(s) }

func (p *playedServer) hangUp(s *socket) {
	if c, ok := s.state.(*conn); ok {
		p.step(c, func(m *authn.Machine) authn.Effects { return m.Close("transport close") })
		p.step(c, (*authn.Machine).Gone)
	}
}

func (p *playedServer) receive(s *socket, f frame) {
	c := s.state.(*conn)
	if c.closed() {
		return
	}
	arrived := p.w.now
	switch f.kind {
	case acknowledge:
		// It is queued too, so that a logout that was sent after it is handled after it.
		c.queue = append(c.queue, func(done func()) { p.acknowledged(c, f.ack, done) })
	case authenticate:
		c.queue = append(c.queue, func(done func()) { p.present(c, f, arrived, done) })
	case logout:
		c.queue = append(c.queue, func(done func()) { p.logout(c, f, arrived, done) })
	}
	p.next(c)
}

func (p *playedServer) next(c *conn) {
	if c.busy || len(c.queue) == 0 || c.closed() {
		return
	}
	c.busy = true
	f := c.queue[0]
	c.queue = c.queue[1:]
	f(func() { c.busy = false; p.next(c) })
}

// lasts draws how long a hook or a store call takes.
func (p *playedServer) lasts(usual time.Duration) time.Duration {
	if p.w.chance(p.w.hangs) {
		p.w.counts.Hangs++
		return p.w.upTo(p.w.timeout)
	}
	return p.w.between(100*time.Microsecond, usual)
}

// hook simulates one of the app's hooks, which takes time and may fail.
func (p *playedServer) hook(then func(ok bool)) {
	p.w.after(p.lasts(p.w.slowHook), func() {
		failed := p.w.chance(p.w.hookFails)
		if failed {
			p.w.counts.HookFaults++
		}
		then(!failed)
	})
}

// present handles one presentation: first the checks that need no store, then the store call.
func (p *playedServer) present(c *conn, f frame, arrived time.Time, then func()) {
	t, known := p.minted[f.token.text]
	done := func() { p.step(c, (*authn.Machine).Done); then() }
	refuse := func(code string, terminal bool) { p.refuse(c, code, terminal, false); done() }
	own := c.state.Own()
	if !known {
		refuse("invalid_token", true)
		return
	}
	bind, code := p.checkProof(c, f, t)
	switch {
	case code != "" && t.Generation > 0 && p.store.mutation() == AskBeforeProof:
		p.judge(c, t, arrived, func(blacklist.Verdict, error) { p.refuseProof(c, code); done() })
		return
	case code != "":
		p.refuseProof(c, code)
		done()
		return
	case !p.w.now.Before(t.ExpiresAt):
		p.expired(c, t, arrived, done)
		return
	case own != nil && own.SessionID != t.SessionID:
		refuse("wrong_session", false)
		return
	}
	keeps := t.Generation > 0 && p.w.now.Sub(t.IssuedAt) < p.w.refreshInterval
	next := t
	if offered := c.state.OfferedFor(t.ID); !keeps && offered != nil {
		next = offered
	} else if !keeps {
		successor := *t
		successor.Generation, successor.ExpiresAt = t.Generation+1, p.byStore(p.w.now).Add(p.w.tokenLifetime)
		successor.Thumbprint = cmp.Or(t.Thumbprint, bind)
		next = p.mint(successor)
	}
	p.hook(func(ok bool) {
		c.state.Propose(next)
		p.join(c, t)
		if !ok {
			refuse("server_error", false)
			return
		}
		begun := false
		p.step(c, func(m *authn.Machine) (e authn.Effects) {
			e, begun = m.Begin(p.w.now, byReuse)
			return e
		})
		if !begun {
			done()
			return
		}
		presentation := blacklist.Presentation{
			Token: refOf(t), Confirming: f.confirm && !keeps, SocketOpenedAt: c.openedAt,
			EndOnReuse: p.w.endOnReuse, Address: c.name,
		}
		if t.Generation == 0 {
			presentation.Token.Bind = bind
		}
		if !keeps {
			presentation.SuccessorID, presentation.SuccessorExpiresAt = next.ID, next.ExpiresAt
		}
		p.presentToStore(c, presentation, arrived, func(v blacklist.Verdict, err error) {
			switch {
			case err != nil:
				p.refuse(c, "unavailable", false, false)
			case v == blacklist.Accepted:
				p.accept(c, t, next, f.confirm && !keeps)
			default:
				p.refuseVerdict(c, t.SessionID, v)
			}
			done()
		})
	})
}

// expired refuses a token that has expired. If it had been replaced before, it is reuse. It calls
// done once.
func (p *playedServer) expired(c *conn, t *authn.Token, arrived time.Time, done func()) {
	own := c.state.Own()
	if t.Generation == 0 || !p.w.endOnReuse || own != nil && own.SessionID != t.SessionID {
		p.refuse(c, "token_expired", true, false)
		done()
		return
	}
	p.judge(c, t, arrived, func(v blacklist.Verdict, err error) {
		switch {
		case err != nil:
			p.refuse(c, "unavailable", false, false)
		case v == blacklist.ReuseDetected:
			p.refuseVerdict(c, t.SessionID, v)
		default:
			p.refuse(c, "token_expired", true, false)
		}
		done()
	})
}

// judge has the store decide on a token that gets no successor.
func (p *playedServer) judge(c *conn, t *authn.Token, arrived time.Time, then func(blacklist.Verdict, error)) {
	p.step(c, func(m *authn.Machine) authn.Effects { e, _ := m.Begin(p.w.now, byReuse); return e })
	var verdict blacklist.Verdict
	presented := false
	p.insist(func(_ bool, reply func(error)) {
		v, err := verdictOf(p.store.Check(context.Background(), refOf(t), 0, 0))
		switch {
		case err == nil && v == blacklist.Replaced:
			presented = true
			p.store.present(blacklist.Presentation{
				Token: refOf(t), SocketOpenedAt: c.openedAt, PresentedAt: arrived, SupersededWithin: p.w.timeout,
				EndOnReuse: p.w.endOnReuse, Address: c.name,
			}, func(v blacklist.Verdict, err error) {
				verdict = v
				reply(err)
			})
			return
		case presented && v == blacklist.SessionCompromised && p.w.endOnReuse:
			v = blacklist.ReuseDetected // it was detected by the call whose reply was lost
		}
		verdict = v
		reply(err)
	}, func(err error) { then(verdict, err) })
}

// presentToStore makes the presentation's store call, and repeats it if it fails. If the client has
// left by then, it only checks the token instead.
func (p *playedServer) presentToStore(c *conn, presentation blacklist.Presentation, arrived time.Time, then func(blacklist.Verdict, error)) {
	var verdict blacklist.Verdict
	p.insist(func(again bool, reply func(error)) {
		got := func(v blacklist.Verdict, err error) {
			if verdict = v; again && v == blacklist.SessionCompromised && presentation.EndOnReuse {
				verdict = blacklist.ReuseDetected // it was detected by the call whose reply was lost
			}
			reply(err)
		}
		if again && c.closed() {
			got(verdictOf(p.store.Check(context.Background(), presentation.Token, 0, 0)))
			return
		}
		presentation.SupersededWithin, presentation.PresentedAt = p.w.timeout, arrived
		p.store.present(presentation, got)
	}, func(err error) { then(verdict, err) })
}

// insist repeats a store call until it succeeds, for up to Timeout.
func (p *playedServer) insist(step func(again bool, reply func(error)), then func(error)) {
	began, pause := p.w.now, 10*time.Millisecond
	var take func(again bool)
	take = func(again bool) {
		p.w.after(p.lasts(10*time.Millisecond), func() { // the request's way to the store
			step(again, func(err error) {
				p.w.after(p.lasts(10*time.Millisecond), func() { // the reply's way back
					if err == nil || p.w.now.Sub(began)+pause > p.w.timeout {
						then(err)
						return
					}
					p.w.after(pause, func() { take(true) })
					pause = min(2*pause, time.Second/2)
				})
			})
		})
	}
	take(false)
}

// accept sends the client its next token. A confirming client has to acknowledge a token within
// Timeout after the first one that it was sent.
func (p *playedServer) accept(c *conn, t, next *authn.Token, acknowledges bool) {
	if !acknowledges {
		p.confirmed(next)
		c.state.Sent()
		c.answer(frame{kind: authenticated, token: asToken(next)})
		p.step(c, func(m *authn.Machine) authn.Effects { e, _, _ := m.Enter(p.w.now, next); return e })
		return
	}
	p.confirmed(t)
	offered := false
	p.step(c, func(m *authn.Machine) authn.Effects {
		offered = m.Offer(p.w.now, t, next)
		return authn.Effects{}
	})
	if offered {
		c.state.Sent()
		c.answer(frame{kind: authenticated, token: asToken(next), ack: next.ID})
	}
}

// acknowledged confirms the acknowledged token, if it is the last one that the client was sent.
func (p *playedServer) acknowledged(c *conn, id string, then func()) {
	t := p.minted[id]
	if t == nil || !c.state.Awaits(t) {
		then()
		return
	}
	p.step(c, func(m *authn.Machine) authn.Effects { e, _ := m.Begin(p.w.now, ""); return e })
	c.state.Propose(t)
	var verdict blacklist.Verdict
	p.insist(func(_ bool, reply func(error)) {
		var err error
		verdict, err = verdictOf(p.store.Confirm(context.Background(), refOf(t)))
		reply(err)
	}, func(err error) {
		p.step(c, func(m *authn.Machine) authn.Effects { m.Settle(); return authn.Effects{} })
		switch {
		case err != nil:
			p.refuse(c, "unavailable", false, false)
		case verdict == blacklist.Accepted:
			p.confirmed(t)
			p.step(c, func(m *authn.Machine) authn.Effects { e, _, _ := m.Enter(p.w.now, t); return e })
		case verdict == blacklist.Superseded:
			p.refuse(c, "no_longer_valid", false, true)
		case verdict == blacklist.Replaced && c.state.Entered(): // it was a token of an older generation
		case verdict == blacklist.Replaced:
			p.refuse(c, "no_longer_valid", false, false)
		default:
			p.refuseVerdict(c, t.SessionID, verdict)
		}
		p.step(c, (*authn.Machine).Done)
		then()
	})
}

// confirmed tells all sockets of a session that a token holds its generation.
func (p *playedServer) confirmed(t *authn.Token) {
	for _, c := range p.conns[t.SessionID] {
		p.step(c, func(m *authn.Machine) authn.Effects { return m.Confirmed(t.ID, t.Generation) })
	}
}

// join registers the socket under the token's session, so that the end of the session finds it.
func (p *playedServer) join(c *conn, t *authn.Token) {
	for _, other := range p.conns[t.SessionID] {
		if other == c {
			return
		}
	}
	if p.conns[t.SessionID] == nil {
		p.sids = append(p.sids, t.SessionID)
	}
	p.conns[t.SessionID] = append(p.conns[t.SessionID], c)
}

func (p *playedServer) refuseVerdict(c *conn, sid string, v blacklist.Verdict) {
	switch v {
	case blacklist.ReuseDetected:
		for _, other := range p.conns[sid] {
			if other != c {
				p.refuse(other, "token_reused", true, false)
			}
		}
		fallthrough
	case blacklist.SessionCompromised:
		p.refuse(c, "token_reused", true, false)
	case blacklist.Revoked:
		p.refuse(c, "session_revoked", true, false)
	case blacklist.Superseded:
		p.refuse(c, "no_longer_valid", false, false)
	default:
		p.refuse(c, "no_longer_valid", true, false)
	}
}

// refuse sends the client a refusal, and closes its socket unless it is authenticated and stays so.
func (p *playedServer) refuse(c *conn, code string, terminal, closes bool) {
	last, stays := frame{kind: unauthorized, code: code, terminal: terminal}, false
	e := p.step(c, func(m *authn.Machine) (e authn.Effects) {
		e, stays = m.Refuse(code, terminal || closes)
		return e
	})
	switch {
	case stays:
		c.answer(last)
	case e.Closed:
		p.farewell(c, last)
	}
}
