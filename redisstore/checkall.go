package redisstore

import (
	"context"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

const (
	checksPerScript   = 50
	checksPerPipeline = 2000
)

// CheckAll implements blacklist.BatchChecker. It takes one round trip to each server for some
// thousand tokens. If a server of a cluster does not answer, the tokens of its users have the zero
// Result, after a second at the latest. CheckAll returns an error if no token has a Result.
func (s *Store) CheckAll(ctx context.Context, tokens []blacklist.TokenRef) ([]blacklist.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	results := make([]blacklist.Result, len(tokens))
	var failed error
	for from := 0; from < len(tokens); from += checksPerPipeline {
		to := min(len(tokens), from+checksPerPipeline)
		if err := s.checkSome(ctx, tokens[from:to], results[from:to]); err != nil && failed == nil {
			failed = err
		}
	}
	for _, r := range results {
		if r.Verdict != 0 {
			return results, nil
		}
	}
	return results, failed
}

// checkSome returns why a token has no Result, if one has none.
func (s *Store) checkSome(ctx context.Context, tokens []blacklist.TokenRef, results []blacklist.Result) (failed error) {
	var open [buckets]int // the call that is being filled, and one
	var calls []call
	for n := range tokens {
		sid, ok := rawID(tokens[n].SessionID)
		if !ok {
			results[n].Verdict = blacklist.Unknown
			continue
		}
		u := userOf(tokens[n].UserID)
		i := open[u.bucket] - 1
		if i < 0 || len(calls[i].of) == checksPerScript {
			i = len(calls)
			open[u.bucket] = i + 1
			calls = append(calls, call{bucket: u.bucket, keys: []string{s.bucketKey(u.bucket)}, args: []any{s.durable()}})
		}
		calls[i].keys = append(calls[i].keys, s.livingKey(u), s.endedKey(u))
		calls[i].args = append(calls[i].args, sid)
		calls[i].of = append(calls[i].of, n)
	}
	asked := calls
	if s.isCluster {
		asked = s.silence.leaveOut(calls)
	}
	s.runApart(ctx, s.scripts.read, asked)
	if s.isCluster {
		s.silence.note(asked)
	}
	for _, one := range asked {
		for at, n := range one.of {
			var err error
			if results[n], err = s.checked(&one, at, tokens[n]); err != nil {
				failed = err
			}
		}
	}
	return failed
}

// checked returns the Result of a token, which is number at in the call.
func (s *Store) checked(one *call, at int, t blacklist.TokenRef) (blacklist.Result, error) {
	if one.err != nil {
		return blacklist.Result{}, one.err
	}
	state, err := s.learn(one.bucket, str(one.reply, 1))
	if err != nil {
		return blacklist.Result{}, err
	}
	out, err := decide(t, sightIn(one.reply, 2+4*at), state, one.now, func(st *blacklist.State, now time.Time) (blacklist.Result, blacklist.Change) {
		return st.Check(t, 0, 0, now), blacklist.Change{}
	})
	if err != nil {
		return blacklist.Result{}, err
	}
	return out.result, nil
}
