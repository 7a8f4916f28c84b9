package workers

import (
	"context"
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// state returns how many goroutines there are and how many of them wait.
func (p *Pool) state() (count, idle int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count, len(p.idle)
}

func expect(t *testing.T, p *Pool, count, idle int) {
	t.Helper()
	if c, i := p.state(); c != count || i != idle {
		t.Fatalf("%d goroutines, %d idle; want %d and %d", c, i, count, idle)
	}
}

func TestReuse(t *testing.T) {
	// Guards that a task runs in a goroutine that waits, if there is one, and each at once.
	synctest.Test(t, func(t *testing.T) {
		var p Pool
		ran := 0
		for range 3 {
			p.Go(Func(func() { ran++ }))
			synctest.Wait()
			expect(t, &p, 1, 1)
		}
		hold := make(chan struct{})
		for range 3 {
			p.Go(Func(func() { <-hold; ran++ }))
			synctest.Wait()
		}
		expect(t, &p, 3, 0)
		for range 3 {
			hold <- struct{}{}
			synctest.Wait()
		}
		expect(t, &p, 3, 3)
		if ran != 6 {
			t.Errorf("%d of 6 tasks ran", ran)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestBound(t *testing.T) {
	// Guards that any number of tasks run at a time, and that afterwards few goroutines wait.
	synctest.Test(t, func(t *testing.T) {
		var p Pool
		hold := make(chan struct{})
		for range 3 * maxIdle {
			p.Go(Func(func() { <-hold }))
		}
		synctest.Wait()
		expect(t, &p, 3*maxIdle, 0)
		close(hold)
		synctest.Wait()
		expect(t, &p, maxIdle, maxIdle)
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
		expect(t, &p, 0, 0)
	})
}

func TestClose(t *testing.T) {
	// Guards that Close waits for the tasks, and that later ones run and leave no goroutine.
	synctest.Test(t, func(t *testing.T) {
		var p Pool
		hold := make(chan struct{})
		p.Go(Func(func() {}))
		synctest.Wait()
		p.Go(Func(func() { <-hold }))
		p.Go(Func(func() {}))
		synctest.Wait()
		expect(t, &p, 2, 1)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.Close(over); !errors.Is(err, context.Canceled) {
			t.Errorf("with a task running: %v", err)
		}
		closed := make(chan error, 2)
		for range cap(closed) {
			go func() { closed <- p.Close(t.Context()) }()
		}
		synctest.Wait()
		expect(t, &p, 1, 0)
		if len(closed) > 0 {
			t.Fatal("Close returned while a task ran")
		}
		close(hold)
		for range cap(closed) {
			if err := <-closed; err != nil {
				t.Error(err)
			}
		}
		ran := false
		p.Go(Func(func() { ran = true }))
		synctest.Wait()
		expect(t, &p, 0, 0)
		if err := p.Close(t.Context()); err != nil || !ran {
			t.Errorf("after Close: %v, ran: %v", err, ran)
		}
	})
}

func TestGoexit(t *testing.T) {
	// Guards that a goroutine that a task ends is not waited for.
	synctest.Test(t, func(t *testing.T) {
		var p Pool
		p.Go(Func(func() { runtime.Goexit() }))
		synctest.Wait()
		expect(t, &p, 0, 0)
		if err := p.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestConcurrentUse(t *testing.T) {
	// Guards that each task runs once, whatever comes and goes at the same time.
	var p Pool
	var ran atomic.Int64
	const callers, tasks = 8, 2000
	began := make(chan struct{}, callers)
	for range callers {
		go func() {
			for range tasks {
				p.Go(Func(func() { ran.Add(1) }))
			}
			began <- struct{}{}
		}()
	}
	for n := range callers {
		<-began
		if n == callers/2 {
			go func() { _ = p.Close(t.Context()) }()
		}
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if n := ran.Load(); n != callers*tasks {
		t.Errorf("%d of %d tasks ran", n, callers*tasks)
	}
	expect(t, &p, 0, 0)
}

// BenchmarkGo compares a pool with go statements, for a task that needs 4 KB of stack.
func BenchmarkGo(b *testing.B) {
	done := make(chan struct{}, 1)
	task := Func(func() { deep(40); done <- struct{}{} })
	b.Run("pool", func(b *testing.B) {
		var p Pool
		b.ReportAllocs()
		for b.Loop() {
			p.Go(task)
			<-done
		}
		_ = p.Close(b.Context())
	})
	b.Run("go", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			go task.Run()
			<-done
		}
	})
}

//go:noinline
func deep(n int) byte {
	var page [64]byte
	if n == 0 {
		return page[0]
	}
	page[n] = deep(n - 1)
	return page[n/2]
}
