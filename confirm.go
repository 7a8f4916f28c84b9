package socketauth

import (
	"context"
	"time"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/engine"
)

// This file is what confirming clients are about: a token that was sent and is not known to have arrived, and what the
// other sockets of the session hear once it is.

// await sends a confirming client its next token. Until it confirms, the socket is what it was before.
func (s *Socket) await(t, next *token, tenant string) {
	offered := false
	s.step(func(m *authn.Machine) authn.Effects {
		offered = m.Offer(time.Now(), (*authn.Token)(t), (*authn.Token)(next))
		return authn.Effects{}
	})
	if !offered { // it was closed while the store decided
		return
	}
	s.tell(next, true, func() {
		s.control.Must(&s.server.work, s.guarded(func() { s.confirm(t, next, tenant) }))
	})
}

// confirm is the client's word that it has stored the token. It counts also where the client left right after.
func (s *Socket) confirm(t, next *token, tenant string) {
	if !s.awaits(next) { // it was presented already, which confirmed it
		return
	}
	s.beginCall("")
	defer s.endCall()
	s.propose(next)
	a := s.server.auth
	var verdict blacklist.Verdict
	err := a.insist(context.WithoutCancel(s.ctx), func(ctx context.Context, _ bool) (err error) {
		verdict, err = a.blacklist.Confirm(ctx, next.ref())
		return err
	})
	s.step(func(m *authn.Machine) authn.Effects { m.Settle(); return authn.Effects{} })
	var refused *refusal
	switch {
	case err != nil:
		refused = &refusal{code: codeUnavailable, cause: err}
	case verdict == blacklist.Superseded:
		refused = &refusal{code: codeNoLongerValid, notForever: true, closes: true}
	case verdict == blacklist.Replaced && s.hasEntered(): // of an older generation: it changes nothing
		return
	case verdict == blacklist.Replaced:
		refused = &refusal{code: codeNoLongerValid, notForever: true}
	case verdict != blacklist.Accepted:
		refused = refuseVerdict(verdict)
	case s.phase() == authn.Closed:
		return
	case !s.hasEntered() && !s.server.takePlace(s, next.UserID, true):
		refused = s.crowded(next)
	case s.mustBeIntroduced():
		ctx, cancel := context.WithTimeout(s.ctx, a.timeout)
		refused = s.welcome(ctx, next, tenant)
		cancel()
	}
	if refused != nil {
		s.refuse(refused.of(next))
		return
	}
	s.enter(t, next, tenant)
}

func (s *Socket) awaits(next *token) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.auth.Awaits((*authn.Token)(next))
}

// another is what the socket does when a token of its session was confirmed.
func (s *Socket) another(c blacklist.Change) {
	s.step(func(m *authn.Machine) authn.Effects { return m.Confirmed(c.TokenID, c.Generation) })
}

func (s *Socket) tellRotated() {
	if !s.live() {
		return
	}
	m, _ := engine.NewMessage(eventRotated)
	_ = s.conn.Emit(m)
}
