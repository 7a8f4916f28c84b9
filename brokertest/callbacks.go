package brokertest

import (
	"runtime"
	"sync"
	"testing"
)

// callbacks has the promises about how callbacks are called, and what they may do.
func callbacks() []clause {
	return []clause{
		{"The callbacks of a subscription are called one at a time", func(t *testing.T, f *fixture) {
			const publishers, n = 4, 100
			l := newListener(t)
			l.also = func([]byte) {
				for range 20 {
					runtime.Gosched()
				}
			}
			f.listen(1, "topic", l)
			var all sync.WaitGroup
			for p := range publishers {
				all.Go(func() {
					for i := range n {
						_ = f.Brokers[p%2].Publish(f.context(), "topic", numbered(p, i, 0))
					}
				})
			}
			if f.Cut != nil {
				f.Cut() // gap is one of them
			}
			all.Wait()
			f.settleAfterGap(1, "topic", l)
			l.mu.Lock()
			defer l.mu.Unlock()
			if l.overlap > 0 {
				t.Errorf("%d calls began while another was running", l.overlap)
			}
		}},
		{"A callback may publish, subscribe, and end other subscriptions", func(t *testing.T, f *fixture) {
			other := f.subscribe(1, "other")
			l, answers := newListener(t), f.subscribe(0, "answers")
			done := make(chan struct{})
			var once sync.Once
			l.also = func([]byte) {
				once.Do(func() {
					defer close(done)
					if err := f.Brokers[1].Publish(f.context(), "answers", []byte("x")); err != nil {
						t.Errorf("Publish: %v", err)
					}
					cancel, err := f.Brokers[1].Subscribe(f.context(), "new", func([]byte) {}, func() {})
					if err != nil {
						t.Errorf("Subscribe: %v", err)
						return
					}
					cancel()
					other.end()
				})
			}
			f.listen(1, "topic", l)
			f.publish(0, "topic", []byte("x"))
			f.soon("the callback", func() { <-done })
			hears(answers, []byte("x"))
		}},
		{"A callback that is slow holds up no other subscription, and no publisher", func(t *testing.T, f *fixture) {
			const chunks, size = 12, 500
			slow := newListener(t)
			release := make(chan struct{})
			var once sync.Once
			defer once.Do(func() { close(release) })
			slow.also = func([]byte) { <-release }
			f.listen(1, "topic", slow)
			same, other := f.subscribe(1, "topic"), f.subscribe(1, "other")
			for c := range chunks {
				for i := range size {
					f.publish(0, "topic", numbered(0, c*size+i, 1000))
				}
				rises(t, same.awaitMessages((c+1)*size))
			}
			f.publish(0, "other", []byte("x"))
			hears(other, []byte("x"))
			once.Do(func() { close(release) })
			// It may have lost some by now, but then it is told so.
			heard := f.settleAfterGap(0, "topic", slow)
			rises(t, heard)
			if _, gaps := slow.heard(); len(heard) < chunks*size && gaps == 0 {
				t.Errorf("a subscription whose callback was slow heard %d of %d messages, and gap was not called", len(heard), chunks*size)
			}
		}},
	}
}
