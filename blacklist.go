package socketauth

import (
	"context"
	"encoding/base64"
	"sync"
	"sync/atomic"
	"time"
)

// Blacklist remembers, for each session, which of its tokens are alive; every other token of it is dead. It is the one
// place where a presentation is decided, and each method is one atomic step: of two presentations of one token, one
// comes second. Its size is constant for a session, however often its token was replaced.
//
// A method that could not reach its decision says so by an error, and the caller accepts nothing. Where only the reply
// was lost, the caller repeats the call with the same arguments and gets the same verdict. Methods are safe for
// concurrent use and honour their context.
type Blacklist interface {
	// Present decides one presentation and records it. Where it says Accepted, the presented token holds its generation
	// and the successor is alive. Only a code starts a session.
	Present(ctx context.Context, p Presentation) (Verdict, error)

	// Confirm records that a confirming client has stored the token t, which Present accepted as a successor. Accepted:
	// t holds its generation, now or already. Overtaken: another branch holds it. Replaced: a later generation has
	// begun, and nothing changes.
	Confirm(ctx context.Context, t TokenRef) (Verdict, error)

	// Check says, without recording anything, how a session token stands: Accepted where it holds its generation or is
	// the predecessor of one that nobody holds yet. grace is added for a token that was replaced that short a time ago,
	// and branch is how long, from its issue, a successor is accepted that is not confirmed yet; with both at 0, Check
	// says whether Present would accept the token.
	Check(ctx context.Context, t TokenRef, grace, branch time.Duration) (Verdict, error)

	// Revoke ends a session for good, and records why: LoggedOut or Revoked. The first reason stays. A session
	// that is unknown or over already is no error.
	Revoke(ctx context.Context, sessionID string, why Verdict) error
}

// TokenRef is what a token is known by, never its text.
type TokenRef struct {
	SessionID  string // 128 bits in base64url, as TokenID
	TokenID    string
	UserID     string
	Generation uint64 // 0 for the code that starts the session
	IssuedAt   time.Time
	AuthTime   time.Time // when the user proved who they are
	ExpiresAt  time.Time
}

// Presentation is one token presented on a socket, after everything was checked that needs no store, with the token
// minted to replace it.
type Presentation struct {
	Token TokenRef

	SuccessorID        string // the next generation's TokenID
	SuccessorExpiresAt time.Time

	// Confirming: the client will confirm that it has the successor, and until then nobody holds that generation.
	Confirming bool

	// SocketOpenedAt and Overtake tell a late frame from theft: what would be reuse is Overtaken where the socket was
	// open already when the token was replaced, and that was at most Overtake and three generations ago. The time is by
	// the caller's clock; a store with a clock of its own allows for the difference.
	SocketOpenedAt time.Time
	Overtake       time.Duration

	// EndOnReuse: reuse revokes the session, in the same step.
	EndOnReuse bool
}

// Verdict is what a blacklist says of a token. The zero Verdict is none, and accepts nothing.
type Verdict uint8

// The verdicts.
const (
	Accepted     Verdict = iota + 1
	Unknown              // the store does not know the session, or not yet that generation: it has lost state
	Overtaken            // used and replaced, but a moment ago and by a client that could not know
	Replaced             // used and replaced, where nothing follows from it
	Reused               // used and replaced, and presented again: a theft, for which this call ended the session
	EndedByReuse         // its session was ended by a reuse
	LoggedOut            // its session was ended by its user
	Revoked              // its session was ended by the app
)

// standing is the state of one session: all that is needed to tell its living tokens from its dead ones.
type standing struct {
	generation uint32   // n, the latest
	held       bool     // whether a token holds n; if not, it waits for a confirmation
	ended      Verdict  // why the session is over, 0 while it lives
	previous   [16]byte // holds n-1
	holder     [16]byte // holds n
	heldAt     [3]int64 // since when n, n-1 and n-2 are held, Unix microseconds
	expiresAt  int64    // the latest exp ever minted in the session, Unix seconds rounded up
}

// present is the decision on one presentation of a session that is known.
func (s *standing) present(p *Presentation, id, successor [16]byte, now time.Time) Verdict {
	n, gen := uint64(s.generation), p.Token.Generation
	switch {
	case s.ended != 0:
		return s.ended
	case gen > n:
		return Unknown
	case gen == n && (!s.held || s.holder == id): // current
		if !s.held {
			s.hold(id, now)
		}
		s.previous, s.held = id, false
		s.generation++
		s.heldAt = [3]int64{0, s.heldAt[0], s.heldAt[1]}
		s.succeed(p, successor, now)
		return Accepted
	case gen+1 == n && s.previous == id && !s.held: // predecessor, whose holder never got n
		s.succeed(p, successor, now)
		return Accepted
	case gen+1 == n && s.previous == id && s.holder == successor: // the same step again: its reply was lost
		return Accepted
	}
	at := s.replacedAt(gen)
	if at > 0 && now.UnixMicro()-at <= p.Overtake.Microseconds() && p.SocketOpenedAt.UnixMicro() <= at {
		return Overtaken
	}
	if p.EndOnReuse {
		s.ended = EndedByReuse
		return Reused
	}
	return Replaced
}

// replacedAt is since when a token of that generation, which is not alive, is not; 0 where that is too long ago to be
// remembered.
func (s *standing) replacedAt(gen uint64) int64 {
	switch n := uint64(s.generation); {
	case gen == n, gen+1 == n && s.held:
		return s.heldAt[0] // another branch holds n, or n has begun
	case gen+1 == n, gen+2 == n:
		return s.heldAt[1]
	case gen+3 == n:
		return s.heldAt[2]
	}
	return 0
}

// hold lets a token hold the latest generation.
func (s *standing) hold(id [16]byte, now time.Time) {
	s.held, s.holder, s.heldAt[0] = true, id, now.UnixMicro()
}

// succeed lets the successor be alive: as the holder of the latest generation, or as one of its branches.
func (s *standing) succeed(p *Presentation, successor [16]byte, now time.Time) {
	if !p.Confirming {
		s.hold(successor, now)
	}
	s.expiresAt = max(s.expiresAt, ceilSeconds(p.SuccessorExpiresAt))
}

func (s *standing) confirm(t TokenRef, id [16]byte, now time.Time) Verdict {
	n := uint64(s.generation)
	switch {
	case s.ended != 0:
		return s.ended
	case t.Generation > n:
		return Unknown
	case t.Generation < n:
		return Replaced
	case s.held && s.holder != id:
		return Overtaken
	}
	if !s.held {
		s.hold(id, now)
	}
	return Accepted
}

func (s *standing) check(t TokenRef, id [16]byte, grace, branch time.Duration, now time.Time) Verdict {
	n := uint64(s.generation)
	switch {
	case s.ended != 0:
		return s.ended
	case t.Generation > n:
		return Unknown
	case t.Generation == n && s.held && s.holder == id,
		t.Generation == n && !s.held && (branch == 0 || now.Sub(t.IssuedAt) <= branch),
		t.Generation+1 == n && s.previous == id && (!s.held || now.Sub(time.UnixMicro(s.heldAt[0])) < grace):
		return Accepted
	}
	return Replaced
}

// memory is the Blacklist of one process. It forgets a session a minute after the last of its tokens expired: each call
// clears away a few that are due, so that no call ever looks at all.
type memory struct {
	start  time.Time // codes issued before may have been used in an earlier life of the process
	turn   atomic.Uint32
	shards [64]shard
}

type shard struct {
	mu       sync.Mutex
	sessions map[[16]byte]standing
	due      map[int64][][16]byte // by the minute in which to look whether they are over
	swept    int64                // all minutes before this one are done
}

const sweepsPerCall = 16

func newMemory() *memory {
	m := &memory{start: time.Now().Truncate(time.Microsecond)}
	for n := range m.shards {
		m.shards[n].sessions = make(map[[16]byte]standing)
		m.shards[n].due = make(map[int64][][16]byte)
		m.shards[n].swept = m.start.Unix() / 60
	}
	return m
}

// Present implements Blacklist.
func (m *memory) Present(ctx context.Context, p Presentation) (Verdict, error) {
	successor, ok := rawID(p.SuccessorID)
	if !ok {
		return Unknown, ctx.Err()
	}
	return m.step(ctx, p.Token, func(sh *shard, sid, id [16]byte, now time.Time) Verdict {
		s, known := sh.sessions[sid]
		if !known {
			if p.Token.Generation > 0 || p.Token.IssuedAt.Before(m.start) {
				return Unknown
			}
			s.expiresAt = ceilSeconds(p.Token.ExpiresAt)
		}
		verdict := s.present(&p, id, successor, now)
		sh.sessions[sid] = s
		if !known {
			sh.watch(sid, s.expiresAt)
		}
		return verdict
	})
}

// Confirm implements Blacklist.
func (m *memory) Confirm(ctx context.Context, t TokenRef) (Verdict, error) {
	return m.step(ctx, t, func(sh *shard, sid, id [16]byte, now time.Time) Verdict {
		s, known := sh.sessions[sid]
		if !known {
			return Unknown
		}
		verdict := s.confirm(t, id, now)
		sh.sessions[sid] = s
		return verdict
	})
}

// Check implements Blacklist.
func (m *memory) Check(ctx context.Context, t TokenRef, grace, branch time.Duration) (Verdict, error) {
	return m.step(ctx, t, func(sh *shard, sid, id [16]byte, now time.Time) Verdict {
		s, known := sh.sessions[sid]
		if !known && (t.Generation > 0 || t.IssuedAt.Before(m.start)) {
			return Unknown
		}
		return s.check(t, id, grace, branch, now)
	})
}

// Revoke implements Blacklist.
func (m *memory) Revoke(ctx context.Context, sessionID string, why Verdict) error {
	_, err := m.step(ctx, TokenRef{SessionID: sessionID, TokenID: sessionID}, func(sh *shard, sid, _ [16]byte, _ time.Time) Verdict {
		if s, known := sh.sessions[sid]; known && s.ended == 0 {
			s.ended = why
			sh.sessions[sid] = s
		}
		return why
	})
	return err
}

// step runs f under the lock of the session's shard, then clears away what is due there and in one other shard.
func (m *memory) step(ctx context.Context, t TokenRef, f func(sh *shard, sid, id [16]byte, now time.Time) Verdict) (Verdict, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	sid, ok := rawID(t.SessionID)
	id, ok2 := rawID(t.TokenID)
	if !ok || !ok2 {
		return Unknown, nil
	}
	sh := &m.shards[int(sid[0])%len(m.shards)] // ids are random, and none is taken that was not signed
	now := time.Now()
	sh.mu.Lock()
	verdict := f(sh, sid, id, now)
	sh.sweep(now)
	sh.mu.Unlock()

	if other := &m.shards[m.turn.Add(1)%uint32(len(m.shards))]; other.mu.TryLock() {
		other.sweep(now)
		other.mu.Unlock()
	}
	return verdict, nil
}

// watch notes when to look whether a session is over: a minute after its tokens are, for clocks that differ.
func (sh *shard) watch(sid [16]byte, expiresAt int64) {
	minute := max(expiresAt/60+2, sh.swept)
	sh.due[minute] = append(sh.due[minute], sid)
}

// sweep forgets a few of the sessions that are over. One that was prolonged since is put off to its new end.
func (sh *shard) sweep(now time.Time) {
	budget := sweepsPerCall
	for current := now.Unix() / 60; sh.swept <= current && budget > 0; budget-- {
		list := sh.due[sh.swept]
		if len(list) == 0 {
			delete(sh.due, sh.swept)
			if sh.swept++; len(sh.due) == 0 {
				sh.swept = current + 1
			}
			continue
		}
		sid := list[len(list)-1]
		sh.due[sh.swept] = list[:len(list)-1]
		if s := sh.sessions[sid]; s.expiresAt/60+2 > sh.swept {
			sh.watch(sid, s.expiresAt)
		} else {
			delete(sh.sessions, sid)
		}
	}
}

// size is how many sessions are remembered.
func (m *memory) size() int {
	total := 0
	for n := range m.shards {
		m.shards[n].mu.Lock()
		total += len(m.shards[n].sessions)
		m.shards[n].mu.Unlock()
	}
	return total
}

func rawID(s string) (id [16]byte, ok bool) {
	if len(s) != 22 {
		return id, false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(id[:], []byte(s))
	return id, err == nil && n == 16
}

func ceilSeconds(t time.Time) int64 {
	if t.Nanosecond() > 0 {
		return t.Unix() + 1
	}
	return t.Unix()
}
