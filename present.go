package socketauth

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/authn"
)

// This file holds how a socket takes a token to the store.

// present takes a presentation to the store. All that can fail without the store comes first, so that
// a refused presentation consumes nothing.
func (s *Socket) present(ctx context.Context, in presented) outcome {
	a := s.server.auth
	t, refused := a.verify(ctx, in.token)
	switch {
	case refused == nil:
	case refused.token != nil: // the token was valid until it expired
		return s.unlessReuse(refused, in.at)
	default:
		return outcome{refused: a.countInvalidToken(s.connection.Network, s.connection.request.ClientIP, refused)}
	}
	if in.unclear != "" {
		a.logUnclear(in.unclear, slog.String("user", t.UserID), slog.String("address", s.connection.request.ClientIP),
			slog.String("user_agent", s.connection.request.UserAgent))
	}
	if own := s.own(); own != nil && (own.SessionID != t.SessionID || own.UserID != t.UserID) {
		return outcome{refused: &refusal{code: codeWrongSession}, presented: t}
	}
	stepUp, refused := a.verifyStepUp(ctx, in.stepUp, t)
	if refused != nil {
		return outcome{refused: refused, presented: t}
	}
	o := outcome{presented: t, acknowledges: in.confirm}
	asked := false // the store was, or is about to be, asked to decide
	r, refused := a.renew(ctx, &renewal{
		token: t, stepUp: stepUp, confirm: in.confirm, presentation: s.presentation(t, in.at),
		offered: func() *token { return s.offeredFor(t) },
		ready: func(next *token, tenant string) (refused *refusal) {
			asked = true
			o.done, refused = s.prepare(ctx, t, next, tenant, in.confirm)
			return refused
		},
		again: s.proposeAgain,
		gone:  func() bool { return s.phase() == authn.Closed },
		judge: func() (blacklist.Verdict, error) { return s.judge(t, in.at) },
	})
	o.next, o.tenant, o.verdict = r.next, r.tenant, r.verdict
	o.confirming = in.confirm && r.next != t
	switch {
	case refused != nil && !asked:
		return s.unlessReuse(refused.withToken(t), in.at)
	case refused != nil:
		o.refused = refused
	}
	return o
}

// offeredFor returns the token that the client was offered for t and has not confirmed, or nil.
func (s *Socket) offeredFor(t *token) *token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return (*token)(s.auth.OfferedFor(t.ID))
}

// prepare makes everything ready for the store to decide. If it does not refuse, done must be called once
// what the store has decided is carried out.
func (s *Socket) prepare(ctx context.Context, t, next *token, tenant string, confirms bool) (done func(), refused *refusal) {
	// Register the socket under its session and user before the store decides, so that a revocation
	// from now on finds it. If the presentation is refused, closing the socket removes it again.
	s.setCandidate(next)
	s.join(session(t.SessionID), user(t.UserID))
	if s.server.watcher.stale(time.Now()) { // after join: either this is noticed here, or the socket is disconnected
		return nil, &refusal{code: codeUnavailable, cause: errStale}
	}
	if refused := s.authorize(ctx, t, next, tenant, confirms && next != t); refused != nil {
		return nil, refused
	}
	if !s.server.beginStep() {
		return nil, &refusal{code: codeUnavailable, cause: errors.New("shutting down")}
	}
	done = s.server.steps.Done
	if !s.beginCall(causeOf(blacklist.SessionCompromised)) {
		return done, &refusal{code: codeTimeout, cause: errors.New("the socket was closed before the blacklist was asked")}
	}
	return done, nil
}

// proposeAgain records a token that was minted instead of an earlier one, which the store has not
// accepted. If OnAuthenticated has let the client in by the claims of the earlier one, OnClaimsChanged
// is told of these.
func (s *Socket) proposeAgain(next *token, tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth.Propose((*authn.Token)(next))
	if !s.auth.Admitted() {
		s.tenant = tenant
		s.auth.Identify((*authn.Token)(next))
	}
}

// presentation returns what the store has to know of a token that came at the given time. It names no
// successor.
func (s *Socket) presentation(t *token, at time.Time) blacklist.Presentation {
	return blacklist.Presentation{
		Token:            t.ref(),
		SocketOpenedAt:   byWallClock(s.connection.opened),
		PresentedAt:      byWallClock(at),
		SupersededWithin: s.server.auth.timeout,
		EndOnReuse:       s.server.auth.reusePolicy == EndSession,
		Address:          s.connection.request.ClientIP,
		UserAgent:        s.connection.request.UserAgent,
	}
}

// authorize acquires one of the user's slots and asks OnAuthenticated, once, whether to let the
// client in. If the client has to confirm first, it only makes sure that a slot is free: the rest is
// done by confirm.
func (s *Socket) authorize(ctx context.Context, t, next *token, tenant string, confirming bool) *refusal {
	a := s.server.auth
	if s.wasAuthenticated() {
		return nil
	}
	if !s.server.acquireSlot(s, t.UserID, !confirming) {
		// A token that is dead still goes to the store. Otherwise a thief whose sockets occupy all
		// slots could keep reuse from being detected.
		if refused := a.checkToken(ctx, t, 0, 0); refused == nil || refused.code == codeStaleToken {
			return s.refuseTooManySockets(t)
		}
	}
	switch {
	case confirming:
		return nil
	case !s.server.asksOnAuthenticated():
		s.setIdentity(next, tenant)
		return nil
	}
	// OnAuthenticated is asked about tokens that the store would accept. If it refuses, nothing has
	// been consumed.
	switch refused := a.checkToken(ctx, t, 0, 0); {
	case refused == nil, refused.code == codeStaleToken:
	case refused.code == codeUnavailable:
		return refused
	default:
		return nil // Present will refuse it too, and detects reuse
	}
	return s.runOnAuthenticated(ctx, next, tenant)
}
