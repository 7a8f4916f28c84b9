package deadline

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// call is a call of a queue's function.
type call struct {
	value int
	after time.Duration // the start of the test
}

// calls notes the calls of a queue.
type calls struct {
	mu    sync.Mutex
	start time.Time
	made  []call
}

func (c *calls) note(value int, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made = append(c.made, call{value, now.Sub(c.start)})
}

// take returns the calls since the last time.
func (c *calls) take() []call {
	c.mu.Lock()
	defer c.mu.Unlock()
	made := c.made
	c.made = nil
	return made
}

func TestQueue(t *testing.T) {
	// Guards that a later Set replaces the call, whether it moves the deadline back or forth, and that
	// Stop cancels it.
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		c := calls{start: time.Now()}
		q := NewQueue(&wg, c.note)
		one, two := &Entry[int]{Value: 1}, &Entry[int]{Value: 2}
		in := func(d time.Duration) time.Time { return time.Now().Add(d) }

		q.Set(one, in(time.Second))
		q.Set(one, in(3*time.Second))
		q.Set(two, in(5*time.Second))
		q.Set(two, in(2*time.Second))
		wg.Wait()
		if got := c.take(); !slices.Equal(got, []call{{2, 2 * time.Second}, {1, 3 * time.Second}}) {
			t.Errorf("called at %v", got)
		}
		q.Set(one, in(time.Second))
		q.Set(two, in(-time.Hour)) // has passed
		q.Stop(one)
		q.Stop(one)
		wg.Wait() // returns only if Stop has counted the call
		if got := c.take(); len(got) != 1 || got[0].value != 2 {
			t.Errorf("called %v, though one was cancelled", got)
		}
		q.Set(one, time.Now().AddDate(100_000, 0, 0))
		q.Set(two, in(time.Second))
		time.Sleep(1000 * time.Hour)
		got := c.take()
		q.Stop(one)
		wg.Wait()
		if len(got) != 1 || got[0].value != 2 {
			t.Errorf("called %v while another deadline is a thousand centuries away", got)
		}
	})
}

func TestRandomSteps(t *testing.T) {
	// Guards that any number of deadlines, set, moved and cancelled in any order, are called each
	// at its time and not otherwise, and that nothing is left of them: neither memory nor the
	// timer.
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			var wg sync.WaitGroup
			c := calls{start: time.Now()}
			q := NewQueue(&wg, c.note)
			entries := make([]Entry[int], 400)
			for n := range entries {
				entries[n].Value = n
			}
			size := func() (used, room int) {
				q.mu.Lock()
				defer q.mu.Unlock()
				return len(q.heap), cap(q.heap)
			}
			set := make(map[int]time.Duration) // from the start
			for step := range 5000 {
				n := r.IntN(len(entries))
				switch kind := r.IntN(10); {
				case kind < 6 && step < 4000:
					set[n] = time.Since(c.start) + time.Duration(r.IntN(1000))*time.Second
					q.Set(&entries[n], c.start.Add(set[n]))
				case kind < 8:
					delete(set, n)
					q.Stop(&entries[n])
				default:
					time.Sleep(time.Duration(r.IntN(10)) * time.Second)
				}
				synctest.Wait()
				now := time.Since(c.start)
				for _, got := range c.take() {
					if at, is := set[got.value]; !is || got.after != at {
						t.Fatalf("seed %d: %d was called at %v instead of %v", seed, got.value, got.after, at)
					}
					delete(set, got.value)
				}
				for n, at := range set {
					if at <= now {
						t.Fatalf("seed %d: %d was not called at %v", seed, n, at)
					}
				}
				if used, _ := size(); used != len(set) {
					t.Fatalf("seed %d: %d entries instead of %d", seed, used, len(set))
				}
			}
			if used, room := size(); room > minRoom && used < room/8 {
				t.Errorf("seed %d: %d entries have room for %d", seed, used, room)
			}
			for n := range entries {
				q.Stop(&entries[n])
			}
			began := time.Now()
			if wg.Wait(); time.Since(began) > 0 {
				t.Errorf("seed %d: the timer ran on after the last entry was stopped", seed)
			}
		})
	}
}

func TestConcurrentUse(t *testing.T) {
	// Guards against data races, and that each call and the timer are counted.
	synctest.Test(t, func(t *testing.T) {
		var wg, users sync.WaitGroup
		c := calls{start: time.Now()}
		q := NewQueue(&wg, c.note)
		for value := range 8 {
			users.Go(func() {
				e := &Entry[int]{Value: value}
				for n := range 200 {
					q.Set(e, time.Now().Add(time.Duration(n%7)*time.Millisecond))
					time.Sleep(time.Duration(n%5) * time.Millisecond)
					if n%3 == 0 {
						q.Stop(e)
					}
				}
			})
		}
		users.Wait()
		wg.Wait()
		if len(q.heap) > 0 || len(c.take()) == 0 {
			t.Error("entries are left, or nothing was called")
		}
	})
}

func TestSetBack(t *testing.T) {
	// Guards that a call is never told a time before the one it was set for.
	at := time.Now()
	if got := later(at.Add(-time.Hour), at); !got.Equal(at) {
		t.Errorf("an hour too early: %v", got)
	}
	if got := later(at.Add(time.Hour), at); !got.Equal(at.Add(time.Hour)) {
		t.Errorf("an hour late: %v", got)
	}
}
