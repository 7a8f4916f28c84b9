package socketauth

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/admission"
	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/hub"
	"github.com/z-open/socketauth/internal/lazyctx"
)

// This file holds how sockets follow what happens to their sessions, and how a client ends its own.

// prepareRevocation implements socketServer. It looks up the sockets before the store decides,
// because the store may report the change, which closes them, before its Revoke returns.
func (s *Server) prepareRevocation(r blacklist.Revocation) func(blacklist.Change) int {
	affected := make(map[*Socket]struct{})
	add := func() {
		for _, socket := range s.of(r.SessionID, r.UserID, r.All) {
			if socket.phase() != authn.Closed {
				affected[socket] = struct{}{}
			}
		}
	}
	add()
	return func(c blacklist.Change) (closed int) {
		add()
		s.applyChange(c)
		for socket := range affected {
			if socket.closedFor(codeSessionRevoked) && !socket.counted.Swap(true) {
				closed++
			}
		}
		return closed
	}
}

// revokedElsewhere implements socketServer. The store may have reported the change already, which
// has closed the sockets; these are in s.revoked.
func (s *Server) revokedElsewhere(ctx context.Context, r blacklist.Revocation) (closed int, ok bool) {
	affected := s.of(r.SessionID, r.UserID, r.All)
	if !s.watcher.recheckNow(ctx, sessionsOf(affected)) {
		return 0, false
	}
	for _, socket := range append(affected, s.revoked.All()...) {
		if socket.concerns(r) && socket.closedFor(codeSessionRevoked) && !socket.counted.Swap(true) {
			closed++
		}
	}
	return closed, true
}

// concerns reports whether the socket belongs, or was about to belong, to one of the sessions that
// a revocation is about.
func (s *Socket) concerns(r blacklist.Revocation) bool {
	t := s.known()
	return t != nil && (r.All || t.UserID == r.UserID && (r.SessionID == "" || t.SessionID == r.SessionID) && t.SessionID != r.Except)
}

// connectionCounts implements socketServer.
func (s *Server) connectionCounts() map[string]admission.Count { return s.pool.Counts() }

// liveSockets implements socketServer.
func (s *Server) liveSockets(sessionID string) (n int) {
	for _, socket := range s.hub.Members(session(sessionID)) {
		if socket.live() {
			n++
		}
	}
	return n
}

// endSession implements socketServer.
func (s *Server) endSession(sessionID string, why authn.Cause) {
	for _, socket := range s.hub.Members(session(sessionID)) {
		socket.sessionEnded(why)
	}
}

// of returns the sockets of a session, if it is that user's, or of a user, or all sockets that have
// presented a token. A store that knows sessions by their users alone reports the end of one that
// is not the user's, too.
func (s *Server) of(sid, userID string, all bool) []*Socket {
	switch {
	case all:
		return s.hub.All()
	case sid != "":
		return slices.DeleteFunc(s.hub.Members(session(sid)), func(socket *Socket) bool {
			t := socket.known()
			return userID != "" && t != nil && t.UserID != userID
		})
	}
	return s.hub.Members(user(userID))
}

// applyChange implements followers. It may be called more than once for one change.
func (s *Server) applyChange(c blacklist.Change) {
	switch {
	case c.Verdict == blacklist.Accepted && c.Hint:
		s.watcher.verify(c)
	case c.Verdict == blacklist.Accepted:
		for _, socket := range s.hub.Members(session(c.SessionID)) {
			socket.tokenConfirmed(c)
		}
	case c.Verdict == blacklist.Stale && c.Hint:
		s.watcher.recheck(sessionsOf(s.of(c.SessionID, c.UserID, false)))
	case c.Verdict == blacklist.Stale:
		s.outdate(c)
	case ends(c.Verdict) && c.Hint && c.All:
		s.watcher.recheckAll()
	case ends(c.Verdict) && c.Hint:
		s.watcher.recheck(sessionsOf(s.of(c.SessionID, c.UserID, c.All)))
	case ends(c.Verdict):
		var later []*Socket
		for _, socket := range s.of(c.SessionID, c.UserID, c.All) {
			if c.SessionID == "" && socket.provedAfter(c.At) || c.Except != "" && socket.isOf(c.Except) {
				later = append(later, socket)
				continue
			}
			socket.sessionEnded(causeOf(c.Verdict))
		}
		// These are the excepted session and those of later logins, or of earlier ones if a clock is
		// ahead. Only the store knows which of them have ended.
		s.watcher.recheck(sessionsOf(later))
	}
}

// outdate implements socketServer. It may be called more than once for one change.
func (s *Server) outdate(c blacklist.Change) (sockets int) {
	for _, socket := range s.of(c.SessionID, c.UserID, false) {
		if socket.outdate(c.Mark) {
			sockets++
		}
	}
	return sockets
}

// outdateSession implements followers.
func (s *Server) outdateSession(sessionID string, mark int64) {
	for _, socket := range s.hub.Members(session(sessionID)) {
		socket.outdate(mark)
	}
}

// refreshedElsewhere implements socketServer.
func (s *Server) refreshedElsewhere(ctx context.Context, c blacklist.Change) (outdated int, ok bool) {
	affected := s.of(c.SessionID, c.UserID, false)
	if !s.watcher.recheckNow(ctx, sessionsOf(affected)) {
		return 0, false
	}
	for _, socket := range s.of(c.SessionID, c.UserID, false) {
		switch {
		case socket.knowsMark(c.Mark):
			outdated++
		case socket.phase() == authn.Authenticated: // the store does not know the mark yet
			return 0, false
		}
	}
	return outdated, true
}

// outdate has the claims of the socket brought up to date, if their mark is lower. It reports
// whether the client is in.
func (s *Socket) outdate(mark int64) bool {
	s.step(func(m *authn.Machine) authn.Effects { return m.Outdate(mark, time.Now()) })
	return s.knowsMark(mark)
}

// knowsMark reports whether the client is in, and claims with a lower mark are known to be out of
// date.
func (s *Socket) knowsMark(mark int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.auth.Phase() == authn.Authenticated && s.auth.Mark() >= mark
}

// allSessions implements followers.
func (s *Server) allSessions() []string { return sessionsOf(s.hub.All()) }

// sessionsOf returns the sessions that sockets belong to or are about to belong to. Some may occur
// more than once.
func sessionsOf(sockets []*Socket) []string {
	sessions := make([]string, 0, len(sockets))
	for _, socket := range sockets {
		if t := socket.known(); t != nil && socket.phase() != authn.Closed {
			sessions = append(sessions, t.SessionID)
		}
	}
	return sessions
}

// tokenOf implements followers. It prefers the token of a socket that is in: the store may not know
// what another one is about to be given, and so tells nothing about its session.
func (s *Server) tokenOf(sid string) (found *token) {
	for _, socket := range s.hub.Members(session(sid)) {
		t, phase := socket.known(), socket.phase()
		switch {
		case t == nil || t.SessionID != sid || phase == authn.Closed:
		case phase == authn.Authenticated:
			return t
		default:
			found = t
		}
	}
	return found
}

// reasonStale is why sockets are disconnected once the store was not heard for Cluster.MaxStale.
const reasonStale = "stale"

// reconnectAll implements followers.
func (s *Server) reconnectAll() (n int) {
	for _, socket := range s.hub.All() {
		if socket.reconnect(reasonStale) {
			n++
		}
	}
	return n
}

// silence implements socketServer.
func (s *Server) silence() time.Duration { return s.watcher.rechecks.Silence(time.Now()) }

// sessionEnded closes the socket because its session ended. If the socket's own store call may have
// ended it, the close waits for that call's result.
func (s *Socket) sessionEnded(why authn.Cause) {
	s.step(func(m *authn.Machine) authn.Effects { return m.SessionEnded(why) })
}

// provedAfter reports whether the login of the socket's session was after the given time.
func (s *Socket) provedAfter(at time.Time) bool {
	t := s.known()
	return t != nil && t.Began.After(at)
}

// sessionOver returns why the socket's session has ended, or "".
func (s *Socket) sessionOver() authn.Cause {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.auth.Ended()
}

// isOf reports whether the socket belongs to the session, or is about to.
func (s *Socket) isOf(sessionID string) bool {
	t := s.known()
	return t != nil && t.SessionID == sessionID
}

// known returns any token of the session that the socket belongs to or is about to belong to, or
// nil.
func (s *Socket) known() *token {
	s.mu.Lock()
	defer s.mu.Unlock()
	return (*token)(s.auth.Known())
}

// closedFor reports whether the socket was closed for the given reason.
func (s *Socket) closedFor(reason string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.auth.Phase() == authn.Closed && s.auth.Reason() == reason
}

// tokenConfirmed records that a token of the socket's session was confirmed, on whichever socket.
func (s *Socket) tokenConfirmed(c blacklist.Change) {
	s.step(func(m *authn.Machine) authn.Effects { return m.Confirmed(c.TokenID, c.Generation) })
}

// keep has a message wait, if messages have to, and reports whether it does. A socket for which too
// much waits is disconnected.
func (s *Socket) keep(o outgoing) (kept bool) {
	s.mu.Lock()
	kept, full := s.keepLocked(o)
	s.mu.Unlock()
	if full {
		s.reconnect(authn.Outdated)
	}
	return kept
}

func (s *Socket) keepLocked(o outgoing) (kept, full bool) {
	early := s.auth.Phase() < authn.Authenticated
	if !early && !s.entering && !s.auth.Held() || s.auth.Phase() == authn.Closed {
		return false, false
	}
	return true, !s.waits().add(o, early)
}

// receives reports whether a message for groups is to be sent to the socket now. If the socket has
// to wait, so does the message, unless it is volatile. now is read once for all sockets.
func (s *Socket) receives(m *engine.Message, now time.Time, group hub.Group, more []hub.Group, volatile bool) bool {
	if s.server.watcher.stale(now) {
		return false
	}
	s.mu.Lock()
	live, full, moves := s.auth.Live(now), false, s.auth.Mark() > 0
	if s.entering || live && s.auth.Held() {
		if live = false; !volatile {
			_, full = s.keepLocked(outgoing{message: m, groups: append([]hub.Group{group}, more...)})
		}
	}
	s.mu.Unlock()
	if full {
		s.reconnect(authn.Outdated)
	}
	// The socket may have left the group when its claims changed, after the sender had listed the
	// members.
	if live && moves {
		live = s.server.hub.In(&s.member, group) || s.server.hub.In(&s.member, more...)
	}
	return live
}

// reconnect closes the socket in such a way that its client reconnects.
func (s *Socket) reconnect(reason string) (closed bool) {
	if closed = s.finish(reason); closed {
		s.conn.Reconnect()
	}
	return closed
}

// release sends what waits, in order, and has events handled again, if the client is in with claims
// that are up to date. What is emitted meanwhile comes after that.
func (s *Socket) release() {
	for {
		s.mu.Lock()
		if s.auth.Held() && !s.auth.Current() {
			s.entering = false
			s.mu.Unlock()
			return
		}
		var next outgoing
		var any bool
		if s.waiting != nil {
			next, any = s.waiting.messages.Pop()
		}
		if !any {
			s.entering = false
			s.auth.Release()
			calls := s.waiting != nil && s.waiting.calls.Len() > 0
			s.tidy()
			s.mu.Unlock()
			if calls {
				s.handlers.PushAlways(&s.server.runner, s.task(func() { s.handleNext(nil) }))
			}
			return
		}
		s.mu.Unlock()
		if next.groups != nil && !s.server.hub.In(&s.member, next.groups...) {
			continue
		}
		send := next.send
		if send == nil {
			send = func() error { return s.conn.Emit(next.message) }
		}
		if err := send(); errors.Is(err, engine.ErrTooLarge) {
			s.server.auth.log.Error("socketauth: emit of OnAuthenticated failed, or of what has waited", slog.Any("cause", err))
		}
	}
}

// actOnClaims asks OnClaimsChanged if the app has not seen the claims that the socket lives on now.
func (s *Socket) actOnClaims() *refusal {
	s.mu.Lock()
	old, now := (*token)(s.auth.Acted()), (*token)(s.auth.Token())
	changed := s.auth.Held() && s.auth.Current() && old != nil && !bytes.Equal(old.App, now.App)
	s.mu.Unlock()
	if !changed {
		return nil
	}
	acting := context.WithValue(contextWithToken(&s.life, now), actingKey{}, s)
	ctx, cancel := lazyctx.WithTimeout(acting, s.server.auth.timeout)
	defer cancel()
	if err := s.server.runOnClaimsChanged(ctx, s, old); err != nil {
		refused := refuseError("OnClaimsChanged", err)
		refused.closes = true
		return refused.withToken(now)
	}
	s.step(func(m *authn.Machine) authn.Effects { m.Act((*authn.Token)(now)); return authn.Effects{} })
	return nil
}

// sendRotated tells the client that its session has a newer token.
func (s *Socket) sendRotated() {
	if s.live() {
		m, _ := engine.NewMessage(eventRotated)
		_ = s.conn.Emit(m)
	}
}

// sendRefresh tells the client that its claims are out of date.
func (s *Socket) sendRefresh() {
	m, _ := engine.NewMessage(eventRefresh)
	_ = s.conn.Emit(m)
}

// logout ends the session: the socket's own, or that of the living token that the client gives. It
// does so even if the client has left since. A second logout on the same socket does nothing.
func (s *Socket) logout(args engine.Args, at time.Time, ack engine.Ack) {
	if s.sessionOver() == causeLoggedOut {
		return
	}
	defer s.endCall()
	ended, refused := s.endOwnSession(presentedToLogOut(args, at))
	if refused != nil {
		acknowledgeError(ack, refused.code)
		s.refuse(refused)
		return
	}
	a := s.server.auth
	a.record(&s.life, slog.LevelInfo, "socketauth: logged out", s.event(AuditLogout, ended, ""))
	_ = acknowledge(ack, nil)
	a.endSession(ended.SessionID, causeLoggedOut)
	s.sessionEnded(causeLoggedOut) // for sessionOver, if the socket itself was not in the session
	s.end(string(causeLoggedOut), endMessage(causeLoggedOut))
}

// endOwnSession finds the session that a log-out is for and has the store end it. It returns a
// token of that session.
func (s *Socket) endOwnSession(in presented) (*token, *refusal) {
	a := s.server.auth
	life := context.WithoutCancel(&s.life)
	ctx, cancel := context.WithTimeout(life, a.timeout)
	defer cancel()
	if ending := s.own(); ending != nil { // whose proof the client has given
		if given, _ := a.verify(ctx, in.token); given != nil && given.SessionID != ending.SessionID {
			return nil, &refusal{code: codeWrongSession}
		}
		return s.endIn(life, ending)
	}
	given, refused := a.verifyProved(ctx, in, s.conn.SessionID())
	switch {
	case refused != nil && refused.token == nil:
		return nil, a.countInvalidToken(s.connection.Network, s.connection.request.clientIP, refused)
	case refused != nil && refused.code == codeTokenExpired:
		return nil, s.apply(ctx, s.unlessReuse(refused, in.at))
	case refused != nil:
		return nil, refused
	case given.Use != useSession:
		return nil, &refusal{code: codeInvalidToken, cause: errNotSession}
	}
	// A token that was replaced is reuse here too: a theft must not go unnoticed because its victim
	// has logged out.
	switch verdict, err := s.judge(given, in.at); {
	case err != nil:
		return nil, &refusal{code: codeUnavailable, cause: err, token: given}
	case verdict != blacklist.Accepted && verdict != blacklist.Stale:
		return nil, s.handleRejection(given, verdict)
	}
	return s.endIn(life, given)
}

// endIn has the store end the session of a token for its user.
func (s *Socket) endIn(life context.Context, ending *token) (*token, *refusal) {
	s.beginCall(causeLoggedOut)
	if err := s.server.auth.logOut(life, ending); err != nil {
		return nil, &refusal{code: codeUnavailable, cause: err}
	}
	return ending, nil
}

// handleRejection does what follows from a token that the store has rejected, and returns the
// refusal that the client is told.
func (s *Socket) handleRejection(t *token, v blacklist.Verdict) *refusal {
	return s.server.auth.reject(&s.life, t, v, s.event(AuditReuse, t, ""))
}

// unlessReuse returns the outcome for a token that was refused before the store was asked: that
// refusal, unless the token had been replaced, which is reuse.
func (s *Socket) unlessReuse(refused *refusal, at time.Time) outcome {
	t, own := refused.token, s.own()
	o := outcome{refused: refused, presented: t}
	if own == nil || own.SessionID == t.SessionID && own.UserID == t.UserID {
		o.refused, o.verdict = s.server.auth.unlessReuse(refused, func() (blacklist.Verdict, error) { return s.judge(t, at) })
	}
	return o
}

// judge has the store decide on a session token that is not to be replaced. If the token is alive,
// nothing is recorded.
func (s *Socket) judge(t *token, at time.Time) (blacklist.Verdict, error) {
	s.beginCall(causeOf(blacklist.SessionCompromised))
	return s.server.auth.judge(context.WithoutCancel(&s.life), s.presentation(t, at))
}
