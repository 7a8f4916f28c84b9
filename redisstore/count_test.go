package redisstore

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// scanHook calls functions before and after each SCAN, with its context and number.
type scanHook struct {
	redis.Hook
	scans         int
	before, after func(ctx context.Context, n int)
}

func (h *scanHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() != "scan" {
			return next(ctx, cmd)
		}
		h.scans++
		if h.before != nil {
			h.before(ctx, h.scans)
		}
		err := next(ctx, cmd)
		if h.after != nil {
			h.after(ctx, h.scans)
		}
		return err
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

// loginAfter begins a session after a revocation. On a busy machine what is known of Redis's clock
// may be some milliseconds old, so that a login is taken for one of before.
func loginAfter(t *testing.T, s *Store, user string) blacklist.TokenRef {
	t.Helper()
	for {
		token := login(t, s, user)
		r, err := s.Present(t.Context(), presentation(token, successor(token)))
		if err != nil || r.Verdict != blacklist.Accepted && r.Verdict != blacklist.Revoked {
			t.Fatalf("Present: verdict %d, %v", r.Verdict, err)
		}
		if r.Verdict == blacklist.Accepted {
			return token
		}
	}
}

// Guards the number that a revocation of all returns against what others do while it counts: a
// session that a revocation of its user, one of itself or another login puts away is counted once
// all the same, wherever the count has come to.
func TestRevocationOfAllCountsWhatIsPutAway(t *testing.T) {
	const sessions, others = 1000, 4000 // so that there is more than one scan
	server := redistest.Start(t)
	fill(t, open(t, server.Client(), Options{}), others)
	for name, putAway := range map[string]func(t *testing.T, s *Store, token blacklist.TokenRef) (blacklist.Change, error){
		"user": func(t *testing.T, s *Store, token blacklist.TokenRef) (blacklist.Change, error) {
			return s.Revoke(t.Context(), blacklist.Revocation{UserID: token.UserID, Why: blacklist.Revoked})
		},
		"session": func(t *testing.T, s *Store, token blacklist.TokenRef) (blacklist.Change, error) {
			return s.Revoke(t.Context(), blacklist.Revocation{UserID: token.UserID, SessionID: token.SessionID, Why: blacklist.LoggedOut})
		},
		"login": func(t *testing.T, s *Store, token blacklist.TokenRef) (blacklist.Change, error) {
			other := loginAfter(t, s, token.UserID)
			c, err := s.Revoke(t.Context(), blacklist.Revocation{UserID: token.UserID, SessionID: other.SessionID, Why: blacklist.LoggedOut})
			c.Sessions-- // it was the only one that was ended
			return c, err
		},
	} {
		for at := 0; at <= 2; at++ { // before the first scan, after it, and after another
			t.Run(fmt.Sprintf("%s at %d", name, at), func(t *testing.T) {
				prefix := newPrefix()
				client := server.Client()
				s, other := open(t, client, Options{Prefix: prefix}), open(t, server.Client(), Options{Prefix: prefix})
				tokens := fill(t, s, sessions)
				hook := &scanHook{}
				step := func(_ context.Context, n int) {
					if n != max(at, 1) {
						return
					}
					for _, token := range tokens {
						if c, err := putAway(t, other, token); err != nil || c.Sessions != 0 {
							t.Fatalf("%d sessions ended that were over, %v", c.Sessions, err)
						}
					}
				}
				if at == 0 {
					hook.before = step
				} else {
					hook.after = step
				}
				client.AddHook(hook)
				c, err := s.Revoke(t.Context(), blacklist.Revocation{All: true, Why: blacklist.Revoked})
				if err != nil || c.Sessions != sessions {
					t.Errorf("%d sessions, %v, want %d", c.Sessions, err, sessions)
				}
				if hook.scans <= at {
					t.Errorf("%d scans", hook.scans)
				}
			})
		}
	}
}
