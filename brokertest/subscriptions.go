package brokertest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

func patientUntil() <-chan time.Time { return time.After(patience) }

// subscriptions has the promises about when a subscription begins and ends.
func subscriptions() []clause {
	return []clause{
		{"Nothing is missed once Subscribe has returned", func(t *testing.T, f *fixture) {
			for n := range 60 {
				l := f.subscribe(1, "topic") // the same topic each time, at once after the last one ended
				f.publish(0, "topic", numbered(0, n, 0))
				if !hears(l, numbered(0, n, 0)) {
					return
				}
				l.end()
			}
			first := f.subscribe(1, "other")
			second := f.subscribe(1, "other")
			f.publish(0, "other", []byte("x"))
			hears(first, []byte("x"))
			hears(second, []byte("x"))
		}},
		{"The context of Subscribe bounds that call alone", func(t *testing.T, f *fixture) {
			l := newListener(t)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			end, err := f.Brokers[1].Subscribe(ctx, "topic", l.message, l.gap)
			if err != nil {
				t.Fatalf("Subscribe: %v", err)
			}
			l.cancel = end
			defer l.end()
			cancel()
			time.Sleep(50 * time.Millisecond) // for a broker that ends the subscription in the background
			for n := range 20 {
				f.publish(0, "topic", numbered(0, n, 0))
			}
			l.awaitMessages(20)
		}},
		{"A call whose context has ended returns", func(t *testing.T, f *fixture) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			l := newListener(t)
			f.soon("Subscribe", func() {
				end, err := f.Brokers[1].Subscribe(ctx, "topic", l.message, l.gap)
				if err == nil {
					end()
				}
				l.over()
			})
			f.soon("Publish", func() { _ = f.Brokers[0].Publish(ctx, "topic", []byte("x")) })
			other := f.subscribe(1, "topic")
			f.settle(0, "topic", other)
			if l.late > 0 {
				t.Errorf("%d calls came although Subscribe had failed, or the subscription was cancelled", l.late)
			}
		}},
		{"No callback begins once cancel has returned", func(t *testing.T, f *fixture) {
			stop := make(chan struct{})
			var publisher sync.WaitGroup
			publisher.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
						_ = f.Brokers[0].Publish(f.context(), "topic", numbered(0, n, 0))
					}
				}
			})
			stays := f.subscribe(1, "topic")
			var gone []*listener
			for range 30 {
				l := f.subscribe(1, "topic")
				l.await("a message is heard", func() bool { messages, _ := l.heard(); return len(messages) > 0 })
				l.end()
				gone = append(gone, l)
			}
			before, _ := stays.heard()
			stays.await("the subscription that stays hears more", func() bool { messages, _ := stays.heard(); return len(messages) > len(before) })
			close(stop)
			publisher.Wait()
			f.settle(0, "topic", stays)
			for _, l := range gone {
				l.mu.Lock()
				if l.late > 0 {
					t.Errorf("%d calls came after cancel had returned", l.late)
				}
				l.mu.Unlock()
			}
			messages, _ := stays.heard()
			rises(t, messages[:len(messages)-1])
		}},
		{"cancel waits for a callback that is running", func(t *testing.T, f *fixture) {
			l := newListener(t)
			entered, release := make(chan struct{}), make(chan struct{})
			var once sync.Once
			l.also = func([]byte) {
				once.Do(func() {
					close(entered)
					<-release
				})
			}
			f.listen(1, "topic", l)
			f.publish(0, "topic", []byte("x"))
			select {
			case <-entered:
			case <-patientUntil():
				close(release)
				t.Fatal("nothing is heard")
			}
			returned := make(chan struct{})
			go func() {
				l.end()
				close(returned)
			}()
			select {
			case <-returned:
				t.Error("cancel returned while a callback was running")
			case <-time.After(200 * time.Millisecond):
			}
			close(release)
			select {
			case <-returned:
			case <-patientUntil():
				t.Error("cancel does not return once the callback has")
			}
		}},
		{"cancel may be called again, and by several at once", func(t *testing.T, f *fixture) {
			l, stays := f.subscribe(1, "topic"), f.subscribe(1, "topic")
			var all sync.WaitGroup
			for range 8 {
				all.Go(l.cancel)
			}
			f.soon("cancel", all.Wait)
			f.soon("cancel", l.end)
			f.publish(0, "topic", []byte("x"))
			hears(stays, []byte("x"))
			if messages, _ := l.heard(); len(messages) > 0 {
				t.Error("a message was heard after the subscription had been cancelled")
			}
		}},
		{"Subscriptions to one topic end one by one", func(t *testing.T, f *fixture) {
			var listeners []*listener
			for range 4 {
				listeners = append(listeners, f.subscribe(1, "topic"))
			}
			for n := range listeners {
				message := fmt.Appendf(nil, "%d", n)
				f.publish(0, "topic", message)
				for k, l := range listeners {
					if k >= n && !hears(l, message) {
						return
					}
				}
				listeners[n].end()
				if messages, _ := listeners[n].heard(); len(messages) != n+1 {
					t.Errorf("subscription %d heard %d messages, want %d", n, len(messages), n+1)
				}
			}
		}},
	}
}
