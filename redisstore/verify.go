package redisstore

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
)

// What is heard of others may be said again to a Redis that has lost it, but anybody may publish who
// can reach Redis. So it is remembered only if Redis says, when it is heard, that it is true.

const (
	verifyTimeout = 5 * time.Second
	verifyAtOnce  = 500
	// maxHeardKeep is the longest Keep that is believed to be another process's.
	maxHeardKeep = 24 * time.Hour
)

// heard is what Watch calls for each message.
func (s *Store) heard(m message) {
	if m.change.Verdict == blacklist.Accepted {
		return
	}
	m.keep = min(m.keep, maxHeardKeep)
	if s.recent.wait(m) {
		s.bus.goes(s.verify)
	}
}

// verify remembers those messages that are true, until none waits.
func (s *Store) verify() {
	for {
		messages := s.recent.waiting()
		if len(messages) == 0 {
			return
		}
		ctx, cancel := context.WithTimeout(s.bus.life, verifyTimeout)
		is, err := s.areTrue(ctx, messages)
		cancel()
		for n, m := range messages {
			if err == nil && is[n] {
				s.recent.add(m)
			}
		}
	}
}

// areTrue reports which messages are.
func (s *Store) areTrue(ctx context.Context, messages []message) (is []bool, err error) {
	is = make([]bool, len(messages))
	pipe := s.client.Pipeline()
	cmds := make([]*redis.StringCmd, len(messages))
	for n, m := range messages {
		u := userOf(m.change.UserID)
		sid, ok := rawID(m.change.SessionID)
		switch {
		case m.all:
			if err := s.touchAll(ctx); err != nil {
				return nil, err
			}
			is[n] = true
			for b := range buckets {
				state := s.states[b].Load()
				is[n] = is[n] && state.epoch >= m.epochs[b] && state.allAt >= m.moments[b]
			}
		case m.change.SessionID == "":
			cmds[n] = pipe.HGet(ctx, s.livingKey(u), "")
		case ok && m.change.Verdict == blacklist.Stale:
			if is[n], err = s.hasMark(ctx, u, sid, m.change); err != nil {
				return nil, err
			}
		case ok:
			cmds[n] = pipe.HGet(ctx, s.endedKey(u), sid)
		}
	}
	if pipe.Len() == 0 {
		return is, nil
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, s.failed(ctx, err)
	}
	for n, cmd := range cmds {
		if cmd == nil || cmd.Err() != nil {
			continue
		}
		c := &messages[n].change
		if c.SessionID != "" {
			r, err := parseRemains(cmd.Val())
			is[n] = err == nil && r.why == c.Verdict
			continue
		}
		e, err := parseEntry(cmd.Val())
		is[n] = err == nil && (c.Verdict == blacklist.Stale && e.mark >= c.Mark || c.Verdict != blacklist.Stale && e.cutoff >= c.At.UnixMicro())
	}
	return is, nil
}

// hasMark reports whether a session has a mark, or its user's entry if the session has not begun.
func (s *Store) hasMark(ctx context.Context, u user, sid string, c blacklist.Change) (bool, error) {
	seen, _, _, err := s.read(ctx, u, sid)
	if err != nil || seen.remains != "" {
		return false, err
	}
	e, err1 := parseEntry(seen.entry)
	o, err2 := parseOverride(seen.override)
	if err := errors.Join(err1, err2); err != nil {
		return false, err
	}
	mark := max(e.mark, o.mark)
	if seen.record != "" {
		state, _, err := decodeRecord(seen.record, c.UserID)
		if err != nil {
			return false, err
		}
		mark = max(mark, state.Mark())
	}
	return mark >= c.Mark, nil
}
