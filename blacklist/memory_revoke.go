package blacklist

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/z-open/socketauth/internal/id"
)

// Revoke implements Store.
func (m *memory) Revoke(ctx context.Context, r Revocation) (Change, error) {
	if err := ctx.Err(); err != nil {
		return Change{}, err
	}
	if err := r.Check(); err != nil {
		return Change{}, err
	}
	change := Change{UserID: r.UserID, SessionID: r.SessionID, Except: r.Except, All: r.All, Verdict: r.Why, At: time.Now()}
	sid, ok := id.Parse(r.SessionID)
	switch {
	case r.SessionID != "" && !ok: // no token has any such
	case r.Why == Stale:
		change = m.raise(change, sid, r.Keep)
	case r.SessionID != "":
		var others bool
		if change.Sessions, others = m.end(sid, r, change.At); others {
			change = Change{}
		}
	case r.UserID != "":
		change.Sessions = m.endUser(r, change.At)
	default:
		change.Sessions = m.endAll(r, change.At)
	}
	m.sweepAnother(time.Now())
	if change.Verdict != 0 {
		m.watchers.Tell(change)
	}
	return change, nil
}

// end ends one session, and returns 1 if that ended a living one. others: it is another user's, and
// was left alone.
func (m *memory) end(sid id.ID, r Revocation, now time.Time) (ended int, others bool) {
	sh := m.shard(sid)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s, known := sh.sessions[sid]
	if s.generation > 0 && s.userID != r.UserID {
		return 0, true
	}
	ended = m.endOne(sh, sid, s, r, now.Add(r.Keep), now)
	if !known {
		sh.due.add(sid, now.Add(r.Keep+leeway), now)
	}
	return ended, false
}

// endUser ends the sessions of a user, except one.
func (m *memory) endUser(r Revocation, now time.Time) (ended int) {
	except, isOne := id.Parse(r.Except)
	sessions, _ := m.remember(r.UserID, now, now.Add(r.Keep), func(e *userEntry) {
		e.revokedAt = max(e.revokedAt, now.UnixMicro())
	})
	for _, sid := range sessions {
		if isOne && sid == except {
			m.change(sid, func(s *State) { s.Cut(now) })
			continue
		}
		one, _ := m.end(sid, r, now)
		ended += one
	}
	return ended
}

func (m *memory) endAll(r Revocation, now time.Time) (ended int) {
	at := now.UnixMicro()
	for last := m.allAt.Load(); last < at && !m.allAt.CompareAndSwap(last, at); last = m.allAt.Load() {
	} // never back, whatever the clock does
	for n := range m.shards {
		sh := &m.shards[n]
		sh.mu.Lock()
		for sid, s := range sh.sessions {
			ended += m.endOne(sh, sid, s, r, now, now)
		}
		sh.mu.Unlock()
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

// raise raises the mark of one session, or of all of a user.
func (m *memory) raise(change Change, sid id.ID, keep time.Duration) Change {
	m.raising.Lock() // so that no mark changes between the look at all of them and the last raise
	defer m.raising.Unlock()
	now := change.At
	if change.SessionID != "" {
		sh := m.shard(sid)
		sh.mu.Lock()
		defer sh.mu.Unlock() // one that begins meanwhile begins before or after
		if s, known := sh.sessions[sid]; known {
			if s.generation > 0 && s.userID != change.UserID {
				return Change{}
			}
			change.Mark = NextMark(now, s.mark)
			if s.Raise(change.Mark, now) {
				change.Sessions = 1
			}
			sh.sessions[sid] = s
			return change
		}
		_, change.Mark = m.remember(change.UserID, now, now.Add(keep), func(e *userEntry) {
			e.mark = NextMark(now, e.mark)
		})
		return change
	}

	var marks []int64
	for _, sid := range m.owned(change.UserID) {
		m.change(sid, func(s *State) { marks = append(marks, s.mark) })
	}
	sessions, mark := m.remember(change.UserID, now, now.Add(keep), func(e *userEntry) {
		e.mark = NextMark(now, append(marks, e.mark)...)
	})
	for _, sid := range sessions {
		m.change(sid, func(s *State) {
			if s.Raise(mark, now) {
				change.Sessions++
			}
		})
	}
	change.Mark = mark
	return change
}

// change changes the state of a session, if the store knows it.
func (m *memory) change(sid id.ID, f func(*State)) {
	sh := m.shard(sid)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if s, known := sh.sessions[sid]; known {
		f(&s)
		sh.sessions[sid] = s
	}
}

// remember changes the entry of a user, and returns the sessions that are known, with the entry's
// mark. A session that begins later finds the entry.
func (m *memory) remember(userID string, now, until time.Time, change func(*userEntry)) (sessions []id.ID, mark int64) {
	u := m.user(userID)
	u.mu.Lock()
	defer u.mu.Unlock()
	entry, known := u.entries[userID]
	change(&entry)
	entry.until = max(entry.until, until.UnixMicro())
	u.entries[userID] = entry
	if !known {
		u.due.add(userID, time.UnixMicro(entry.until), now)
	}
	return slices.Collect(maps.Keys(u.owned[userID])), entry.mark
}
