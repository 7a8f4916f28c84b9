package histories_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/histories"
	"github.com/z-open/socketauth/internal/sharedtest"
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

// threeProcesses returns the stores of three processes, whose messages to each other are lost or
// doubled at times, and whose clock is up to two seconds off.
func threeProcesses(fault sharedtest.Fault) func(*testing.T, uint64) []blacklist.Store {
	return func(_ *testing.T, seed uint64) (stores []blacklist.Store) {
		random := rand.New(rand.NewPCG(seed, 6))
		db := sharedtest.New(time.Duration(random.IntN(5)-2) * time.Second)
		lost, doubled, hints := []float64{0, 0.3, 1}[random.IntN(3)], 0.3*random.Float64(), random.IntN(2) == 0
		db.Lose = func() bool { return random.Float64() < lost }
		db.Double = func() bool { return random.Float64() < doubled }
		for range 3 {
			store := db.Open(0)
			store.Hints, store.Fault = hints, fault
			stores = append(stores, store)
		}
		return stores
	}
}

// TestHistoriesThroughThreeProcesses checks the library's own servers where three of them share a
// store.
func TestHistoriesThroughThreeProcesses(t *testing.T) {
	histories.Play(t, inCI(realHistories), histories.ThroughShared(threeProcesses(sharedtest.None)))
}

// clocksApart is threeProcesses with clocks that are two seconds apart.
func clocksApart(fault sharedtest.Fault) histories.Player {
	return histories.OnShared(func(t *testing.T, seed uint64) (stores []blacklist.Store, ahead []time.Duration) {
		random := rand.New(rand.NewPCG(seed, 6))
		db := sharedtest.New(0)
		lost, doubled := []float64{0, 0.3, 1}[random.IntN(3)], 0.3*random.Float64()
		db.Lose = func() bool { return random.Float64() < lost }
		db.Double = func() bool { return random.Float64() < doubled }
		for _, d := range []time.Duration{0, 2 * time.Second, -2 * time.Second} {
			store := db.Open(d)
			store.Fault = fault
			stores, ahead = append(stores, store), append(ahead, d)
		}
		return stores, ahead
	})
}

// TestHistoriesWithClocksApart checks the simulated server in three processes whose clocks differ.
func TestHistoriesWithClocksApart(t *testing.T) {
	histories.Play(t, inCI(memoryHistories/20), clocksApart(sharedtest.None))
}

// TestFaultsOfSharedStoresAreFound checks that the histories detect what only goes wrong with
// several processes.
func TestFaultsOfSharedStoresAreFound(t *testing.T) {
	const enough = 2_000
	servers := func(f sharedtest.Fault) histories.Player { return histories.ThroughShared(threeProcesses(f)) }
	for _, c := range []struct {
		name   string
		player histories.Player
	}{
		{"a blind write", servers(sharedtest.BlindWrite)},
		{"a refusal from a kept record", servers(sharedtest.RefusesKept)},
		{"a check from a kept record", servers(sharedtest.ChecksKept)},
		{"a cutoff that is not looked at", servers(sharedtest.IgnoresCutoff)},
		{"an epoch that is not compared", servers(sharedtest.IgnoresEpoch)},
		{"an end that is not counted", servers(sharedtest.CountsNoEnds)},
		{"a cutoff that is not set", servers(sharedtest.SetsNoCutoff)},
		{"claims that are out of date", servers(sharedtest.IgnoresMark)},
		{"step-up codes that were used", servers(sharedtest.AcceptsOldStepUps)},
		{"a blind write, clocks apart", clocksApart(sharedtest.BlindWrite)},
		{"a cutoff that is not looked at, clocks apart", clocksApart(sharedtest.IgnoresCutoff)},
		{"an end that is not counted, clocks apart", clocksApart(sharedtest.CountsNoEnds)},
		{"times shifted twice", clocksApart(sharedtest.ShiftsTwice)},
		{"times of a process taken for the store's", clocksApart(sharedtest.TakesTimes)},
		{"tokens stamped by the clock of a process", clocksApart(sharedtest.NoClock)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(enough) {
				if o := histories.PlayOne(t, seed, c.player, false); o.Violation != "" {
					t.Logf("found by history %d: %s", seed+1, o.Violation)
					return
				}
			}
			t.Errorf("survived %d histories", enough)
		})
	}
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
