package blacklist

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/z-open/socketauth/internal/id"
)

// State is the state of one session, of constant size, and what decides on its tokens: all that is needed to tell
// the living ones from the dead. It is for those who write a Store; to load it, decide and store it again has to be
// one atomic step. Its zero value is a session that nobody has begun. It is not safe for concurrent use.
//
// A store adds what no session can know: that the session's user, or everyone, was revoked since the token's AuthTime
// (a session that the store knows was ended then, or was the exception), and that a code was issued before the store
// began to remember. A record that cannot be read is an error, never a new session.
type State struct {
	userID      string
	generation  uint32    // n, the latest
	confirmed   bool      // whether a token holds n; if not, it waits for a confirmation
	ended       Verdict   // why the session is over, 0 while it lives
	previous    id.ID     // holds n-1
	holder      id.ID     // holds n
	confirmedAt int64     // since when n is confirmed, Unix microseconds; 0 while it is not
	previousAt  int64     // since when n-1 is
	earlier     [8]uint32 // how many microseconds before that n-2, n-3, ... were
	expiresAt   int64     // the latest exp ever minted in the session, Unix seconds rounded up

	since, seenAt      int64 // Unix microseconds
	address, userAgent string
}

// What is kept of a client, in bytes.
const (
	maxAddress   = 64
	maxUserAgent = 256
)

// Present decides as Store.Present does. The Change is to be heard, once the step is stored, unless it is zero.
func (s *State) Present(p Presentation, now time.Time) (Verdict, Change) {
	jti, ok := p.Token.id()
	successor, ok2 := id.Parse(p.SuccessorID)
	keeps := p.SuccessorID == ""
	if !ok || !ok2 && !keeps || keeps && p.Token.Generation == 0 {
		return Unknown, Change{}
	}
	n, gen := uint64(s.generation), p.Token.Generation
	var change Change
	switch {
	case s.ended != 0:
		return s.ended, Change{}
	case gen > n:
		return Unknown, Change{}
	case gen == n && (!s.confirmed || s.holder == jti): // current
		if gen == 0 {
			s.begin(p.Token)
		}
		if !s.confirmed {
			change = s.confirm(p.Token.SessionID, jti, now)
		}
		if !keeps {
			s.advance(jti)
			change = cmp.Or(s.succeed(&p, successor, now), change)
		}
	case gen+1 == n && s.previous == jti && !s.confirmed: // predecessor, whose holder never got n
		if !keeps {
			change = s.succeed(&p, successor, now)
		}
	case gen+1 == n && s.previous == jti && s.holder == successor && !keeps: // the same step again: its reply was lost
	default:
		return s.replayed(&p, now)
	}
	s.seenAt, s.address, s.userAgent = now.UnixMicro(), cutTo(p.Address, maxAddress), cutTo(p.UserAgent, maxUserAgent)
	return Accepted, change
}

// clockSkew is how far the clocks of processes that share a store may differ without one of them counting as set back.
const clockSkew = time.Second

// replayed decides on a token that was used and replaced.
func (s *State) replayed(p *Presentation, now time.Time) (Verdict, Change) {
	at, presented := s.replacedAt(p.Token.Generation), now
	if !p.PresentedAt.IsZero() {
		presented = p.PresentedAt
	}
	// Where the clock was set back since, the token was replaced in what is the future now, and the times say nothing.
	comparable := at > 0 && now.UnixMicro() >= at-clockSkew.Microseconds()
	if comparable && presented.UnixMicro()-at <= p.SupersededWithin.Microseconds() && p.SocketOpenedAt.UnixMicro() <= at {
		return Superseded, Change{}
	}
	if p.EndOnReuse {
		s.over(SessionCompromised)
		return ReuseDetected, Change{SessionID: p.Token.SessionID, UserID: s.userID, Verdict: SessionCompromised, At: now, Sessions: 1}
	}
	return Replaced, Change{}
}

// replacedAt is since when a token of that generation, which is not alive, is not; 0 where that is too long ago to be
// remembered.
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

// advance begins the next generation, which nobody holds yet; jti holds the one before.
func (s *State) advance(jti id.ID) {
	since := min(max(0, s.confirmedAt-s.previousAt), math.MaxUint32)
	if s.confirmedAt < s.previousAt-clockSkew.Microseconds() { // the clock was set back: nobody knows how long ago it was
		since = math.MaxUint32
	}
	for n := len(s.earlier) - 1; n > 0; n-- {
		s.earlier[n] = uint32(min(int64(s.earlier[n-1])+since, math.MaxUint32)) // which is too long ago
	}
	s.earlier[0] = uint32(since)
	s.previous, s.previousAt, s.confirmed, s.confirmedAt = jti, s.confirmedAt, false, 0
	s.generation++
}

func (s *State) begin(code TokenRef) {
	s.userID, s.since = code.UserID, code.AuthTime.UnixMicro()
	s.expiresAt = max(s.expiresAt, ceilSeconds(code.ExpiresAt))
}

// confirm lets a token hold the latest generation.
func (s *State) confirm(sid string, jti id.ID, now time.Time) Change {
	s.confirmed, s.holder, s.confirmedAt = true, jti, now.UnixMicro()
	return Change{
		SessionID: sid, UserID: s.userID, Verdict: Accepted,
		TokenID: jti.String(), Generation: uint64(s.generation), At: now,
	}
}

// succeed lets the successor be alive: as the holder of the latest generation, or as one of its branches.
func (s *State) succeed(p *Presentation, successor id.ID, now time.Time) (change Change) {
	if !p.Confirming {
		change = s.confirm(p.Token.SessionID, successor, now)
	}
	s.expiresAt = max(s.expiresAt, ceilSeconds(p.SuccessorExpiresAt))
	return change
}

// Confirm decides as Store.Confirm does. The Change is to be heard, once the step is stored, unless it is zero.
func (s *State) Confirm(t TokenRef, now time.Time) (Verdict, Change) {
	jti, ok := t.id()
	n := uint64(s.generation)
	switch {
	case !ok || t.Generation == 0:
		return Unknown, Change{}
	case s.ended != 0:
		return s.ended, Change{}
	case t.Generation > n:
		return Unknown, Change{}
	case t.Generation == n && !s.confirmed:
		return Accepted, s.confirm(t.SessionID, jti, now)
	case t.Generation == n && s.holder == jti, t.Generation+1 == n && s.previous == jti:
		return Accepted, Change{}
	case t.Generation == n:
		return Superseded, Change{}
	}
	return Replaced, Change{}
}

// Check decides as Store.Check does. What lies ahead of now counts as young for nothing.
func (s *State) Check(t TokenRef, grace, branch time.Duration, now time.Time) Verdict {
	jti, ok := t.id()
	n := uint64(s.generation)
	age, replaced := now.Sub(t.IssuedAt), now.Sub(time.UnixMicro(s.confirmedAt))
	switch {
	case !ok:
		return Unknown
	case s.ended != 0:
		return s.ended
	case t.Generation > n:
		return Unknown
	case t.Generation == n && s.confirmed && s.holder == jti,
		t.Generation == n && !s.confirmed && (branch == 0 || 0 <= age && age <= branch),
		t.Generation+1 == n && s.previous == jti && (!s.confirmed || 0 <= replaced && replaced < grace):
		return Accepted
	}
	return Replaced
}

// End ends the session, unless it has ended, and says whether that ended a living one. keepUntil is how long a session
// that the store does not know yet has to be remembered.
func (s *State) End(why Verdict, keepUntil time.Time, now time.Time) bool {
	if s.generation == 0 {
		s.expiresAt = max(s.expiresAt, ceilSeconds(keepUntil))
	}
	if s.ended != 0 {
		return false
	}
	living := s.lives(now)
	s.over(why)
	return living
}

// over ends the session, of which nobody will ask any more where its client was.
func (s *State) over(why Verdict) { s.ended, s.address, s.userAgent = why, "", "" }

func (s *State) lives(now time.Time) bool {
	return s.ended == 0 && s.generation > 0 && now.Unix() < s.expiresAt
}

// ForgetAt is when the session can be forgotten: a minute after the last of its tokens has expired, for clocks that
// differ.
func (s *State) ForgetAt() time.Time { return time.Unix(s.expiresAt+60, 0) }

// Ended is why the session is over, 0 while it lives or has not begun.
func (s *State) Ended() Verdict { return s.ended }

// UserID is whose session it is, empty while none has begun.
func (s *State) UserID() string { return s.userID }

// Session is what Store.Sessions says of it. false: it is over, or has not begun.
func (s *State) Session(id string, now time.Time) (Session, bool) {
	return Session{
		ID: id, UserID: s.userID, Address: s.address, UserAgent: s.userAgent,
		Since: time.UnixMicro(s.since), LastSeen: time.UnixMicro(s.seenAt), ExpiresAt: time.Unix(s.expiresAt, 0),
	}, s.lives(now)
}

// The binary form: a version, fixed fields, then three strings, each with its length before it.
const (
	stateVersion = 1
	stateFixed   = 1 + 4 + 1 + 1 + 16 + 16 + 8*4 + 5*8
)

var errState = errors.New("blacklist: not a State in binary")

// AppendBinary implements encoding.BinaryAppender.
func (s *State) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, stateVersion)
	b = binary.BigEndian.AppendUint32(b, s.generation)
	confirmed := byte(0)
	if s.confirmed {
		confirmed = 1
	}
	b = append(b, confirmed, byte(s.ended))
	b = append(append(b, s.previous[:]...), s.holder[:]...)
	for _, n := range s.earlier {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	for _, n := range [...]int64{s.confirmedAt, s.previousAt, s.expiresAt, s.since, s.seenAt} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	for _, text := range [...]string{s.userID, s.address, s.userAgent} {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	return b, nil
}

// MarshalBinary implements encoding.BinaryMarshaler.
func (s *State) MarshalBinary() ([]byte, error) { return s.AppendBinary(nil) }

// UnmarshalBinary implements encoding.BinaryUnmarshaler. It keeps nothing of data.
func (s *State) UnmarshalBinary(data []byte) error {
	if len(data) < stateFixed || data[0] != stateVersion || data[5] > 1 {
		return errState
	}
	r := State{generation: binary.BigEndian.Uint32(data[1:]), confirmed: data[5] == 1, ended: Verdict(data[6])}
	switch r.ended {
	case 0, SessionCompromised, LoggedOut, Revoked:
	default: // Accepted, say, would accept every token
		return errState
	}
	copy(r.previous[:], data[7:])
	copy(r.holder[:], data[23:])
	for n := range r.earlier {
		r.earlier[n] = binary.BigEndian.Uint32(data[39+4*n:])
	}
	for n, field := range [...]*int64{&r.confirmedAt, &r.previousAt, &r.expiresAt, &r.since, &r.seenAt} {
		*field = int64(binary.BigEndian.Uint64(data[71+8*n:]))
	}
	rest := data[stateFixed:]
	for _, field := range [...]*string{&r.userID, &r.address, &r.userAgent} {
		length, n := binary.Uvarint(rest)
		if n <= 0 || n > 1 && rest[n-1] == 0 || length > uint64(len(rest)-n) { // a last byte of 0: not the shortest form
			return errState
		}
		*field, rest = string(rest[n:n+int(length)]), rest[n+int(length):]
	}
	if len(rest) > 0 {
		return errState
	}
	*s = r
	return nil
}

// id is the TokenID, where it and the SessionID are such.
func (t TokenRef) id() (jti id.ID, ok bool) {
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

// cutTo is a copy, so that what is kept does not keep the rest.
func cutTo(s string, n int) string { return strings.Clone(s[:min(len(s), n)]) }
