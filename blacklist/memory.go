package blacklist

import (
	"context"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/z-open/socketauth/internal/id"
	"github.com/z-open/socketauth/internal/intern"
	"github.com/z-open/socketauth/internal/wheel"
)

// NewMemory returns a Store in memory, for one process. It is what socketauth uses by default; to
// share one between several cores of a process, give all of them the same. It forgets everything on
// a restart, and a session a minute after the last of its tokens has expired. It has no goroutine
// and needs no closing.
//
// A session takes about 120 bytes, and more while its token is replaced every few seconds. What
// sessions have taken is used again for others, but not given back.
//
// If the wall clock is set back, sessions go on and logins work, with two exceptions: codes issued
// before are refused, and a user who was revoked cannot log in until the clock has passed the
// revocation.
func NewMemory() Store { return newMemory() }

// memory is a Store. A user and all their sessions are in one shard. What it keeps of a session has
// no pointers, and each call does a bounded part of what there is to do at times: it removes a few
// of the sessions that are over, splits at most one chain of a table, and makes at most a piece of
// 64 KiB for each array.
type memory struct {
	base      int64        // times are kept as differences from it, Unix microseconds
	birth     atomic.Int64 // codes issued before may have been used already, Unix microseconds
	forgotten atomic.Int64 // when the store forgot something last, Unix microseconds
	allAt     atomic.Int64 // when everyone was revoked last, Unix microseconds
	within    atomic.Int64 // the longest SupersededWithin that there was, in microseconds
	turn      atomic.Uint32
	seed      maphash.Seed
	shards    [64]shard
	agents    intern.Table
	expiries  expiries
	watchers  Watchers

	// Why everyone was revoked, each time: that is what ended the sessions whose epoch has that
	// number. Read with any shard locked, and written with all of them locked.
	epochs []Verdict
	begun  atomic.Bool // a session has begun in the epoch after those
}

// How many records, and entries of users, a call looks at in the shard of its user, and in another
// shard. The latter is more, since users without calls may all be in one shard.
const (
	sweepsPerCall   = 16
	sweepsOfAnother = 64
)

// leeway is how far clocks may differ, or be set back, before the store takes the clock for set
// back.
const leeway = time.Minute

func newMemory() *memory {
	now := time.Now()
	m := &memory{base: now.UnixMicro(), seed: maphash.MakeSeed()}
	m.birth.Store(m.base)
	m.forgotten.Store(m.base)
	for n := range m.shards {
		m.shards[n].m = m
		m.shards[n].due = wheel.New(now)
		m.shards[n].users = make(map[string]userEntry)
		m.shards[n].usersDue = newAgenda[string](now)
	}
	return m
}

// Present implements Store.
func (m *memory) Present(ctx context.Context, p Presentation) (Result, error) {
	raise(&m.within, p.SupersededWithin.Microseconds())
	return m.step(ctx, &p.Token, call{present: &p})
}

// Confirm implements Store.
func (m *memory) Confirm(ctx context.Context, t TokenRef) (Result, error) {
	return m.step(ctx, &t, call{confirm: true})
}

// Check implements Store.
func (m *memory) Check(ctx context.Context, t TokenRef, grace, branch time.Duration) (Result, error) {
	return m.step(ctx, &t, call{grace: grace, branch: branch})
}

// call is what a session's state is to decide: Present, Confirm or else Check.
type call struct {
	present       *Presentation
	confirm       bool
	grace, branch time.Duration
}

func (c *call) decide(s *State, t *TokenRef, now time.Time) (Result, Change) {
	switch {
	case c.present != nil:
		return s.present(c.present, now)
	case c.confirm:
		return s.Confirm(*t, now)
	}
	return s.Check(*t, c.grace, c.branch, now), Change{}
}

// step makes a decision on the token's session, under its lock.
func (m *memory) step(ctx context.Context, t *TokenRef, d call) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	sid, ok := id.Parse(t.SessionID)
	if !ok {
		return Result{Verdict: Unknown}, nil
	}
	u := m.user(t.UserID)
	sh := m.shard(u)
	sh.mu.Lock()
	now := time.Now() // under the lock: never before a step that was decided earlier
	m.rewind(now)
	result, change := sh.decide(sid, u, t, now, d)
	sh.sweep(now, sweepsPerCall)
	sh.mu.Unlock()
	m.sweepAnother(now)
	if change.Verdict != 0 {
		m.watchers.Tell(change)
	}
	return result, nil
}

func (sh *shard) decide(sid id.ID, u user, t *TokenRef, now time.Time, d call) (Result, Change) {
	n := sh.find(sid)
	var c content
	if n != 0 {
		c = sh.load(n, u)
		if v := c.refuses(t); v != 0 {
			return refused(v)
		}
	}
	if t.AuthTime.UnixMicro() <= sh.m.allAt.Load() {
		return refused(Revoked)
	}
	if n == 0 {
		// A code of the future was issued before the clock was set back: what became of it may be
		// forgotten.
		if t.Generation > 0 || t.IssuedAt.UnixMicro() < sh.m.birth.Load() || t.IssuedAt.After(now.Add(leeway)) {
			return refused(Unknown)
		}
		entry := sh.users[u.id]
		if t.AuthTime.UnixMicro() <= entry.revokedAt {
			return refused(Revoked)
		}
		c.Raise(entry.mark, now)
	}
	lived := c.living()
	result, change := d.decide(&c.State, t, now)
	if n == 0 && c.generation > 0 {
		n = sh.insert(sid, c.ForgetAt(), now)
	}
	// Nothing else changes the state. Two presentations may leave it the same, by a clock that is not
	// fine, but not the client.
	seen := d.present != nil && result.Verdict == Accepted
	if seen {
		sh.setClient(sh.records.At(n), &c, c.address, c.userAgent)
	}
	if seen || change.Verdict != 0 {
		sh.save(n, u, lived, &c, now)
	}
	return result, change
}

// oldest returns when a token has to have been replaced to be called Superseded now or later, in
// Unix microseconds: SupersededWithin ago, or longer because hooks and retries have taken time
// since it was presented.
func (m *memory) oldest(now time.Time) int64 { return now.UnixMicro() - 8*m.within.Load() }

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
func (m *memory) forgets(now time.Time) { raise(&m.forgotten, now.UnixMicro()) }

// raise sets v to at least n.
func raise(v *atomic.Int64, n int64) {
	for last := v.Load(); last < n && !v.CompareAndSwap(last, n); last = v.Load() {
	}
}

// shard returns where a user is.
func (m *memory) shard(u user) *shard { return &m.shards[u.hash>>32%uint64(len(m.shards))] }

// Sessions implements Store.
func (m *memory) Sessions(ctx context.Context, userID string) ([]Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	u := m.user(userID)
	sh := m.shard(u)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	now := time.Now()
	var living []Session
	for n := range sh.of(u) {
		r, c := sh.records.At(n), sh.load(n, u)
		c.address, c.userAgent = sh.address(r, &c), m.agents.Text(c.agent)
		if session, lives := c.Session(r.sid.String(), now); lives {
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

// sweepAnother sweeps another shard each time, so that a shard without calls is swept too.
func (m *memory) sweepAnother(now time.Time) {
	if sh := &m.shards[m.turn.Add(1)%uint32(len(m.shards))]; !sh.isSwept(now) && sh.mu.TryLock() {
		sh.sweep(now, sweepsOfAnother)
		sh.mu.Unlock()
	}
}

// Left removes all that is over, which other calls do little by little. It returns how many
// sessions remain, and how many users have one. It is for tests.
func (m *memory) Left() (sessions, users int) {
	now := time.Now()
	for n := range m.shards {
		sh := &m.shards[n]
		sh.mu.Lock()
		for range sh.records.Len()/sweepsPerCall + 1 { // each is due once
			sh.sweep(now, sweepsPerCall)
		}
		sessions += sh.records.Len()
		users += sh.owners.Len()
		sh.mu.Unlock()
	}
	return sessions, users
}
