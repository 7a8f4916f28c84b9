package serialqueue

import (
	"errors"
	"sync"
	"testing"
)

func TestOrder(t *testing.T) {
	// Guards that functions run in order and one at a time.
	var q Queue
	var wg sync.WaitGroup
	var got []int // no lock: two at a time would be a race
	for i := range 1000 {
		if err := q.Push(&wg, Limits{Items: 1000, Cost: 1}, 0, func() { got = append(got, i) }); err != nil {
			t.Fatal(err)
		}
	}
	wg.Wait()
	for i := range got {
		if got[i] != i {
			t.Fatalf("place %d has %d", i, got[i])
		}
	}
	if len(got) != 1000 || q.Busy() {
		t.Errorf("ran %d, busy %v", len(got), q.Busy())
	}
}

func TestLimits(t *testing.T) {
	// Guards that a queue is bounded by the number and the cost of what waits.
	for name, c := range map[string]struct {
		limits Limits
		cost   int
		fit    int
	}{
		"items":           {Limits{Items: 3, Cost: 100}, 1, 3},
		"cost":            {Limits{Items: 100, Cost: 30}, 10, 3},
		"one larger item": {Limits{Items: 100, Cost: 30}, 50, 1},
	} {
		t.Run(name, func(t *testing.T) {
			var q Queue
			var wg sync.WaitGroup
			started, hold := make(chan struct{}), make(chan struct{})
			q.PushAlways(&wg, func() { close(started); <-hold })
			<-started
			ran := 0
			for range c.fit {
				if err := q.Push(&wg, c.limits, c.cost, func() { ran++ }); err != nil {
					t.Fatal(err)
				}
			}
			if err := q.Push(&wg, c.limits, c.cost, func() { ran++ }); !errors.Is(err, ErrFull) {
				t.Errorf("one more: %v", err)
			}
			q.PushAlways(&wg, func() { ran++ })
			close(hold)
			wg.Wait()
			if ran != c.fit+1 {
				t.Errorf("ran %d of %d", ran, c.fit+1)
			}
		})
	}
}
