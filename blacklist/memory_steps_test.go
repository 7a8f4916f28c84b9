package blacklist

import (
	"context"
	"hash/maphash"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

// crowdedShard returns a population of at most that many users, who are all in one shard: it is as
// large as in a store with 64 times as many sessions.
func crowdedShard(users int) *population {
	p := newPopulation(usersOfOneShard(users))
	p.agents = p.agents[:10]
	return p
}

// usersOfOneShard returns the names of at most that many users, who are all in one shard.
func usersOfOneShard(users int) func(n int) string {
	var numbers []int // without pointers, and all made before anything is measured
	for n := 0; len(numbers) < users; n++ {
		if maphash.String(populationSeed, shortIDs(n))>>32%64 == 0 {
			numbers = append(numbers, n)
		}
	}
	return func(n int) string { return shortIDs(numbers[n]) }
}

// read returns a metric of the runtime.
func read(name string) uint64 {
	m := []metrics.Sample{{Name: name}}
	metrics.Read(m)
	return m[0].Value.Uint64()
}

// TestMemoryStepIsBounded guards that no step copies or makes much at once, such as a table that is
// made anew at twice its size: what a step allocates does not grow with the store.
func TestMemoryStepIsBounded(t *testing.T) {
	const sessions = 60_000
	p, later := crowdedShard(sessions), time.Now().Add(26*time.Hour)
	measure := func(kind string, times int, step func(n int)) {
		most, at := uint64(0), 0
		for n := range times {
			before := read("/gc/heap/allocs:bytes")
			step(n)
			if bytes := read("/gc/heap/allocs:bytes") - before; bytes > most {
				most, at = bytes, n
			}
		}
		if t.Logf("%s: step %d of %d allocates %d bytes", kind, at, times, most); most > 384<<10 {
			t.Errorf("%s: step %d of %d allocates %d bytes, want at most 384 KiB", kind, at, times, most)
		}
	}
	measure("log-in", sessions, func(n int) { p.begin(n) })
	measure("revoke-user", sessions*3/4, func(n int) {
		_, _ = p.store.Revoke(context.Background(), Revocation{UserID: p.userID(n), Why: Revoked, Keep: time.Minute})
	})
	measure("sweep", sessions/sweepsOfAnother+2, func(int) { p.store.shards[0].sweep(later, sweepsOfAnother) })
	if users, sessionsDue, usersDue := p.store.remembered(); users+sessionsDue+usersDue+p.store.size() != 0 {
		t.Errorf("%d users and %d sessions are left, and %d and %d to look at", users, p.store.size(), usersDue, sessionsDue)
	}
}

// TestMemoryIsLittleToCollect guards that the garbage collector has few pieces of memory to mark,
// for which it may hold up a step: much fewer than sessions, or pages of 64 of them.
func TestMemoryIsLittleToCollect(t *testing.T) {
	const sessions = 60_000
	p := crowdedShard(2 * sessions)
	grown := func(from int) int64 {
		for n := range sessions {
			p.begin(from + n)
		}
		runtime.GC()
		runtime.GC() // also what other tests have left in pools
		return int64(read("/gc/heap/objects:objects"))
	}
	before := grown(0)
	pieces := float64(grown(sessions)-before) / sessions
	if t.Logf("%.4f pieces of memory for each session", pieces); pieces > 0.01 {
		t.Errorf("%.4f pieces of memory for each session, want at most 0.01", pieces)
	}
	runtime.KeepAlive(p)
}
