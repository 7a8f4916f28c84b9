package redisstore

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed *.lua
var sources embed.FS

// scripts are what Redis runs. Each is one step.
type scripts struct{ touch, read, step, end, mark, all, count, sessions *redis.Script }

// newScripts returns the scripts, for a Redis whose clock is to be ahead of what it shows; by 0,
// but in tests.
func newScripts(ahead time.Duration) *scripts {
	source := func(name string) string {
		text, err := sources.ReadFile(name + ".lua")
		if err != nil {
			return "return redis.error_reply('ERR no such script')" // which no test would miss
		}
		return string(text)
	}
	common := fmt.Sprintf("local ahead = %d\n%s", ahead.Microseconds(), source("common"))
	script := func(name string) *redis.Script { return redis.NewScript(common + source(name)) }
	return &scripts{
		touch: script("touch"), read: script("read"), step: script("step"), end: script("end"),
		mark: script("mark"), all: script("all"), count: script("count"), sessions: script("sessions"),
	}
}

var theScripts = newScripts(0)

var (
	// ErrClock is what methods return while the clock of this process and that of Redis differ by
	// more than Options.MaxSkew.
	ErrClock = errors.New("redisstore: the clocks of this process and of Redis differ by too much")
	// ErrRunID is what methods return if Redis does not let the store ask INFO for the run id, by
	// which it notices that Redis may have lost its last writes. The ACL needs +info, or else
	// Options.Durable has to be true.
	ErrRunID    = errors.New("redisstore: Redis does not say its run_id: allow INFO (+info), or set Options.Durable if Redis loses nothing")
	errNoScript = errors.New("redisstore: Redis forgets the store's scripts at once")
	// ErrCorrupt is what methods return if what is in Redis is not what the store has written.
	ErrCorrupt = errors.New("redisstore: a record in Redis is damaged, or not the store's")
)

// failed wraps an error of the client. It has a client of a cluster look which servers there are:
// it does so by itself only if one of them says MOVED, which a dead one does not.
func (s *Store) failed(ctx context.Context, err error) error {
	if !answered(err) {
		if cluster, ok := s.client.(*redis.ClusterClient); ok {
			cluster.ReloadState(context.WithoutCancel(ctx))
		}
		if ctx.Err() == nil {
			s.doubtClocks()
		}
	}
	if strings.HasPrefix(err.Error(), "NORUN ") {
		return fmt.Errorf("%w: %s", ErrRunID, strings.TrimPrefix(err.Error(), "NORUN "))
	}
	return fmt.Errorf("redisstore: %w", err)
}

// answered reports whether an error is a reply of Redis.
func answered(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// durable is how scripts are told Options.Durable.
func (s *Store) durable() string {
	if s.o.Durable {
		return "1"
	}
	return "0"
}

// run runs a script about a bucket, and notes the time that is first in its reply.
func (s *Store) run(ctx context.Context, sc *redis.Script, bucket int, keys []string, args ...any) (reply []any, now time.Time, err error) {
	if err := ctx.Err(); err != nil {
		return nil, now, err
	}
	sent := s.now()
	reply, err = sc.Run(ctx, s.client, keys, args...).Slice()
	if err != nil {
		return nil, now, s.failed(ctx, err)
	}
	now, err = s.observe(bucket, reply, sent)
	return reply, now, err
}

// A call is one of several that are sent together.
type call struct {
	bucket int
	keys   []string
	args   []any
	of     []int     // what the caller makes it for, by numbers of its own
	reply  []any     // nil if there is none
	now    time.Time // by the store's clock
	err    error     // why there is no reply, or, if there is one, of the clock
}

// runAll runs a script several times, in one round trip to each server, or in two if a server does
// not know the script. It returns an error if a call has no reply.
func (s *Store) runAll(ctx context.Context, sc *redis.Script, calls []call) error {
	s.runEach(ctx, sc, calls)
	for _, one := range calls {
		if one.reply == nil {
			return one.err
		}
	}
	return nil
}

// runEach is runAll, but leaves the errors in the calls.
func (s *Store) runEach(ctx context.Context, sc *redis.Script, calls []call) {
	if err := ctx.Err(); err != nil {
		fail(calls, err)
		return
	}
	waiting := make([]int, len(calls))
	for n := range waiting {
		waiting[n] = n
	}
	for _, send := range [...]func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd{sc.EvalSha, sc.Eval} {
		pipe := s.client.Pipeline()
		cmds := make([]*redis.Cmd, len(waiting))
		for i, n := range waiting {
			cmds[i] = send(ctx, pipe, calls[n].keys, calls[n].args...)
		}
		sent := s.now()
		_, failed := pipe.Exec(ctx)
		var unknown []int
		for i, n := range waiting {
			reply, err := cmds[i].Slice()
			if failed != nil && cmds[i].Err() == nil && reply == nil {
				// The commands were not sent, for example because the password is wrong. Only
				// Exec tells.
				err = failed
			}
			switch {
			case redis.HasErrorPrefix(err, "NOSCRIPT"):
				calls[n].err = errNoScript
				unknown = append(unknown, n)
			case err != nil:
				calls[n].err = s.failed(ctx, err)
			default:
				calls[n].reply = reply
				calls[n].now, calls[n].err = s.observe(calls[n].bucket, reply, sent)
			}
		}
		if waiting = unknown; len(waiting) == 0 {
			return
		}
	}
}

// fail notes that none of the calls has a reply.
func fail(calls []call, err error) {
	for n := range calls {
		calls[n].reply, calls[n].err = nil, err
	}
}

// str returns element n of a reply, if it is a string.
func str(reply []any, n int) string {
	if n >= len(reply) {
		return ""
	}
	v, _ := reply[n].(string)
	return v
}

// integer returns element n of a reply as a number: an integer of Redis, or a decimal.
func integer(reply []any, n int) (int64, error) {
	if n < len(reply) {
		switch v := reply[n].(type) {
		case int64:
			return v, nil
		case string:
			if i, err := strconv.ParseInt(v, 10, 64); err == nil {
				return i, nil
			}
		}
	}
	return 0, fmt.Errorf("%w: a reply without its number", ErrCorrupt)
}

// counters returns how many changes each bucket has seen.
func (s *Store) counters(ctx context.Context) (counters [buckets]int64, err error) {
	pipe := s.client.Pipeline()
	var cmds [buckets]*redis.StringCmd
	for n, key := range s.bucketKeys {
		cmds[n] = pipe.HGet(ctx, key, "n")
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return counters, s.failed(ctx, err)
	}
	for n, cmd := range cmds {
		counters[n], err = cmd.Int64()
		if err != nil && !errors.Is(err, redis.Nil) { // nil: none yet
			return counters, s.failed(ctx, err)
		}
	}
	return counters, nil
}
