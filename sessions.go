package socketauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

// This file is what can be done to sessions from outside, and how their sockets hear of it.

// Ended says what a revocation has ended: sessions that were alive, and sockets that were connected to this process.
type Ended struct {
	Sessions int `json:"sessions"`
	Sockets  int `json:"sockets"`
}

// Sessions are the living sessions of a user, for a page of their devices; the one seen last comes first. A session
// begins when the code of its login is traded for a token. Errors wrap ErrUnavailable.
func (a *Auth) Sessions(ctx context.Context, userID string) ([]Session, error) {
	var sessions []Session
	err := a.contain("Blacklist", func() (err error) {
		sessions, err = a.blacklist.Sessions(ctx, userID)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: sessions: %w", ErrUnavailable, err)
	}
	for n := range sessions {
		for _, server := range a.all() {
			for _, socket := range server.hub.Members(session(sessions[n].ID)) {
				if socket.live() {
					sessions[n].Sockets++
				}
			}
		}
	}
	slices.SortFunc(sessions, func(x, y Session) int {
		return cmp.Or(y.LastSeen.Compare(x.LastSeen), cmp.Compare(x.ID, y.ID))
	})
	return sessions, nil
}

// RevokeSession ends one session for good: its tokens are dead at once, on sockets and in Middleware, and its sockets
// are closed with session_revoked. It does not ask whose session it is: a page that lets users end theirs looks in
// Sessions first. A session that is unknown or over already is no error. Errors wrap ErrUnavailable; the session may be
// over all the same.
func (a *Auth) RevokeSession(ctx context.Context, sessionID string) (Ended, error) {
	return a.revoke(ctx, Revocation{SessionID: sessionID})
}

// RevokeUser ends all sessions of a user, as RevokeSession does, and all logins whose credentials were given before. A
// login after it works.
func (a *Auth) RevokeUser(ctx context.Context, userID string) (Ended, error) {
	return a.revoke(ctx, Revocation{UserID: userID})
}

// RevokeAll ends all sessions of everyone, as RevokeUser does those of one.
func (a *Auth) RevokeAll(ctx context.Context) (Ended, error) {
	return a.revoke(ctx, Revocation{All: true})
}

func (a *Auth) revoke(ctx context.Context, r Revocation) (Ended, error) {
	r.Why, r.Keep = Revoked, a.tokens.lifetime()
	if err := r.Check(); err != nil {
		return Ended{}, err
	}
	concerned := a.concerned(r) // before the store tells them, so that they can be counted
	var change Change
	err := a.insist(ctx, func(ctx context.Context, _ bool) (err error) {
		change, err = a.blacklist.Revoke(ctx, r)
		return err
	})
	if err != nil {
		return Ended{}, fmt.Errorf("%w: revoking: %w", ErrUnavailable, err)
	}
	for socket := range a.concerned(r) {
		concerned[socket] = struct{}{}
	}
	for _, server := range a.all() {
		server.heard(change)
	}
	ended := Ended{Sessions: change.Sessions}
	for socket := range concerned {
		if socket.endedFor(codeSessionRevoked) {
			ended.Sockets++
		}
	}
	a.record(ctx, slog.LevelInfo, "socketauth: sessions revoked", AuditEvent{Kind: AuditRevoked, UserID: or(r.UserID, change.UserID), SessionID: r.SessionID},
		slog.Int("sessions", ended.Sessions), slog.Int("sockets", ended.Sockets))
	return ended, nil
}

// concerned are the sockets that a revocation is about, and that have not ended.
func (a *Auth) concerned(r Revocation) map[*Socket]struct{} {
	found := make(map[*Socket]struct{})
	for _, server := range a.all() {
		for _, socket := range server.of(r.SessionID, r.UserID, r.All) {
			if socket.at() != ended {
				found[socket] = struct{}{}
			}
		}
	}
	return found
}

// all are the servers whose sockets live on this core.
func (a *Auth) all() []*Server {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.servers)
}

// endSession calls f for each socket of a session, on whichever server, but for the one that is spoken for already.
func (a *Auth) endSession(sid string, but *Socket, f func(*Socket)) {
	for _, server := range a.all() {
		for _, socket := range server.hub.Members(session(sid)) {
			if socket != but {
				f(socket)
			}
		}
	}
}

// Sessions is Auth.Sessions.
func (s *Server) Sessions(ctx context.Context, userID string) ([]Session, error) {
	return s.auth.Sessions(ctx, userID)
}

// RevokeSession is Auth.RevokeSession.
func (s *Server) RevokeSession(ctx context.Context, sessionID string) (Ended, error) {
	return s.auth.RevokeSession(ctx, sessionID)
}

// RevokeUser is Auth.RevokeUser.
func (s *Server) RevokeUser(ctx context.Context, userID string) (Ended, error) {
	return s.auth.RevokeUser(ctx, userID)
}

// RevokeAll is Auth.RevokeAll.
func (s *Server) RevokeAll(ctx context.Context) (Ended, error) { return s.auth.RevokeAll(ctx) }

// of is the sockets of a session, of a user, or all that have presented anything.
func (s *Server) of(sid, userID string, all bool) []*Socket {
	switch {
	case all:
		return s.hub.All()
	case sid != "":
		return s.hub.Members(session(sid))
	}
	return s.hub.Members(user(userID))
}

// watch hears of changes that other processes make, until ctx ends.
func (s *Server) watch(ctx context.Context) {
	for pause := time.Second; ctx.Err() == nil; pause = min(2*pause, time.Minute) {
		err := s.auth.contain("Blacklist", func() error { return s.auth.blacklist.Watch(ctx, s.heard) })
		if ctx.Err() != nil {
			return
		}
		s.auth.log.Error("socketauth: the blacklist cannot be watched; sockets of sessions that another process ends stay until it can", slog.Any("cause", or(err, errWatch)))
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

var errWatch = errors.New("Watch has returned nil before its context ended")

// heard does what follows from a change. It may hear of one more than once.
func (s *Server) heard(c Change) {
	switch {
	case c.Missed:
		s.lookups.Must(&s.work, func() { s.lookAt(s.hub.All()) })
	case c.Verdict == Accepted:
		for _, socket := range s.hub.Members(session(c.SessionID)) {
			socket.another(c)
		}
	default:
		var later []*Socket
		for _, socket := range s.of(c.SessionID, c.UserID, c.All) {
			if c.SessionID == "" && socket.provedAfter(c.At) {
				later = append(later, socket)
				continue
			}
			socket.over(c.Verdict)
		}
		if len(later) > 0 { // logins of after, or of before by a clock that is ahead: the store knows
			s.lookups.Must(&s.work, func() { s.lookAt(later) })
		}
	}
}

// lookAt asks the store about sockets, one after the other, and ends those whose session is over.
func (s *Server) lookAt(sockets []*Socket) {
	a := s.auth
	for _, socket := range sockets {
		t := socket.own()
		if t == nil || socket.at() == ended {
			continue
		}
		var verdict Verdict
		err := a.insist(socket.ctx, func(ctx context.Context, _ bool) (err error) {
			verdict, err = a.blacklist.Check(ctx, t.ref(), 0, 0)
			return err
		})
		if err != nil && socket.at() != ended {
			a.log.Error("socketauth: cannot ask the blacklist whether a socket's session lives; the socket stays", slog.String("user", t.subject), slog.String("session", t.sessionID), slog.Any("cause", err))
			continue
		}
		switch verdict {
		case EndedByReuse, LoggedOut, Revoked:
			socket.over(verdict)
		}
	}
}

// over closes the socket since its session is over. What its own call to the store may have brought about it hears from
// that first.
func (s *Socket) over(why Verdict) {
	s.mu.Lock()
	waits := s.deciding && s.asks == why
	if waits {
		s.overBy = why
	}
	s.mu.Unlock()
	switch {
	case waits:
	case why == LoggedOut:
		m, _ := engine.NewMessage(eventLoggedOut)
		s.end("logged out", m)
	default:
		s.dismiss(refuseVerdict(why))
	}
}

// decided ends what decide began, once what followed from it is done. The session may have ended meanwhile.
func (s *Socket) decided() {
	s.mu.Lock()
	s.deciding = false
	why := s.overBy
	s.overBy = 0
	s.mu.Unlock()
	if why != 0 {
		s.over(why)
	} else if s.at() != ended {
		s.schedule() // what came due meanwhile
	}
}

// provedAfter says whether the socket's user proved who they are after that time. One that is about to authenticate is
// left to the store.
func (s *Socket) provedAfter(at time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := or(or(s.token, s.pending), s.candidate)
	return t != nil && t.authTime.After(at)
}

func (s *Socket) endedFor(reason string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == ended && s.reason == reason
}
