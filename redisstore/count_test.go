package redisstore

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// scanHook calls a function before each SCAN, with its context and number.
type scanHook struct {
	redis.Hook
	scans  int
	before func(ctx context.Context, n int)
}

func (h *scanHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() == "scan" {
			h.scans++
			h.before(ctx, h.scans)
		}
		return next(ctx, cmd)
	}
}

func (h *scanHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *scanHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// Guards a revocation of all against a count of the sessions that takes too long: it returns all
// the same, long before its context ends, with the number of those that were counted.
func TestRevocationOfAllWithoutWholeCount(t *testing.T) {
	const sessions = 5_000
	server := redistest.Start(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr, ContextTimeoutEnabled: true, ReadTimeout: time.Minute})
	defer client.Close()
	s := open(t, client, Options{})
	tokens := fill(t, s, sessions)
	s.countTime = countTime
	hook := &scanHook{before: func(ctx context.Context, n int) {
		if end, ok := ctx.Deadline(); !ok || time.Until(end) > countTime {
			t.Errorf("scan %d may take until %s", n, end)
		}
		if n == 2 {
			server.Pause()
		}
	}}
	client.AddHook(hook)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := s.Revoke(ctx, blacklist.Revocation{All: true, Why: blacklist.Revoked})
	if err != nil || !c.All || c.Sessions >= sessions {
		t.Errorf("%+v, %v", c, err)
	}
	if ctx.Err() != nil {
		t.Error("it took until its context ended")
	}
	t.Logf("%d sessions counted", c.Sessions)
	server.Resume()
	checks(t, s, blacklist.Revoked, tokens[0], tokens[sessions-1])
}

// Guards a revocation of all whose context is about to end: counting leaves it time to return.
func TestRevocationOfAllWithLittleTime(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr, ContextTimeoutEnabled: true, ReadTimeout: time.Minute})
	defer client.Close()
	s := open(t, client, Options{}) // which would count for a minute
	client.AddHook(&scanHook{before: func(context.Context, int) { server.Pause() }})
	defer server.Resume()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	if _, err := s.Revoke(ctx, blacklist.Revocation{All: true, Why: blacklist.Revoked}); err != nil || ctx.Err() != nil {
		t.Errorf("%v, with %v", err, ctx.Err())
	}
}
