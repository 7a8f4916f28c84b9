package socketauth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/engine"
)

// This file is what a socket's client can do about its identity: authenticate, stay, log out.

// authenticate answers one presentation: "authenticated" was sent if it was accepted.
func (s *Socket) authenticate(in presented, ack engine.Ack) {
	if s.phase() == authn.Closed {
		return
	}
	defer s.endCall()
	refused := s.present(in)
	if refused == nil {
		_ = s.acknowledge(ack, nil)
		return
	}
	s.acknowledgeError(ack, refused.code)
	s.refuse(refused)
}

// present is one presentation: first all that can fail without the store, which consumes nothing, then its one step.
func (s *Socket) present(in presented) *refusal {
	a := s.server.auth
	ctx, cancel := context.WithTimeout(s.ctx, a.timeout)
	defer cancel()

	t, refused := a.verify(ctx, in.token)
	switch {
	case refused == nil:
	case refused.token != nil: // it was good once
		return s.unlessReuse(refused, in.at)
	default:
		return a.countInvalidToken(s.connection.Network, s.connection.request.ClientIP, refused)
	}
	if in.unclear != "" {
		a.logUnclear(in.unclear, slog.String("user", t.UserID), slog.String("address", s.connection.request.ClientIP), slog.String("user_agent", truncate(s.connection.request.UserAgent)))
	}
	own := s.own()
	if own != nil && (own.SessionID != t.SessionID || own.UserID != t.UserID) {
		return &refusal{code: codeWrongSession, token: t}
	}
	tenant, refused := a.tenant(ctx, t)
	if refused != nil {
		return s.unlessReuse(refused.of(t), in.at)
	}
	next, refused := s.successor(ctx, t)
	if refused != nil {
		return s.unlessReuse(refused.of(t), in.at)
	}
	kept := next == t // and so it needs no confirmation
	confirming := in.confirm && !kept

	// So that a revocation from here on finds it. Where it has ended already, its refusal takes it out again.
	s.propose(next)
	s.join(session(t.SessionID), user(t.UserID))
	if !s.hasEntered() && !s.server.takePlace(s, t.UserID, !confirming) {
		// A token that is dead goes on to the store, or who holds the living ones could keep a reuse from being noticed.
		if refused := a.standing(ctx, t, 0, 0); refused == nil {
			return s.crowded(t)
		}
	}
	if !s.hasEntered() && !confirming {
		if refused := s.introduce(ctx, t, next, tenant); refused != nil {
			return refused.of(t)
		}
	}
	if !s.server.beginStep() {
		return &refusal{code: codeUnavailable, cause: errors.New("shutting down"), token: t}
	}
	defer s.server.steps.Done()
	if !s.beginCall(causeOf(blacklist.SessionCompromised)) {
		return &refusal{code: codeTimeout, token: t}
	}
	p := s.presentation(t, in.at)
	p.Confirming = confirming
	if !kept {
		p.SuccessorID, p.SuccessorExpiresAt = next.ID, next.ExpiresAt
	}
	verdict, err := s.presentToStore(p)
	if err != nil {
		return &refusal{code: codeUnavailable, cause: err, token: t}
	}
	switch {
	case verdict != blacklist.Accepted:
		return s.lost(t, verdict)
	case confirming:
		s.await(t, next, tenant)
	default:
		if refused := s.accept(ctx, t, next, tenant, in.confirm); refused != nil {
			return refused.of(t)
		}
	}
	if t.Use == useCode {
		a.trimSessions(context.WithoutCancel(s.ctx), t)
	}
	return nil
}

// byWallClock returns a time that this process has read as the wall clock shows it now. The clock may
// have been set since, and the store compares with its own.
func byWallClock(t time.Time) time.Time {
	now := time.Now()
	return now.Add(-now.Sub(t))
}

// presentation returns what the store has to know of a token that came at that time, without a
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

// unlessReuse returns what a client is told that came with a token to authenticate or to log out, and
// was refused before the store was asked: that refusal, unless the token had been replaced and so is
// reuse. A client that is refused for good does not come again, so a theft would never be noticed: the
// owner of an expired token may well have slept while a thief went on. A code counts within its own
// life alone: URLs that carried one stay in a browser's history.
func (s *Socket) unlessReuse(refused *refusal, at time.Time) *refusal {
	t, own := refused.token, s.own()
	switch {
	case !refused.terminal(), t.Use != useSession, s.server.auth.reusePolicy != EndSession:
		return refused // it will come again, or nothing could follow
	case own != nil && (own.SessionID != t.SessionID || own.UserID != t.UserID):
		return refused
	}
	verdict, err := s.judge(t, at)
	switch {
	case err != nil:
		return &refusal{code: codeUnavailable, cause: err, token: t}
	case verdict == blacklist.ReuseDetected:
		return s.lost(t, verdict)
	}
	return refused
}

// judge has the store decide on a session token that came without being presented for a successor.
// Nothing is recorded of a token that is alive. One that was replaced is judged as in a
// presentation, which is a second call to the store: what Check calls Replaced is dead for good, so
// that nothing can come between the two.
func (s *Socket) judge(t *token, at time.Time) (verdict blacklist.Verdict, err error) {
	a := s.server.auth
	s.beginCall(causeOf(blacklist.SessionCompromised))
	presented := false // and the reply to that was lost
	err = a.insist(context.WithoutCancel(s.ctx), func(ctx context.Context, _ bool) (err error) {
		if verdict, err = a.blacklist.Check(ctx, t.ref(), 0, 0); err != nil {
			return err
		}
		p := s.presentation(t, at)
		switch {
		case verdict == blacklist.Replaced:
			verdict, err = a.blacklist.Present(ctx, p)
			presented = true
		case presented && verdict == blacklist.SessionCompromised && p.EndOnReuse:
			verdict = blacklist.ReuseDetected
		}
		return err
	})
	return verdict, err
}

// successor is the token that is to replace t: t itself, where it is young, and the one that t was answered with
// before, where its client has not confirmed that yet.
func (s *Socket) successor(ctx context.Context, t *token) (*token, *refusal) {
	s.mu.Lock()
	offered := s.auth.OfferedFor(t.ID)
	s.mu.Unlock()
	switch {
	case s.server.auth.tokens.keeps(t):
		return t, nil
	case offered != nil:
		return (*token)(offered), nil
	}
	return s.server.auth.successor(ctx, t)
}

// propose notes what the socket is about to get, nil for nothing.
func (s *Socket) propose(next *token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.auth.Propose((*authn.Token)(next))
}

// introduce calls OnAuthenticated, once, for a token that the store would accept: refused, it has consumed nothing.
func (s *Socket) introduce(ctx context.Context, t, next *token, tenant string) *refusal {
	if !s.server.introduces() {
		s.name(next, tenant)
		return nil
	}
	if refused := s.server.auth.standing(ctx, t, 0, 0); refused != nil {
		if refused.code == codeUnavailable {
			return refused
		}
		return nil // the step will find out why, and do what follows
	}
	return s.welcome(ctx, next, tenant)
}

// welcome calls OnAuthenticated.
func (s *Socket) welcome(ctx context.Context, next *token, tenant string) *refusal {
	s.name(next, tenant)
	if err := s.server.authenticated(contextWithToken(ctx, next), s); err != nil {
		return refuseError("OnAuthenticated", err)
	}
	s.step((*authn.Machine).Admit)
	return nil
}

// own is the token that the socket lives on, or will once its client has confirmed it, if there is one.
func (s *Socket) own() *token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return (*token)(s.auth.Own())
}

func (s *Socket) hasEntered() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.auth.Entered()
}

// name gives the socket the identity it is about to have.
func (s *Socket) name(t *token, tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tenant = tenant
	s.auth.Identify((*authn.Token)(t))
}

// beginCall marks a store call as in flight. Until endCall, deadlines do not close the socket, and the end of the session
// that this call may cause is deferred. It returns false if the socket is closed.
func (s *Socket) beginCall(about authn.Cause) (ok bool) {
	s.step(func(m *authn.Machine) authn.Effects {
		ok = m.Begin(time.Now(), about)
		return authn.Effects{}
	})
	return ok
}

// presentToStore asks the store, again and again for up to Timeout: the step is the same however often it is taken. It is not
// broken off when the client leaves, for others may have to hear of its outcome; but then it is not taken again, only
// its outcome looked up, so that the client finds its token as good as it was where nothing has been decided. Reuse is
// made known all the same.
func (s *Socket) presentToStore(p blacklist.Presentation) (verdict blacklist.Verdict, err error) {
	a := s.server.auth
	err = a.insist(context.WithoutCancel(s.ctx), func(ctx context.Context, again bool) (err error) {
		left := again && s.phase() == authn.Closed
		if left {
			verdict, err = a.blacklist.Check(ctx, p.Token, 0, 0)
		}
		if !left || verdict == blacklist.Replaced && p.EndOnReuse { // a dead token can lose nothing any more
			verdict, err = a.blacklist.Present(ctx, p)
		}
		if again && verdict == blacklist.SessionCompromised && p.EndOnReuse {
			verdict = blacklist.ReuseDetected // by the call whose reply was lost
		}
		return err
	})
	return verdict, err
}

// lost is what follows from a presentation that the store refused.
func (s *Socket) lost(t *token, v blacklist.Verdict) *refusal {
	a, refused := s.server.auth, refuseVerdict(v).of(t)
	switch v {
	case blacklist.Unknown:
		a.logLoss(slog.String("user", t.UserID), slog.String("session", t.SessionID), slog.Uint64("generation", t.Generation), slog.String("address", s.connection.request.ClientIP))
	case blacklist.ReuseDetected:
		a.record(s.ctx, slog.LevelWarn, "socketauth: a token was presented that had been replaced; its session was ended everywhere, for one of the two has the other's token",
			s.event(AuditReuse, t, refused.code), slog.Uint64("generation", t.Generation),
			slog.String("fix", "where this is no theft: clients give the handshake's auth as a function that reads the storage, store each new token at once and only then confirm it, and let tabs take turns; a page reloaded while it presents without confirming does this too"))
		a.endSession(t.SessionID, causeOf(blacklist.SessionCompromised))
	}
	return refused
}

// accept lets the socket in, or lets it stay, with a token that is good already.
func (s *Socket) accept(ctx context.Context, t, next *token, tenant string, acknowledged bool) *refusal {
	if s.mustBeIntroduced() { // the store accepted what it would not have a moment ago
		if refused := s.welcome(ctx, next, tenant); refused != nil {
			return refused
		}
	}
	s.tell(next, acknowledged, nil) // a client that went away will be reported as such
	s.enter(t, next, tenant)
	return nil
}

// mustBeIntroduced says whether OnAuthenticated is still to be asked.
func (s *Socket) mustBeIntroduced() bool {
	s.mu.Lock()
	introduced := s.auth.Admitted()
	s.mu.Unlock()
	return !introduced && s.server.introduces()
}

// tell sends the client a token. stored is called when it acknowledges that, if it is to.
func (s *Socket) tell(next *token, acknowledged bool, stored func()) {
	s.conn.Trust() // before it can answer by what a stranger may not say
	s.mu.Lock()
	s.auth.Sent()
	s.mu.Unlock()
	m, _ := engine.NewMessage(eventAuthenticated, next.Text)
	if !acknowledged {
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
	if s.forget != nil { // one that is not waited for any more
		s.forget()
	}
	s.forget = forget
}

// enter makes the socket authenticated by a token that holds its generation.
func (s *Socket) enter(t, next *token, tenant string) {
	var first, ok, behind bool
	var rooms []string
	var held []*engine.Message
	s.step(func(m *authn.Machine) authn.Effects {
		if first, ok = m.Enter((*authn.Token)(next)); ok {
			s.hasSlot, s.tenant = true, tenant
			rooms, held = s.rooms, s.held
			s.rooms, s.held = nil, nil
			behind = m.Behind()
		}
		return authn.Effects{}
	})
	if !ok { // it was closed while the store decided
		return
	}
	if first {
		s.connection.joined.Store(false)
		s.server.pool.Promote(&s.connection.Member)
		for _, m := range held {
			if err := s.conn.Emit(m); errors.Is(err, engine.ErrTooLarge) {
				s.server.auth.log.Error("socketauth: emit of OnAuthenticated failed", slog.Any("cause", err))
			}
		}
		s.join(everyone)
		if behind {
			s.tellRotated()
		}
	}
	s.joinRooms(rooms)
	a := s.server.auth
	if first {
		a.record(s.ctx, slog.LevelDebug, "socketauth: authenticated", s.event(AuditAuthenticated, next, ""))
	}
	if t != next && t.Use == useSession {
		a.record(s.ctx, slog.LevelDebug, "socketauth: token rotated", s.event(AuditRotated, next, ""))
	}
}

// logout ends the session: the socket's own, or that of the living token it was given. A client that left right after
// it asked is served all the same.
func (s *Socket) logout(args engine.Args, at time.Time, ack engine.Ack) {
	defer s.endCall()
	ending, refused := s.endOf(args, at)
	if refused != nil {
		s.acknowledgeError(ack, refused.code)
		s.refuse(refused)
		return
	}
	s.server.auth.record(s.ctx, slog.LevelInfo, "socketauth: logged out", s.event(AuditLogout, ending, ""))
	_ = s.acknowledge(ack, nil)
	m, _ := engine.NewMessage(eventLoggedOut)
	s.server.auth.endSession(ending.SessionID, causeLoggedOut)
	s.end(string(causeLoggedOut), m)
}

// endOf finds the session that a logout is for, and has the store end it. A socket that has none of
// its own ends that of the token it brings, if that is alive. If it was replaced, this is reuse: a
// theft must not go unnoticed because its victim has logged out.
func (s *Socket) endOf(args engine.Args, at time.Time) (*token, *refusal) {
	a := s.server.auth
	life := context.WithoutCancel(s.ctx)
	ctx, cancel := context.WithTimeout(life, a.timeout)
	defer cancel()
	var text string
	if len(args.Values) > 0 {
		_ = json.Unmarshal(args.Values[0], &text) // what is no string is no token
	}
	given, refused := a.verify(ctx, text)

	ending := s.own()
	switch {
	case ending != nil && given != nil && given.SessionID != ending.SessionID:
		return nil, &refusal{code: codeWrongSession}
	case ending != nil:
	case refused != nil && refused.token != nil:
		return nil, s.unlessReuse(refused, at)
	case refused != nil:
		return nil, a.countInvalidToken(s.connection.Network, s.connection.request.ClientIP, refused)
	case given.Use != useSession:
		return nil, &refusal{code: codeInvalidToken, cause: errors.New("a code where a session token is due")}
	default:
		verdict, err := s.judge(given, at)
		switch {
		case err != nil:
			return nil, &refusal{code: codeUnavailable, cause: err, token: given}
		case verdict != blacklist.Accepted:
			return nil, s.lost(given, verdict)
		}
		ending = given
	}
	s.beginCall(causeLoggedOut)
	err := a.insist(life, func(ctx context.Context, _ bool) error {
		_, err := a.blacklist.Revoke(ctx, blacklist.Revocation{SessionID: ending.SessionID, Why: blacklist.LoggedOut, Keep: a.tokens.codeWithin()})
		return err
	})
	if err != nil {
		return nil, &refusal{code: codeUnavailable, cause: err}
	}
	return ending, nil
}

// refuse tells the client, and disconnects it unless it is authenticated and stays so.
func (s *Socket) refuse(r *refusal) {
	kind := AuditRefused
	if r.code == codeTokenExpired && r.token == nil {
		kind = AuditExpired // on the socket, which a presentation that comes too late is not
	}
	e := s.event(kind, cmp.Or(r.token, s.own()), r.code)
	s.dismiss(r) // first, for Audit may take its time
	s.server.auth.recordRefusal(s.ctx, "socketauth: socket refused", r, s.connection.Network, e)
}

// dismiss is refuse for what was recorded already.
func (s *Socket) dismiss(r *refusal) {
	m, err := engine.NewMessage(eventUnauthorized, r.payload())
	if err != nil {
		s.server.auth.log.Error("socketauth: " + err.Error())
	}
	stays := false
	e := s.step(func(state *authn.Machine) (e authn.Effects) {
		e, stays = state.Refuse(r.code, r.terminal() || r.closes)
		return e
	})
	switch {
	case stays:
		_ = s.conn.Emit(m)
	case e.Closed:
		s.conn.Close(m)
	}
}

// refuseClosed tells the client why its socket's state has closed it. It ends what the caller has added to the server's
// work.
func (s *Socket) refuseClosed(code string) {
	r := &refusal{code: code, closes: true, notForever: code == authn.BranchLost}
	m, _ := engine.NewMessage(eventUnauthorized, r.payload())
	s.conn.Close(m)
	kind := AuditRefused
	if code == codeTokenExpired {
		kind = AuditExpired
	}
	e := s.event(kind, s.own(), code)
	go func() { // Audit may take its time, which is not that of whoever caused this
		defer s.server.work.Done()
		s.guarded(func() { s.server.auth.recordRefusal(s.ctx, "socketauth: socket refused", r, s.connection.Network, e) })()
	}()
}

// event is what happened on a socket, to the token's session.
func (s *Socket) event(kind AuditKind, t *token, code string) AuditEvent {
	e := AuditEvent{Kind: kind, SocketID: s.ID(), Address: s.connection.request.ClientIP, UserAgent: s.connection.request.UserAgent, Code: code}
	if t != nil {
		e.UserID, e.SessionID = t.UserID, t.SessionID
	}
	return e
}
