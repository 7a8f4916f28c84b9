package histories

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/z-open/socketauth/blacklist"
)

// A Player runs the history of a seed, and keeps a trace if tracing is true.
type Player func(t *testing.T, seed uint64, tracing bool) Outcome

// On returns a Player of histories on a store. open is called in the bubble of each history.
func On(open func(t *testing.T) blacklist.Store) Player {
	return func(t *testing.T, seed uint64, tracing bool) Outcome { return Run(seed, open(t), tracing) }
}

// Through returns a Player of histories through the library's own server on a store. open is called
// in the bubble of each history.
func Through(open func(t *testing.T) blacklist.Store) Player {
	return func(t *testing.T, seed uint64, _ bool) Outcome {
		o, err := RunReal(seed, open(t))
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		return o
	}
}

// Play runs the histories of all seeds below seeds, and logs the counts of all of them.
func Play(t *testing.T, seeds uint64, player Player) {
	var mu sync.Mutex
	var total Counts
	t.Cleanup(func() { t.Log(total) })
	const parts = 2
	for part := range uint64(parts) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			for seed := part; seed < seeds && !t.Failed(); seed += parts {
				o := PlayOne(t, seed, player, false)
				mu.Lock()
				total.Add(o.Counts)
				mu.Unlock()
				if o.Violation == "" {
					continue
				}
				if o.Trace() == "" {
					o = PlayOne(t, seed, player, true)
				}
				t.Errorf("seed %d: %s\n%s", seed, o.Violation, o.Trace())
			}
		})
	}
}

// PlayOne runs the history of one seed, in a bubble of testing/synctest.
func PlayOne(t *testing.T, seed uint64, player Player, tracing bool) (o Outcome) {
	synctest.Test(t, func(t *testing.T) { o = player(t, seed, tracing) })
	return o
}
