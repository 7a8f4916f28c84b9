package boltstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/z-open/socketauth/blacklist"
)

// decision lets a session's state decide on a token, and perhaps change.
type decision func(*blacklist.State, time.Time) (blacklist.Result, blacklist.Change)

// Present implements blacklist.Store.
func (s *Store) Present(ctx context.Context, p blacklist.Presentation) (blacklist.Result, error) {
	return s.record(ctx, p.Token, func(st *blacklist.State, now time.Time) (blacklist.Result, blacklist.Change) {
		return st.Present(p, now)
	})
}

// Confirm implements blacklist.Store.
func (s *Store) Confirm(ctx context.Context, t blacklist.TokenRef) (blacklist.Result, error) {
	return s.record(ctx, t, func(st *blacklist.State, now time.Time) (blacklist.Result, blacklist.Change) {
		return st.Confirm(t, now)
	})
}

// record makes a decision and stores what has changed.
func (s *Store) record(ctx context.Context, t blacklist.TokenRef, d decision) (result blacklist.Result, err error) {
	var change blacklist.Change
	tell := func() {
		if change.Verdict != 0 {
			s.watchers.Tell(change)
		}
	}
	err = s.writer.do(ctx, func(tx *bolt.Tx, now time.Time) (changed bool, err error) {
		result, change, changed, err = decide(tx, t, now, d)
		return changed, err
	}, tell)
	if err != nil {
		return blacklist.Result{}, err // result is the writer's, as long as it may still be at it
	}
	tell()
	return result, nil
}

// Check implements blacklist.Store.
func (s *Store) Check(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (result blacklist.Result, err error) {
	err = s.view(ctx, func(tx *bolt.Tx) error {
		now := time.Now() // once the file is looked at as it is: never before a step that is in it
		m, err := loadMeta(tx)
		if err != nil {
			return err
		}
		m.rewind(now)
		r, _, verdict, err := m.look(tx, t, now)
		if result.Verdict = verdict; verdict == 0 && err == nil {
			result = r.state.Check(t, grace, branch, now)
		}
		return err
	})
	if err != nil {
		return blacklist.Result{}, err
	}
	return result, nil
}

func decide(tx *bolt.Tx, t blacklist.TokenRef, now time.Time, d decision) (result blacklist.Result, change blacklist.Change, changed bool, err error) {
	m, err := loadMeta(tx)
	if err != nil {
		return result, change, false, err
	}
	if m.rewind(now) {
		changed = true
		if err := m.save(tx); err != nil {
			return result, change, true, err
		}
	}
	r, known, verdict, err := m.look(tx, t, now)
	if verdict != 0 || err != nil {
		return blacklist.Result{Verdict: verdict}, change, changed, err
	}
	before := r.state
	result, change = d(&r.state, now)
	if r.state == before {
		return result, change, changed, nil
	}
	sid, _ := sessionKey(t.SessionID)
	if err := r.save(tx, sid, known); err != nil {
		return result, change, true, err
	}
	switch {
	case r.state.Ended() != 0:
		err = disown(tx, userKey(r.state.UserID()), sid)
	case !known:
		err = own(tx, userKey(t.UserID), sid)
	}
	return result, change, true, err
}

// look finds a token's session, with a verdict if that needs no look at the session's generations.
func (m *meta) look(tx *bolt.Tx, t blacklist.TokenRef, now time.Time) (r record, known bool, verdict blacklist.Verdict, err error) {
	sid, ok := sessionKey(t.SessionID)
	if !ok {
		return r, false, blacklist.Unknown, nil
	}
	r, known, err = m.load(tx, sid)
	if err != nil {
		return r, known, 0, err
	}
	if v := r.state.Refuses(t); v != 0 {
		return r, known, v, nil
	}
	if t.AuthTime.UnixMicro() <= m.allAt {
		return r, known, blacklist.Revoked, nil
	}
	// A code of the future was issued by a clock that was set back since: what became of it may be
	// forgotten.
	if !known && (t.Generation > 0 || t.IssuedAt.UnixMicro() < m.birth || t.IssuedAt.After(now.Add(leeway))) {
		return r, known, blacklist.Unknown, nil
	}
	user := userKey(t.UserID)
	if !known {
		if lost, err := owns(tx, user, sid); lost || err != nil {
			return r, known, 0, cmp.Or(err, fmt.Errorf("%w: a session is lost", ErrCorrupt))
		}
	}
	e, _, err := loadEntry(tx, user)
	if err != nil {
		return r, known, 0, err
	}
	if !known {
		r.state.Raise(e.mark, now)
	}
	if t.AuthTime.UnixMicro() > e.revokedAt {
		return r, known, 0, nil
	}
	// A session that is still in the index was the exception then.
	if indexed, err := owns(tx, user, sid); !indexed || err != nil {
		return r, known, blacklist.Revoked, err
	}
	return r, known, 0, nil
}

// own adds a session to the index of its user's sessions, where it stays until it ends.
func own(tx *bolt.Tx, user, sid []byte) error {
	b, err := bucket(tx, ownedBucket)
	if err != nil {
		return err
	}
	return b.Put(append(bytes.Clone(user), sid...), []byte{})
}

// disownAll empties the index.
func disownAll(tx *bolt.Tx) error {
	if err := tx.DeleteBucket([]byte(ownedBucket)); err != nil {
		return err
	}
	_, err := tx.CreateBucket([]byte(ownedBucket))
	return err
}

func disown(tx *bolt.Tx, user, sid []byte) error {
	b, err := bucket(tx, ownedBucket)
	if err != nil {
		return err
	}
	return b.Delete(append(bytes.Clone(user), sid...))
}

// owns reports whether the index has a session as one of the user's.
func owns(tx *bolt.Tx, user, sid []byte) (bool, error) {
	b, err := bucket(tx, ownedBucket)
	if err != nil {
		return false, err
	}
	return b.Get(append(bytes.Clone(user), sid...)) != nil, nil
}

// ownedBy returns the keys of a user's sessions.
func ownedBy(tx *bolt.Tx, user []byte) (sessions [][]byte, err error) {
	b, err := bucket(tx, ownedBucket)
	if err != nil {
		return nil, err
	}
	c := b.Cursor()
	for k, _ := c.Seek(user); bytes.HasPrefix(k, user); k, _ = c.Next() {
		if sid := k[len(user):]; len(sid) == 16 { // if not, it is damaged
			sessions = append(sessions, bytes.Clone(sid))
		}
	}
	return sessions, nil
}

// countEnded returns how many living sessions ended when the epoch began: those of the epoch
// before, which do not change any more. It reads a part at a time, because bolt cannot use free
// pages again during a long transaction.
func (s *Store) countEnded(ctx context.Context, epoch uint32, at time.Time) (ended int) {
	var from []byte
	for more := true; more; {
		part := 0
		err := s.view(ctx, func(tx *bolt.Tx) error {
			b, err := bucket(tx, sessionsBucket)
			if err != nil {
				return err
			}
			c := b.Cursor()
			k, _ := c.Seek(from)
			for looked := 0; k != nil && looked < 10_000; looked++ {
				r, known, err := loadRecord(tx, k)
				if err != nil && !errors.Is(err, ErrCorrupt) { // which does not live
					return err
				}
				if _, lived := r.state.Session("", at); known && lived && r.epoch+1 == epoch {
					part++
				}
				k, _ = c.Next()
			}
			more = bytes.Compare(k, from) > 0 // not back, whatever is wrong with the keys
			from = bytes.Clone(k)
			return nil
		})
		if err != nil { // they are ended all the same
			return ended
		}
		ended += part
	}
	return ended
}

// Sessions implements blacklist.Store.
func (s *Store) Sessions(ctx context.Context, userID string) (living []blacklist.Session, err error) {
	err = s.view(ctx, func(tx *bolt.Tx) error {
		now := time.Now()
		m, err := loadMeta(tx)
		if err != nil {
			return err
		}
		sessions, err := ownedBy(tx, userKey(userID))
		if err != nil {
			return err
		}
		for _, sid := range sessions {
			r, known, err := m.load(tx, sid)
			if errors.Is(err, ErrCorrupt) {
				continue // it does not live: nothing is accepted by it
			}
			if err != nil {
				return err
			}
			if session, lives := r.state.Session(sessionID(sid), now); known && lives {
				living = append(living, session)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return living, nil
}

// Watch implements blacklist.Store.
func (s *Store) Watch(ctx context.Context, fn func(blacklist.Change)) error {
	both, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.closed, func() { cancel(ErrClosed) })()
	s.watchers.Watch(both, fn)
	if errors.Is(context.Cause(both), ErrClosed) {
		return ErrClosed
	}
	return nil
}
