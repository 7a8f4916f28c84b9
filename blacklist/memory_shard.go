package blacklist

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/z-open/socketauth/internal/chains"
	"github.com/z-open/socketauth/internal/id"
	"github.com/z-open/socketauth/internal/slab"
	"github.com/z-open/socketauth/internal/texts"
	"github.com/z-open/socketauth/internal/wheel"
)

// shard has all of some users: their sessions, and what else is remembered of them. Its fields are
// used with the lock held.
type shard struct {
	m  *memory
	mu sync.Mutex

	records  slab.Slab[record, *record]
	texts    texts.Heap
	sessions chains.Table // all records, by session
	owners   chains.Table // of each user on whose list there are sessions, the first of them
	due      wheel.Wheel  // all records, by when they can be forgotten

	users    map[string]userEntry
	usersDue agenda[string]

	swept atomic.Int64 // the minute in which no more is due; it can be read without the lock
}

// userEntry is what is remembered of a user beside their sessions. Times are Unix microseconds.
type userEntry struct {
	revokedAt int64 // when the user was revoked last
	mark      int64 // claims with a lower mark begin no session
	until     int64 // until when a code of before can live
}

// user is a user as calls name them, with the hash by which they are found.
type user struct {
	id   string
	hash uint64
}

func (m *memory) user(id string) user { return user{id, maphash.String(m.seed, id)} }

// bySession and byUser are the records as nodes of the two tables, and links as those of the wheel.
type (
	bySession shard
	byUser    shard
	links     shard
)

// hash returns the hash of a session. It has a seed, since a user may name sessions to be ended.
func (m *memory) hash(sid *id.ID) uint64 { return maphash.Bytes(m.seed, sid[:]) }

func (sh *bySession) Hash(n uint32) uint64  { return sh.m.hash(&sh.records.At(n).sid) }
func (sh *bySession) Next(n uint32) *uint32 { return &sh.records.At(n).next }

func (sh *byUser) Hash(n uint32) uint64  { return sh.texts.Hash(sh.m.seed, sh.records.At(n).user) }
func (sh *byUser) Next(n uint32) *uint32 { return &sh.records.At(n).before }

func (sh *links) Due(n uint32) *uint32 { return &sh.records.At(n).due }

// find returns the record of a session, or 0.
func (sh *shard) find(sid id.ID) (n uint32) {
	for n = sh.sessions.First(sh.m.hash(&sid)); n != 0; n = sh.records.At(n).next {
		if sh.records.At(n).sid == sid {
			break
		}
	}
	return n
}

// first returns the first session on a user's list, or 0. Those that RevokeAll has ended are at the
// end of the list.
func (sh *shard) first(u user) (n uint32) {
	for n = sh.owners.First(u.hash); n != 0; n = sh.records.At(n).before {
		if sh.texts.Equal(sh.records.At(n).user, u.id) {
			break
		}
	}
	return n
}

// list puts a session at the beginning of its user's list.
func (sh *shard) list(n uint32, u user) {
	r, first := sh.records.At(n), sh.first(u)
	r.flags |= recordListed | recordFirst
	if first == 0 {
		r.user, r.before, r.after = sh.texts.Put(u.id), 0, 0
		sh.owners.Add(n, (*byUser)(sh))
		return
	}
	next := sh.records.At(first)
	r.user = next.user
	sh.owners.Replace(first, n, (*byUser)(sh))
	next.set(recordFirst, false)
	r.after, next.before = first, n
}

// unlist removes a session from its user's list. If it was the last, nothing is left of the user.
func (sh *shard) unlist(n uint32) {
	r := sh.records.At(n)
	hash := sh.texts.Hash(sh.m.seed, r.user)
	switch {
	case !r.is(recordFirst):
		sh.records.At(r.before).after = r.after
		if r.after != 0 {
			sh.records.At(r.after).before = r.before
		}
	case r.after != 0:
		sh.records.At(r.after).set(recordFirst, true)
		sh.owners.Replace(n, r.after, (*byUser)(sh))
	default:
		sh.owners.Remove(n, (*byUser)(sh))
		sh.texts.Free(r.user)
	}
	r.flags &^= recordListed | recordFirst
	r.user, r.before, r.after = 0, uint32(hash), uint32(hash>>32)
}

// load returns what a record has, with the id of its user if that is u, or else another.
func (sh *shard) load(n uint32, u user) content {
	r := sh.records.At(n)
	c := sh.read(r)
	if r.is(recordListed) && c.epoch < uint64(len(sh.m.epochs)) {
		c.ended = sh.m.epochs[c.epoch]
	}
	same := uint64(r.after)<<32|uint64(r.before) == u.hash
	if r.is(recordListed) {
		same = sh.texts.Equal(r.user, u.id)
	}
	switch {
	case same:
		c.userID = u.id
	case c.generation > 0:
		c.userID = "not " + u.id // whoever it is: the state compares it with u.id alone
	}
	return c
}

// living returns when the session expires, in Unix seconds, or 0 if it has ended or not begun.
func (c *content) living() int64 {
	if c.generation > 0 && c.ended == 0 {
		return c.expiresAt
	}
	return 0
}

// save stores what a session has become. lived is what living returned before.
func (sh *shard) save(n uint32, u user, lived int64, c *content, now time.Time) {
	r := sh.records.At(n)
	sh.m.expiries.move(lived, c.living())
	lives := c.generation > 0 && c.ended == 0
	if lives && !r.is(recordListed) {
		c.epoch = uint64(len(sh.m.epochs))
		sh.m.begun.Store(true)
		sh.list(n, u)
	}
	if !lives && r.is(recordListed) {
		sh.unlist(n)
	}
	if c.ended != 0 {
		c.epoch = 0
		sh.setClient(r, c, "", "")
	}
	sh.write(r, c, sh.m.oldest(now))
}

// insert returns a new record, which is to be saved.
func (sh *shard) insert(sid id.ID, forgetAt, now time.Time) (n uint32) {
	n = sh.records.Take()
	sh.records.At(n).sid = sid
	sh.due.Add(n, forgetAt, now, (*links)(sh))
	sh.sessions.Add(n, (*bySession)(sh))
	return n
}

// forget removes a record.
func (sh *shard) forget(n uint32, c *content) {
	r := sh.records.At(n)
	if r.is(recordListed) {
		if c.ended == 0 {
			sh.m.expiries.move(c.expiresAt, 0)
		}
		sh.unlist(n)
	}
	sh.setClient(r, c, "", "")
	if r.is(recordSpilled) {
		sh.texts.Free(r.spill())
	}
	sh.sessions.Remove(n, (*bySession)(sh))
	sh.records.Free(n)
}

// sweep removes up to most of the sessions that are over, and of the entries of users that no code
// needs any more. What was prolonged since is put off.
func (sh *shard) sweep(now time.Time, most int) {
	if sh.isSwept(now) {
		return
	}
	sessions, users := sh.sweepSessions(now, most), sh.sweepUsers(now, most)
	if sessions && users {
		sh.swept.Store(minute(now))
	}
}

// isSwept reports whether there is nothing to sweep in the minute of now. What is added in it is
// due in a later one.
func (sh *shard) isSwept(now time.Time) bool { return sh.swept.Load() == minute(now) }

func minute(t time.Time) int64 { return t.Unix() / 60 }

func (sh *shard) sweepSessions(now time.Time, most int) (all bool) {
	for range most {
		n, ok := sh.due.Next(now, (*links)(sh))
		if !ok {
			return true
		}
		c := sh.load(n, user{})
		if at := c.ForgetAt(); at.After(now) {
			sh.due.Add(n, at, now, (*links)(sh))
			continue
		}
		sh.forget(n, &c)
		sh.m.forgets(now)
	}
	return false
}

func (sh *shard) sweepUsers(now time.Time, most int) (all bool) {
	for range most {
		over, ok := sh.usersDue.next(now)
		if !ok {
			return true
		}
		if until := time.UnixMicro(sh.users[over].until); !until.Before(now) {
			sh.usersDue.add(over, until, now)
			continue
		}
		delete(sh.users, over)
		sh.m.forgets(now)
	}
	return false
}
