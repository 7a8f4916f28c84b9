package redisstore

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
)

const (
	rememberedFor = time.Minute
	maxRemembered = 10_000
	maxUnverified = 4 << 20 // bytes
)

// recent is what ended, or had its mark raised, in the last minute, as this process knows it. A
// Redis that has lost its last writes is told again. All processes remember, so that one that is
// left is enough. It is safe for concurrent use.
type recent struct {
	mu    sync.Mutex
	list  []remembered // the oldest first
	known map[change]struct{}

	unverified []message
	size       int // of the texts of unverified
	verifying  bool
}

type remembered struct {
	since time.Time
	message
}

// change is what two messages have in common that are about the same. Those that differ in nothing
// but what Redis does not know are the same: otherwise who can publish could have everything else
// forgotten.
type change struct {
	user, session, except string
	verdict               blacklist.Verdict
	at, mark              int64
}

func (m *message) key() change {
	c := &m.change
	k := change{c.UserID, c.SessionID, c.Except, c.Verdict, 0, c.Mark}
	switch {
	case m.all:
		k.mark = m.epochs[0]
	case c.SessionID == "" && c.Verdict != blacklist.Stale:
		k.at = c.At.UnixMicro()
	}
	return k
}

// texts returns the length of a message's texts.
func (m *message) texts() int {
	return len(m.change.UserID) + len(m.change.SessionID) + len(m.change.Except)
}

func (r *recent) add(m message) {
	if m.change.Verdict == blacklist.Accepted || m.change.Verdict == 0 {
		return
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, twice := r.known[m.key()]; twice {
		return
	}
	for len(r.list) > 0 && (len(r.list) >= maxRemembered || now.Sub(r.list[0].since) > rememberedFor) {
		delete(r.known, r.list[0].key())
		r.list = r.list[1:]
	}
	if r.known == nil {
		r.known = make(map[change]struct{})
	}
	r.known[m.key()] = struct{}{}
	r.list = append(r.list, remembered{now, m})
}

// last returns what is of the last minute.
func (r *recent) last() (messages []message) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range r.list {
		if now.Sub(one.since) <= rememberedFor {
			messages = append(messages, one.message)
		}
	}
	return messages
}

// wait queues a message to be verified. It reports whether the caller has to call verify.
func (r *recent) wait(m message) (idle bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	size := m.texts()
	if _, twice := r.known[m.key()]; twice || len(r.unverified) >= maxRemembered || r.size+size > maxUnverified {
		return false
	}
	r.size += size
	r.unverified = append(r.unverified, m)
	idle = !r.verifying
	r.verifying = true
	return idle
}

// waiting takes some messages out of the queue. If it returns none, the caller stops, and the next
// call of wait says so.
func (r *recent) waiting() (messages []message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(len(r.unverified), verifyAtOnce)
	messages, r.unverified = r.unverified[:n:n], r.unverified[n:]
	for _, m := range messages {
		r.size -= m.texts()
	}
	if len(r.unverified) == 0 {
		r.unverified = nil
	}
	r.verifying = n > 0
	return messages
}

// subscribed is what Watch calls after each new subscription, and when a counter has gone back,
// before it sends a Gap: Redis may have lost its last writes then. It says again what ended in the
// last minute, with the times that were stored: no session ends that began later.
func (s *Store) subscribed(ctx context.Context) error {
	if err := s.touchAll(ctx); err != nil {
		return err
	}
	calls := make(map[*redis.Script][]call)
	for _, m := range s.recent.last() {
		if m.all {
			for b := range buckets {
				calls[s.scripts.all] = append(calls[s.scripts.all], call{
					bucket: b, keys: []string{s.bucketKey(b)}, args: []any{int(m.change.Verdict), m.moments[b], m.epochs[b]},
				})
			}
			continue
		}
		sid, ok := rawID(m.change.SessionID)
		if !ok && m.change.SessionID != "" {
			continue
		}
		u := userOf(m.change.UserID)
		sc, args := s.revocation(m.change, sid, m.keep, true)
		calls[sc] = append(calls[sc], call{bucket: u.bucket, keys: s.keys(u), args: args})
	}
	for sc, list := range calls {
		for len(list) > 0 {
			n := min(len(list), 1000)
			if err := s.runAll(ctx, sc, list[:n]); err != nil {
				return err
			}
			list = list[n:]
		}
	}
	return nil
}

func text(n int64) string { return strconv.FormatInt(n, 10) }
