package boltstore

import (
	"bytes"
	"context"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/z-open/socketauth/blacklist"
)

// Revoke implements blacklist.Store. If all are revoked, those who watch hear of it before the
// sessions are counted, so without their number; and if ctx ends meanwhile, it is the number of
// those counted by then.
func (s *Store) Revoke(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
	if err := r.Check(); err != nil {
		return blacklist.Change{}, err
	}
	var change blacklist.Change
	var epoch uint32
	tell := func() {
		if change.Verdict != 0 {
			s.watchers.Tell(change)
		}
	}
	err := s.writer.do(ctx, func(tx *bolt.Tx, now time.Time) (changed bool, err error) {
		change = blacklist.Change{UserID: r.UserID, SessionID: r.SessionID, Except: r.Except, All: r.All, Verdict: r.Why, At: now}
		m, err := loadMeta(tx)
		if err != nil {
			return false, err
		}
		sid, ok := sessionKey(r.SessionID)
		switch {
		case r.SessionID != "" && !ok: // no token has any such
			return false, nil
		case r.Why == blacklist.Stale && r.SessionID != "":
			return m.raiseSession(tx, sid, &change, r.Keep)
		case r.Why == blacklist.Stale:
			return m.raiseUser(tx, &change, r.Keep)
		case r.SessionID != "":
			rec, _, err := m.load(tx, sid)
			if owner := rec.state.UserID(); err == nil && owner != "" && owner != r.UserID {
				change = blacklist.Change{}
				return false, nil
			}
			_, change.Sessions, changed, err = m.endSession(tx, sid, r, now)
			return changed, err
		case r.UserID != "":
			change.Sessions, err = m.endUser(tx, r, now)
			return true, err
		default:
			m.end(r.Why, now)
			epoch = m.epoch
			if err := m.save(tx); err != nil {
				return true, err
			}
			return true, disownAll(tx)
		}
	}, tell)
	if err != nil {
		return blacklist.Change{}, err
	}
	tell()
	if r.All {
		change.Sessions = s.countEnded(ctx, epoch, change.At)
	}
	return change, nil
}

// endSession ends one session, and returns whose it is, and 1 if that ended a living one.
func (m *meta) endSession(tx *bolt.Tx, sid []byte, r blacklist.Revocation, now time.Time) (userID string, ended int, changed bool, err error) {
	rec, known, err := m.load(tx, sid)
	switch {
	case errors.Is(err, ErrCorrupt): // accepts nothing, and must not keep anything from being ended: written anew
		rec, known = record{epoch: m.epoch}, false
	case err != nil:
		return "", 0, false, err
	}
	before := rec.state
	if rec.state.End(r.Why, now.Add(r.Keep), now) {
		ended = 1
	}
	if rec.state != before {
		err, changed = rec.save(tx, sid, known), true
	}
	if userID = rec.state.UserID(); err == nil && changed && userID != "" {
		err = disown(tx, userKey(userID), sid)
	}
	return userID, ended, changed, err
}

// endUser remembers that a user was revoked, and ends the sessions that are known, except one.
func (m *meta) endUser(tx *bolt.Tx, r blacklist.Revocation, now time.Time) (ended int, err error) {
	user := userKey(r.UserID)
	e, known, err := loadEntry(tx, user)
	if err != nil && !errors.Is(err, ErrCorrupt) { // which is written anew
		return 0, err
	}
	e.revokedAt, e.until = max(e.revokedAt, now.UnixMicro()), max(e.until, now.Add(r.Keep).UnixMicro())
	if err := e.save(tx, user, known); err != nil {
		return 0, err
	}
	sessions, err := ownedBy(tx, user)
	if err != nil {
		return 0, err
	}
	except, _ := sessionKey(r.Except)
	for _, sid := range sessions {
		if bytes.Equal(sid, except) {
			if err := m.cut(tx, sid, now); err != nil {
				return 0, err
			}
			continue
		}
		userID, one, _, err := m.endSession(tx, sid, r, now)
		if err == nil && userID != r.UserID { // it was damaged or is lost, and knows no longer whose it was
			err = disown(tx, user, sid)
		}
		if err != nil {
			return 0, err
		}
		ended += one
	}
	return ended, nil
}

// cut refuses the step-ups of before in a session that is the exception of a revocation.
func (m *meta) cut(tx *bolt.Tx, sid []byte, now time.Time) error {
	rec, known, err := m.load(tx, sid)
	if errors.Is(err, ErrCorrupt) { // accepts nothing
		return nil
	}
	if !known || err != nil {
		return err
	}
	rec.state.Cut(now)
	return rec.save(tx, sid, known)
}

// raiseSession raises the mark of one session, or of its user's entry if it has not begun.
func (m *meta) raiseSession(tx *bolt.Tx, sid []byte, change *blacklist.Change, keep time.Duration) (changed bool, err error) {
	rec, known, err := m.load(tx, sid)
	if err != nil {
		return false, err
	}
	if owner := rec.state.UserID(); owner != "" && owner != change.UserID {
		*change = blacklist.Change{}
		return false, nil
	}
	if !known {
		change.Mark, err = raiseEntry(tx, change.UserID, change.At, keep, nil)
		return true, err
	}
	change.Mark = blacklist.NextMark(change.At, rec.state.Mark())
	if rec.state.Raise(change.Mark, change.At) {
		change.Sessions = 1
	}
	return true, rec.save(tx, sid, known)
}

// raiseUser raises the marks of a user's sessions and entry, all to the same.
func (m *meta) raiseUser(tx *bolt.Tx, change *blacklist.Change, keep time.Duration) (changed bool, err error) {
	sessions, err := ownedBy(tx, userKey(change.UserID))
	if err != nil {
		return false, err
	}
	var marks []int64
	records := make(map[string]record)
	for _, sid := range sessions {
		rec, known, err := m.load(tx, sid)
		if errors.Is(err, ErrCorrupt) { // accepts nothing, whatever its mark is
			continue
		}
		if err != nil {
			return false, err
		}
		if known {
			records[string(sid)] = rec
			marks = append(marks, rec.state.Mark())
		}
	}
	if change.Mark, err = raiseEntry(tx, change.UserID, change.At, keep, marks); err != nil {
		return true, err
	}
	for sid, rec := range records {
		if rec.state.Raise(change.Mark, change.At) {
			change.Sessions++
		}
		if err := rec.save(tx, []byte(sid), true); err != nil {
			return true, err
		}
	}
	return true, nil
}

// raiseEntry raises the mark of a user's entry above those that are known. A damaged entry is an
// error: it may have a revocation, which must not be lost.
func raiseEntry(tx *bolt.Tx, userID string, now time.Time, keep time.Duration, marks []int64) (mark int64, err error) {
	user := userKey(userID)
	e, known, err := loadEntry(tx, user)
	if err != nil {
		return 0, err
	}
	e.mark = blacklist.NextMark(now, append(marks, e.mark)...)
	e.until = max(e.until, now.Add(keep).UnixMicro())
	return e.mark, e.save(tx, user, known)
}
