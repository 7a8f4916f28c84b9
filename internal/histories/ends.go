package histories

import (
	"context"
	"time"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/authn"
)

// This file holds the part of the simulated server that ends sessions.

// logout ends the socket's session, or, if it has none, the session of the token in the frame.
func (p *playedServer) logout(c *conn, f frame, arrived time.Time, then func()) {
	done := func() { p.step(c, (*authn.Machine).Done); then() }
	if own := c.state.Own(); own != nil {
		p.logOut(c, own, done)
		return
	}
	t, known := p.minted[f.token.text]
	switch {
	case !known || t.Generation == 0 && p.w.now.Before(t.ExpiresAt):
		p.refuse(c, "invalid_token", true, false)
		done()
		return
	}
	if _, code := p.checkProof(c, f, t); code != "" {
		p.refuseProof(c, code)
		done()
		return
	}
	if !p.w.now.Before(t.ExpiresAt) {
		p.expired(c, t, arrived, done)
		return
	}
	p.judge(c, t, arrived, func(v blacklist.Verdict, err error) {
		switch {
		case err != nil:
			p.refuse(c, "unavailable", false, false)
		case v == blacklist.Accepted:
			p.logOut(c, t, done)
			return
		default:
			p.refuseVerdict(c, t.SessionID, v)
		}
		done()
	})
}

func (p *playedServer) logOut(c *conn, t *authn.Token, done func()) {
	p.step(c, func(m *authn.Machine) authn.Effects { e, _ := m.Begin(p.w.now, byUser); return e })
	p.endSessions(blacklist.Revocation{UserID: t.UserID, SessionID: t.SessionID, Why: blacklist.LoggedOut}, byUser, func(err error) {
		if err != nil {
			p.refuse(c, "unavailable", false, false)
		} else if p.step(c, func(m *authn.Machine) authn.Effects { return m.Close(string(byUser)) }).Closed {
			p.farewell(c, frame{kind: loggedOut})
		}
		done()
	})
}

func (p *playedServer) check(t token, key string) {
	if p.w.now.Before(t.ref.ExpiresAt) && (t.key == "" || t.key == key) {
		_, _ = p.store.Check(context.Background(), t.ref, 10*time.Second, p.w.timeout)
	}
}

// There are no roles, step-ups and requests for tokens with a simulated server.
func (p *playedServer) changeRole(string)                  {}
func (p *playedServer) stepUp(string, string, func(token)) {}

func (p *playedServer) exchange(string, token, string, bool, func(answer)) {}
func (p *playedServer) replay(string, string)                              {}

func (p *playedServer) revoke(r blacklist.Revocation) {
	p.endSessions(r, byApp, func(error) {})
}

// endSessions ends sessions in the store, and then closes their sockets, except those of a later
// login.
func (p *playedServer) endSessions(r blacklist.Revocation, why authn.Cause, then func(error)) {
	r.Keep = 31 * 24 * time.Hour
	var change blacklist.Change
	p.insist(func(_ bool, reply func(error)) {
		var err error
		change, err = p.store.Revoke(context.Background(), r)
		reply(err)
	}, func(err error) {
		for _, sid := range p.sids {
			for _, c := range p.conns[sid] {
				t := c.state.Known()
				if err == nil && change.Verdict != 0 && t != nil && concerns(r, sid, t.UserID) && !t.AuthTime.After(change.At) {
					p.step(c, func(m *authn.Machine) authn.Effects { return m.SessionEnded(why) })
				}
			}
		}
		then(err)
	})
}
