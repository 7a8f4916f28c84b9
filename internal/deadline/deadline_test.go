package deadline

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeadlineIsMovedAndTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d Deadline
		var wg sync.WaitGroup
		start := time.Now()
		var at []time.Duration
		note := func() { at = append(at, time.Since(start)) }

		d.Set(&wg, time.Second, note)
		d.Set(&wg, 3*time.Second, note)
		wg.Wait()
		if len(at) != 1 || at[0] != 3*time.Second {
			t.Errorf("called at %v", at)
		}
		d.Set(&wg, time.Second, note)
		d.Stop(&wg)
		d.Stop(&wg)
		wg.Wait() // would wait for ever, had Stop not counted it off
		if len(at) != 1 {
			t.Errorf("called at %v, though taken back", at)
		}
	})
}
