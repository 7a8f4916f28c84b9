package sharedcall

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

// TestDo guards that callers with one key share a call, that others do not, and that a caller may
// stop waiting.
func TestDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[string, int]
		var work sync.WaitGroup
		calls, release := 0, make(chan struct{})
		failed := errors.New("failed")
		share := func(ctx context.Context, want error) {
			work.Go(func() {
				n, err := g.Do(ctx, "one", func() (int, error) { calls++; <-release; return calls, failed })
				if !errors.Is(err, want) || errors.Is(err, failed) && n != 1 {
					t.Errorf("%d, %v, want 1, %v", n, err, want)
				}
			})
			synctest.Wait()
		}
		share(t.Context(), failed)
		share(t.Context(), failed)
		leaving, leave := context.WithCancel(t.Context())
		share(leaving, context.Canceled)
		leave()
		if n, err := g.Do(t.Context(), "two", func() (int, error) { return 7, nil }); n != 7 || err != nil {
			t.Errorf("another key: %d, %v", n, err)
		}
		close(release)
		work.Wait()
		if n, _ := g.Do(t.Context(), "one", func() (int, error) { calls++; return calls, nil }); n != 2 || len(g.calls) != 0 {
			t.Errorf("later: %d; %d calls are left", n, len(g.calls))
		}
	})
}

// TestPanic guards that a call that panics leaves nobody waiting and nothing behind.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group[int, int]
		release, waited := make(chan struct{}), make(chan error, 1)
		go func() {
			defer func() { _ = recover() }()
			_, _ = g.Do(t.Context(), 1, func() (int, error) { <-release; panic("a bug") })
		}()
		synctest.Wait()
		go func() { _, err := g.Do(t.Context(), 1, func() (int, error) { return 0, nil }); waited <- err }()
		synctest.Wait()
		close(release)
		if err := <-waited; !errors.Is(err, errPanicked) || len(g.calls) != 0 {
			t.Errorf("%v; %d calls are left", err, len(g.calls))
		}
	})
}
