package compare

import (
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// worker is one client of a repeated operation.
type worker struct {
	op   func(ctx context.Context) error
	done func() // may be nil
}

// repeat has workers repeat an operation, and measures them for a time after a warm-up. Any error
// ends the run: then it does not count.
func repeat(ctx context.Context, r *run, workers int, prepare func(ctx context.Context, i int) (worker, error)) (metrics, error) {
	all, err := prepareAll(ctx, workers, prepare)
	defer func() {
		for _, w := range all {
			if w.done != nil {
				w.done()
			}
		}
	}()
	if err != nil {
		return nil, err
	}

	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var working sync.WaitGroup
	var over, measuring atomic.Bool
	var done counts
	latencies := make([][]time.Duration, workers)
	for i, w := range all {
		working.Go(func() {
			for !over.Load() && ctx.Err() == nil {
				within, began := measuring.Load(), time.Now()
				if err := w.op(ctx); err != nil {
					fail(err)
					return
				}
				done.all.Add(1)
				if within {
					done.within.Add(1)
					latencies[i] = append(latencies[i], time.Since(began))
				}
			}
		})
	}
	m, err := r.measure(ctx, &measuring, &done, workers)
	over.Store(true)
	working.Wait() // the operations under way end, so that each has been checked
	if err = errors.Join(err, context.Cause(ctx)); err != nil {
		return nil, err
	}
	addQuantiles(m, slices.Concat(latencies...))
	return m, nil
}

// counts are numbers of operations that have ended.
type counts struct {
	all    atomic.Int64
	within atomic.Int64 // those that began after the warm-up
}

// measure waits for the warm-up, and returns what is done in the time after it. On a machine that
// does something else for all of that time it goes on until each worker could do one operation.
func (r *run) measure(ctx context.Context, measuring *atomic.Bool, done *counts, workers int) (metrics, error) {
	if err := sleep(ctx, r.warmup); err != nil {
		return nil, err
	}
	measuring.Store(true)
	cpu, err := r.cpu()
	if err != nil {
		return nil, err
	}
	began, before := time.Now(), done.all.Load()
	for {
		if err := sleep(ctx, r.duration); err != nil {
			return nil, err
		}
		if done.within.Load() >= int64(workers) {
			break
		}
	}
	seconds, n := time.Since(began).Seconds(), float64(done.all.Load()-before)
	after, err := r.cpu()
	if err != nil {
		return nil, err
	}
	return metrics{opsPerSecond: n / seconds, cpuPerOp: float64((after - cpu).Microseconds()) / n}, nil
}

// prepareAll prepares workers, several at a time. It returns those that are ready even after an
// error.
func prepareAll[T any](ctx context.Context, n int, prepare func(ctx context.Context, i int) (T, error)) ([]T, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	ready := make([]T, 0, n)
	var mu sync.Mutex
	var preparing sync.WaitGroup
	var next atomic.Int64
	for range min(n, 64) {
		preparing.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				t, err := prepare(ctx, i)
				if err != nil {
					fail(err)
					return
				}
				mu.Lock()
				ready = append(ready, t)
				mu.Unlock()
			}
		})
	}
	preparing.Wait()
	return ready, context.Cause(ctx)
}

func addQuantiles(m metrics, all []time.Duration) {
	slices.Sort(all)
	m[p50], m[p99] = quantile(all, 0.5), quantile(all, 0.99)
}

// quantile returns the quantile of sorted durations, in milliseconds.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	i := max(0, int(math.Ceil(q*float64(len(sorted))))-1)
	return float64(sorted[i].Microseconds()) / 1000
}
