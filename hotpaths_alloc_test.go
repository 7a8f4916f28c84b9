//go:build !race

// With the race detector, a sync.Pool now and then loses what it holds, so that allocations cannot
// be counted.

package socketauth

import "testing"

// TestHotPathAllocations guards what the hot paths allocate: it is steady where times are not.
// Whoever makes one of them allocate more has to say so in hotPaths.
func TestHotPathAllocations(t *testing.T) {
	for _, p := range hotPaths() {
		t.Run(p.name, func(t *testing.T) {
			op := p.start(t, p.receivers)
			var failed error
			n := testing.AllocsPerRun(200, func() {
				if err := op(); err != nil {
					failed = err
				}
			}) / float64(max(1, p.receivers))
			if failed != nil {
				t.Fatal(failed)
			}
			if n > p.most {
				t.Errorf("%v allocations, and at most %v are allowed", n, p.most)
			}
			t.Logf("%v allocations", n)
		})
	}
}
