package broadcast

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
)

func TestEachListenerHearsWhatIsToldWhileItListens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l List[int]
		l.Tell(1) // to nobody
		heard := make([][]int, 2)
		ends := make([]context.CancelFunc, 2)
		for n := range heard {
			var ctx context.Context
			ctx, ends[n] = context.WithCancel(t.Context())
			go l.Watch(ctx, func(what int) { heard[n] = append(heard[n], what) })
		}
		synctest.Wait()
		l.Tell(2)
		ends[0]()
		synctest.Wait()
		l.Tell(3)
		ends[1]()
		synctest.Wait()
		l.Tell(4)
		if len(heard[0]) != 1 || heard[0][0] != 2 || len(heard[1]) != 2 || heard[1][1] != 3 {
			t.Errorf("%v", heard)
		}
		if len(l.listeners) != 0 {
			t.Error("those who have left are remembered")
		}
	})
}

func TestListenersMayListenAndTellMeanwhile(t *testing.T) {
	// Guards: nobody is called while the lock is held, so that who is called may use the list.
	synctest.Test(t, func(t *testing.T) {
		var l List[int]
		ctx, end := context.WithCancel(t.Context())
		defer end()
		var wg sync.WaitGroup
		told := 0
		go l.Watch(ctx, func(what int) {
			told++
			if what > 0 {
				wg.Go(func() { l.Watch(ctx, func(int) {}) })
				l.Tell(what - 1)
			}
		})
		synctest.Wait()
		l.Tell(3)
		if told != 4 {
			t.Errorf("told %d times", told)
		}
		end()
		wg.Wait()
	})
}
