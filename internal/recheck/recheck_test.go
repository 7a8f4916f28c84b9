package recheck

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// names returns n sessions.
func names(n int) []string {
	sessions := make([]string, n)
	for i := range sessions {
		sessions[i] = fmt.Sprint("session ", i)
	}
	return sessions
}

// TestEachOnce checks that each session is looked up once, in parts of the given size and number.
func TestEachOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var looked []string
		var now, most atomic.Int32
		q := New(time.Now(), 5, 3, func(sessions []string) []string {
			n := now.Add(1)
			defer now.Add(-1)
			time.Sleep(time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			most.Store(max(most.Load(), n))
			if len(sessions) > 5 {
				t.Errorf("%d sessions at once", len(sessions))
			}
			looked = append(looked, sessions...)
			return nil
		})
		all := names(100)
		if !q.Add(time.Now(), slices.Concat(all, all)) || q.Add(time.Now(), all) {
			t.Error("Run is to be called once")
		}
		q.Run(t.Context(), time.Second)
		slices.Sort(looked)
		if slices.Sort(all); !slices.Equal(looked, all) || most.Load() != 3 {
			t.Errorf("%d lookups, %d at a time", len(looked), most.Load())
		}
		if q.Left() != 0 || q.Add(time.Now(), nil) || !q.Add(time.Now(), all[:1]) {
			t.Error("what was looked up is still to be looked up, or nothing can be added")
		}
	})
}

// TestUntilAnswered checks that a session is looked up until the store has answered for it, ever
// less often, and that one which is added again while it is looked up is looked up again.
func TestUntilAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q *Queue
		calls := make(map[string]int)
		q = New(time.Now(), 1, 1, func(sessions []string) []string {
			sid := sessions[0]
			if calls[sid]++; sid == "silent" && calls[sid] < 10 {
				return sessions
			}
			if sid == "again" && calls[sid] == 1 {
				q.Add(time.Now(), sessions)
			}
			return nil
		})
		began := time.Now()
		q.Add(began, []string{"silent", "again"})
		q.Run(t.Context(), time.Second)
		if calls["silent"] != 10 || calls["again"] != 2 {
			t.Errorf("calls: %v", calls)
		}
		if took := time.Since(began); took < 15*time.Second || took > 10*time.Minute {
			t.Errorf("it took %v", took)
		}
		q.Add(time.Now(), []string{"silent"})
		calls["silent"] = -1000
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		q.Run(ctx, time.Second)
		if n := calls["silent"] + 1000; n > 70 || q.Left() != 1 {
			t.Errorf("%d calls in an hour, %d left", n, q.Left())
		}
	})
}

// TestPartly checks that sessions for which the store does not answer keep no others waiting.
func TestPartly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var looked, refused atomic.Int32
		var answers atomic.Bool
		q := New(time.Now(), 10, 2, func(sessions []string) (unanswered []string) {
			for _, sid := range sessions {
				if !answers.Load() && sid[len(sid)-1] == '7' {
					refused.Add(1)
					unanswered = append(unanswered, sid)
				} else {
					looked.Add(1)
				}
			}
			return unanswered
		})
		began := time.Now()
		q.Add(began, names(1000))
		go q.Run(t.Context(), time.Second)
		synctest.Wait()
		if looked.Load() != 900 || refused.Load() != 100 || q.Left() != 100 {
			t.Errorf("%d looked up and %d refused at once, %d left", looked.Load(), refused.Load(), q.Left())
		}
		time.Sleep(time.Hour)
		if n := refused.Load(); n < 200 || n > 2*100*70 {
			t.Errorf("%d refused in an hour", n)
		}
		q.Heard(time.Now())
		if got := q.Silence(time.Now()); got != time.Since(began) {
			t.Errorf("silent for %v", got)
		}
		answers.Store(true)
		time.Sleep(10 * time.Minute)
		if looked.Load() != 1000 || q.Left() != 0 {
			t.Errorf("%d looked up, %d left", looked.Load(), q.Left())
		}
	})
}

// TestSilence checks from when on changes may have been missed, for each thing that can be heard.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var silent atomic.Bool
		var wait atomic.Int64
		q := New(time.Now(), 500, 4, func(sessions []string) []string {
			time.Sleep(time.Duration(wait.Load()))
			if !silent.Load() {
				return nil
			}
			return sessions
		})
		wants := func(want time.Duration) {
			t.Helper()
			synctest.Wait()
			if got := q.Silence(time.Now()); got != want {
				t.Errorf("silent for %v, want %v", got, want)
			}
		}
		run := func(needed bool) {
			if needed {
				go q.Run(t.Context(), time.Second)
			}
		}
		time.Sleep(time.Hour)
		wants(0) // it is not shared
		q.Shared()
		wants(time.Hour)
		q.Heard(time.Now())
		wants(0)
		time.Sleep(time.Second)
		wants(time.Second)

		// A gap is over once all sessions were looked up.
		wait.Store(int64(time.Second))
		run(q.Gap(time.Now(), names(3)))
		wants(time.Second)
		time.Sleep(900 * time.Millisecond)
		q.Heard(time.Now())
		wants(1900 * time.Millisecond)
		time.Sleep(200 * time.Millisecond)
		wants(200 * time.Millisecond)

		// While sessions come and go, the oldest counts.
		for range 100 {
			run(q.Add(time.Now(), names(1)))
			time.Sleep(500 * time.Millisecond)
			q.Heard(time.Now())
		}
		synctest.Wait()
		if got := q.Silence(time.Now()); got > 2*time.Second {
			t.Errorf("silent for %v although all is looked up", got)
		}

		// As long as the store does not answer, it counts from before the gap, or from the hint.
		time.Sleep(10 * time.Second)
		q.Heard(time.Now())
		silent.Store(true)
		time.Sleep(time.Second)
		run(q.Add(time.Now(), []string{"hint"}))
		time.Sleep(time.Second)
		q.Heard(time.Now())
		wants(time.Second)
		time.Sleep(time.Second)
		run(q.Missed([]string{"hint", "other"}))
		time.Sleep(time.Minute)
		q.Heard(time.Now())
		wants(62 * time.Second)
		silent.Store(false)
		time.Sleep(2 * time.Minute)
		wants(2 * time.Minute)

		// A gap where nothing is served is none.
		run(q.Gap(time.Now(), nil))
		wants(0)
	})
}

// BenchmarkRun is 100,000 sessions that the store answers for at once.
func BenchmarkRun(b *testing.B) {
	all := names(100_000)
	q := New(time.Now(), 500, 4, func([]string) []string { return nil })
	for b.Loop() {
		q.Gap(time.Now(), all)
		q.Run(b.Context(), time.Second)
	}
}

// TestGapsFasterThanLookups checks that sessions count as looked up although all are added again
// and again in less time than it takes to look them up: otherwise whoever causes gaps could have a
// store count as silent.
func TestGapsFasterThanLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := New(time.Now(), 10, 1, func([]string) []string {
			time.Sleep(time.Second)
			return nil
		})
		all := names(50) // take 5 s
		var running sync.WaitGroup
		longest := time.Duration(0)
		for range 100 {
			if q.Gap(time.Now(), all) {
				running.Go(func() { q.Run(t.Context(), time.Second) })
			}
			time.Sleep(2 * time.Second)
			longest = max(longest, q.Silence(time.Now()))
		}
		running.Wait()
		if longest > 14*time.Second {
			t.Errorf("silent for %v", longest)
		}
	})
}
