package blacklist

import (
	"crypto/sha256"
	"math"
	"strings"
	"time"

	"github.com/z-open/socketauth/internal/id"
)

// A State is what a store keeps of one session, and decides on its tokens. It is of constant size.
// The zero value is a session that has not begun. It is not safe for concurrent use.
//
// It is for those who write a [Store]: to load a state, have it decide and store it again has to be
// one atomic step. If the store knows the session, it asks Refuses first. A store also checks two
// things, which a State cannot know:
//
//   - Was the user, or everyone, revoked after the token's AuthTime? Then the verdict is Revoked.
//     (The sessions that the store knew were ended by that revocation. For the one that it
//     excepted, if any, the store called Cut.)
//   - Was the code issued before the store began to remember? Then the verdict is Unknown. It is
//     Unknown too for a session token whose session the store does not know.
//
// If the state is new, the store calls Raise with the mark of the user's entry before the decision.
//
// A record that cannot be read is an error, never a new session.
type State struct {
	userID      string
	generation  uint32    // n, the latest
	confirmed   bool      // a token holds n; if not, n waits for a confirmation
	flags       byte      // flagBound
	ended       Verdict   // why the session is over, 0 while it lives
	previous    id.ID     // holds n-1
	holder      id.ID     // holds n
	confirmedAt int64     // since when n is confirmed, Unix microseconds; 0 while it is not
	previousAt  int64     // since when n-1 is
	earlier     [8]uint32 // how many microseconds before that n-2, n-3, ... were
	expiresAt   int64     // the latest expiry of all its tokens, Unix seconds rounded up

	mark     int64 // claims with a lower mark are out of date
	provedAt int64 // when the user proved who they are last, Unix microseconds
	// provedBy is the step-up that did, until a generation is confirmed. While nobody holds the
	// first, to which no step-up leads, it is the digest of the key to which the code was bound.
	provedBy id.ID

	since, seenAt      int64 // Unix microseconds
	address, userAgent string
}

// flagBound says that the session is bound to a key of its device.
const flagBound = 1

// What is kept of a client, in bytes.
const (
	maxAddress   = 64
	maxUserAgent = 256
)

// clockSkew is how far the clocks of processes that share a store may differ without one of them
// counting as set back.
const clockSkew = time.Second

// refused returns a result without a mark, and that nobody has to hear of it.
func refused(v Verdict) (Result, Change) { return Result{Verdict: v}, Change{} }

// Refuses returns the verdict on a token that needs no look at its generation: Unknown if it is not
// of this session, why the session is over if it is, and otherwise zero.
func (s *State) Refuses(t TokenRef) Verdict { return s.refuses(&t) }

func (s *State) refuses(t *TokenRef) Verdict {
	if s.generation > 0 && (t.UserID != s.userID || t.Generation > 0 && t.Bound != s.bound()) {
		return Unknown
	}
	return s.ended
}

func (s *State) bound() bool { return s.flags&flagBound != 0 }

// Present decides as Store.Present does. Unless the change is zero, others have to hear of it once
// the step is stored.
func (s *State) Present(p Presentation, now time.Time) (Result, Change) {
	if _, ok := id.Parse(p.Token.SessionID); !ok {
		return refused(Unknown)
	}
	return s.present(&p, now)
}

// present is Present for a SessionID that is well-formed.
func (s *State) present(p *Presentation, now time.Time) (Result, Change) {
	t := &p.Token
	jti, ok := id.Parse(t.TokenID)
	successor, replaces := id.Parse(p.SuccessorID)
	keeps := p.SuccessorID == ""
	n, gen := uint64(s.generation), t.Generation
	if !ok || !replaces && !keeps || keeps && gen == 0 {
		return refused(Unknown)
	}
	if v := s.refuses(t); v != 0 {
		return refused(v)
	}
	current := gen == n && (!s.confirmed || s.holder == jti)
	predecessor := gen+1 == n && s.previous == jti
	switch {
	case gen > n:
		return refused(Unknown)
	case predecessor && replaces && s.holder == successor: // the same step again: its reply was lost
		s.seen(p, now)
		return Result{Verdict: Accepted}, Change{}
	case current, predecessor && !s.confirmed && s.mayTrade(t):
	case predecessor && !s.confirmed:
		return s.reused(p, now) // whoever has another key is not the client that traded the code
	default:
		return s.replayed(p, now)
	}

	proof, proves := id.Parse(p.StepUp.ID)
	if p.StepUp != (StepUp{}) && (!proves || keeps || gen == 0 || !s.proves(proof, p.StepUp.At)) {
		return refused(StepUpRefused)
	}
	if p.mark() < s.mark {
		return Result{Verdict: Stale, Mark: s.mark}, Change{}
	}

	var change Change
	if current {
		if gen == 0 {
			s.begin(p)
		}
		if !s.confirmed {
			change = s.confirm(t.SessionID, t.TokenID, jti, now)
		}
		if replaces {
			s.advance(jti)
		}
	}
	if proves {
		s.provedAt, s.provedBy = p.StepUp.At.UnixMicro(), proof
	}
	if replaces {
		if c := s.succeed(p, successor, now); c.Verdict != 0 {
			change = c
		}
	}
	s.seen(p, now)
	return Result{Verdict: Accepted}, change
}

// mark returns the mark of the claims that the client is to have: those of the successor, or of the
// token if it is kept.
func (p *Presentation) mark() int64 {
	if p.SuccessorID == "" {
		return p.Token.Mark
	}
	return p.SuccessorMark
}

// mayTrade reports whether a token whose successor nobody has confirmed may get another one. A code
// may if it comes with the key it came with first, or without one if it did then.
func (s *State) mayTrade(t *TokenRef) bool {
	key := t.key()
	return t.Generation > 0 || key == s.boundTo() && (t.Bound || key != id.ID{}) == s.bound()
}

// key returns the digest of the key that a code which names none comes with, if it comes with one.
func (t *TokenRef) key() (key id.ID) {
	if t.Generation == 0 && !t.Bound && t.Bind != "" {
		digest := sha256.Sum256([]byte(t.Bind))
		copy(key[:], digest[:])
	}
	return key
}

// boundTo returns the digest of the key to which the session's code was bound when it was traded.
// It is zero if it was not, and once a client holds the first generation.
func (s *State) boundTo() (key id.ID) {
	if s.generation == 1 && !s.confirmed {
		key = s.provedBy
	}
	return key
}

// proves reports whether a step-up is good: it is later than the last proof, or was that proof.
func (s *State) proves(jti id.ID, at time.Time) bool {
	none := id.ID{}
	return at.UnixMicro() > s.provedAt || jti == s.provedBy && jti != none && s.boundTo() == none
}

// replayed decides on a token that was used and replaced.
func (s *State) replayed(p *Presentation, now time.Time) (Result, Change) {
	at, presented := s.replacedAt(p.Token.Generation), now
	if !p.PresentedAt.IsZero() {
		presented = p.PresentedAt
	}
	// If the clock was set back since, the token was replaced in what is the future now, and the
	// times tell nothing.
	comparable := at > 0 && now.UnixMicro() >= at-clockSkew.Microseconds()
	if comparable && presented.UnixMicro()-at <= p.SupersededWithin.Microseconds() && p.SocketOpenedAt.UnixMicro() <= at {
		return refused(Superseded)
	}
	return s.reused(p, now)
}

// reused decides on a token that was copied.
func (s *State) reused(p *Presentation, now time.Time) (Result, Change) {
	if p.EndOnReuse {
		s.over(SessionCompromised)
		return Result{Verdict: ReuseDetected}, Change{
			SessionID: p.Token.SessionID, UserID: s.userID, Verdict: SessionCompromised, At: now, Sessions: 1,
		}
	}
	return refused(Replaced)
}

// replacedAt returns since when a token of that generation, which is not alive, is not; 0 if that
// is too long ago to be remembered.
func (s *State) replacedAt(gen uint64) int64 {
	switch behind := uint64(s.generation) - gen; {
	case behind == 0, behind == 1 && s.confirmed:
		return s.confirmedAt // another branch holds n, or n has begun
	case behind <= 2:
		return s.previousAt
	case behind-3 < uint64(len(s.earlier)) && s.earlier[behind-3] < math.MaxUint32:
		return s.previousAt - int64(s.earlier[behind-3])
	}
	return 0
}

// begin begins the session with a code.
func (s *State) begin(p *Presentation) {
	s.userID = p.Token.UserID
	s.since = p.Token.AuthTime.UnixMicro()
	s.provedAt = s.since
	s.expiresAt = max(s.expiresAt, ceilSeconds(p.Token.ExpiresAt))
	if p.Token.Bound || p.Token.Bind != "" {
		s.flags |= flagBound
	}
}

// advance begins the next generation, which nobody holds yet; jti holds the one before.
func (s *State) advance(jti id.ID) {
	since := min(max(0, s.confirmedAt-s.previousAt), math.MaxUint32)
	if s.confirmedAt < s.previousAt-clockSkew.Microseconds() {
		since = math.MaxUint32 // the clock was set back: nobody knows how long ago it was
	}
	for n := len(s.earlier) - 1; n > 0; n-- {
		s.earlier[n] = uint32(min(int64(s.earlier[n-1])+since, math.MaxUint32)) // which is too long ago
	}
	s.earlier[0] = uint32(since)
	s.previous, s.previousAt, s.confirmed, s.confirmedAt = jti, s.confirmedAt, false, 0
	s.generation++
}

// confirm lets a token hold the latest generation. text is that of jti.
func (s *State) confirm(sid, text string, jti id.ID, now time.Time) Change {
	s.confirmed, s.holder, s.confirmedAt = true, jti, now.UnixMicro()
	s.provedBy = id.ID{}
	return Change{
		SessionID: sid, UserID: s.userID, Verdict: Accepted,
		TokenID: text, Generation: uint64(s.generation), At: now,
	}
}

// succeed lets the successor be alive: as the holder of the latest generation, or as one of its
// branches.
func (s *State) succeed(p *Presentation, successor id.ID, now time.Time) (change Change) {
	switch {
	case !p.Confirming:
		change = s.confirm(p.Token.SessionID, p.SuccessorID, successor, now)
	case p.Token.Generation == 0:
		s.provedBy = p.Token.key()
	}
	s.expiresAt = max(s.expiresAt, ceilSeconds(p.SuccessorExpiresAt))
	return change
}

// seen keeps what Sessions shows of the last presentation.
func (s *State) seen(p *Presentation, now time.Time) {
	s.seenAt = now.UnixMicro()
	s.address, s.userAgent = truncate(p.Address, maxAddress), truncate(p.UserAgent, maxUserAgent)
}

// Confirm decides as Store.Confirm does. Unless the change is zero, others have to hear of it once
// the step is stored.
func (s *State) Confirm(t TokenRef, now time.Time) (Result, Change) {
	jti, ok := t.id()
	n := uint64(s.generation)
	if !ok || t.Generation == 0 {
		return refused(Unknown)
	}
	if v := s.refuses(&t); v != 0 {
		return refused(v)
	}
	waits := t.Generation == n && !s.confirmed
	switch {
	case t.Generation > n:
		return refused(Unknown)
	case waits, t.Generation == n && s.holder == jti, t.Generation+1 == n && s.previous == jti:
	case t.Generation == n:
		return refused(Superseded)
	default:
		return refused(Replaced)
	}
	if t.Mark < s.mark {
		return Result{Verdict: Stale, Mark: s.mark}, Change{}
	}
	var change Change
	if waits {
		change = s.confirm(t.SessionID, t.TokenID, jti, now)
	}
	return Result{Verdict: Accepted}, change
}

// Check decides as Store.Check does. A time in the future gets no grace.
func (s *State) Check(t TokenRef, grace, branch time.Duration, now time.Time) Result {
	jti, ok := t.id()
	if !ok {
		return Result{Verdict: Unknown}
	}
	if v := s.refuses(&t); v != 0 {
		return Result{Verdict: v}
	}
	n := uint64(s.generation)
	age, replaced := now.Sub(t.IssuedAt), now.Sub(time.UnixMicro(s.confirmedAt))
	predecessor := t.Generation+1 == n && s.previous == jti
	switch {
	case t.Generation > n:
		return Result{Verdict: Unknown, Mark: s.mark}
	case t.Generation == n && s.confirmed && s.holder == jti,
		t.Generation == n && !s.confirmed && (branch == 0 || 0 <= age && age <= branch),
		predecessor && !s.confirmed && s.mayTrade(&t),
		predecessor && s.confirmed && 0 <= replaced && replaced < grace:
		if t.Mark < s.mark {
			return Result{Verdict: Stale, Mark: s.mark}
		}
		return Result{Verdict: Accepted, Unconfirmed: t.Generation == n && !s.confirmed}
	}
	return Result{Verdict: Replaced, Mark: s.mark}
}

// End ends the session, unless it has ended, and reports whether that ended a living one. keepUntil
// is how long a session that the store does not know yet has to be remembered.
func (s *State) End(why Verdict, keepUntil time.Time, now time.Time) bool {
	if s.generation == 0 {
		s.expiresAt = max(s.expiresAt, ceilSeconds(keepUntil))
	}
	if s.ended != 0 {
		return false
	}
	lived := s.lives(now)
	s.over(why)
	return lived
}

// over ends the session. Its client's address and user agent are no longer needed.
func (s *State) over(why Verdict) { s.ended, s.address, s.userAgent = why, "", "" }

// Raise raises the session's mark to at least mark, and reports whether the session lives.
func (s *State) Raise(mark int64, now time.Time) bool {
	s.mark = max(s.mark, mark)
	return s.lives(now)
}

// Mark returns the session's mark.
func (s *State) Mark() int64 { return s.mark }

// Cut refuses proofs of before that time from now on: the user was revoked then, and this session
// was the exception.
func (s *State) Cut(at time.Time) {
	if at.UnixMicro() > s.provedAt {
		s.provedAt, s.provedBy = at.UnixMicro(), s.boundTo()
	}
}

func (s *State) lives(now time.Time) bool {
	return s.ended == 0 && s.generation > 0 && now.Unix() < s.expiresAt
}

// ForgetAt returns when the session can be forgotten: a minute after the last of its tokens has
// expired, since clocks differ.
func (s *State) ForgetAt() time.Time { return time.Unix(s.expiresAt+60, 0) }

// Ended returns why the session is over, or zero while it lives or has not begun.
func (s *State) Ended() Verdict { return s.ended }

// UserID returns whose session it is. It is empty if the session has not begun.
func (s *State) UserID() string { return s.userID }

// Session returns what Store.Sessions shows of the session, and reports whether it lives.
func (s *State) Session(id string, now time.Time) (Session, bool) {
	return Session{
		ID: id, UserID: s.userID, Address: s.address, UserAgent: s.userAgent, Bound: s.bound(),
		Since: time.UnixMicro(s.since), LastSeen: time.UnixMicro(s.seenAt), ExpiresAt: time.Unix(s.expiresAt, 0),
	}, s.lives(now)
}

// NextMark returns a mark above all those known, and not below now in Unix microseconds.
func NextMark(now time.Time, known ...int64) int64 {
	mark := now.UnixMicro()
	for _, other := range known {
		mark = max(mark, other+1)
	}
	return mark
}

// id returns the TokenID, if it and the SessionID are well-formed.
func (t *TokenRef) id() (jti id.ID, ok bool) {
	if _, ok := id.Parse(t.SessionID); !ok {
		return jti, false
	}
	return id.Parse(t.TokenID)
}

func ceilSeconds(t time.Time) int64 {
	if t.Nanosecond() > 0 {
		return t.Unix() + 1
	}
	return t.Unix()
}

// truncate returns the first n bytes of s, without keeping the rest.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.Clone(s[:n])
}
