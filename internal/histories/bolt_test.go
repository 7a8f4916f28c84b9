package histories_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/boltblacklist"
	"github.com/z-open/socketauth/internal/histories"
)

// restarted is the durable store, whose process ends and begins again in the middle of a history.
type restarted struct {
	*boltblacklist.Store
	path  string
	calls int
}

// A prime, so that restarts come at all places of a history.
const callsUntilRestart = 17

func (r *restarted) Present(ctx context.Context, p socketauth.Presentation) (socketauth.Verdict, error) {
	if r.calls++; r.calls%callsUntilRestart == 0 {
		if err := r.Close(); err != nil {
			return 0, err
		}
		var err error
		if r.Store, err = boltblacklist.Open(r.path); err != nil {
			return 0, err
		}
	}
	return r.Store.Present(ctx, p)
}

func TestHistoriesOnTheDurableStore(t *testing.T) {
	folder := t.TempDir()
	for part := range uint64(2) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				n := 0
				onDisk := func(run func(socketauth.Blacklist)) {
					n++
					path := filepath.Join(folder, string(rune('a'+part))+strconv.Itoa(n))
					store, err := boltblacklist.Open(path)
					if err != nil {
						t.Fatal(err)
					}
					r := &restarted{Store: store, path: path}
					run(r)
					if err := r.Close(); err != nil {
						t.Error(err)
					}
					_ = os.Remove(path)
				}
				var counts histories.Counts
				for seed := part; seed < durableHistories; seed += 2 {
					var o histories.Outcome
					onDisk(func(b socketauth.Blacklist) { o = histories.Run(seed, b) })
					if counts.Add(o.Counts); o.Violation != "" {
						onDisk(func(b socketauth.Blacklist) {
							t.Errorf("seed %d: %s\n%s", seed, o.Violation, histories.Trace(seed, b))
						})
						return
					}
				}
				t.Log(counts)
			})
		})
	}
}
