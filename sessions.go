package socketauth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/admission"
	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/engine"
)

// This file holds what an app can do to sessions, and how their sockets follow.

// A Session is one living session of a user: one login, on one device or several.
type Session struct {
	blacklist.Session
	Sockets int `json:"sockets"` // live ones, in all processes that have answered
}

// Sessions returns the living sessions of a user, the one seen last first, for example for a page of
// their devices. A session begins when the code of its login is traded for a token. Errors wrap
// ErrUnavailable.
//
// With Options.Cluster, the sockets of other processes are counted as far as these answer within
// ReceiptTimeout or before ctx has ended.
func (a *Auth) Sessions(ctx context.Context, userID string) ([]Session, error) {
	known, err := a.knownSessions(ctx, userID)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(known))
	for n, one := range known {
		ids[n] = one.ID
	}
	var sessions []Session
	for n, sockets := range a.countSockets(ctx, ids) {
		sessions = append(sessions, Session{Session: known[n], Sockets: sockets})
	}
	return sessions, nil
}

// knownSessions returns the living sessions of a user, the one seen last first, as the store knows
// them.
func (a *Auth) knownSessions(ctx context.Context, userID string) (known []blacklist.Session, err error) {
	err = a.contain("Blacklist", func() (err error) {
		known, err = a.blacklist.Sessions(ctx, userID)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: sessions: %w", ErrUnavailable, err)
	}
	slices.SortFunc(known, func(x, y blacklist.Session) int {
		return cmp.Or(y.LastSeen.Compare(x.LastSeen), cmp.Compare(x.ID, y.ID))
	})
	return known, nil
}

// RevokeSession ends one session of a user for good: its tokens are dead at once, on sockets and in
// Middleware, and its sockets are closed with session_revoked. A handler that ends the session of its
// own socket must do everything else first: its context ends, and its reply reaches nobody.
//
// If the session is another user's, nothing ends, which the receipt shows: no sessions. One that is
// unknown, or over already, is no error either; what is unknown is dead from then on. Errors wrap
// ErrUnavailable; the session may be over all the same.
//
// Once the store has decided, the end of ctx does not matter any more. With Options.Cluster, the
// receipt says what all processes have closed that answer within ReceiptTimeout. One that does not
// closes the sockets when it hears of the revocation from the store.
func (a *Auth) RevokeSession(ctx context.Context, userID, sessionID string) (Receipt, error) {
	if sessionID == "" {
		return Receipt{}, errEmpty
	}
	return a.revoke(ctx, blacklist.Revocation{UserID: userID, SessionID: sessionID})
}

// RevokeUser ends all sessions of a user, as RevokeSession does, and all logins whose credentials were
// checked before. A login after it works.
func (a *Auth) RevokeUser(ctx context.Context, userID string) (Receipt, error) {
	return a.revoke(ctx, blacklist.Revocation{UserID: userID})
}

// RevokeOthers is like RevokeUser but keeps one session. Call it when a user has changed their password,
// with the session in which they did so. If that session has not begun or is another user's, all of the
// user's sessions are ended.
func (a *Auth) RevokeOthers(ctx context.Context, userID, sessionID string) (Receipt, error) {
	if sessionID == "" {
		return Receipt{}, errEmpty
	}
	return a.revoke(ctx, blacklist.Revocation{UserID: userID, Except: sessionID})
}

// RevokeAll ends all sessions of all users, as RevokeUser does for one.
func (a *Auth) RevokeAll(ctx context.Context) (Receipt, error) {
	return a.revoke(ctx, blacklist.Revocation{All: true})
}

var errEmpty = errors.New("socketauth: revoking: the user's or the session's id is empty")

func (a *Auth) revoke(ctx context.Context, r blacklist.Revocation) (Receipt, error) {
	r.Why = blacklist.Revoked
	if r.UserID == "" && !r.All {
		return Receipt{}, errEmpty
	}
	var prepared []func(blacklist.Change) int
	for _, server := range a.allServers() {
		prepared = append(prepared, server.prepareRevocation(r))
	}
	change, err := a.revokeInStore(ctx, r)
	if err != nil {
		return Receipt{}, fmt.Errorf("%w: revoking: %w", ErrUnavailable, err)
	}
	if change.Verdict == 0 { // the session is another user's
		return Receipt{}, nil
	}
	receipt := Receipt{Sessions: change.Sessions, Nodes: 1}
	addOthers := a.askRevoked(ctx, r)
	for _, closeSockets := range prepared {
		receipt.Sockets += closeSockets(change)
	}
	addOthers(&receipt)
	attrs := []any{slog.Int("sessions", receipt.Sessions), slog.Int("sockets", receipt.Sockets)}
	if len(receipt.Unheard) > 0 {
		attrs = append(attrs, slog.Any("unheard", receipt.Unheard))
	}
	a.record(ctx, slog.LevelInfo, "socketauth: sessions revoked", AuditEvent{Kind: AuditRevoked, UserID: r.UserID, SessionID: r.SessionID, Except: r.Except}, attrs...)
	return receipt, nil
}

// trimSessions ends sessions of a user that exceed the limit after a new one has begun: those whose
// tokens were presented the longest ago.
func (a *Auth) trimSessions(ctx context.Context, begun *token) {
	if a.limits.SessionsPerUser == NoLimit {
		return
	}
	sessions, err := a.knownSessions(ctx, begun.UserID)
	if err != nil {
		a.log.Error("socketauth: cannot look whether a user has too many sessions", slog.String("user", begun.UserID), slog.Any("cause", err))
		return
	}
	sessions = slices.DeleteFunc(sessions, func(s blacklist.Session) bool { return s.ID == begun.SessionID })
	for n := a.limits.SessionsPerUser - 1; n < len(sessions); n++ {
		a.limited(limitSessionsPerUser, slog.String("user", begun.UserID))
		if _, err := a.RevokeSession(ctx, begun.UserID, sessions[n].ID); err != nil {
			a.log.Error("socketauth: cannot end a session past the limit", slog.String("user", begun.UserID), slog.Any("cause", err))
		}
	}
}

// prepareRevocation implements socketServer. It looks up the sockets before the store decides, because
// the store may report the change, which closes them, before its Revoke returns.
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

// revokedElsewhere implements socketServer. The store may have reported the change already, which has
// closed the sockets; these are in s.revoked.
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

// concerns reports whether the socket belongs, or was about to belong, to one of the sessions that a
// revocation is about.
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
// presented a token. A store that knows sessions by their users alone reports the end of one that is
// not the user's, too.
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

// tokenOf implements followers.
func (s *Server) tokenOf(sid string) *token {
	for _, socket := range s.hub.Members(session(sid)) {
		if t := socket.known(); t != nil && t.SessionID == sid && socket.phase() != authn.Closed {
			return t
		}
	}
	return nil
}

// reasonStale is why sockets are disconnected once the store was not heard for Cluster.MaxStale.
const reasonStale = "stale"

// reconnectAll implements followers.
func (s *Server) reconnectAll() (n int) {
	for _, socket := range s.hub.All() {
		if socket.finish(reasonStale) {
			socket.conn.Reconnect()
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

// known returns any token of the session that the socket belongs to or is about to belong to, or nil.
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
	ended, refused := s.endOwnSession(args, at)
	if refused != nil {
		s.acknowledgeError(ack, refused.code)
		s.refuse(refused)
		return
	}
	a := s.server.auth
	a.record(&s.life, slog.LevelInfo, "socketauth: logged out", s.event(AuditLogout, ended, ""))
	_ = s.acknowledge(ack, nil)
	a.endSession(ended.SessionID, causeLoggedOut)
	s.sessionEnded(causeLoggedOut) // for sessionOver, if the socket itself was not in the session
	s.end(string(causeLoggedOut), endMessage(causeLoggedOut))
}

// endOwnSession finds the session that a log-out is for and has the store end it. It returns a token of
// that session.
func (s *Socket) endOwnSession(args engine.Args, at time.Time) (*token, *refusal) {
	a := s.server.auth
	life := context.WithoutCancel(&s.life)
	ctx, cancel := context.WithTimeout(life, a.timeout)
	defer cancel()
	var text string
	if len(args.Values) > 0 {
		_ = json.Unmarshal(args.Values[0], &text) // what is not a string is not a token
	}
	given, refused := a.verify(ctx, text)
	ending := s.own()
	switch {
	case ending != nil && given != nil && given.SessionID != ending.SessionID:
		return nil, &refusal{code: codeWrongSession}
	case ending != nil:
	case refused != nil && refused.token != nil:
		return nil, s.apply(ctx, s.unlessReuse(refused, at))
	case refused != nil:
		return nil, a.countInvalidToken(s.connection.Network, s.connection.request.ClientIP, refused)
	case given.Use != useSession:
		return nil, &refusal{code: codeInvalidToken, cause: errors.New("a code where a session token is needed")}
	default:
		// A token that was replaced is reuse here too: a theft must not go unnoticed because its victim
		// has logged out.
		verdict, err := s.judge(given, at)
		switch {
		case err != nil:
			return nil, &refusal{code: codeUnavailable, cause: err, token: given}
		case verdict != blacklist.Accepted:
			return nil, s.handleRejection(given, verdict)
		}
		ending = given
	}
	s.beginCall(causeLoggedOut)
	if err := a.logOut(life, ending); err != nil {
		return nil, &refusal{code: codeUnavailable, cause: err}
	}
	return ending, nil
}
