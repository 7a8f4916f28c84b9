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

// NewMemory makes the Store that Options.Blacklist is by default: in memory, for one process. To share it
// between cores, give both the same. It forgets all on a restart, and a session a minute after the last of its tokens
// has expired; it has no goroutine and needs no closing.
//
// Where the wall clock is set back, sessions go on and logins work, but for codes issued before and for users who were
// revoked: they wait until the clock has passed the revocation.
func NewMemory() Store { return newMemory() }

// memory clears away in each call a few of the sessions that are over, so that no call ever looks at all.
type memory struct {
	birth     atomic.Int64 // codes issued before may have been used already, Unix microseconds
	forgotten atomic.Int64 // when the store forgot something last, Unix microseconds
	allAt     atomic.Int64 // when everyone was revoked last, Unix microseconds
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

// userShard is taken after a shard, never before one.
type userShard struct {
	mu      sync.Mutex
	revoked map[string]cutoff
	due     agenda[string]
	owned   map[string]map[id.ID]struct{} // the sessions of a user that have not ended
}

// cutoff is a revocation of a user.
type cutoff struct{ at, until int64 } // Unix microseconds; until when a token from before it can live

const sweepsPerCall = 16

// leeway is how far clocks may differ, or one clock be set back, without anything being concluded from it.
const leeway = time.Minute

func newMemory() *memory {
	m := new(memory)
	now := time.Now()
	m.birth.Store(now.UnixMicro())
	m.forgotten.Store(now.UnixMicro())
	for n := range m.shards {
		m.shards[n].sessions = make(map[id.ID]State)
		m.shards[n].due = newAgenda[id.ID](now)
		m.users[n].revoked = make(map[string]cutoff)
		m.users[n].due = newAgenda[string](now)
		m.users[n].owned = make(map[string]map[id.ID]struct{})
	}
	return m
}

// Present implements Store.
func (m *memory) Present(ctx context.Context, p Presentation) (Verdict, error) {
	return m.step(ctx, p.Token, func(s *State, now time.Time) (Verdict, Change) { return s.Present(p, now) })
}

// Confirm implements Store.
func (m *memory) Confirm(ctx context.Context, t TokenRef) (Verdict, error) {
	return m.step(ctx, t, func(s *State, now time.Time) (Verdict, Change) { return s.Confirm(t, now) })
}

// Check implements Store.
func (m *memory) Check(ctx context.Context, t TokenRef, grace, branch time.Duration) (Verdict, error) {
	return m.step(ctx, t, func(s *State, now time.Time) (Verdict, Change) {
		return s.Check(t, grace, branch, now), Change{}
	})
}

// step lets f decide on the token's session, under its lock.
func (m *memory) step(ctx context.Context, t TokenRef, f func(*State, time.Time) (Verdict, Change)) (Verdict, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	sid, ok := id.Parse(t.SessionID)
	if !ok {
		return Unknown, nil
	}
	sh := m.shard(sid)
	sh.mu.Lock()
	now := time.Now() // under the lock: never before a step that was decided earlier
	m.rewind(now)
	verdict, change := m.decide(sh, sid, t, now, f)
	sh.sweep(m, now)
	sh.mu.Unlock()
	m.sweepAnother(now)
	if change.Verdict != 0 {
		m.watchers.Tell(change)
	}
	return verdict, nil
}

func (m *memory) decide(sh *shard, sid id.ID, t TokenRef, now time.Time, f func(*State, time.Time) (Verdict, Change)) (Verdict, Change) {
	s, known := sh.sessions[sid]
	switch {
	case known && s.ended != 0:
		return s.ended, Change{}
	case t.AuthTime.UnixMicro() <= m.allAt.Load():
		return Revoked, Change{}
	case !known && (t.Generation > 0 || t.IssuedAt.UnixMicro() < m.birth.Load() || t.IssuedAt.After(now.Add(leeway))):
		// A code of the future was issued before the clock was set back: what became of it may be forgotten.
		return Unknown, Change{}
	case !known && !m.own(sid, t): // in one step with the look at the user's revocation, which ends what it finds here
		return Revoked, Change{}
	}
	verdict, change := f(&s, now)
	if known || s.generation > 0 {
		sh.sessions[sid] = s
	}
	if !known && s.generation > 0 {
		sh.due.add(sid, s.ForgetAt(), now)
	}
	if s.generation == 0 || s.ended != 0 {
		m.disown(cmp.Or(s.userID, t.UserID), sid)
	}
	return verdict, change
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

// forgets notes that something was forgotten.
func (m *memory) forgets(now time.Time) {
	for last := m.forgotten.Load(); last < now.UnixMicro() && !m.forgotten.CompareAndSwap(last, now.UnixMicro()); {
		last = m.forgotten.Load()
	}
}

// shard is where a session is kept: ids are random, and none is taken that was not signed.
func (m *memory) shard(sid id.ID) *shard { return &m.shards[int(sid[0])%len(m.shards)] }

// Revoke implements Store.
func (m *memory) Revoke(ctx context.Context, r Revocation) (Change, error) {
	if err := ctx.Err(); err != nil {
		return Change{}, err
	}
	if err := r.Check(); err != nil {
		return Change{}, err
	}
	now := time.Now()
	change := Change{SessionID: r.SessionID, UserID: r.UserID, Except: r.Except, All: r.All, Verdict: r.Why, At: now}
	switch {
	case r.SessionID != "":
		if sid, ok := id.Parse(r.SessionID); ok { // no token has any other
			change.UserID, change.Sessions = m.end(sid, r, now)
		}
	case r.UserID != "":
		except, isOne := id.Parse(r.Except)
		for _, sid := range m.cut(r.UserID, now, now.Add(r.Keep)) {
			if isOne && sid == except {
				continue
			}
			_, ended := m.end(sid, r, now)
			change.Sessions += ended
		}
	default:
		for at := m.allAt.Load(); at < now.UnixMicro() && !m.allAt.CompareAndSwap(at, now.UnixMicro()); at = m.allAt.Load() {
		} // never back, whatever the clock does
		for n := range m.shards {
			change.Sessions += m.endAll(&m.shards[n], r, now)
		}
	}
	m.sweepAnother(now)
	m.watchers.Tell(change)
	return change, nil
}

// end ends one session, whose user it tells, and says whether, as a number, that ended a living one.
func (m *memory) end(sid id.ID, r Revocation, now time.Time) (userID string, ended int) {
	sh := m.shard(sid)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s, known := sh.sessions[sid]
	ended = m.endOne(sh, sid, s, r, now.Add(r.Keep), now)
	if !known {
		sh.due.add(sid, now.Add(r.Keep+leeway), now)
	}
	return s.userID, ended
}

func (m *memory) endAll(sh *shard, r Revocation, now time.Time) (ended int) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for sid, s := range sh.sessions {
		ended += m.endOne(sh, sid, s, r, now, now)
	}
	return ended
}

// endOne ends a session, which is from then on none of its user's. The shard is locked.
func (m *memory) endOne(sh *shard, sid id.ID, s State, r Revocation, keepUntil, now time.Time) (ended int) {
	owned := s.generation > 0 && s.ended == 0
	if s.End(r.Why, keepUntil, now) {
		ended = 1
	}
	sh.sessions[sid] = s
	if owned {
		m.disown(s.userID, sid)
	}
	return ended
}

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

// own notes whose session it is, unless the user was revoked since they proved who they are.
func (m *memory) own(sid id.ID, t TokenRef) bool {
	u := m.user(t.UserID)
	u.mu.Lock()
	defer u.mu.Unlock()
	if t.AuthTime.UnixMicro() <= u.revoked[t.UserID].at {
		return false
	}
	if u.owned[t.UserID] == nil {
		u.owned[t.UserID] = make(map[id.ID]struct{}, 1)
	}
	u.owned[t.UserID][sid] = struct{}{}
	return true
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

// cut remembers that a user was revoked, and gives the sessions that are known: one that begins later finds it.
func (m *memory) cut(userID string, now, until time.Time) []id.ID {
	u := m.user(userID)
	u.mu.Lock()
	defer u.mu.Unlock()
	c, known := u.revoked[userID]
	c = cutoff{max(now.UnixMicro(), c.at), max(until.UnixMicro(), c.until)}
	u.revoked[userID] = c
	if !known {
		u.due.add(userID, time.UnixMicro(c.until), now)
	}
	return slices.Collect(maps.Keys(u.owned[userID]))
}

// sweep forgets a few of the revocations of users that nothing comes from any more. One that was prolonged since is put
// off.
func (u *userShard) sweep(m *memory, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for range sweepsPerCall {
		over, ok := u.due.next(now)
		if !ok {
			return
		}
		if until := time.UnixMicro(u.revoked[over].until); !until.Before(now) {
			u.due.add(over, until, now)
			continue
		}
		delete(u.revoked, over)
		m.forgets(now)
	}
}

// sweepAnother clears away in another shard each time, so that none keeps its dead for want of calls.
func (m *memory) sweepAnother(now time.Time) {
	n := m.turn.Add(1) % uint32(len(m.shards))
	if sh := &m.shards[n]; sh.mu.TryLock() {
		sh.sweep(m, now)
		sh.mu.Unlock()
	}
	m.users[n].sweep(m, now)
}

// sweep forgets a few of the sessions that are over. One that was prolonged since is put off to its new end.
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

// agenda is what has to be looked at, by the minute in which to do so.
type agenda[K any] struct {
	due  map[int64][]K
	done int64 // nothing is left in the minutes before this one
}

func newAgenda[K any](now time.Time) agenda[K] {
	return agenda[K]{due: make(map[int64][]K), done: now.Unix() / 60}
}

// rewind sees that a clock that was set back does not put off what is added from now on.
func (a *agenda[K]) rewind(now time.Time) { a.done = min(a.done, now.Unix()/60+1) }

// add has key looked at once the minute of at is over.
func (a *agenda[K]) add(key K, at, now time.Time) {
	a.rewind(now)
	minute := max(at.Unix()/60+1, a.done)
	a.due[minute] = append(a.due[minute], key)
}

// next takes out a key whose minute has come, and reports whether there is one.
func (a *agenda[K]) next(now time.Time) (key K, ok bool) {
	a.rewind(now)
	current := now.Unix() / 60
	for a.done <= current {
		if list := a.due[a.done]; len(list) > 0 {
			last := len(list) - 1
			a.due[a.done] = list[:last]
			return list[last], true
		}
		delete(a.due, a.done)
		a.done++
		if current-a.done > int64(len(a.due)) { // more minutes than there are entries
			first := current + 1
			for minute := range a.due {
				first = min(first, minute)
			}
			a.done = first
		}
	}
	return key, false
}

// Left clears away what is over, which other calls do little by little, and returns how many
// sessions remain, and how many users who have one. It is for tests.
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
