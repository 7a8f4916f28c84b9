package brokertest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"
)

// failures has the promises about connections that break or stall.
func failures() []clause {
	return []clause{
		{"A connection that was cut is a gap, and what comes after the gap is heard", func(t *testing.T, f *fixture) {
			if f.Cut == nil {
				return
			}
			listeners := []*listener{f.subscribe(0, "topic"), f.subscribe(1, "topic"), f.subscribe(1, "topic"), f.subscribe(1, "other")}
			f.publish(0, "topic", numbered(0, 0, 0))
			for _, l := range listeners[:3] {
				l.awaitMessages(1)
			}
			for round := range 3 {
				f.Cut()
				for _, l := range listeners {
					l.await("gap is called", func() bool { _, gaps := l.heard(); return gaps > round })
				}
				message := f.publishes(0, "topic", round+1)
				for _, l := range listeners[:3] {
					hears(l, message)
				}
			}
		}},
		{"Every message is heard, or a gap is called after it was published", func(t *testing.T, f *fixture) {
			listeners := []*listener{f.subscribe(0, "topic"), f.subscribe(1, "topic")}
			stop := make(chan struct{})
			var published []time.Time // when Publish was called, zero if it failed
			var publisher sync.WaitGroup
			publisher.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					ctx, cancel := context.WithTimeout(context.Background(), patience)
					at := time.Now()
					if err := f.Brokers[0].Publish(ctx, "topic", numbered(0, n, 0)); err != nil {
						at = time.Time{}
					}
					cancel()
					published = append(published, at)
				}
			})
			for range 4 {
				for _, l := range listeners {
					l.more(20)
				}
				if f.Cut != nil {
					f.Cut()
				}
			}
			listeners[1].more(20)
			close(stop)
			f.soon("Publish", publisher.Wait)
			for _, l := range listeners {
				f.settleAfterGap(1, "topic", l)
				l.complete(published)
			}
		}},
		{"Calls return with their context where nothing answers", func(t *testing.T, f *fixture) {
			if f.Stall == nil {
				return
			}
			l, ends := f.subscribe(1, "topic"), f.subscribe(1, "topic")
			resume := f.Stall()
			defer resume()
			failed := newListener(t)
			for range 3 {
				ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
				f.within("Publish", func() { _ = f.Brokers[0].Publish(ctx, "topic", []byte("lost")) })
				cancel()
				ctx, cancel = context.WithTimeout(context.Background(), 300*time.Millisecond)
				f.within("Subscribe", func() {
					if end, err := f.Brokers[1].Subscribe(ctx, "new", failed.message, failed.gap); err == nil {
						t.Error("Subscribe succeeded although nothing answers")
						end()
					}
				})
				cancel()
			}
			failed.over()
			f.within("cancel", ends.end)
			resume()
			f.settleAfterGap(0, "topic", l)
			other := f.subscribe(1, "new")
			f.settleAfterGap(0, "new", other)
			failed.mu.Lock()
			defer failed.mu.Unlock()
			if failed.late > 0 {
				t.Errorf("%d calls came although Subscribe had failed", failed.late)
			}
		}},
	}
}

// more waits until n more messages are heard.
func (l *listener) more(n int) {
	l.t.Helper()
	before, _ := l.heard()
	l.await("more is heard", func() bool { messages, _ := l.heard(); return len(messages) >= len(before)+n })
}

// within fails the test if a call with a short deadline does not return soon after it.
func (f *fixture) within(what string, call func()) {
	f.t.Helper()
	began := time.Now()
	f.soon(what, call)
	if took := time.Since(began); took > patience/4 {
		f.t.Errorf("%s took %v", what, took)
	}
}

// publishes publishes a message until Publish succeeds, and returns it. Each attempt is a message
// of its own.
func (f *fixture) publishes(broker int, topic string, publisher int) []byte {
	f.t.Helper()
	deadline := patientUntil()
	for attempt := 0; ; attempt++ {
		message := numbered(publisher, attempt, 0)
		err := f.Brokers[broker].Publish(f.context(), topic, message)
		if err == nil {
			return message
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			f.t.Fatalf("Publish: %v", err)
		}
	}
}

// settleAfterGap publishes a last message until it is heard, since some may be lost, and returns
// the others that were heard.
func (f *fixture) settleAfterGap(broker int, topic string, l *listener) (others [][]byte) {
	f.t.Helper()
	var published time.Time
	l.await("a last message is heard", func() bool {
		if time.Since(published) > 200*time.Millisecond {
			published = time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), patience/4)
			defer cancel()
			_ = f.Brokers[broker].Publish(ctx, topic, []byte("last"))
		}
		messages, _ := l.heard()
		return slices.ContainsFunc(messages, isLast)
	})
	messages, _ := l.heard()
	return slices.DeleteFunc(messages, isLast)
}

func isLast(data []byte) bool { return string(data) == "last" }

// complete checks that each message was heard, or that gap was called after it was published.
func (l *listener) complete(published []time.Time) {
	l.t.Helper()
	messages, _ := l.heard()
	messages = slices.DeleteFunc(messages, isLast)
	rises(l.t, messages)
	heard := make(map[int]bool)
	for _, data := range messages {
		_, n, _ := numbers(data)
		heard[n] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var gap time.Time // the last one
	for _, e := range l.events {
		if e.gap {
			gap = e.at
		}
	}
	for n, at := range published {
		if !heard[n] && !at.IsZero() && !gap.After(at) {
			l.t.Fatalf("message %d of %d was not heard, and gap was not called after it", n, len(published))
		}
	}
}
