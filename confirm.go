package socketauth

import (
	"context"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

// This file is what confirming clients are about: a token that was sent and is not known to have arrived, and what the
// other sockets of the session hear once it is.

// await sends a confirming client its next token. Until it confirms, the socket is what it was before.
func (s *Socket) await(t, next *token, tenant string) {
	s.mu.Lock()
	if s.phase == ended || s.overBy != 0 || s.expelled { // while the store was at it
		s.mu.Unlock()
		return
	}
	if s.pending == nil || s.pending.ID == t.ID { // else its time is running already
		s.confirmBy = time.Now().Add(s.server.auth.timeout)
	}
	if s.entered {
		s.token = t
	}
	s.pending, s.pendingFor = next, t.ID
	s.mu.Unlock()

	s.schedule()
	s.tell(next, true, func() {
		s.control.Must(&s.server.work, s.guarded(func() { s.confirm(t, next, tenant) }))
	})
}

// confirm is the client's word that it has stored the token. It counts also where the client left right after.
func (s *Socket) confirm(t, next *token, tenant string) {
	if !s.awaits(next) { // it was presented already, which confirmed it
		return
	}
	s.decide(0)
	defer s.decided()
	s.propose(next)
	defer s.propose(nil)
	a := s.server.auth
	var verdict Verdict
	err := a.insist(context.WithoutCancel(s.ctx), func(ctx context.Context, _ bool) (err error) {
		verdict, err = a.blacklist.Confirm(ctx, next.ref())
		return err
	})
	s.settle()
	var refused *refusal
	switch {
	case err != nil:
		refused = &refusal{code: codeUnavailable, cause: err}
	case verdict == Overtaken:
		refused = &refusal{code: codeNoLongerValid, notForever: true, closes: true}
	case verdict == Replaced && s.hasEntered(): // of an older generation: it changes nothing
		return
	case verdict == Replaced:
		refused = &refusal{code: codeNoLongerValid, notForever: true}
	case verdict != Accepted:
		refused = refuseVerdict(verdict)
	case s.at() == ended:
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
	return s.pending == next
}

// settle ends the wait for a confirmation.
func (s *Socket) settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pending, s.pendingFor = nil, ""
}

// another is what the socket does when a token of its session was confirmed.
func (s *Socket) another(c Change) {
	s.mu.Lock()
	var lost, behind bool
	s.latest = max(s.latest, c.Generation)
	switch {
	case s.phase == ended:
	case s.candidate != nil && (s.candidate.ID == c.TokenID || s.candidate.Generation > c.Generation): // by itself
	case s.phase == connecting: // it waits for its client to confirm another branch
		lost = s.pending != nil && s.pending.ID != c.TokenID && s.pending.Generation <= c.Generation
	default:
		behind = s.token.Generation < c.Generation && (s.pending == nil || s.pending.ID != c.TokenID)
	}
	s.mu.Unlock()
	switch {
	case lost: // in its own time, which is not that of whoever confirmed
		s.control.Must(&s.server.work, s.guarded(func() {
			s.refuse(&refusal{code: codeNoLongerValid, notForever: true, closes: true})
		}))
	case behind && s.live():
		s.tellRotated()
	}
}

func (s *Socket) tellRotated() {
	m, _ := engine.NewMessage(eventRotated)
	_ = s.conn.Emit(m)
}
