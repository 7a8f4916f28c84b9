package blacklist

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

func TestWatchersHearWhileTheyWatch(t *testing.T) {
	// Guards: each watcher receives the changes between the beginning and the end of its Watch.
	synctest.Test(t, func(t *testing.T) {
		var w Watchers
		w.Tell(Change{Generation: 1}) // there is no watcher yet
		heard := make([][]uint64, 2)
		ends := make([]context.CancelFunc, 2)
		for n := range heard {
			var ctx context.Context
			ctx, ends[n] = context.WithCancel(t.Context())
			go w.Watch(ctx, func(c Change) { heard[n] = append(heard[n], c.Generation) })
		}
		synctest.Wait()
		w.Tell(Change{Generation: 2})
		ends[0]()
		synctest.Wait()
		w.Tell(Change{Generation: 3})
		ends[1]()
		synctest.Wait()
		w.Tell(Change{Generation: 4})
		if !slices.Equal(heard[0], []uint64{2}) || !slices.Equal(heard[1], []uint64{2, 3}) {
			t.Errorf("heard %v", heard)
		}
		if len(w.listeners) != 0 {
			t.Error("those who have left are remembered")
		}
	})
}

func TestWatchersMayWatchAndTell(t *testing.T) {
	// Guards: no lock is held while a watcher is called, so the watcher may use the list.
	synctest.Test(t, func(t *testing.T) {
		var w Watchers
		ctx, end := context.WithCancel(t.Context())
		defer end()
		var wg sync.WaitGroup
		told := 0
		go w.Watch(ctx, func(c Change) {
			told++
			if c.Generation > 0 {
				wg.Go(func() { w.Watch(ctx, func(Change) {}) })
				w.Tell(Change{Generation: c.Generation - 1})
			}
		})
		synctest.Wait()
		w.Tell(Change{Generation: 3})
		if told != 4 {
			t.Errorf("told %d times", told)
		}
		end()
		wg.Wait()
	})
}
