package histories_test

import (
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/histories"
)

func memory() socketauth.Blacklist { return socketauth.NewMemoryBlacklist() }

func TestHistoriesOnTheMemoryStore(t *testing.T) {
	var mu sync.Mutex
	var total histories.Counts
	t.Cleanup(func() { t.Log(total) })
	shards := uint64(runtime.GOMAXPROCS(0))
	for shard := range shards {
		t.Run(strconv.FormatUint(shard, 10), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var counts histories.Counts
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					total.Add(counts)
				}()
				for seed := shard; seed < memoryHistories; seed += shards {
					o := histories.Run(seed, memory())
					if counts.Add(o.Counts); o.Violation != "" {
						t.Errorf("seed %d: %s\n%s", seed, o.Violation, histories.Trace(seed, memory()))
						return
					}
				}
			})
		})
	}
}

// TestOneHistory tells the history of one seed: SEED=7 go test -v -run OneHistory ./internal/histories
func TestOneHistory(t *testing.T) {
	seed, _ := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	synctest.Test(t, func(t *testing.T) {
		o := histories.Run(seed, memory())
		t.Log(histories.Trace(seed, memory()))
		if o.Violation != "" {
			t.Error(o.Violation)
		}
	})
}

func TestTheReferenceKeepsItsOwnRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for seed := range uint64(2_000) {
			if o := histories.Run(seed, histories.NewMachine(histories.None)); o.Violation != "" {
				t.Fatalf("seed %d: %s", seed, o.Violation)
			}
		}
	})
}

// TestEveryMutationIsFound shows what the histories are worth: a machine with a fault does not survive them.
func TestEveryMutationIsFound(t *testing.T) {
	const enough, more = 20_000, 1_000
	for _, m := range histories.Mutations() {
		t.Run(m.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				first, failing, found, shortest := uint64(0), uint64(0), 0, ""
				for seed := uint64(0); seed < enough && (found == 0 || seed < first+more); seed++ {
					if histories.Run(seed, histories.NewMachine(m)).Violation == "" {
						continue
					}
					if found++; found == 1 {
						first = seed
					}
					if trace := histories.Trace(seed, histories.NewMachine(m)); shortest == "" || len(trace) < len(shortest) {
						failing, shortest = seed, trace
					}
				}
				if found == 0 {
					t.Fatalf("survived %d histories", enough)
				}
				t.Logf("found by history %d, %d times in all; the shortest is of seed %d:\n%s", first+1, found, failing, shortest)
			})
		})
	}
}
