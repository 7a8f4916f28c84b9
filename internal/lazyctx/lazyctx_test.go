package lazyctx

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

type key struct{}

var errCause = errors.New("cause")

func TestLife(t *testing.T) {
	// Guards that a life is a context, whether or not anybody waits for its end before it comes.
	for _, waits := range []bool{false, true} {
		var l Life
		value := context.WithValue(&l, key{}, "value")
		if waits {
			select {
			case <-l.Done():
				t.Fatal("done before the end")
			default:
			}
		}
		_, has := l.Deadline()
		if l.Err() != nil || context.Cause(&l) != nil || has || value.Value(key{}) != "value" || l.Value(key{}) != nil {
			t.Errorf("waits %v: ended before the end, or has a deadline or a value", waits)
		}
		child, cancel := context.WithCancel(value)
		l.End(errCause)
		l.End(errors.New("a second cause"))
		<-l.Done()
		<-child.Done()
		for name, ctx := range map[string]context.Context{"life": &l, "value": value, "child": child} {
			if ctx.Err() != context.Canceled || context.Cause(ctx) != errCause {
				t.Errorf("waits %v: %s has ended with %v, %v", waits, name, ctx.Err(), context.Cause(ctx))
			}
		}
		cancel()
	}
}

func TestWithTimeout(t *testing.T) {
	// Guards that a context with a timeout ends as that of package context does: by its timeout, by
	// cancel and by its parent, whether or not anybody waits.
	type with func(context.Context, time.Duration) (context.Context, context.CancelFunc)
	type ended struct {
		err, cause error
		value      any
		in         time.Duration
	}
	for _, waits := range []bool{false, true} {
		for _, end := range []string{"timeout", "cancel", "parent", "parent's deadline", "none"} {
			synctest.Test(t, func(t *testing.T) {
				run := func(f with) ended {
					var l Life
					parent, stop := context.WithTimeout(context.WithValue(&l, key{}, "value"), time.Hour)
					if end == "parent's deadline" {
						parent, stop = context.WithTimeout(parent, time.Second)
					}
					defer stop()
					ctx, cancel := f(parent, time.Minute)
					defer cancel()
					if waits {
						ctx.Done()
					}
					switch end {
					case "timeout", "parent's deadline":
						time.Sleep(2 * time.Minute)
					case "cancel":
						cancel()
					case "parent":
						l.End(errCause)
					}
					deadline, _ := ctx.Deadline()
					err := ctx.Err()
					if end != "none" {
						<-ctx.Done()
					}
					cancel()
					time.Sleep(time.Hour)
					if again := ctx.Err(); err != nil && again != err {
						t.Errorf("the error was %v and is %v", err, again)
					}
					return ended{err, context.Cause(ctx), ctx.Value(key{}), time.Until(deadline)}
				}
				if got, want := run(WithTimeout), run(context.WithTimeout); got != want {
					t.Errorf("waits %v, %s: %+v; package context has %+v", waits, end, got, want)
				}
			})
		}
	}
}

func TestNothingIsMade(t *testing.T) {
	// Guards that nothing is made for contexts whose end nobody waits for.
	var l Life
	if n := testing.AllocsPerRun(100, func() { _, _ = l.Err(), l.Value(key{}) }); n > 0 {
		t.Errorf("%v allocations of a life", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		ctx, cancel := WithTimeout(&l, time.Minute)
		_, _ = ctx.Err(), ctx.Value(key{})
		cancel()
	}); n > 2 { // the context and its cancel
		t.Errorf("%v allocations of a context with a timeout", n)
	}
}

func TestChildrenNeedNoGoroutine(t *testing.T) {
	// Guards that package context recognizes its own contexts in these: for those of others, it
	// starts a goroutine for each child.
	var l Life
	ctx, cancel := WithTimeout(&l, time.Minute)
	defer cancel()
	before := runtime.NumGoroutine()
	for range 100 {
		_, cancel := context.WithCancel(ctx)
		defer cancel()
		_, cancel = context.WithCancel(&l)
		defer cancel()
	}
	if after := runtime.NumGoroutine(); after >= before+100 {
		t.Errorf("%d goroutines, %d before", after, before)
	}
}

func TestConcurrentUse(t *testing.T) {
	// Guards against data races, and that all who wait hear of the end, whoever was first.
	for range 2000 {
		var l Life
		ctx, cancel := WithTimeout(&l, time.Minute)
		begin := make(chan struct{})
		var wg sync.WaitGroup
		for _, f := range []func(){
			func() { <-l.Done() }, func() { <-l.Done() }, func() { <-ctx.Done() }, func() { <-ctx.Done() },
			func() { _, _, _ = ctx.Err(), l.Err(), ctx.Value(key{}) },
			func() { l.End(errCause) }, cancel,
		} {
			wg.Go(func() { <-begin; f() })
		}
		close(begin)
		wg.Wait()
		if l.Err() == nil || ctx.Err() == nil {
			t.Fatal("not ended")
		}
	}
}
