package redisstore

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
)

// Revoke implements blacklist.Store. It also works while the clocks differ and while Redis is full.
//
// If all are revoked, those who watch hear of it before the sessions are counted, so without their
// number. The store counts for at most half a second; Change.Sessions has those counted by then.
//
// The store finds sessions by their users. If r names a session of another user, that session is
// left alone, and the change that is returned counts no living session.
func (s *Store) Revoke(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
	if err := r.Check(); err != nil {
		return blacklist.Change{}, err
	}
	if err := ctx.Err(); err != nil {
		return blacklist.Change{}, err
	}
	r.Keep = max(0, min(r.Keep, maxKeep))
	if r.All {
		return s.revokeAll(ctx, r)
	}
	change := blacklist.Change{UserID: r.UserID, SessionID: r.SessionID, Except: r.Except, Verdict: r.Why}
	u := userOf(r.UserID)
	sid, ok := rawID(r.SessionID)
	if !ok && r.SessionID != "" { // no token has any such
		change.At = s.stored(u.bucket, s.now())
		if r.Why == blacklist.Stale {
			change.Mark = blacklist.NextMark(change.At)
		}
		return change, nil
	}
	sc, args := s.revocation(change, sid, r.Keep, false)
	reply, now, err := s.run(ctx, sc, u.bucket, s.keys(u), args...)
	if err != nil && !errors.Is(err, ErrClock) {
		return blacklist.Change{}, err
	}
	change.At = now
	ended := 2
	if r.Why == blacklist.Stale {
		if change.Mark, err = integer(reply, 2); err != nil {
			return blacklist.Change{}, err
		}
		ended = 3
	}
	n, err := integer(reply, ended)
	if err != nil {
		return blacklist.Change{}, err
	}
	change.Sessions = int(n)
	s.recent.add(message{bucket: u.bucket, change: change, keep: r.Keep})
	return change, nil
}

// revocation returns the script that makes a change, for the first time or again, with its
// arguments.
func (s *Store) revocation(c blacklist.Change, sid string, keep time.Duration, again bool) (*redis.Script, []any) {
	at, mark := "", ""
	if again {
		at, mark = text(c.At.UnixMicro()), text(c.Mark)
	}
	b := userOf(c.UserID).bucket
	change := c
	change.Sessions, change.Mark = 0, 0
	encoded := string(appendChange(nil, change, keep))
	if c.Verdict == blacklist.Stale {
		return s.scripts.mark, []any{sid, keep.Microseconds(), at, mark, s.channel(), b, encoded}
	}
	except, _ := rawID(c.Except)
	return s.scripts.end, []any{sid, except, int(c.Verdict), keep.Microseconds(), at, s.channel(), b, encoded}
}

// revokeAll begins a new epoch in each bucket.
func (s *Store) revokeAll(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
	// So that the moment is not before that of any login that is over by now. It needs no INFO.
	calls := make([]call, buckets)
	for b := range calls {
		calls[b] = call{bucket: b, keys: []string{s.bucketKey(b)}, args: []any{"1"}}
	}
	if err := s.runAll(ctx, s.scripts.touch, calls); err != nil {
		return blacklist.Change{}, err
	}
	now := s.now().Truncate(time.Microsecond)
	m := message{all: true, counters: new([buckets]int64), epochs: new([buckets]int64), moments: new([buckets]int64)}
	common, ok := s.commonShift()
	for b := range calls {
		shift := common
		if !ok {
			shift, _ = s.clockOf(b).shift(now)
		}
		m.moments[b] = now.Add(shift).UnixMicro()
		calls[b] = call{bucket: b, keys: []string{s.bucketKey(b)}, args: []any{int(r.Why), m.moments[b], ""}}
	}
	if err := s.runAll(ctx, s.scripts.all, calls); err != nil {
		return blacklist.Change{}, err
	}
	var before [buckets]int64
	for b, one := range calls {
		state, err := s.learn(b, str(one.reply, 1))
		if err != nil {
			return blacklist.Change{}, err
		}
		n, err1 := integer(one.reply, 2)
		old, err2 := integer(one.reply, 3)
		if err := errors.Join(err1, err2); err != nil {
			return blacklist.Change{}, err
		}
		m.counters[b], m.epochs[b], before[b], m.moments[b] = n, state.epoch, old, state.allAt
	}
	m.change = blacklist.Change{All: true, Verdict: r.Why, At: time.UnixMicro(m.moments[0])}
	s.recent.add(m)
	// All is over now. What is left to do must not fail for the time it takes, so it leaves the
	// caller half of what is left until ctx ends.
	limit := s.countTime
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	// If this is lost, those who watch find out by the counters.
	_ = s.client.Publish(ctx, s.channel(), m.format()).Err()
	change := m.change
	change.Sessions = s.countEnded(ctx, &before)
	return change, nil
}

// countTime is how long a revocation of all publishes and counts what is over already.
const countTime = 500 * time.Millisecond

// countEnded counts the living sessions of the epochs that are over, which change no more, until
// ctx ends.
func (s *Store) countEnded(ctx context.Context, epochs *[buckets]int64) int {
	c := counting{store: s, epochs: epochs, counted: make(map[string]struct{})}
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		_ = cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error { return c.count(ctx, master) })
	} else {
		_ = c.count(ctx, s.client)
	}
	return c.ended
}

// counting is what is known of how many sessions have ended.
type counting struct {
	store  *Store
	epochs *[buckets]int64

	mu      sync.Mutex
	counted map[string]struct{} // a scan may return a key twice
	ended   int
}

// count counts the sessions on a server, until ctx ends.
func (c *counting) count(ctx context.Context, server redis.Cmdable) error {
	for cursor := uint64(0); ; {
		keys, next, err := server.Scan(ctx, cursor, escapeGlob(c.store.o.Prefix)+"{*", 1000).Result()
		if err != nil {
			return err
		}
		calls := c.calls(keys)
		c.store.runEach(ctx, c.store.scripts.count, calls)
		if err := c.add(calls); err != nil {
			return err
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// calls returns the calls that count the sessions at some keys, one for each bucket.
func (c *counting) calls(keys []string) (calls []call) {
	var of [buckets]int // the call of each bucket, and one
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, key := range keys {
		u, ok := c.store.parseKey(key)
		if _, twice := c.counted[key]; !ok || twice {
			continue
		}
		c.counted[key] = struct{}{}
		if of[u.bucket] == 0 {
			calls = append(calls, call{bucket: u.bucket, keys: []string{c.store.bucketKey(u.bucket)}, args: []any{c.epochs[u.bucket]}})
			of[u.bucket] = len(calls)
		}
		one := &calls[of[u.bucket]-1]
		one.keys = append(one.keys, key)
	}
	return calls
}

// add adds what was counted. It returns an error if some was not.
func (c *counting) add(calls []call) (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range calls {
		if one.reply == nil {
			err = one.err
			continue
		}
		n, _ := integer(one.reply, 1)
		c.ended += int(n)
	}
	return err
}

func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`).Replace(s)
}
