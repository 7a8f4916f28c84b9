package histories_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/boltblacklist"
	"github.com/z-open/socketauth/internal/histories"
)

// inCI is how many histories to play where CI has set its variable. On a desk a tenth will do.
func inCI(n uint64) uint64 {
	if os.Getenv("CI") == "" {
		return n / 10
	}
	return n
}

func TestHistoriesOnTheMemoryStore(t *testing.T) {
	play(t, inCI(memoryHistories), onMemory)
}

func TestHistoriesOnTheDurableStore(t *testing.T) {
	play(t, inCI(durableHistories), func(t *testing.T, seed uint64, tracing bool) histories.Outcome {
		store := openDurable(t)
		defer store.end()
		return histories.Run(seed, store, tracing)
	})
}

func TestHistoriesThroughTheRealServer(t *testing.T) {
	play(t, inCI(realHistories), func(t *testing.T, seed uint64, _ bool) histories.Outcome {
		return throughServer(t, seed, blacklist.NewMemory())
	})
}

// TestHistoriesThroughTheRealServerOnTheDurableStore is where steps of one session share a transaction.
func TestHistoriesThroughTheRealServerOnTheDurableStore(t *testing.T) {
	play(t, inCI(realHistories/5), func(t *testing.T, seed uint64, _ bool) histories.Outcome {
		store := openDurable(t)
		defer store.end()
		return throughServer(t, seed, store.Store)
	})
}

// TestOneHistory tells the history of one seed: SEED=7 go test -v -run OneHistory ./internal/histories
func TestOneHistory(t *testing.T) {
	seed, _ := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	synctest.Test(t, func(t *testing.T) {
		o := onMemory(t, seed, true)
		if t.Log(o.Trace()); o.Violation != "" {
			t.Error(o.Violation)
		}
	})
}

func TestTheReferenceKeepsItsOwnRules(t *testing.T) {
	play(t, 2_000, on(histories.None))
}

// TestEveryMutationIsFound shows what the histories are worth: a machine with a fault does not survive them.
func TestEveryMutationIsFound(t *testing.T) {
	const enough, more = 20_000, 500
	for _, m := range histories.Mutations() {
		t.Run(m.String(), func(t *testing.T) {
			t.Parallel()
			first, failing, found, shortest := uint64(0), uint64(0), 0, ""
			for seed := uint64(0); seed < enough && (found == 0 || seed < first+more); seed++ {
				if inBubble(t, seed, false, on(m)).Violation == "" {
					continue
				}
				if found++; found == 1 {
					first = seed
				}
				if trace := inBubble(t, seed, true, on(m)).Trace(); shortest == "" || len(trace) < len(shortest) {
					failing, shortest = seed, trace
				}
			}
			if found == 0 {
				t.Fatalf("survived %d histories", enough)
			}
			t.Logf("found by history %d, %d times in all; the shortest is of seed %d:\n%s", first+1, found, failing, shortest)
		})
	}
}

// run runs the history of a seed, and keeps a trace of it if asked to.
type run func(t *testing.T, seed uint64, tracing bool) histories.Outcome

func onMemory(_ *testing.T, seed uint64, tracing bool) histories.Outcome {
	return histories.Run(seed, blacklist.NewMemory(), tracing)
}

func on(m histories.Mutation) run {
	return func(_ *testing.T, seed uint64, tracing bool) histories.Outcome {
		return histories.Run(seed, histories.NewMachine(m), tracing)
	}
}

func throughServer(t *testing.T, seed uint64, b blacklist.Store) histories.Outcome {
	o, err := histories.RunReal(seed, b)
	if err != nil {
		t.Errorf("seed %d: %v", seed, err)
	}
	return o
}

// play runs the histories of so many seeds, and prints what they were made of.
func play(t *testing.T, seeds uint64, r run) {
	var mu sync.Mutex
	var total histories.Counts
	t.Cleanup(func() { t.Log(total) })
	const parts = 2
	for part := range uint64(parts) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for seed := part; seed < seeds && !t.Failed(); seed += parts {
				o := inBubble(t, seed, false, r)
				mu.Lock()
				total.Add(o.Counts)
				mu.Unlock()
				if o.Violation == "" {
					continue
				}
				if o.Trace() == "" {
					o = inBubble(t, seed, true, r)
				}
				t.Errorf("seed %d: %s\n%s", seed, o.Violation, o.Trace())
			}
		})
	}
}

// inBubble runs a history in time of its own.
func inBubble(t *testing.T, seed uint64, tracing bool, r run) (o histories.Outcome) {
	synctest.Test(t, func(t *testing.T) { o = r(t, seed, tracing) })
	return o
}

// durable is the store in a file, whose process ends and begins again in the middle of a history.
type durable struct {
	*boltblacklist.Store
	t     *testing.T
	path  string
	calls int
}

func openDurable(t *testing.T) *durable {
	d := &durable{t: t, path: filepath.Join(t.TempDir(), "blacklist")}
	d.open()
	return d
}

func (d *durable) open() {
	var err error
	if d.Store, err = boltblacklist.Open(d.path); err != nil {
		d.t.Fatal(err)
	}
}

func (d *durable) end() {
	if err := d.Close(); err != nil {
		d.t.Error(err)
	}
}

// A prime, so that restarts come at all places of a history.
const callsUntilRestart = 17

func (d *durable) Present(ctx context.Context, p blacklist.Presentation) (blacklist.Verdict, error) {
	if d.calls++; d.calls%callsUntilRestart == 0 {
		d.end()
		d.open()
	}
	return d.Store.Present(ctx, p)
}
