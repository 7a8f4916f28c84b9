package blacklist

import (
	"context"
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
	u := m.user(r.UserID)
	switch {
	case r.All:
		change.Sessions = m.endAll(r, change.At)
	case r.SessionID != "" && !ok: // no token has any such
	case r.SessionID != "" && m.isOfAnother(sid, u):
		change = Change{}
	default:
		m.shard(u).revoke(sid, u, r, &change)
	}
	m.sweepAnother(time.Now())
	if change.Verdict != 0 {
		m.watchers.Tell(change)
	}
	return change, nil
}

// revoke makes the change to one session of a user, or to all.
func (sh *shard) revoke(sid id.ID, u user, r Revocation, change *Change) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	switch one, stale := r.SessionID != "", r.Why == Stale; {
	case one && sh.isOfAnother(sid, u): // it began just now
		*change = Change{}
	case one && stale:
		sh.raise(sid, u, r, change)
	case one:
		change.Sessions = sh.end(sid, u, r, change.At)
	case stale:
		sh.raiseUser(u, r, change)
	default:
		change.Sessions = sh.endUser(u, r, change.At)
	}
}

// isOfAnother reports whether a session has begun and is another user's. It looks at all shards
// only if the user has no such session.
func (m *memory) isOfAnother(sid id.ID, u user) bool {
	own := m.shard(u)
	if known, another := own.whose(sid, u); known {
		return another
	}
	for n := range m.shards {
		if sh := &m.shards[n]; sh != own {
			if _, another := sh.whose(sid, u); another {
				return true
			}
		}
	}
	return false
}

// whose reports whether a session is known here, and whether it has begun and is another user's.
func (sh *shard) whose(sid id.ID, u user) (known, another bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.find(sid) != 0, sh.isOfAnother(sid, u)
}

func (sh *shard) isOfAnother(sid id.ID, u user) bool {
	n := sh.find(sid)
	if n == 0 {
		return false
	}
	c := sh.load(n, u)
	return c.generation > 0 && c.userID != u.id
}

// of returns the sessions on a user's list, but those that RevokeAll has ended. The loop may end
// the session that it was given.
func (sh *shard) of(u user) func(yield func(uint32) bool) {
	return func(yield func(uint32) bool) {
		for n := sh.first(u); n != 0; {
			next := sh.records.At(n).after
			if c := sh.read(sh.records.At(n)); c.epoch < uint64(len(sh.m.epochs)) || !yield(n) {
				return // so are all after it
			}
			n = next
		}
	}
}

// end ends one session, and returns 1 if that ended a living one.
func (sh *shard) end(sid id.ID, u user, r Revocation, now time.Time) (ended int) {
	var c content
	n := sh.find(sid)
	if n == 0 {
		n = sh.insert(sid, now.Add(r.Keep+leeway), now) // there is nothing to load yet
	} else {
		c = sh.load(n, u)
	}
	return sh.endOne(n, u, c, r, now)
}

func (sh *shard) endOne(n uint32, u user, c content, r Revocation, now time.Time) (ended int) {
	lived := c.living()
	if c.End(r.Why, now.Add(r.Keep), now) {
		ended = 1
	}
	sh.save(n, u, lived, &c, now)
	return ended
}

// endUser ends the sessions of a user, except one.
func (sh *shard) endUser(u user, r Revocation, now time.Time) (ended int) {
	except, isOne := id.Parse(r.Except)
	sh.remember(u, now, now.Add(r.Keep), func(e *userEntry) { e.revokedAt = max(e.revokedAt, now.UnixMicro()) })
	for n := range sh.of(u) {
		if isOne && sh.records.At(n).sid == except {
			sh.change(n, u, now, func(s *State) { s.Cut(now) })
			continue
		}
		ended += sh.endOne(n, u, sh.load(n, u), r, now)
	}
	return ended
}

// endAll begins a new epoch, whose sessions are all that live. Those of the epochs before are not
// looked at.
func (m *memory) endAll(r Revocation, now time.Time) (ended int) {
	raise(&m.allAt, now.UnixMicro()) // never back, whatever the clock does
	for n := range m.shards {
		m.shards[n].mu.Lock()
	}
	if m.begun.Swap(false) {
		m.epochs = append(m.epochs, r.Why)
	}
	ended = m.expiries.take(now.Unix())
	for n := range m.shards {
		m.shards[n].mu.Unlock()
	}
	return ended
}

// raise raises the mark of one session, or of the user's entry if the session is not known.
func (sh *shard) raise(sid id.ID, u user, r Revocation, change *Change) {
	now := change.At
	if n := sh.find(sid); n != 0 {
		sh.change(n, u, now, func(s *State) {
			change.Mark = NextMark(now, s.mark)
			if s.Raise(change.Mark, now) {
				change.Sessions = 1
			}
		})
		return
	}
	change.Mark = sh.remember(u, now, now.Add(r.Keep), func(e *userEntry) { e.mark = NextMark(now, e.mark) })
}

// raiseUser raises the mark of all sessions of a user, and of the user's entry.
func (sh *shard) raiseUser(u user, r Revocation, change *Change) {
	now := change.At
	mark := NextMark(now)
	for n := range sh.of(u) {
		c := sh.read(sh.records.At(n))
		mark = NextMark(time.UnixMicro(mark), c.mark)
	}
	change.Mark = sh.remember(u, now, now.Add(r.Keep), func(e *userEntry) {
		e.mark = NextMark(time.UnixMicro(mark), e.mark)
	})
	for n := range sh.of(u) {
		sh.change(n, u, now, func(s *State) {
			if s.Raise(change.Mark, now) {
				change.Sessions++
			}
		})
	}
}

// change changes the state of a session.
func (sh *shard) change(n uint32, u user, now time.Time, f func(*State)) {
	c := sh.load(n, u)
	lived := c.living()
	f(&c.State)
	sh.save(n, u, lived, &c, now)
}

// remember changes the entry of a user, and returns its mark. A session that begins later finds the
// entry.
func (sh *shard) remember(u user, now, until time.Time, change func(*userEntry)) (mark int64) {
	entry, known := sh.users[u.id]
	change(&entry)
	entry.until = max(entry.until, until.UnixMicro())
	sh.users[u.id] = entry
	if !known {
		sh.usersDue.add(u.id, time.UnixMicro(entry.until), now)
	}
	return entry.mark
}
