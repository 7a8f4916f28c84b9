package blacklist

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/z-open/socketauth/internal/id"
)

// NewMemory returns a Store in memory, for one process. It is what socketauth uses by default; to
// share one between several cores of a process, give all of them the same. It forgets everything on
// a restart, and a session a minute after the last of its tokens has expired. It has no goroutine
// and needs no closing.
//
// If the wall clock is set back, sessions go on and logins work, with two exceptions: codes issued
// before are refused, and a user who was revoked cannot log in until the clock has passed the
// revocation.
func NewMemory() Store { return newMemory() }

// memory is a Store. Each call removes a few of the sessions that are over, so that no call ever
// goes through all of them.
type memory struct {
	birth     atomic.Int64 // codes issued before may have been used already, Unix microseconds
	forgotten atomic.Int64 // when the store forgot something last, Unix microseconds
	allAt     atomic.Int64 // when everyone was revoked last, Unix microseconds
	raising   sync.Mutex   // held while marks are raised, and before all other locks
	turn      atomic.Uint32
	shards    [64]shard
	users     [64]userShard
	watchers  Watchers
}

type shard struct {
	mu       sync.Mutex
	sessions map[id.ID]State
	due      agenda[id.ID]
}

// userShard is locked after a shard, never before one.
type userShard struct {
	mu      sync.Mutex
	entries map[string]userEntry
	due     agenda[string]
	owned   map[string]map[id.ID]struct{} // the sessions of a user that have not ended
}

// userEntry is what is remembered of a user beside their sessions. Times are Unix microseconds.
type userEntry struct {
	revokedAt int64 // when the user was revoked last
	mark      int64 // claims with a lower mark begin no session
	until     int64 // until when a code of before can live
}

const sweepsPerCall = 16

// leeway is how far clocks may differ, or be set back, before the store takes the clock for set
// back.
const leeway = time.Minute

func newMemory() *memory {
	m := new(memory)
	now := time.Now()
	m.birth.Store(now.UnixMicro())
	m.forgotten.Store(now.UnixMicro())
	for n := range m.shards {
		m.shards[n].sessions = make(map[id.ID]State)
		m.shards[n].due = newAgenda[id.ID](now)
		m.users[n].entries = make(map[string]userEntry)
		m.users[n].due = newAgenda[string](now)
		m.users[n].owned = make(map[string]map[id.ID]struct{})
	}
	return m
}

// Present implements Store.
func (m *memory) Present(ctx context.Context, p Presentation) (Result, error) {
	return m.step(ctx, p.Token, func(s *State, now time.Time) (Result, Change) { return s.Present(p, now) })
}

// Confirm implements Store.
func (m *memory) Confirm(ctx context.Context, t TokenRef) (Result, error) {
	return m.step(ctx, t, func(s *State, now time.Time) (Result, Change) { return s.Confirm(t, now) })
}

// Check implements Store.
func (m *memory) Check(ctx context.Context, t TokenRef, grace, branch time.Duration) (Result, error) {
	return m.step(ctx, t, func(s *State, now time.Time) (Result, Change) {
		return s.Check(t, grace, branch, now), Change{}
	})
}

// decision lets a session's state decide on a token.
type decision func(*State, time.Time) (Result, Change)

// step makes a decision on the token's session, under its lock.
func (m *memory) step(ctx context.Context, t TokenRef, d decision) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	sid, ok := id.Parse(t.SessionID)
	if !ok {
		return Result{Verdict: Unknown}, nil
	}
	sh := m.shard(sid)
	sh.mu.Lock()
	now := time.Now() // under the lock: never before a step that was decided earlier
	m.rewind(now)
	result, change := m.decide(sh, sid, t, now, d)
	sh.sweep(m, now)
	sh.mu.Unlock()
	m.sweepAnother(now)
	if change.Verdict != 0 {
		m.watchers.Tell(change)
	}
	return result, nil
}

func (m *memory) decide(sh *shard, sid id.ID, t TokenRef, now time.Time, d decision) (Result, Change) {
	s, known := sh.sessions[sid]
	if known {
		if v := s.Refuses(t); v != 0 {
			return refused(v)
		}
	}
	if t.AuthTime.UnixMicro() <= m.allAt.Load() {
		return refused(Revoked)
	}
	if !known {
		// A code of the future was issued before the clock was set back: what became of it may be
		// forgotten.
		if t.Generation > 0 || t.IssuedAt.UnixMicro() < m.birth.Load() || t.IssuedAt.After(now.Add(leeway)) {
			return refused(Unknown)
		}
		// One step with the look at the user's entry: a revocation of the user that comes later
		// finds the session.
		mark, ok := m.own(sid, t)
		if !ok {
			return refused(Revoked)
		}
		s.Raise(mark, now)
	}
	result, change := d(&s, now)
	if known || s.generation > 0 {
		sh.sessions[sid] = s
	}
	if !known && s.generation > 0 {
		sh.due.add(sid, s.ForgetAt(), now)
	}
	if s.generation == 0 || s.ended != 0 {
		m.disown(cmp.Or(s.userID, t.UserID), sid)
	}
	return result, change
}

// rewind notices that the clock was set back so far that a code may be in time again whose session
// is forgotten. From then on the store remembers no more than if it were new: codes issued before
// are unknown, and those issued from now on are accepted.
func (m *memory) rewind(now time.Time) {
	at := now.UnixMicro()
	for last := m.forgotten.Load(); at+leeway.Microseconds() < last; last = m.forgotten.Load() {
		m.birth.Store(at)
		m.forgotten.CompareAndSwap(last, at)
	}
}

// forgets records that something was forgotten now.
func (m *memory) forgets(now time.Time) {
	for last := m.forgotten.Load(); last < now.UnixMicro() && !m.forgotten.CompareAndSwap(last, now.UnixMicro()); {
		last = m.forgotten.Load()
	}
}

// shard is where a session is kept: ids are random, and none is taken that was not signed.
func (m *memory) shard(sid id.ID) *shard { return &m.shards[int(sid[0])%len(m.shards)] }

// Sessions implements Store.
func (m *memory) Sessions(ctx context.Context, userID string) ([]Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	now := time.Now()
	var living []Session
	for _, sid := range m.owned(userID) {
		sh := m.shard(sid)
		sh.mu.Lock()
		s := sh.sessions[sid]
		sh.mu.Unlock()
		if session, lives := s.Session(sid.String(), now); lives {
			living = append(living, session)
		}
	}
	return living, nil
}

// Watch implements Store.
func (m *memory) Watch(ctx context.Context, fn func(Change)) error {
	m.watchers.Watch(ctx, fn)
	return nil
}

func (m *memory) user(id string) *userShard {
	h := uint32(2166136261) // FNV-1a
	for n := range len(id) {
		h = (h ^ uint32(id[n])) * 16777619
	}
	return &m.users[h%uint32(len(m.users))]
}

// own notes whose session it is, unless the user was revoked since they proved who they are. It
// returns the mark of the user's entry.
func (m *memory) own(sid id.ID, t TokenRef) (mark int64, ok bool) {
	u := m.user(t.UserID)
	u.mu.Lock()
	defer u.mu.Unlock()
	entry := u.entries[t.UserID]
	if t.AuthTime.UnixMicro() <= entry.revokedAt {
		return 0, false
	}
	if u.owned[t.UserID] == nil {
		u.owned[t.UserID] = make(map[id.ID]struct{}, 1)
	}
	u.owned[t.UserID][sid] = struct{}{}
	return entry.mark, true
}

func (m *memory) disown(userID string, sid id.ID) {
	u := m.user(userID)
	u.mu.Lock()
	defer u.mu.Unlock()
	if delete(u.owned[userID], sid); len(u.owned[userID]) == 0 {
		delete(u.owned, userID)
	}
}

func (m *memory) owned(userID string) []id.ID {
	u := m.user(userID)
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Collect(maps.Keys(u.owned[userID]))
}

// sweep removes a few of the entries of users that no code needs any more. One that was prolonged
// since is put off.
func (u *userShard) sweep(m *memory, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for range sweepsPerCall {
		over, ok := u.due.next(now)
		if !ok {
			return
		}
		if until := time.UnixMicro(u.entries[over].until); !until.Before(now) {
			u.due.add(over, until, now)
			continue
		}
		delete(u.entries, over)
		m.forgets(now)
	}
}

// sweepAnother sweeps another shard each time, so that a shard without calls is swept too.
func (m *memory) sweepAnother(now time.Time) {
	n := m.turn.Add(1) % uint32(len(m.shards))
	if sh := &m.shards[n]; sh.mu.TryLock() {
		sh.sweep(m, now)
		sh.mu.Unlock()
	}
	m.users[n].sweep(m, now)
}

// sweep removes a few of the sessions that are over. One that was prolonged since is put off to its
// new end.
func (sh *shard) sweep(m *memory, now time.Time) {
	for range sweepsPerCall {
		sid, ok := sh.due.next(now)
		if !ok {
			return
		}
		s := sh.sessions[sid]
		if at := s.ForgetAt(); at.After(now) {
			sh.due.add(sid, at, now)
			continue
		}
		delete(sh.sessions, sid)
		if s.ended == 0 {
			m.disown(s.userID, sid)
		}
		m.forgets(now)
	}
}

// Left removes all that is over, which other calls do little by little. It returns how many
// sessions remain, and how many users have one. It is for tests.
func (m *memory) Left() (sessions, users int) {
	now := time.Now()
	for n := range m.shards {
		sh := &m.shards[n]
		sh.mu.Lock()
		for range len(sh.sessions)/sweepsPerCall + 1 { // each is due once
			sh.sweep(m, now)
		}
		sessions += len(sh.sessions)
		sh.mu.Unlock()
	}
	for n := range m.users {
		u := &m.users[n]
		u.mu.Lock()
		users += len(u.owned)
		u.mu.Unlock()
	}
	return sessions, users
}
