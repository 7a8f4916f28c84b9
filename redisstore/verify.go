package redisstore

import (
	"context"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
)

// What is heard of others may be said again to a Redis that has lost it, but anybody may publish
// who can reach Redis. So it is remembered only if Redis says, when it is heard, that it is true.

const (
	verifyTimeout = 5 * time.Second
	// Whoever can publish must not have Redis asked all the time: so many messages are looked at,
	// and then none for a while.
	verifyAtOnce = 500
	verifyPause  = 200 * time.Millisecond
	// maxHeardKeep is the longest Keep that is believed to be another process's.
	maxHeardKeep = 24 * time.Hour
)

// heard is what Watch calls for each message.
func (s *Store) heard(m message) {
	if m.change.Verdict == blacklist.Accepted {
		return
	}
	if age := s.stored(m.bucket, s.now()).Sub(m.change.At); age.Abs() > rememberedFor {
		return // what is remembered is kept in Redis for as long as its time says
	}
	m.keep = min(m.keep, maxHeardKeep)
	c := &m.change // without what is not said again, and without the rest of what was published
	c.UserID, c.SessionID, c.Except = strings.Clone(c.UserID), strings.Clone(c.SessionID), strings.Clone(c.Except)
	c.TokenID, c.Generation = "", 0
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
		is := s.areTrue(ctx, messages)
		cancel()
		for n, m := range messages {
			if is[n] {
				s.recent.add(m)
			}
		}
		sleep(s.bus.life, verifyPause)
	}
}

// areTrue reports which messages are: those of the last change of the kind, with nothing in them
// that Redis does not say too. Those about which Redis cannot be asked are not.
func (s *Store) areTrue(ctx context.Context, messages []message) (is []bool) {
	is = make([]bool, len(messages))
	pipe := s.client.Pipeline()
	kept := make([]*redis.StringCmd, len(messages))
	var living, marked calls // with the number of the message
	touched := false
	for n, m := range messages {
		u := userOf(m.change.UserID)
		sid, ok := rawID(m.change.SessionID)
		switch {
		case m.all:
			touched = touched || s.touchAll(ctx) == nil
			is[n] = touched && s.allRevoked(&messages[n])
		case m.change.SessionID == "":
			kept[n] = pipe.HGet(ctx, s.livingKey(u), "")
			if m.change.Verdict != blacklist.Stale {
				living.add(n, u.bucket, s.keys(u)[:2])
			}
		case ok && m.change.Verdict == blacklist.Stale:
			marked.add(n, u.bucket, s.keys(u), s.durable(), sid)
		case ok:
			kept[n] = pipe.HGet(ctx, s.endedKey(u), sid)
		}
	}
	_, _ = pipe.Exec(ctx) // each command has its error
	for n, cmd := range kept {
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
		is[n] = err == nil && (c.Verdict == blacklist.Stale && e.mark == c.Mark || c.Verdict != blacklist.Stale && e.cutoff == c.At.UnixMicro())
	}
	living.run(ctx, s, s.scripts.sessions)
	for i, n := range living.of {
		is[n] = is[n] && endedAll(living.calls[i].reply, &messages[n].change)
	}
	marked.run(ctx, s, s.scripts.read)
	for i, n := range marked.of {
		is[n] = raised(sightIn(marked.calls[i].reply, 2), &messages[n].change)
	}
	return is
}

// calls are calls of one script, with the numbers of what they are about.
type calls struct {
	calls []call
	of    []int
}

func (c *calls) add(n, bucket int, keys []string, args ...any) {
	c.calls, c.of = append(c.calls, call{bucket: bucket, keys: keys, args: args}), append(c.of, n)
}

// run makes the calls. If that fails, there are none.
func (c *calls) run(ctx context.Context, s *Store, sc *redis.Script) {
	if len(c.calls) > 0 && s.runAll(ctx, sc, c.calls) != nil {
		for n := range c.calls {
			c.calls[n].reply = nil
		}
	}
}

// allRevoked reports whether each bucket has an epoch that began with a message or later, and why.
// The message then says what the buckets say, whichever of several revocations it was of.
func (s *Store) allRevoked(m *message) bool {
	for b := range buckets {
		state := s.states[b].Load()
		last := len(state.reasons) - 1
		if last < 0 || state.reasons[last].why != m.change.Verdict || state.epoch < m.epochs[b] || state.allAt < m.moments[b] {
			return false
		}
	}
	// New arrays, because others read the message's.
	m.epochs, m.moments = new([buckets]int64), new([buckets]int64)
	for b := range buckets {
		state := s.states[b].Load()
		m.epochs[b], m.moments[b] = state.epoch, state.allAt
	}
	return true
}

// endedAll reports whether all of a user's sessions that had begun by then have ended but the
// excepted one, if the reply lists the living ones. Otherwise somebody has left out the exception.
// One that does not live is none.
func endedAll(reply []any, c *blacklist.Change) bool {
	if len(reply) == 0 {
		return false
	}
	except, _ := rawID(c.Except)
	lives := false
	for n := 2; n+1 < len(reply); n += 2 {
		h, ok := parseHead(str(reply, n+1))
		is := str(reply, n) == except
		if lives = lives || is; !is && (!ok || h.since <= c.At.UnixMicro()) {
			return false
		}
	}
	if !lives {
		c.Except = ""
	}
	return true
}

// raised reports whether a session has a mark, or its user's entry if the session has not begun.
func raised(seen sight, c *blacklist.Change) bool {
	e, err1 := parseEntry(seen.entry)
	o, err2 := parseOverride(seen.override)
	if err1 != nil || err2 != nil || seen.remains != "" {
		return false
	}
	mark := max(e.mark, o.mark)
	if seen.record != "" {
		state, _, err := decodeRecord(seen.record, c.UserID)
		if err != nil {
			return false
		}
		mark = max(mark, state.Mark())
	}
	return mark == c.Mark
}
