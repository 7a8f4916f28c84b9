package histories_test

import (
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/boltblacklist"
	"github.com/z-open/socketauth/internal/histories"
)

func TestHistoriesThroughTheRealServer(t *testing.T) {
	through(t, realHistories, func(*testing.T, uint64) (socketauth.Blacklist, func() error) {
		return memory(), func() error { return nil }
	})
}

// TestHistoriesThroughTheRealServerOnTheDurableStore is where steps of one session share a transaction.
func TestHistoriesThroughTheRealServerOnTheDurableStore(t *testing.T) {
	folder := t.TempDir()
	through(t, realHistories/5, func(t *testing.T, seed uint64) (socketauth.Blacklist, func() error) {
		store, err := boltblacklist.Open(filepath.Join(folder, strconv.FormatUint(seed, 10)))
		if err != nil {
			t.Fatal(err)
		}
		return store, store.Close
	})
}

func through(t *testing.T, seeds uint64, open func(*testing.T, uint64) (_ socketauth.Blacklist, done func() error)) {
	for part := range uint64(2) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			var counts histories.Counts
			for seed := part; seed < seeds && !t.Failed(); seed += 2 {
				synctest.Test(t, func(t *testing.T) {
					blacklist, done := open(t, seed)
					o, err := histories.RunReal(seed, blacklist)
					if err != nil {
						t.Errorf("seed %d: %v", seed, err)
					}
					if counts.Add(o.Counts); o.Violation != "" {
						t.Errorf("seed %d: %s\n%s", seed, o.Violation, o.Trace())
					}
					if err := done(); err != nil {
						t.Errorf("seed %d: %v", seed, err)
					}
				})
			}
			t.Log(counts)
		})
	}
}
