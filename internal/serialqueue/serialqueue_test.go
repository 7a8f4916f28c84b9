package serialqueue

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/z-open/socketauth/internal/workers"
)

// newRunner returns a runner that leaves no goroutine behind the test.
func newRunner(t *testing.T) *Runner {
	r := &Runner{Work: new(sync.WaitGroup), Pool: new(workers.Pool)}
	t.Cleanup(func() {
		if err := r.Pool.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestOrder(t *testing.T) {
	// Guards that functions run in order and one at a time.
	var q Queue
	r := newRunner(t)
	var got []int // no lock: two at a time would be a race
	for i := range 1000 {
		if err := q.Push(r, Limits{Items: 1000, Cost: 1}, 0, workers.Func(func() { got = append(got, i) })); err != nil {
			t.Fatal(err)
		}
	}
	r.Work.Wait()
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
			r := newRunner(t)
			started, hold := make(chan struct{}), make(chan struct{})
			q.PushAlways(r, workers.Func(func() { close(started); <-hold }))
			<-started
			ran := 0
			for range c.fit {
				if err := q.Push(r, c.limits, c.cost, workers.Func(func() { ran++ })); err != nil {
					t.Fatal(err)
				}
			}
			if err := q.Push(r, c.limits, c.cost, workers.Func(func() { ran++ })); !errors.Is(err, ErrFull) {
				t.Errorf("one more: %v", err)
			}
			q.PushAlways(r, workers.Func(func() { ran++ }))
			close(hold)
			r.Work.Wait()
			if ran != c.fit+1 {
				t.Errorf("ran %d of %d", ran, c.fit+1)
			}
		})
	}
}

func TestOneAtATime(t *testing.T) {
	// Guards that of what several goroutines push, nothing is lost, runs twice or runs beside another
	// task of its queue, also when the queue becomes empty again and again.
	r := newRunner(t)
	var queues [4]Queue
	var ran [len(queues)]int // no lock: two at a time would be a race
	var pushing sync.WaitGroup
	const pushers, tasks = 4, 3000
	for range pushers {
		pushing.Go(func() {
			for n := range tasks {
				i := n % len(queues)
				queues[i].PushAlways(r, workers.Func(func() { ran[i]++ }))
				if n%7 == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	pushing.Wait()
	r.Work.Wait()
	for i, n := range ran {
		if n != pushers*tasks/len(queues) || queues[i].Busy() {
			t.Errorf("queue %d ran %d of %d, busy %v", i, n, pushers*tasks/len(queues), queues[i].Busy())
		}
	}
}

func TestLongQueue(t *testing.T) {
	// Guards that a queue that is never empty keeps its order and does not grow by what has run.
	synctest.Test(t, func(t *testing.T) {
		r := &Runner{Work: new(sync.WaitGroup)} // without a pool
		var q Queue
		step := make(chan struct{})
		ran := 0
		for n := range 1000 {
			q.PushAlways(r, workers.Func(func() {
				<-step
				if ran != n {
					t.Errorf("task %d runs in place %d", n, ran)
				}
				ran++
			}))
			if n > 2 {
				step <- struct{}{}
				synctest.Wait()
			}
		}
		if n := q.pending.tasks.Cap(); n > 16 {
			t.Errorf("room for %d tasks", n)
		}
		close(step)
		r.Work.Wait()
		if ran != 1000 {
			t.Errorf("%d ran", ran)
		}
	})
}

func TestGoexit(t *testing.T) {
	// Guards that a task that ends its goroutine does not keep a shutdown waiting.
	r := newRunner(t)
	var q Queue
	q.PushAlways(r, workers.Func(runtime.Goexit))
	r.Work.Wait()
}

func TestAllocations(t *testing.T) {
	// Guards that to run a task allocates nothing.
	r := newRunner(t)
	var q Queue
	task := workers.Func(func() {})
	if n := testing.AllocsPerRun(100, func() {
		q.PushAlways(r, task)
		r.Work.Wait()
	}); n >= 1 {
		t.Errorf("%v allocations", n)
	}
}

// TestContinue guards that after Continue the other tasks run in order and one at a time beside the
// one that has called it, those that wait and those that come, and that the latter is waited for as
// the others are.
func TestContinue(t *testing.T) {
	for _, waiting := range []int{0, 1, 100} {
		var q Queue
		r := newRunner(t)
		hold, push := make(chan struct{}), make(chan struct{})
		var ended atomic.Int32
		q.PushAlways(r, workers.Func(func() {
			<-push
			q.Continue()
			<-hold
			ended.Add(1)
		}))
		var got []int // no lock: two at a time would be a race
		all := make(chan struct{})
		add := func(n int) {
			q.PushAlways(r, workers.Func(func() {
				if got = append(got, n); n == waiting {
					q.Continue()
				}
				if n == 2*waiting+1 {
					close(all)
				}
			}))
		}
		for n := range waiting {
			add(n)
		}
		close(push)
		for n := waiting; n <= 2*waiting+1; n++ {
			add(n)
		}
		<-all
		if ended.Load() != 0 {
			t.Error("the first task has ended")
		}
		close(hold)
		r.Work.Wait()
		for n := range got {
			if got[n] != n {
				t.Fatalf("place %d has %d", n, got[n])
			}
		}
		if len(got) != 2*waiting+2 || ended.Load() != 1 || q.Busy() {
			t.Errorf("ran %d, ended %d, busy %v", len(got), ended.Load(), q.Busy())
		}
	}
}
