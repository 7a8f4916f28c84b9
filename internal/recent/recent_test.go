package recent

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestList checks that values are remembered for Keep and then freed, whether or not anybody looks.
func TestList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := List[int]{Keep: time.Second}
		expect := func(want ...int) {
			t.Helper()
			if got := l.All(); !slices.Equal(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		}
		expect()
		l.Add(1)
		time.Sleep(500 * time.Millisecond)
		l.Add(2)
		expect(1, 2)
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		expect(2)
		time.Sleep(time.Second)
		synctest.Wait()
		l.mu.Lock()
		if l.items != nil || l.timer != nil {
			t.Error("values or a timer are left")
		}
		l.mu.Unlock()
		l.Add(3)
		expect(3)
		l.Close()
		l.Add(4)
		expect()
		l.Close()
	})
}

// TestClose checks that Close leaves nothing running, whatever happens at the same time.
func TestClose(t *testing.T) {
	for range 100 {
		l := List[int]{Keep: time.Microsecond}
		var adding sync.WaitGroup
		for range 4 {
			adding.Go(func() {
				for n := range 20 {
					l.Add(n)
				}
			})
		}
		l.Close()
		adding.Wait()
		if l.timer != nil && l.timer.Stop() {
			t.Fatal("a timer is left")
		}
	}
}
