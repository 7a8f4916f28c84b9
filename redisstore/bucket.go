package redisstore

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
)

// bucketState is what a bucket remembers for all of its users. Times are Unix microseconds.
type bucketState struct {
	text  string // as it is in Redis
	birth int64  // codes issued before are unknown
	first int64  // the epoch that the bucket began with
	epoch int64  // sessions of earlier epochs are over
	allAt int64  // when all were revoked last
	// reasons say why all were revoked: from each epoch on until the next entry.
	reasons []epochReason
}

type epochReason struct {
	epoch int64
	why   blacklist.Verdict
}

func parseState(text string) (*bucketState, error) {
	corrupt := fmt.Errorf("%w: the state of a bucket", ErrCorrupt)
	fields := strings.Split(text, " ")
	if len(fields) < 4 {
		return nil, corrupt
	}
	s := &bucketState{text: text}
	for n, field := range [...]*int64{&s.birth, &s.first, &s.epoch, &s.allAt} {
		var ok bool
		if *field, ok = number(fields[n]); !ok {
			return nil, corrupt
		}
	}
	last := s.first
	for _, field := range fields[4:] {
		epoch, why, _ := strings.Cut(field, ":")
		n, ok1 := number(epoch)
		v, ok2 := number(why)
		r := epochReason{n, blacklist.Verdict(v)}
		if !ok1 || !ok2 || n <= last || n > s.epoch || v > 255 || r.why != blacklist.LoggedOut && r.why != blacklist.Revoked {
			return nil, corrupt
		}
		s.reasons, last = append(s.reasons, r), n
	}
	if s.first > s.epoch || (s.epoch > s.first) != (len(s.reasons) > 0) {
		return nil, corrupt
	}
	return s, nil
}

// isNew reports whether the bucket remembers all since it was made: nothing may have been lost
// since.
func (s *bucketState) isNew() bool { return s.birth/1_000_000 == s.first }

// why returns why sessions of an epoch are over, or zero if they are not.
func (s *bucketState) why(epoch int64) (why blacklist.Verdict) {
	switch {
	case epoch == s.epoch:
		return 0
	case epoch < s.first, epoch > s.epoch: // the bucket has lost its state
		return blacklist.Unknown
	}
	why = s.reasons[0].why // those of long ago are left out
	for _, r := range s.reasons {
		if r.epoch <= epoch+1 {
			why = r.why
		}
	}
	return why
}

// learn parses the state of a bucket as a reply has it, and keeps it for the next steps.
func (s *Store) learn(bucket int, text string) (*bucketState, error) {
	if known := s.states[bucket].Load(); known != nil && known.text == text {
		return known, nil
	}
	state, err := parseState(text)
	if err != nil {
		return nil, err
	}
	if known := s.states[bucket].Swap(state); known != nil && known.birth != state.birth {
		for b := range s.touched { // another server, most likely: so that all buckets notice at once
			s.touched[b].Store(false)
		}
	}
	return state, nil
}

// touch makes sure that a bucket has a state in Redis, and reads it.
func (s *Store) touch(ctx context.Context, bucket int) (*bucketState, error) {
	reply, _, err := s.run(ctx, s.scripts.touch, bucket, []string{s.bucketKey(bucket)}, s.durable())
	if err != nil {
		return nil, err
	}
	return s.learn(bucket, str(reply, 1))
}

// touchAll does so for all buckets.
func (s *Store) touchAll(ctx context.Context) error {
	for _, one := range s.touchEach(ctx, s.runEach, func(int) bool { return true }) {
		if one.err != nil {
			return one.err
		}
	}
	return nil
}

// touchEach does so for some buckets. It returns a call for each of them, which has an error if the
// bucket may not remember.
func (s *Store) touchEach(ctx context.Context, run func(context.Context, *redis.Script, []call), some func(bucket int) bool) []call {
	var calls []call
	for b := range buckets {
		if some(b) {
			calls = append(calls, call{bucket: b, keys: []string{s.bucketKey(b)}, args: []any{s.durable()}})
		}
	}
	run(ctx, s.scripts.touch, calls)
	for n := range calls {
		if calls[n].err == nil {
			_, calls[n].err = s.learn(calls[n].bucket, str(calls[n].reply, 1))
		}
	}
	for _, one := range calls { // now that learn has forgotten which buckets were seen, if it has
		if one.err == nil {
			s.touched[one.bucket].Store(true)
		}
	}
	return calls
}

// ready makes sure, once for each server, that all buckets that can be reached have a state: codes
// that are issued from then on are known to be new. It returns an error if this bucket may have
// none.
func (s *Store) ready(ctx context.Context, bucket int) error {
	if s.touched[bucket].Load() {
		return ctx.Err()
	}
	for _, one := range s.touchEach(ctx, s.runApart, func(b int) bool { return !s.touched[b].Load() }) {
		if one.bucket == bucket {
			return one.err
		}
	}
	return ctx.Err() // another call has seen it meanwhile
}
