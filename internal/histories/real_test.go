package histories_test

import (
	"testing"
	"testing/synctest"

	"github.com/z-open/socketauth/internal/histories"
)

func TestHistoriesThroughTheRealServer(t *testing.T) {
	for part := range uint64(2) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			var counts histories.Counts
			for seed := part; seed < realHistories && !t.Failed(); seed += 2 {
				synctest.Test(t, func(t *testing.T) {
					o, err := histories.RunReal(seed, memory())
					if err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
					if counts.Add(o.Counts); o.Violation != "" {
						t.Errorf("seed %d: %s\n%s", seed, o.Violation, o.Trace())
					}
				})
			}
			t.Log(counts)
		})
	}
}
