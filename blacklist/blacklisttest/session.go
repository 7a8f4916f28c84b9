package blacklisttest

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"sync"
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
	login time.Time // by the store's clock
}

// login is a new user's new session, of which the store knows nothing yet.
func login(t *testing.T, store blacklist.Store) *session {
	return loginOf(t, store, "user "+newID())
}

func loginOf(t *testing.T, store blacklist.Store, user string) *session {
	s := &session{t: t, store: store, id: newID(), user: user}
	s.login = s.loggedIn()
	return s
}

// now returns the time by the store's clock, with which tokens are stamped.
func (s *session) now() time.Time {
	s.t.Helper()
	now := byProcess(s.store, time.Now())
	clock, ok := s.store.(blacklist.Clock)
	if !ok {
		return now
	}
	at, err := clock.Time(s.t.Context(), s.user, now)
	if err != nil {
		s.t.Errorf("Time: %v", err)
	}
	return at
}

// leeway returns by how much a time that the store tells may be off: it may know its own clock only
// roughly.
func leeway(store blacklist.Store) time.Duration {
	if _, ok := store.(blacklist.Clock); ok {
		return time.Second / 10
	}
	return time.Millisecond
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
	now := s.now()
	return blacklist.TokenRef{
		SessionID: s.id, TokenID: newID(), UserID: s.user, Generation: t.Generation + 1,
		IssuedAt: now, AuthTime: s.login, ExpiresAt: now.Add(time.Hour), Mark: t.Mark, Bound: t.Bound,
	}
}

type with func(*blacklist.Presentation)

// The ways to present a token. Without them, it is a plain client's, on a socket opened after all
// that happened, and reuse ends the session.
func confirming(p *blacklist.Presentation) { p.Confirming = true }
func rejectOnly(p *blacklist.Presentation) { p.EndOnReuse = false }
func keep(p *blacklist.Presentation) {
	p.SuccessorID, p.SuccessorExpiresAt, p.SuccessorMark = "", time.Time{}, 0
}
func late(p *blacklist.Presentation) { p.SocketOpenedAt = time.Now().Add(-time.Hour) }

// bind has a code that names no key come with a key.
func bind(key string) with { return func(p *blacklist.Presentation) { p.Token.Bind = key } }

// marked has the successor have claims of a mark.
func marked(mark int64) with { return func(p *blacklist.Presentation) { p.SuccessorMark = mark } }

// proving has a step-up come with the token.
func proving(proof blacklist.StepUp) with {
	return func(p *blacklist.Presentation) { p.StepUp = proof }
}

func from(address, userAgent string) with {
	return func(p *blacklist.Presentation) { p.Address, p.UserAgent = address, userAgent }
}

func presentation(t, next blacklist.TokenRef, ways ...with) blacklist.Presentation {
	p := blacklist.Presentation{
		Token: t, SuccessorID: next.TokenID, SuccessorExpiresAt: next.ExpiresAt, SuccessorMark: next.Mark,
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
	p := presentation(t, next, ways...)
	v, err := verdict(s.store.Present(s.t.Context(), p))
	s.wants(want, v, err, "Present", t)
	next.Mark, next.Bound = p.SuccessorMark, t.Bound || t.Generation == 0 && p.Token.Bind != ""
	return next
}

func (s *session) presentsFor(want blacklist.Verdict, t, next blacklist.TokenRef, ways ...with) {
	s.t.Helper()
	v, err := verdict(s.store.Present(s.t.Context(), presentation(t, next, ways...)))
	s.wants(want, v, err, "Present", t)
}

func (s *session) confirms(want blacklist.Verdict, t blacklist.TokenRef) {
	s.t.Helper()
	v, err := verdict(s.store.Confirm(s.t.Context(), t))
	s.wants(want, v, err, "Confirm", t)
}

func (s *session) checks(want blacklist.Verdict, t blacklist.TokenRef) {
	s.t.Helper()
	s.checksWithin(want, t, 0, 0)
}

func (s *session) checksWithin(want blacklist.Verdict, t blacklist.TokenRef, grace, branch time.Duration) {
	s.t.Helper()
	v, err := verdict(s.store.Check(s.t.Context(), t, grace, branch))
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

// stale wants a presentation to be refused for its claims, and the mark that it lacks.
func (s *session) stale(mark int64, t blacklist.TokenRef, ways ...with) {
	s.t.Helper()
	r, err := s.store.Present(s.t.Context(), presentation(t, s.next(t), ways...))
	s.wantsStale(mark, r, err, "Present", t)
}

func (s *session) wantsStale(mark int64, r blacklist.Result, err error, method string, t blacklist.TokenRef) {
	s.t.Helper()
	if s.wants(stale, r.Verdict, err, method, t); r.Mark != mark {
		s.t.Fatalf("%s of generation %d: the mark is %d, want %d", method, t.Generation, r.Mark, mark)
	}
}

// checksStale wants a check to be refused for the token's claims.
func (s *session) checksStale(mark int64, t blacklist.TokenRef) {
	s.t.Helper()
	r, err := s.store.Check(s.t.Context(), t, 0, 0)
	s.wantsStale(mark, r, err, "Check", t)
}

// raises has the claims of the session, or of all its user's, brought up to date.
func (s *session) raises(all bool) blacklist.Change {
	s.t.Helper()
	r := blacklist.Revocation{UserID: s.user, Why: stale}
	if !all {
		r.SessionID = s.id
	}
	c := s.revokes(r)
	if c.Verdict != stale || c.UserID != r.UserID || c.SessionID != r.SessionID || c.All || c.Except != "" || c.Mark < c.At.UnixMicro() || c.At.IsZero() {
		s.t.Fatalf("the change: %+v", c)
	}
	return c
}

// verdict leaves the mark of a result aside.
func verdict(r blacklist.Result, err error) (blacklist.Verdict, error) { return r.Verdict, err }

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
	noteAll(s.t, c)
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

// revokedAll has, for each test, when the store has last revoked all.
var revokedAll = struct {
	sync.Mutex
	at map[*testing.T]time.Time
}{at: make(map[*testing.T]time.Time)}

// noteAll notes when all were revoked.
func noteAll(t *testing.T, c blacklist.Change) {
	revokedAll.Lock()
	defer revokedAll.Unlock()
	last, known := revokedAll.at[t]
	if !c.All || !c.At.After(last) {
		return
	}
	revokedAll.at[t] = c.At
	if !known {
		t.Cleanup(func() {
			revokedAll.Lock()
			defer revokedAll.Unlock()
			delete(revokedAll.at, t)
		})
	}
}

// loggedIn returns the time of a log-in. It waits until that is after the last revocation of all,
// by what the store knows of its clock.
func (s *session) loggedIn() time.Time {
	s.t.Helper()
	now := s.now()
	revokedAll.Lock()
	all, ok := revokedAll.at[s.t]
	revokedAll.Unlock()
	for end := time.Now().Add(patience); ok && !now.After(all.Add(time.Millisecond)); now = s.now() {
		if time.Sleep(time.Millisecond); time.Now().After(end) {
			s.t.Errorf("Time stays behind")
			return now
		}
	}
	return now
}

func name(v blacklist.Verdict) string {
	names := [...]string{"no verdict", "Accepted", "Unknown", "Superseded", "Replaced", "ReuseDetected", "SessionCompromised", "LoggedOut", "Revoked", "Stale", "StepUpRefused"}
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("verdict %d", v)
}
