package socketauth

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/lazyctx"
)

// This file holds what a client can do about its identity: authenticate and confirm.

var errStale = errors.New("the blacklist was not heard for Cluster.MaxStale")

// authenticate handles one presentation: it sends the client "authenticated" or a refusal, and
// acknowledges the event.
func (s *Socket) authenticate(in presented, ack engine.Ack) {
	if s.phase() == authn.Closed {
		return
	}
	defer s.endCall()
	s.step(func(m *authn.Machine) authn.Effects { m.Present(); return authn.Effects{} })
	ctx, cancel := lazyctx.WithTimeout(&s.life, s.server.auth.timeout)
	defer cancel()
	traced, end := s.server.auth.span(ctx, "presentation")
	refused := s.apply(traced, s.present(traced, in))
	end(refused.err())
	if refused != nil {
		acknowledgeError(ack, refused.code)
		s.refuse(refused)
		return
	}
	_ = acknowledge(ack, nil)
}

// apply does what follows from an outcome. It returns the refusal that is still to be sent to the
// client, or nil.
func (s *Socket) apply(ctx context.Context, o outcome) *refusal {
	if o.done != nil {
		defer o.done()
	}
	switch {
	case o.refused != nil:
		return o.refused.withToken(o.presented)
	case o.verdict != blacklist.Accepted:
		return s.handleRejection(o.presented, o.verdict)
	case o.confirming:
		s.offer(o.presented, o.next, o.tenant)
	default:
		// OnAuthenticated was not asked if checkToken refused what the store has accepted since.
		switch {
		case s.needsAuthorization():
			if refused := s.runOnAuthenticated(ctx, o.next, o.tenant); refused != nil {
				return refused.withToken(o.presented)
			}
		case !s.wasAuthenticated(): // OnDisconnect is owed even if the client leaves as soon as it is told
			s.step((*authn.Machine).Admit)
		}
		s.hear()
		s.sendToken(o.next, o.acknowledges, nil)
		s.enter(o.presented, o.next, o.tenant)
	}
	if o.presented.Use == useCode {
		s.server.auth.begun(context.WithoutCancel(ctx), o.presented, o.next)
	}
	return nil
}

// runOnAuthenticated asks the app whether to let the client in.
func (s *Socket) runOnAuthenticated(ctx context.Context, next *token, tenant string) *refusal {
	s.setIdentity(next, tenant)
	if err := s.server.runOnAuthenticated(contextWithToken(ctx, next), s); err != nil {
		return refuseError("OnAuthenticated", err)
	}
	s.step((*authn.Machine).Admit)
	return nil
}

// offer sends a confirming client its next token. Until the client confirms it, the socket stays
// what it was.
func (s *Socket) offer(t, next *token, tenant string) {
	offered := false
	s.step(func(m *authn.Machine) authn.Effects {
		offered = m.Offer(time.Now(), (*authn.Token)(t), (*authn.Token)(next))
		return authn.Effects{}
	})
	if !offered { // the socket was closed while the store decided
		return
	}
	s.sendToken(next, true, func() {
		s.control.PushAlways(&s.server.runner, s.task(func() { s.confirm(t, next, tenant) }))
	})
}

// confirm handles the client's acknowledgement that it has stored the token next, even if the
// client has left since.
func (s *Socket) confirm(t, next *token, tenant string) {
	if !s.awaits(next) { // next was presented already, which confirmed it
		return
	}
	s.beginCall("")
	defer s.endCall()
	s.setCandidate(next)
	result, err := s.server.auth.confirm(context.WithoutCancel(&s.life), next.ref())
	verdict := result.Verdict
	s.step(func(m *authn.Machine) authn.Effects { m.Settle(); return authn.Effects{} })
	var refused *refusal
	switch {
	case err != nil:
		refused = &refusal{code: codeUnavailable, cause: err}
	case verdict == blacklist.Superseded:
		refused = &refusal{code: codeNoLongerValid, retryable: true, closes: true}
	case verdict == blacklist.Stale && s.wasAuthenticated():
		s.outdate(result.Mark)
		return
	case verdict == blacklist.Stale: // the client has stored the token, and comes back with it
		s.reconnect(authn.Outdated)
		return
	case verdict == blacklist.Replaced && s.wasAuthenticated(): // of an older generation
		s.stay()
		return
	case verdict == blacklist.Replaced:
		refused = &refusal{code: codeNoLongerValid, retryable: true}
	case verdict != blacklist.Accepted:
		refused = refuseVerdict(verdict)
	case s.phase() == authn.Closed:
		return
	case !s.wasAuthenticated() && !s.server.acquireSlot(s, next.UserID, true):
		refused = s.refuseTooManySockets(next)
	case s.needsAuthorization():
		ctx, cancel := lazyctx.WithTimeout(&s.life, s.server.auth.timeout)
		refused = s.runOnAuthenticated(ctx, next, tenant)
		cancel()
	}
	if refused != nil {
		s.refuse(refused.withToken(next))
		s.stay()
		return
	}
	s.enter(t, next, tenant)
}

// stay lets a client that is in, and was offered a token which is not confirmed, go on with the one
// that it has presented. If the app has not seen the claims of that, the client comes back instead,
// and is asked about as a whole: its tenant may be another one, too.
func (s *Socket) stay() {
	s.mu.Lock()
	unseen := s.auth.Held() && s.auth.Current()
	s.mu.Unlock()
	if unseen {
		s.reconnect(authn.Outdated)
	}
}

// hear adds the socket to those who receive broadcasts. Until enter has let it in, they are kept
// for it, so that a client that has been told that it is authenticated misses none from then on.
func (s *Socket) hear() {
	s.mu.Lock()
	if s.auth.Phase() < authn.Authenticated {
		s.entering = true
	}
	s.mu.Unlock()
	s.join(everyone)
}

// sendToken sends the client a token. stored, unless it is nil, is called when the client has
// acknowledged it.
func (s *Socket) sendToken(next *token, acknowledges bool, stored func()) {
	s.conn.Trust() // before the client can answer with what an unauthenticated one may not send
	s.mu.Lock()
	s.auth.Sent()
	s.mu.Unlock()
	m, _ := engine.NewMessage(eventAuthenticated, next.Text)
	if !acknowledges {
		_ = s.conn.Emit(m)
		return
	}
	forget, err := s.conn.EmitAck(m, func(_ engine.Args, err error) {
		if err == nil && stored != nil {
			stored()
		}
	})
	if err != nil {
		return
	}
	if s.forget != nil { // nobody waits for the acknowledgement before it any more
		s.forget()
	}
	s.forget = forget
}

// enter lets the client in, or lets it stay, with a token that holds its generation.
func (s *Socket) enter(t, next *token, tenant string) {
	var first, ok, behind bool
	var rooms []string
	kept := next.withoutText()
	s.step(func(m *authn.Machine) (e authn.Effects) {
		if e, first, ok = m.Enter(time.Now(), (*authn.Token)(kept)); ok {
			s.hasSlot, s.tenant = true, tenant
			if s.waiting != nil {
				rooms, s.waiting.rooms = s.waiting.rooms, nil
			}
			s.entering = s.entering || first
			behind = m.Behind()
		}
		if first { // with the lock held, so that a client that leaves now is demoted after this
			s.connection.joined.Store(false)
			s.server.pool.Promote(&s.connection.Member)
		}
		return e
	})
	if !ok { // the socket was closed while the store decided
		return
	}
	a := s.server.auth
	if first {
		s.join(everyone)
	}
	if refused := s.settle(rooms); refused != nil {
		s.refuse(refused)
		return
	}
	if first && behind {
		s.sendRotated()
	}
	if first {
		a.record(&s.life, slog.LevelDebug, "socketauth: authenticated", s.event(AuditAuthenticated, next, ""))
	}
	if t != next && t.Use == useSession {
		a.record(&s.life, slog.LevelDebug, "socketauth: token rotated", s.event(AuditRotated, next, ""))
	}
}

// settle joins the rooms of OnAuthenticated, has the app act on claims that it has not seen, and
// sends what has waited for that.
func (s *Socket) settle(rooms []string) *refusal {
	s.mu.Lock()
	held := s.auth.Held()
	s.mu.Unlock()
	if !held { // first what was emitted before
		s.release()
	}
	s.joinRooms(rooms)
	if refused := s.actOnClaims(); refused != nil {
		return refused
	}
	s.release()
	return nil
}

// refuse sends the client a refusal and records it. The connection ends, unless the client is
// authenticated and stays so.
func (s *Socket) refuse(r *refusal) {
	e := s.event(AuditRefused, cmp.Or(r.token, s.own()), r.code)
	s.sendRefusal(r) // first, because Audit may be slow
	s.server.auth.recordRefusal(&s.life, "socketauth: socket refused", r, s.connection.Network, e)
}

// sendRefusal sends the client a refusal without recording it.
func (s *Socket) sendRefusal(r *refusal) {
	stays := false
	e := s.step(func(m *authn.Machine) (e authn.Effects) {
		e, stays = m.Refuse(r.code, r.terminal() || r.closes)
		return e
	})
	switch {
	case stays:
		_ = s.conn.Emit(r.message())
	case e.Closed:
		s.conn.Close(r.message())
	}
}

// closeRefused sends the client the refusal for which the state machine has closed the socket,
// closes the connection and records the refusal. The caller has added 1 to the server's work for
// it.
func (s *Socket) closeRefused(end authn.Effects) {
	r := refuseClosed(end)
	s.conn.Close(r.message())
	kind := AuditRefused
	if r.code == codeTokenExpired {
		kind = AuditExpired
	}
	e := s.event(kind, s.own(), r.code)
	go func() { // Audit may be slow, and the caller may be serving another client or the store
		defer s.server.work.Done()
		s.guard(func() {
			s.server.auth.recordRefusal(&s.life, "socketauth: socket refused", r, s.connection.Network, e)
		})
	}()
}

// own returns the token that the socket lives on or will live on once its client has confirmed it,
// or nil.
func (s *Socket) own() *token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return (*token)(s.auth.Own())
}

// wasAuthenticated reports whether the client has been authenticated at any time.
func (s *Socket) wasAuthenticated() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.auth.Entered()
}

// awaits reports whether the client has yet to confirm next.
func (s *Socket) awaits(next *token) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.auth.Awaits((*authn.Token)(next))
}

// setIdentity gives the socket the identity under which OnAuthenticated sees it.
func (s *Socket) setIdentity(t *token, tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tenant = tenant
	s.auth.Identify((*authn.Token)(t))
}

// setCandidate records the token that the presentation in progress would give the client.
func (s *Socket) setCandidate(next *token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth.Propose((*authn.Token)(next))
}

// beginCall marks a store call as in flight, or the app's hooks that come before one. Until endCall,
// no deadline closes the socket before twice the time to authenticate, and the end of the session
// that this call may cause is deferred. It returns false if the socket is closed, as it is from now
// on if a deadline has passed.
func (s *Socket) beginCall(about authn.Cause) (ok bool) {
	s.step(func(m *authn.Machine) (e authn.Effects) {
		e, ok = m.Begin(time.Now(), about)
		return e
	})
	return ok
}

// endCall ends what beginCall began, once what followed from it is done.
func (s *Socket) endCall() { s.step((*authn.Machine).Done) }

// present takes a presentation to the store. All that can fail without the store comes first, so
// that a refused presentation consumes nothing.
func (s *Socket) present(ctx context.Context, in presented) outcome {
	a := s.server.auth
	t, refused := a.verifyProved(ctx, in, s.conn.SessionID())
	switch {
	case refused == nil:
	case refused.token == nil:
		return outcome{refused: a.countInvalidToken(s.connection.Network, s.connection.request.clientIP, refused)}
	case refused.code == codeTokenExpired:
		return s.unlessReuse(refused, in.at)
	default:
		return outcome{refused: refused, presented: refused.token}
	}
	if in.unclear != "" {
		a.logUnclear(in.unclear, slog.String("user", t.UserID), slog.String("address", s.connection.request.clientIP),
			slog.String("user_agent", s.connection.request.userAgent.text()))
	}
	if own := s.own(); own != nil && (own.SessionID != t.SessionID || own.UserID != t.UserID) {
		return outcome{refused: &refusal{code: codeWrongSession}, presented: t}
	}
	stepUp, refused := a.verifyStepUp(ctx, in.stepUp, t)
	if refused != nil {
		return s.unlessReuse(refused, in.at)
	}
	o := outcome{presented: t, acknowledges: in.confirm}
	inTime := func() { s.beginCall("") } // however long the app's hooks take
	if s.wasAuthenticated() {
		inTime()
	}
	asked := false // the store was, or is about to be, asked to decide
	r, refused := a.renew(ctx, &renewal{
		token: t, stepUp: stepUp, confirm: in.confirm, presentation: s.presentation(t, in.at),
		offered:  func() *token { return s.offeredFor(t) },
		updating: inTime,
		ready: func(next *token, tenant string) (refused *refusal) {
			asked = true
			o.done, refused = s.prepare(ctx, t, next, tenant, in.confirm)
			return refused
		},
		again:   s.proposeAgain,
		hasLeft: func() bool { return s.phase() == authn.Closed },
		judge:   func() (blacklist.Verdict, error) { return s.judge(t, in.at) },
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

// prepare makes everything ready for the store to decide. If it does not refuse, done must be
// called once what the store has decided is carried out.
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
// accepted. If OnAuthenticated has let the client in by the claims of the earlier one,
// OnClaimsChanged is told of these.
func (s *Socket) proposeAgain(next *token, tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth.Propose((*authn.Token)(next))
	if !s.auth.Admitted() {
		s.tenant = tenant
		s.auth.Identify((*authn.Token)(next))
	}
}

// presentation returns what the store has to know of a token that came at the given time. It names
// no successor.
func (s *Socket) presentation(t *token, at time.Time) blacklist.Presentation {
	return blacklist.Presentation{
		Token:            t.ref(),
		SocketOpenedAt:   byWallClock(s.connection.opened),
		PresentedAt:      byWallClock(at),
		SupersededWithin: s.server.auth.timeout,
		EndOnReuse:       s.server.auth.reusePolicy == EndSession,
		Address:          s.connection.request.clientIP,
		UserAgent:        s.connection.request.userAgent.text(),
	}
}

// authorize acquires one of the user's slots and asks OnAuthenticated, once, whether to let the
// client in. If the client has to confirm first, it only makes sure that a slot is free: the rest
// is done by confirm.
func (s *Socket) authorize(ctx context.Context, t, next *token, tenant string, confirming bool) *refusal {
	a := s.server.auth
	if s.wasAuthenticated() {
		return nil
	}
	if !s.server.acquireSlot(s, t.UserID, !confirming) {
		// A token that is dead still goes to the store. Otherwise a thief whose sockets occupy all
		// slots could keep reuse from being detected.
		if refused := a.checkToken(ctx, t); refused == nil || refused.code == codeStaleToken {
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
	switch refused := a.checkToken(ctx, t); {
	case refused == nil, refused.code == codeStaleToken:
	case refused.code == codeUnavailable:
		return refused
	default:
		return nil // Present will refuse it too, and detects reuse
	}
	return s.runOnAuthenticated(ctx, next, tenant)
}
