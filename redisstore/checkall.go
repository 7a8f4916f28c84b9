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
// thousand tokens.
func (s *Store) CheckAll(ctx context.Context, tokens []blacklist.TokenRef) ([]blacklist.Result, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	results := make([]blacklist.Result, len(tokens))
	for from := 0; from < len(tokens); from += checksPerPipeline {
		to := min(len(tokens), from+checksPerPipeline)
		if err := s.checkSome(ctx, tokens[from:to], results[from:to]); err != nil {
			return nil, err
		}
	}
	return results, nil
}

func (s *Store) checkSome(ctx context.Context, tokens []blacklist.TokenRef, results []blacklist.Result) error {
	var open [buckets]int // the call that is being filled, and one
	var calls []call
	var of [][]int // the tokens of each call
	for n := range tokens {
		sid, ok := rawID(tokens[n].SessionID)
		if !ok {
			results[n].Verdict = blacklist.Unknown
			continue
		}
		u := userOf(tokens[n].UserID)
		i := open[u.bucket] - 1
		if i < 0 || len(of[i]) == checksPerScript {
			i = len(calls)
			open[u.bucket] = i + 1
			calls = append(calls, call{bucket: u.bucket, keys: []string{s.bucketKey(u.bucket)}, args: []any{s.durable()}})
			of = append(of, nil)
		}
		calls[i].keys = append(calls[i].keys, s.livingKey(u), s.endedKey(u))
		calls[i].args = append(calls[i].args, sid)
		of[i] = append(of[i], n)
	}
	if len(calls) == 0 {
		return nil
	}
	if err := s.runAll(ctx, s.scripts.read, calls); err != nil {
		return err
	}
	for i, one := range calls {
		if one.err != nil {
			return one.err
		}
		state, err := s.learn(one.bucket, str(one.reply, 1))
		if err != nil {
			return err
		}
		for at, n := range of[i] {
			t := tokens[n]
			out, err := decide(t, sightIn(one.reply, 2+4*at), state, one.now, func(st *blacklist.State, now time.Time) (blacklist.Result, blacklist.Change) {
				return st.Check(t, 0, 0, now), blacklist.Change{}
			})
			if err != nil {
				return err
			}
			results[n] = out.result
		}
	}
	return nil
}
