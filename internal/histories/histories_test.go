package histories_test

import (
	"os"
	"strconv"
	"testing"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/histories"
)

// inCI returns n if the environment variable CI is set, and a tenth of n otherwise.
func inCI(n uint64) uint64 {
	if os.Getenv("CI") == "" {
		return n / 10
	}
	return n
}

func memory(*testing.T) blacklist.Store { return blacklist.NewMemory() }

func mutated(m histories.Mutation) histories.Player {
	return histories.On(func(*testing.T) blacklist.Store { return histories.NewMachine(m) })
}

func TestHistoriesOnTheMemoryStore(t *testing.T) {
	histories.Play(t, inCI(memoryHistories), histories.On(memory))
}

func TestHistoriesThroughTheRealServer(t *testing.T) {
	histories.Play(t, inCI(realHistories), histories.Through(memory))
}

// TestOneHistory logs the history of one seed:
// SEED=7 go test -v -run OneHistory ./internal/histories
func TestOneHistory(t *testing.T) {
	seed, _ := strconv.ParseUint(os.Getenv("SEED"), 10, 64)
	o := histories.PlayOne(t, seed, histories.On(memory), true)
	if t.Log(o.Trace()); o.Violation != "" {
		t.Error(o.Violation)
	}
}

func TestTheReferenceKeepsItsOwnRules(t *testing.T) {
	histories.Play(t, 2_000, mutated(histories.None))
}

// TestEveryMutationIsFound guards that the histories detect each fault of the reference machine.
func TestEveryMutationIsFound(t *testing.T) {
	const enough, more = 20_000, 500
	for _, m := range histories.Mutations() {
		t.Run(m.String(), func(t *testing.T) {
			t.Parallel()
			first, failing, found, shortest := uint64(0), uint64(0), 0, ""
			for seed := uint64(0); seed < enough && (found == 0 || seed < first+more); seed++ {
				if histories.PlayOne(t, seed, mutated(m), false).Violation == "" {
					continue
				}
				if found++; found == 1 {
					first = seed
				}
				if trace := histories.PlayOne(t, seed, mutated(m), true).Trace(); shortest == "" || len(trace) < len(shortest) {
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
