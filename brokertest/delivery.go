package brokertest

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// delivery has the promises about the delivery of messages.
func delivery() []clause {
	return []clause{
		{"A message is heard by all who subscribe to its topic, its publisher too, and by nobody else", func(t *testing.T, f *fixture) {
			all := []*listener{f.subscribe(0, "topic"), f.subscribe(0, "topic"), f.subscribe(1, "topic")}
			others := []*listener{f.subscribe(0, "other"), f.subscribe(1, "other")}
			f.publish(0, "topic", []byte("a"))
			f.publish(1, "topic", []byte("b"))
			for n, l := range all {
				messages := l.awaitMessages(2)
				if got := string(messages[0]) + string(messages[1]); got != "ab" && got != "ba" {
					t.Errorf("subscription %d heard %q", n, messages)
				}
			}
			for n, l := range others {
				if before := f.settle(n, "other", l); len(before) > 0 && !(len(before) == 1 && string(before[0]) == "last") {
					t.Errorf("subscription %d of another topic heard %q", n, before)
				}
			}
		}},
		{"A message that nobody has subscribed to is kept for nobody", func(t *testing.T, f *fixture) {
			f.publish(0, "topic", []byte("early"))
			l := f.subscribe(1, "topic")
			if before := f.settle(0, "topic", l); len(before) > 0 {
				t.Errorf("%q was heard, published before the subscription", before)
			}
		}},
		{"The messages of each publisher on a topic come in order, each once", func(t *testing.T, f *fixture) {
			const n = 2000
			listeners := []*listener{f.subscribe(0, "topic"), f.subscribe(1, "topic"), f.subscribe(1, "topic")}
			var publishers sync.WaitGroup
			for p := range f.Brokers {
				publishers.Go(func() {
					for i := range n {
						if err := f.Brokers[p].Publish(f.context(), "topic", numbered(p, i, i%100)); err != nil {
							t.Errorf("Publish: %v", err)
							return
						}
						_ = f.Brokers[p].Publish(f.context(), "other", numbered(p, i, 0))
					}
				})
			}
			publishers.Wait()
			for _, l := range listeners {
				rises(t, l.awaitMessages(2*n))
			}
		}},
		{"Topics of 1 to 64 letters, digits, - and _ are told apart", func(t *testing.T, f *fixture) {
			long := strings.Repeat("x", 63)
			topics := []string{"a", "A", "aa", "a-", "a_", "-a", "_a", "-", "_", "0", "9", "aAzZ09-_", long, long + "a", long + "A", long + "-"}
			var listeners []*listener
			for _, topic := range topics {
				listeners = append(listeners, f.subscribe(1, topic))
			}
			for _, topic := range topics {
				f.publish(0, topic, []byte(topic))
			}
			for n, l := range listeners {
				if before := f.settle(0, topics[n], l); len(before) != 1 || string(before[0]) != topics[n] {
					t.Errorf("on %q was heard %q", topics[n], before)
				}
			}
		}},
		{"Data is any bytes, also none and many", func(t *testing.T, f *fixture) {
			every := make([]byte, 256)
			for n := range every {
				every[n] = byte(n)
			}
			big := bytes.Repeat(every, 4096) // 1 MiB
			want := [][]byte{{}, nil, {0}, []byte("\r\n"), []byte("\xff\xfe"), every, big, []byte("after")}
			l := f.subscribe(1, "topic")
			for _, data := range want {
				f.publish(0, "topic", data)
			}
			for n, got := range l.awaitMessages(len(want)) {
				if !bytes.Equal(got, want[n]) {
					t.Errorf("%s came as %s", excerpt(want[n]), excerpt(got))
				}
			}
		}},
		{"Data is the publisher's again once Publish has returned", func(t *testing.T, f *fixture) {
			const n = 200
			listeners := []*listener{f.subscribe(0, "topic"), f.subscribe(1, "topic")}
			data := make([]byte, 64)
			for i := range n {
				copy(data, bytes.Repeat([]byte{byte(i)}, len(data)))
				f.publish(0, "topic", data)
				copy(data, bytes.Repeat([]byte{0xff}, len(data)))
			}
			for _, l := range listeners {
				for i, got := range l.awaitMessages(n) {
					if !bytes.Equal(got, bytes.Repeat([]byte{byte(i)}, len(data))) {
						t.Fatalf("message %d came as %s", i, excerpt(got))
					}
				}
			}
		}},
		{"Data is the callback's to keep and to change", func(t *testing.T, f *fixture) {
			const n = 200
			spoils := newListener(t)
			spoils.also = func(data []byte) {
				for i := range data {
					data[i] = 0xff
				}
				_ = append(data, 0xff)
			}
			f.listen(1, "topic", spoils)
			keeps := []*listener{f.subscribe(1, "topic"), f.subscribe(0, "topic")}
			for i := range n {
				f.publish(0, "topic", numbered(0, i, 64))
			}
			spoils.awaitMessages(n)
			for _, l := range keeps {
				for i, got := range l.awaitMessages(n) {
					if !bytes.Equal(got, numbered(0, i, 64)) {
						t.Fatalf("message %d has become %s", i, excerpt(got))
					}
				}
			}
		}},
		{"Brokers and subscriptions are used concurrently", func(t *testing.T, f *fixture) {
			const workers, rounds = 8, 25
			var all sync.WaitGroup
			for w := range workers {
				all.Go(func() {
					broker := f.Brokers[w%2]
					for r := range rounds {
						topic := fmt.Sprintf("t%d", (w+r)%5)
						l := newListener(t)
						cancel, err := broker.Subscribe(f.context(), topic, l.message, l.gap)
						if err != nil {
							t.Errorf("Subscribe: %v", err)
							return
						}
						l.cancel = cancel
						mine := numbered(w, r, 0)
						if err := broker.Publish(f.context(), topic, mine); err != nil {
							t.Errorf("Publish: %v", err)
						}
						hears(l, mine)
						l.end()
						if l.late > 0 || l.overlap > 0 {
							t.Errorf("%d calls came after cancel had returned, and %d while another ran", l.late, l.overlap)
						}
					}
				})
			}
			f.soon("one of the calls", all.Wait)
		}},
	}
}

// hears waits until a message is heard, and reports whether it was. It may be called by any
// goroutine.
func hears(l *listener, want []byte) bool {
	l.t.Helper()
	deadline := patientUntil()
	for {
		messages, _ := l.heard()
		for _, data := range messages {
			if bytes.Equal(data, want) {
				return true
			}
		}
		select {
		case <-l.news:
		case <-deadline:
			l.t.Error("a message that was published after Subscribe had returned is not heard")
			return false
		}
	}
}

// excerpt is data as errors show it.
func excerpt(data []byte) string {
	if len(data) > 32 {
		return fmt.Sprintf("%d bytes %x...", len(data), data[:32])
	}
	return fmt.Sprintf("%d bytes %x", len(data), data)
}
