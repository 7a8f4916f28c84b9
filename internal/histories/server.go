package histories

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"time"

	"github.com/z-open/socketauth"
)

// playedServer does what the library's server does with a presentation, each wait of it an event of its own.
type playedServer struct {
	w     *world
	store *store
	texts map[string]socketauth.TokenRef // what it has minted
	conns map[string][]*conn             // by session
	sids  []string                       // of those, in the order in which they came
}

// conn is a socket on the server.
type conn struct {
	*socket
	openedAt  time.Time
	in, over  bool
	own       *socketauth.TokenRef // the newest it was told, once it is in
	presented socketauth.TokenRef  // the last
	queue     []func(done func())  // what the client asked for, one after the other
	busy      bool
	pending   *pending
	deadline  *event // of the acknowledgement
	expiry    *event // of its token
}

// pending is a successor that waits for its acknowledgement.
type pending struct{ presented, next socketauth.TokenRef }

func newPlayedServer(w *world, s *store) *playedServer {
	return &playedServer{w: w, store: s, texts: make(map[string]socketauth.TokenRef), conns: make(map[string][]*conn)}
}

func (w *world) newID() string {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[:], w.Uint64())
	binary.LittleEndian.PutUint64(b[8:], w.Uint64())
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// login takes the time of a password, which may come before a revocation that the code comes after.
func (p *playedServer) login(userID string, got func(token)) {
	authTime := p.w.now
	p.w.after(p.w.between(time.Millisecond, 500*time.Millisecond), func() {
		got(p.mint(socketauth.TokenRef{
			SessionID: p.w.newID(), UserID: userID, AuthTime: authTime, ExpiresAt: p.w.now.Add(p.w.codeLifetime),
		}))
	})
}

func (p *playedServer) mint(t socketauth.TokenRef) token {
	t.TokenID, t.IssuedAt = p.w.newID(), p.w.now
	p.texts[t.TokenID] = t
	return token{text: t.TokenID, ref: t}
}

func (p *playedServer) open(s *socket) {
	s.state = &conn{socket: s, openedAt: p.w.now}
	s.answer(frame{kind: opened})
}

func (p *playedServer) tear(s *socket, _ frame) { p.hangUp(s) }

func (p *playedServer) hangUp(s *socket) {
	if c, ok := s.state.(*conn); ok {
		p.drop(c)
	}
}

func (p *playedServer) drop(c *conn) {
	c.over = true
	c.deadline.stop()
	c.expiry.stop()
}

func (p *playedServer) receive(s *socket, f frame) {
	c := s.state.(*conn)
	if c.over {
		return
	}
	switch f.kind {
	case acknowledge:
		c.queue = append(c.queue, func(done func()) { p.acknowledged(c, f.ack, done) }) // a logout may come behind it
	case authenticate:
		c.queue = append(c.queue, func(done func()) { p.present(c, f, done) })
	case logout:
		arrived := p.w.now
		c.queue = append(c.queue, func(done func()) { p.logout(c, f, arrived, done) })
	}
	p.next(c)
}

func (p *playedServer) next(c *conn) {
	if c.busy || len(c.queue) == 0 || c.over {
		return
	}
	c.busy = true
	f := c.queue[0]
	c.queue = c.queue[1:]
	f(func() { c.busy = false; p.next(c) })
}

// lasts is how long a hook or a call of the store takes.
func (p *playedServer) lasts(usual time.Duration) time.Duration {
	if p.w.chance(p.w.hangs) {
		p.w.counts.Hangs++
		return p.w.upTo(p.w.timeout)
	}
	return p.w.between(100*time.Microsecond, usual)
}

// hook lets one of the app's hooks take its time, and fail.
func (p *playedServer) hook(then func(ok bool)) {
	p.w.after(p.lasts(p.w.slowHook), func() {
		failed := p.w.chance(p.w.hookFails)
		if failed {
			p.w.counts.HookFaults++
		}
		then(!failed)
	})
}

// present is one presentation: first what needs no store, then its step.
func (p *playedServer) present(c *conn, f frame, done func()) {
	arrived := p.w.now
	t, known := p.texts[f.token.text]
	refuse := func(code string, terminal bool) { p.refuse(c, code, terminal); done() }
	switch {
	case !known:
		refuse("invalid_token", true)
		return
	case !p.w.now.Before(t.ExpiresAt):
		p.expired(c, t, arrived, done)
		return
	case c.own != nil && c.own.SessionID != t.SessionID:
		refuse("wrong_session", false)
		return
	}
	keeps := t.Generation > 0 && p.w.now.Sub(t.IssuedAt) < p.w.refreshInterval
	next := token{text: f.token.text, ref: t}
	switch {
	case keeps:
	case c.pending != nil && c.pending.presented.TokenID == t.TokenID: // the same branch again
		next.ref, next.text = c.pending.next, c.pending.next.TokenID
	default:
		successor := t
		successor.Generation, successor.ExpiresAt = t.Generation+1, p.w.now.Add(p.w.tokenLifetime)
		next = p.mint(successor)
	}
	p.hook(func(ok bool) {
		p.join(c, t)
		switch {
		case c.over:
			done()
			return
		case !ok:
			refuse("server_error", false)
			return
		}
		presentation := socketauth.Presentation{
			Token: t, Confirming: f.confirm, SocketOpenedAt: c.openedAt,
			EndOnReuse: p.w.endOnReuse, Address: c.name,
		}
		if !keeps {
			presentation.SuccessorID, presentation.SuccessorExpiresAt = next.ref.TokenID, next.ref.ExpiresAt
		}
		p.step(c, presentation, arrived, func(v socketauth.Verdict, err error) {
			switch {
			case err != nil:
				p.refuse(c, "unavailable", false)
			case v == socketauth.Accepted:
				p.accept(c, t, next, f.confirm && !keeps)
			default:
				p.refuseVerdict(c, t.SessionID, v)
			}
			done()
		})
	})
}

// expired refuses a token that has expired. If it had been replaced before, it is reuse.
func (p *playedServer) expired(c *conn, t socketauth.TokenRef, arrived time.Time, done func()) {
	if t.Generation == 0 || !p.w.endOnReuse || c.own != nil && c.own.SessionID != t.SessionID {
		p.refuse(c, "token_expired", true)
		done()
		return
	}
	p.judge(c, t, arrived, func(v socketauth.Verdict, err error) {
		switch {
		case err != nil:
			p.refuse(c, "unavailable", false)
		case v == socketauth.Reused:
			p.refuseVerdict(c, t.SessionID, v)
		default:
			p.refuse(c, "token_expired", true)
		}
		done()
	})
}

// judge has the store decide on a token that is not to get a successor.
func (p *playedServer) judge(c *conn, t socketauth.TokenRef, arrived time.Time, then func(socketauth.Verdict, error)) {
	var verdict socketauth.Verdict
	presented := false
	p.insist(func(_ bool, reply func(error)) {
		v, err := p.store.Check(context.Background(), t, 0, 0)
		switch {
		case err == nil && v == socketauth.Replaced:
			presented = true
			p.store.present(socketauth.Presentation{
				Token: t, SocketOpenedAt: c.openedAt, PresentedAt: arrived, Overtake: p.w.timeout,
				EndOnReuse: p.w.endOnReuse, Address: c.name,
			}, func(v socketauth.Verdict, err error) {
				verdict = v
				reply(err)
			})
			return
		case presented && v == socketauth.EndedByReuse && p.w.endOnReuse:
			v = socketauth.Reused // by the call whose reply was lost
		}
		verdict = v
		reply(err)
	}, func(err error) { then(verdict, err) })
}

// step takes the store's step, again where it fails; once the client has left it only looks its outcome up.
func (p *playedServer) step(c *conn, presentation socketauth.Presentation, arrived time.Time, then func(socketauth.Verdict, error)) {
	var verdict socketauth.Verdict
	p.insist(func(again bool, reply func(error)) {
		got := func(v socketauth.Verdict, err error) {
			if verdict = v; again && v == socketauth.EndedByReuse && presentation.EndOnReuse {
				verdict = socketauth.Reused // by the call whose reply was lost
			}
			reply(err)
		}
		if again && c.over {
			got(p.store.Check(context.Background(), presentation.Token, 0, 0))
			return
		}
		presentation.Overtake, presentation.PresentedAt = p.w.timeout, arrived
		p.store.present(presentation, got)
	}, func(err error) { then(verdict, err) })
}

// insist takes a step until it succeeds, for up to Timeout.
func (p *playedServer) insist(step func(again bool, reply func(error)), then func(error)) {
	began, pause := p.w.now, 10*time.Millisecond
	var take func(again bool)
	take = func(again bool) {
		p.w.after(p.lasts(10*time.Millisecond), func() { // on its way to the store
			step(again, func(err error) {
				p.w.after(p.lasts(10*time.Millisecond), func() { // and back
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

// accept tells the client its next token. A confirming one has Timeout, from the first it was told, to acknowledge.
func (p *playedServer) accept(c *conn, t socketauth.TokenRef, next token, acknowledges bool) {
	if c.over {
		return
	}
	if !acknowledges {
		c.answer(frame{kind: authenticated, token: next})
		p.enter(c, next.ref)
		return
	}
	if c.in { // by a token that holds its generation now
		p.live(c, t)
	}
	c.pending = &pending{presented: t, next: next.ref}
	if c.deadline == nil || c.deadline.run == nil {
		c.deadline = p.w.after(p.w.timeout, func() { p.refuse(c, "timeout", false); p.close(c) })
	}
	c.answer(frame{kind: authenticated, token: next, ack: next.ref.TokenID})
}

func (p *playedServer) enter(c *conn, t socketauth.TokenRef) {
	c.in, c.pending = true, nil
	c.deadline.stop()
	p.live(c, t)
}

// live has the socket live on a token, until that expires.
func (p *playedServer) live(c *conn, t socketauth.TokenRef) {
	c.own = &t
	c.expiry.stop()
	p.expire(c, t.ExpiresAt.Sub(p.w.now))
}

// expire ends the socket with its token. A decision that has begun is waited for.
func (p *playedServer) expire(c *conn, in time.Duration) {
	c.expiry = p.w.after(in+p.w.grain, func() {
		switch {
		case c.busy:
			p.expire(c, 10*time.Millisecond)
		case !c.over:
			p.refuse(c, "token_expired", true)
		}
	})
}

// acknowledged confirms the client's branch, if it is the one it was told last.
func (p *playedServer) acknowledged(c *conn, id string, done func()) {
	if c.pending == nil || c.pending.next.TokenID != id {
		done()
		return
	}
	t := c.pending.next
	var verdict socketauth.Verdict
	p.insist(func(_ bool, reply func(error)) {
		var err error
		verdict, err = p.store.Confirm(context.Background(), t)
		reply(err)
	}, func(err error) {
		defer done()
		switch {
		case c.over || err != nil: // it will try again, or time out
		case verdict == socketauth.Accepted:
			if c.pending != nil && c.pending.next.TokenID == t.TokenID {
				p.enter(c, t)
			}
			p.tellOthers(c, t)
		case verdict == socketauth.Overtaken, verdict == socketauth.Replaced && !c.in:
			p.refuse(c, "no_longer_valid", false)
			p.close(c)
		case verdict != socketauth.Replaced:
			p.refuseVerdict(c, t.SessionID, verdict)
		}
	})
}

// tellOthers has the session's other sockets read their storage again, and closes those on branches that lost.
func (p *playedServer) tellOthers(c *conn, t socketauth.TokenRef) {
	for _, other := range p.conns[t.SessionID] {
		switch {
		case other == c || other.over || !other.in:
		case other.own.Generation == t.Generation && other.own.TokenID != t.TokenID:
			p.refuse(other, "no_longer_valid", false)
			p.close(other)
		default:
			other.answer(frame{kind: rotated})
		}
	}
}

// join has the session's end find the socket from now on.
func (p *playedServer) join(c *conn, t socketauth.TokenRef) {
	c.presented = t
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

func (p *playedServer) refuseVerdict(c *conn, sid string, v socketauth.Verdict) {
	switch v {
	case socketauth.Reused:
		p.endSession(sid, c, frame{kind: unauthorized, code: "token_reused", terminal: true})
		fallthrough
	case socketauth.EndedByReuse:
		p.refuse(c, "token_reused", true)
	case socketauth.Revoked:
		p.refuse(c, "session_revoked", true)
	case socketauth.Overtaken:
		p.refuse(c, "no_longer_valid", false)
	default:
		p.refuse(c, "no_longer_valid", true)
	}
}

// refuse tells the client, and closes its socket unless it is authenticated and stays so.
func (p *playedServer) refuse(c *conn, code string, terminal bool) {
	if c.over {
		return
	}
	c.answer(frame{kind: unauthorized, code: code, terminal: terminal})
	if terminal || !c.in {
		p.close(c)
	}
}

func (p *playedServer) close(c *conn) {
	if !c.over {
		c.answer(frame{kind: closed})
		p.drop(c)
	}
}

// endSession closes the session's sockets, but for one that is told by other means.
func (p *playedServer) endSession(sid string, but *conn, last frame) {
	for _, c := range p.conns[sid] {
		if c != but && !c.over {
			c.answer(last)
			p.close(c)
		}
	}
}

// logout ends the session that the socket has, or that of the token it brings.
func (p *playedServer) logout(c *conn, f frame, arrived time.Time, done func()) {
	if c.own != nil {
		p.logOut(c, c.own.SessionID, done)
		return
	}
	t, known := p.texts[f.token.text]
	switch {
	case !known || t.Generation == 0 && p.w.now.Before(t.ExpiresAt):
		p.refuse(c, "invalid_token", true)
		done()
		return
	case !p.w.now.Before(t.ExpiresAt):
		p.expired(c, t, arrived, done)
		return
	}
	p.judge(c, t, arrived, func(v socketauth.Verdict, err error) {
		switch {
		case err != nil:
			p.refuse(c, "unavailable", false)
		case v == socketauth.Accepted:
			p.logOut(c, t.SessionID, done)
			return
		default:
			p.refuseVerdict(c, t.SessionID, v)
		}
		done()
	})
}

func (p *playedServer) logOut(c *conn, sid string, done func()) {
	p.endSessions(socketauth.Revocation{SessionID: sid, Why: socketauth.LoggedOut}, frame{kind: loggedOut}, func(err error) {
		switch {
		case err != nil:
			p.refuse(c, "unavailable", false)
		case !c.over: // it was not of the session
			c.answer(frame{kind: loggedOut})
			p.close(c)
		}
		done()
	})
}

func (p *playedServer) check(t token) {
	if p.w.now.Before(t.ref.ExpiresAt) {
		_, _ = p.store.Check(context.Background(), t.ref, 10*time.Second, p.w.timeout)
	}
}

func (p *playedServer) revoke(r socketauth.Revocation) {
	p.endSessions(r, frame{kind: unauthorized, code: "session_revoked", terminal: true}, func(error) {})
}

// endSessions has the store end sessions, and then closes their sockets: not those of a login that came later.
func (p *playedServer) endSessions(r socketauth.Revocation, last frame, then func(error)) {
	r.Keep = 31 * 24 * time.Hour
	var change socketauth.Change
	p.insist(func(_ bool, reply func(error)) {
		var err error
		change, err = p.store.Revoke(context.Background(), r)
		reply(err)
	}, func(err error) {
		for _, sid := range p.sids {
			if sid == r.Except {
				continue
			}
			for _, c := range p.conns[sid] {
				t := c.presented
				if err == nil && (r.All || sid == r.SessionID || t.UserID == r.UserID) && !t.AuthTime.After(change.At) && !c.over {
					c.answer(last)
					p.close(c)
				}
			}
		}
		then(err)
	})
}
