package redisstore

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// apartTimeout is how long runApart waits for a server of a cluster.
const apartTimeout = time.Second

// runApart is runEach, but no server of a cluster has to wait for another: what a server does not
// answer in time has no reply. One pipeline for all of them would return when the last of them has
// answered or ctx ends, and then it may have errors for what the others have answered.
func (s *Store) runApart(ctx context.Context, sc *redis.Script, calls []call) {
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok {
		s.runEach(ctx, sc, calls)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, apartTimeout)
	defer cancel()
	of := make(map[*redis.Client][]int) // the calls of each server
	for n := range calls {
		master, err := cluster.MasterForKey(ctx, s.bucketKey(calls[n].bucket))
		if err != nil { // the client does not know the servers
			fail(calls, s.failed(ctx, err))
			return
		}
		of[master] = append(of[master], n)
	}
	var servers sync.WaitGroup
	for _, some := range of {
		servers.Go(func() {
			part := make([]call, len(some))
			for i, n := range some {
				part[i] = calls[n]
			}
			s.runEach(ctx, sc, part)
			for i, n := range some {
				calls[n] = part[i]
			}
		})
	}
	servers.Wait()
}

// silentFor is for how long the buckets of a server that has not answered are left out.
const silentFor = 5 * time.Second

// silence is since when the server of each bucket has not answered although others have, in time
// since epoch, or 0.
type silence struct {
	mu    sync.Mutex
	since [buckets]time.Duration
}

// leaveOut takes out the calls about buckets whose server has not answered lately, so that who asks
// about many users in turn does not wait for it each time. If no other is left, all are.
func (s *silence) leaveOut(calls []call) (rest []call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Since(epoch)
	for _, one := range calls {
		if since := s.since[one.bucket]; since == 0 || now-since > silentFor {
			rest = append(rest, one)
		}
	}
	if len(rest) == 0 {
		return calls
	}
	return rest
}

// note notes which servers have answered, if any has.
func (s *silence) note(calls []call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	heard := func(one call) bool { return one.reply != nil || answered(one.err) }
	if !slices.ContainsFunc(calls, heard) {
		return
	}
	now := time.Since(epoch)
	for _, one := range calls {
		s.since[one.bucket] = 0
		if !heard(one) {
			s.since[one.bucket] = now
		}
	}
}
