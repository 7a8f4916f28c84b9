package blacklisttest_test

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/blacklist/blacklisttest"
	"github.com/z-open/socketauth/internal/sharedtest"
)

// sharedFaultEnv has the number of the fault that the stores have in a process whose tests are
// expected to fail.
const sharedFaultEnv = "BLACKLISTTEST_SHARED_FAULT"

// openShared returns stores of processes whose clocks are that far ahead of the test's.
func openShared(db *sharedtest.DB, ahead ...time.Duration) (stores []blacklist.Store) {
	fault, _ := strconv.Atoi(os.Getenv(sharedFaultEnv))
	for _, d := range ahead {
		store := db.Open(d)
		store.Fault = sharedtest.Fault(fault)
		stores = append(stores, store)
	}
	return stores
}

// TestShared and the next two check that a store that is right passes.
func TestShared(t *testing.T) {
	blacklisttest.RunShared(t, 1000, func(*testing.T) []blacklist.Store { return openShared(sharedtest.New(0), 0, 0, 0) })
}

func TestSharedSkewed(t *testing.T) {
	blacklisttest.RunShared(t, 50, func(*testing.T) []blacklist.Store {
		return openShared(sharedtest.New(-time.Second), -2*time.Second, 0, 2*time.Second, time.Second)
	})
}

func TestLossy(t *testing.T) {
	blacklisttest.RunLossy(t, func(*testing.T) []blacklist.Store {
		db := sharedtest.New(0)
		db.Lose = func() bool { return true }
		return openShared(db, 0, 0, 0)
	})
}

// sharedFaults has the test and the promise that has to find each fault.
var sharedFaults = map[sharedtest.Fault][2]string{
	sharedtest.BlindWrite:    {"TestShared", "What another store has written is not undone"},
	sharedtest.RefusesKept:   {"TestShared", "A refusal is by what is stored, not by what was read"},
	sharedtest.ChecksKept:    {"TestShared", "A check is by what is stored, not by what was read"},
	sharedtest.IgnoresCutoff: {"TestShared", "A log-in from before a revocation at another store begins nothing"},
	sharedtest.IgnoresEpoch:  {"TestShared", "What another store has written is not undone"},
	sharedtest.SetsNoCutoff:  {"TestShared", "A log-in from before a revocation at another store begins nothing"},
	sharedtest.CountsNoEnds:  {"TestLossy", "A watcher that misses a reuse is told of a Gap"},
	sharedtest.ShiftsTwice:   {"TestSharedSkewed", "Times by the store's clock are taken as they are, and those of a process are not"},
	sharedtest.BatchKept:     {"TestShared", "CheckAll answers as Check does"},
	sharedtest.NoGapFirst:    {"TestShared", "A watcher hears a Gap first of all, and what happens at each store"},
	sharedtest.NoKeepalive:   {"TestShared", "A watcher is told again and again that nothing was missed"},
	sharedtest.AlwaysSure:    {"TestLossy", "A watcher that misses a log-out is told of a Gap"},
	sharedtest.NoClock:       {"TestSharedSkewed", "A store's clock is never ahead of what it decides by"},
	sharedtest.StarvesRevoke: {"TestShared", "A revocation passes however fast others rotate, and ends them all"},
	sharedtest.DecidesInTwo:  {"TestShared", "One code presented to all stores at once is accepted once"},
	sharedtest.TakesTimes:    {"TestSharedSkewed", "Times by the store's clock are taken as they are, and those of a process are not"},
	sharedtest.TellsTimes:    {"TestSharedSkewed", "Sessions tells who, since when, until when and from where"},

	sharedtest.IgnoresMark:       {"TestShared", "Claims below the mark are stale, which consumes nothing"},
	sharedtest.AcceptsOldStepUps: {"TestShared", "A step-up is good if it is later than the last proof, and once"},
	sharedtest.IgnoresKey:        {"TestShared", "A code that comes with another key than before is reuse, however soon"},
}

// TestSharedFaultsAreFound runs the suite on stores that each have one fault, in separate
// processes.
func TestSharedFaultsAreFound(t *testing.T) {
	if os.Getenv(sharedFaultEnv) != "" {
		t.Fatal("a process with a fault runs another's test")
	}
	turns := make(chan struct{}, runtime.GOMAXPROCS(0)+1)
	var running sync.WaitGroup
	for fault := sharedtest.None + 1; fault <= sharedtest.Last; fault++ {
		found, ok := sharedFaults[fault]
		if !ok {
			t.Errorf("nothing has to find fault %d", fault)
			continue
		}
		running.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			promise := strings.ReplaceAll(found[1], " ", "_")
			child := exec.Command(os.Args[0], "-test.run=^"+found[0]+"$/^"+regexp.QuoteMeta(promise)+"$", "-test.timeout=2m")
			child.Env = append(os.Environ(), sharedFaultEnv+"="+strconv.Itoa(int(fault)))
			out, err := child.CombinedOutput()
			if err == nil || !bytes.Contains(out, []byte("--- FAIL: "+found[0]+"/"+promise)) || bytes.Contains(out, []byte("DATA RACE")) || bytes.Contains(out, []byte("panic:")) {
				t.Errorf("fault %d: %v, and not found by %q:\n%s", fault, err, found[1], out)
			}
		})
	}
	running.Wait()
}
