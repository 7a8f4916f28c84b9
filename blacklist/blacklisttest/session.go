package blacklisttest

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

func newID() string {
	var id [16]byte
	rand.Read(id[:])
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// session plays the clients of one session.
type session struct {
	t     *testing.T
	store blacklist.Store
	id    string
	user  string
	login time.Time
}

// login is a new user's new session, of which the store knows nothing yet.
func login(t *testing.T, store blacklist.Store) *session {
	return loginOf(t, store, "user "+newID())
}

func loginOf(t *testing.T, store blacklist.Store, user string) *session {
	return &session{t: t, store: store, id: newID(), user: user, login: time.Now()}
}

// code is a code that starts the session.
func (s *session) code() blacklist.TokenRef {
	return blacklist.TokenRef{
		SessionID: s.id, TokenID: newID(), UserID: s.user,
		IssuedAt: s.login, AuthTime: s.login, ExpiresAt: s.login.Add(30 * time.Second),
	}
}

// next is a successor of t that nobody has yet.
func (s *session) next(t blacklist.TokenRef) blacklist.TokenRef {
	now := time.Now()
	return blacklist.TokenRef{
		SessionID: s.id, TokenID: newID(), UserID: s.user, Generation: t.Generation + 1,
		IssuedAt: now, AuthTime: s.login, ExpiresAt: now.Add(time.Hour),
	}
}

type with func(*blacklist.Presentation)

// The ways to present a token. Without them, it is a plain client's, on a socket opened after all that happened, and
// reuse ends the session.
func confirming(p *blacklist.Presentation) { p.Confirming = true }
func rejectOnly(p *blacklist.Presentation) { p.EndOnReuse = false }
func keep(p *blacklist.Presentation)       { p.SuccessorID, p.SuccessorExpiresAt = "", time.Time{} }
func late(p *blacklist.Presentation)       { p.SocketOpenedAt = time.Now().Add(-time.Hour) }

func from(address, userAgent string) with {
	return func(p *blacklist.Presentation) { p.Address, p.UserAgent = address, userAgent }
}

func presentation(t, next blacklist.TokenRef, ways ...with) blacklist.Presentation {
	p := blacklist.Presentation{
		Token: t, SuccessorID: next.TokenID, SuccessorExpiresAt: next.ExpiresAt,
		SocketOpenedAt: time.Now().Add(time.Hour), SupersededWithin: 30 * time.Minute, EndOnReuse: true,
	}
	for _, way := range ways {
		way(&p)
	}
	return p
}

// presents presents t for a new successor, which it gives, and wants the verdict.
func (s *session) presents(want blacklist.Verdict, t blacklist.TokenRef, ways ...with) blacklist.TokenRef {
	s.t.Helper()
	next := s.next(t)
	s.presentsFor(want, t, next, ways...)
	return next
}

func (s *session) presentsFor(want blacklist.Verdict, t, next blacklist.TokenRef, ways ...with) {
	s.t.Helper()
	v, err := s.store.Present(s.t.Context(), presentation(t, next, ways...))
	s.wants(want, v, err, "Present", t)
}

func (s *session) confirms(want blacklist.Verdict, t blacklist.TokenRef) {
	s.t.Helper()
	v, err := s.store.Confirm(s.t.Context(), t)
	s.wants(want, v, err, "Confirm", t)
}

func (s *session) checks(want blacklist.Verdict, t blacklist.TokenRef) {
	s.t.Helper()
	s.checksWithin(want, t, 0, 0)
}

func (s *session) checksWithin(want blacklist.Verdict, t blacklist.TokenRef, grace, branch time.Duration) {
	s.t.Helper()
	v, err := s.store.Check(s.t.Context(), t, grace, branch)
	s.wants(want, v, err, "Check", t)
}

func (s *session) wants(want, got blacklist.Verdict, err error, method string, t blacklist.TokenRef) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%s of generation %d: %v", method, t.Generation, err)
	}
	if got != want {
		s.t.Fatalf("%s of generation %d: %s, want %s", method, t.Generation, name(got), name(want))
	}
}

// ended wants every method to say that a session of these tokens is over, for that reason.
func (s *session) ended(why blacklist.Verdict, tokens ...blacklist.TokenRef) {
	s.t.Helper()
	for _, t := range tokens {
		s.checks(why, t)
		s.checksWithin(why, t, time.Hour, time.Hour)
		s.presents(why, t)
		s.presents(why, t, late)
		if t.Generation > 0 {
			s.confirms(why, t)
			s.presents(why, t, keep)
		}
	}
}

func (s *session) revokes(r blacklist.Revocation) blacklist.Change {
	s.t.Helper()
	if r.Keep == 0 {
		r.Keep = time.Hour
	}
	c, err := s.store.Revoke(s.t.Context(), r)
	if err != nil {
		s.t.Fatalf("Revoke: %v", err)
	}
	return c
}

// living is the ids of the user's sessions.
func (s *session) living() map[string]blacklist.Session {
	s.t.Helper()
	list, err := s.store.Sessions(s.t.Context(), s.user)
	if err != nil {
		s.t.Fatalf("Sessions: %v", err)
	}
	all := make(map[string]blacklist.Session, len(list))
	for _, one := range list {
		if _, twice := all[one.ID]; twice {
			s.t.Errorf("Sessions tells one session twice")
		}
		all[one.ID] = one
	}
	return all
}

// pass lets a time go by that a store has to see: a few ticks of any clock.
func pass() { time.Sleep(5 * time.Millisecond) }

func name(v blacklist.Verdict) string {
	names := [...]string{"no verdict", "Accepted", "Unknown", "Superseded", "Replaced", "ReuseDetected", "SessionCompromised", "LoggedOut", "Revoked"}
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("verdict %d", v)
}
