// Package sharedtest has a store that several processes share, for tests: a database in memory with
// a clock of its own, and for each process a Store that keeps what it has read, as a store on a
// network has to. Messages between them and calls can be lost, and each can have a fault.
package sharedtest

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// DB is what the stores share. New makes one.
type DB struct {
	// Offset is how far its clock is ahead of that of the test.
	Offset time.Duration
	// Lose reports whether to lose a message to a watcher. If nil, none is lost.
	Lose func() bool
	// Double reports whether a message to a watcher comes twice. If nil, none does.
	Double func() bool

	mu     sync.Mutex
	birth  time.Time
	rows   map[string]row // by session
	users  map[string]entry
	epochs []epoch
	subs   map[*subscription]struct{}
	count  int // how many changes there were
	writes int
}

// row is what is stored of a session.
type row struct {
	state   blacklist.State
	version int
	epoch   int // how many revocations of all there were when it was written
}

// entry is what is remembered of a user.
type entry struct {
	cutoff time.Time // when the user was revoked last
	mark   int64
	owned  map[string]struct{}
}

// epoch is a revocation of all.
type epoch struct {
	at  time.Time
	why blacklist.Verdict
}

// New returns an empty database. offset is how far its clock is ahead of that of the test.
func New(offset time.Duration) *DB {
	db := &DB{
		Offset: offset,
		rows:   make(map[string]row),
		users:  make(map[string]entry),
		subs:   make(map[*subscription]struct{}),
	}
	db.birth = db.now()
	return db
}

func (db *DB) now() time.Time { return time.Now().Add(db.Offset).Round(0) }

// read returns what is stored of a session.
func (db *DB) read(sid string) (r row, known bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	r, known = db.rows[sid]
	if known && r.epoch < len(db.epochs) {
		first := db.epochs[r.epoch]
		db.endLocked(sid, first.why, first.at, first.at)
		r = db.rows[sid]
	}
	return r, known
}

// endLocked ends a session, and reports whether that ended a living one.
func (db *DB) endLocked(sid string, why blacklist.Verdict, keepUntil, now time.Time) bool {
	r := db.rows[sid]
	lived := r.state.End(why, keepUntil, now)
	r.version++
	r.epoch = len(db.epochs)
	db.rows[sid] = r
	if user := r.state.UserID(); user != "" {
		delete(db.users[user].owned, sid)
	}
	return lived
}

// write is one change of a session.
type write struct {
	sid    string
	token  blacklist.TokenRef
	was    row
	known  bool // was is stored
	state  blacklist.State
	change blacklist.Change
	at     time.Time
}

// swap stores a session, if it is as it was. Otherwise it returns a verdict on the token, or zero
// if the writer must decide again.
func (db *DB) swap(w write, f Fault) (ok bool, refused blacklist.Verdict) {
	db.mu.Lock()
	defer db.mu.Unlock()
	current, known := db.rows[w.sid]
	switch {
	case known && current.epoch < len(db.epochs) && f != IgnoresEpoch:
		return false, 0
	case f == BlindWrite, f == DecidesInTwo && !w.known:
	case known != w.known || current.version != w.was.version:
		return false, 0
	}
	if !known {
		user := db.users[w.token.UserID]
		if n := len(db.epochs); n > 0 && f != IgnoresEpoch && !w.token.AuthTime.After(db.epochs[n-1].at) {
			return false, blacklist.Revoked
		}
		if f != IgnoresCutoff && !w.token.AuthTime.After(user.cutoff) {
			return false, blacklist.Revoked
		}
		if w.state.Mark() < user.mark {
			return false, 0
		}
		if user.owned == nil {
			user.owned = make(map[string]struct{})
		}
		user.owned[w.sid] = struct{}{}
		db.users[w.token.UserID] = user
	}
	db.writes++
	db.rows[w.sid] = row{w.state, current.version + 1, len(db.epochs)}
	if w.state.Ended() != 0 {
		delete(db.users[w.state.UserID()].owned, w.sid)
	}
	db.publishLocked(w.change, f)
	return true, 0
}

// begin returns what a session that is not known begins with.
func (db *DB) begin(t blacklist.TokenRef, f Fault) (mark int64, refused blacklist.Verdict) {
	db.mu.Lock()
	defer db.mu.Unlock()
	user, n := db.users[t.UserID], len(db.epochs)
	switch {
	case n > 0 && f != IgnoresEpoch && !t.AuthTime.After(db.epochs[n-1].at),
		f != IgnoresCutoff && !user.cutoff.IsZero() && !t.AuthTime.After(user.cutoff):
		return 0, blacklist.Revoked
	case t.Generation > 0, t.IssuedAt.Before(db.birth.Add(-time.Second)):
		return 0, blacklist.Unknown
	}
	return user.mark, 0
}

// sessions returns the sessions of a user that have not ended.
func (db *DB) sessions(userID string) map[string]blacklist.State {
	db.mu.Lock()
	owned := slices.Collect(maps.Keys(db.users[userID].owned))
	db.mu.Unlock()
	states := make(map[string]blacklist.State, len(owned))
	for _, sid := range owned {
		if r, known := db.read(sid); known {
			states[sid] = r.state
		}
	}
	return states
}

// revoke makes a valid revocation.
func (db *DB) revoke(r blacklist.Revocation, f Fault) blacklist.Change {
	db.mu.Lock()
	defer db.mu.Unlock()
	now := db.now()
	c := blacklist.Change{UserID: r.UserID, SessionID: r.SessionID, Except: r.Except, All: r.All, Verdict: r.Why, At: now}
	user := db.users[r.UserID]
	one, known := db.rows[r.SessionID]
	switch {
	case r.SessionID != "" && len(r.SessionID) != 22: // no token has any such
	case known && one.state.UserID() != "" && one.state.UserID() != r.UserID:
		return blacklist.Change{}
	case r.Why == blacklist.Stale:
		db.raiseLocked(&c, user)
	case r.SessionID != "":
		if known && one.epoch < len(db.epochs) {
			db.endLocked(r.SessionID, db.epochs[one.epoch].why, db.epochs[one.epoch].at, now)
		}
		if db.endLocked(r.SessionID, r.Why, now.Add(r.Keep), now) {
			c.Sessions = 1
		}
	case r.UserID != "":
		if f != SetsNoCutoff {
			user.cutoff = now
		}
		db.users[r.UserID] = user
		for sid := range maps.Clone(user.owned) {
			one := db.rows[sid]
			switch {
			case one.epoch < len(db.epochs):
				db.endLocked(sid, db.epochs[one.epoch].why, db.epochs[one.epoch].at, now)
			case sid == r.Except:
				one.state.Cut(now)
				one.version++
				db.rows[sid] = one
			case db.endLocked(sid, r.Why, now.Add(r.Keep), now):
				c.Sessions++
			}
		}
	default:
		for sid, one := range db.rows {
			if _, lives := one.state.Session(sid, now); lives && one.epoch == len(db.epochs) {
				c.Sessions++
			}
		}
		db.epochs = append(db.epochs, epoch{now, r.Why})
	}
	db.publishLocked(c, f)
	return c
}

// raiseLocked raises the mark of a session, or of all sessions of a user.
func (db *DB) raiseLocked(c *blacklist.Change, user entry) {
	sessions := []string{c.SessionID}
	if c.SessionID == "" {
		sessions = slices.Collect(maps.Keys(user.owned))
	}
	marks := []int64{user.mark}
	for _, sid := range sessions {
		if r, known := db.rows[sid]; known {
			marks = append(marks, r.state.Mark())
		}
	}
	c.Mark = blacklist.NextMark(c.At, marks...)
	raised := false
	for _, sid := range sessions {
		r, known := db.rows[sid]
		if !known {
			continue
		}
		if raised = true; r.state.Raise(c.Mark, c.At) && r.epoch == len(db.epochs) {
			c.Sessions++
		}
		r.version++
		db.rows[sid] = r
	}
	if c.SessionID == "" || !raised {
		user.mark = c.Mark
		db.users[c.UserID] = user
	}
}

// publishLocked counts a change, and has those who watch hear of it.
func (db *DB) publishLocked(c blacklist.Change, f Fault) {
	if c.Verdict == 0 {
		return
	}
	counted := f != CountsNoEnds || c.Verdict == blacklist.Accepted
	if counted {
		db.count++
	}
	for sub := range db.subs {
		if !sub.store.Mute.Load() && (db.Lose == nil || !db.Lose()) {
			sub.queue = append(sub.queue, message{c, counted})
			if db.Double != nil && db.Double() {
				sub.queue = append(sub.queue, message{c, false})
			}
			select {
			case sub.news <- struct{}{}:
			default:
			}
		}
	}
}

// waitForRest waits until nothing is written for a moment.
func (db *DB) waitForRest(ctx context.Context) error {
	for last := -1; ; {
		db.mu.Lock()
		writes := db.writes
		db.mu.Unlock()
		if writes == last {
			return nil
		}
		last = writes
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
