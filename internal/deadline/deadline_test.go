package deadline

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeadline(t *testing.T) {
	// Guards that a later Set replaces the call, and that Stop cancels it.
	synctest.Test(t, func(t *testing.T) {
		var d Deadline
		var wg sync.WaitGroup
		start := time.Now()
		var at []time.Duration
		note := func(now time.Time) { at = append(at, now.Sub(start)) }

		d.Set(&wg, start.Add(time.Second), note)
		d.Set(&wg, start.Add(3*time.Second), note)
		wg.Wait()
		if len(at) != 1 || at[0] != 3*time.Second {
			t.Errorf("called at %v", at)
		}
		d.Set(&wg, time.Now().Add(time.Second), note)
		d.Stop(&wg)
		d.Stop(&wg)
		wg.Wait() // returns only if Stop has counted the call
		if len(at) != 1 {
			t.Errorf("called at %v, though cancelled", at)
		}
	})
}

// TestSetBack guards that a call is never told a time before the one it was set for.
func TestSetBack(t *testing.T) {
	at := time.Now()
	if got := later(at.Add(-time.Hour), at); !got.Equal(at) {
		t.Errorf("an hour too early: %v", got)
	}
	if got := later(at.Add(time.Hour), at); !got.Equal(at.Add(time.Hour)) {
		t.Errorf("an hour late: %v", got)
	}
}
