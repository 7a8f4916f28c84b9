package brokertest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"
)

// fixture is a Fixture with what the tests do again and again.
type fixture struct {
	Fixture
	t *testing.T
}

// context returns a context that ends before the test's own patience does.
func (f *fixture) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	f.t.Cleanup(cancel)
	return ctx
}

func (f *fixture) publish(broker int, topic string, data []byte) {
	f.t.Helper()
	var err error
	f.soon("Publish", func() { err = f.Brokers[broker].Publish(f.context(), topic, data) })
	if err != nil {
		f.t.Fatalf("Publish: %v", err)
	}
}

// listener is one subscription and what it has heard.
type listener struct {
	t      *testing.T
	cancel func()

	mu      sync.Mutex
	events  []event
	running int  // callbacks
	ended   bool // cancel has returned, or Subscribe has failed
	late    int  // callbacks that began after that
	overlap int  // callbacks that began while another ran

	also func(data []byte) // called by each callback, while it runs; nil data with a gap
	news chan struct{}     // after each event
}

// event is one call of a callback.
type event struct {
	gap  bool
	data []byte
	at   time.Time
}

func newListener(t *testing.T) *listener { return &listener{t: t, news: make(chan struct{}, 1)} }

// subscribe returns once the listener has subscribed.
func (f *fixture) subscribe(broker int, topic string) *listener {
	f.t.Helper()
	return f.listen(broker, topic, newListener(f.t))
}

func (f *fixture) listen(broker int, topic string, l *listener) *listener {
	f.t.Helper()
	var cancel func()
	var err error
	f.soon("Subscribe", func() { cancel, err = f.Brokers[broker].Subscribe(f.context(), topic, l.message, l.gap) })
	if err != nil {
		f.t.Fatalf("Subscribe: %v", err)
	}
	l.cancel = cancel
	f.t.Cleanup(func() { f.soon("cancel", l.end) })
	return l
}

// end cancels the subscription. From then on, callbacks are late.
func (l *listener) end() {
	l.cancel()
	l.over()
}

func (l *listener) over() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}

func (l *listener) message(data []byte) { l.record(event{data: data, at: time.Now()}) }
func (l *listener) gap()                { l.record(event{gap: true, at: time.Now()}) }

func (l *listener) record(e event) {
	l.mu.Lock()
	l.events = append(l.events, e)
	if l.running++; l.running > 1 {
		l.overlap++
	}
	if l.ended {
		l.late++
	}
	also := l.also
	l.mu.Unlock()
	select {
	case l.news <- struct{}{}:
	default:
	}
	if also != nil {
		also(e.data)
	}
	l.mu.Lock()
	l.running--
	l.mu.Unlock()
}

// heard returns what came so far, and how many gaps.
func (l *listener) heard() (messages [][]byte, gaps int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if e.gap {
			gaps++
		} else {
			messages = append(messages, e.data)
		}
	}
	return messages, gaps
}

// await waits until something is true of the listener, and fails the test if that takes too long.
func (l *listener) await(what string, is func() bool) {
	l.t.Helper()
	for deadline := time.After(patience); !is(); {
		select {
		case <-l.news:
		case <-time.After(50 * time.Millisecond):
		case <-deadline:
			messages, gaps := l.heard()
			l.t.Fatalf("%s: not within %v; %d messages and %d gaps were heard", what, patience, len(messages), gaps)
		}
	}
}

// awaitMessages waits until that many messages have come, and returns them. There must be no gap,
// since nothing has happened that could lose one.
func (l *listener) awaitMessages(n int) [][]byte {
	l.t.Helper()
	l.await(fmt.Sprintf("%d messages are heard", n), func() bool {
		messages, gaps := l.heard()
		if gaps > 0 {
			l.t.Fatalf("gap was called after %d of %d messages, although no connection was cut and message is fast; "+
				"is the room for messages that wait too small?", len(messages), n)
		}
		return len(messages) >= n
	})
	messages, _ := l.heard()
	if len(messages) > n {
		l.t.Fatalf("%d messages were heard, and %d published", len(messages), n)
	}
	return messages
}

// settle waits for what may still come by publishing a last message on the topic and waiting for
// it, and returns what came before it.
func (f *fixture) settle(broker int, topic string, l *listener) [][]byte {
	f.t.Helper()
	f.publish(broker, topic, []byte("last"))
	var before [][]byte
	l.await("the last message is heard", func() bool {
		messages, _ := l.heard()
		before = messages
		return len(messages) > 0 && string(messages[len(messages)-1]) == "last"
	})
	return before[:len(before)-1]
}

// soon fails the test if a call does not return.
func (f *fixture) soon(what string, call func()) {
	f.t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		call()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		f.t.Fatalf("%s does not return", what)
	}
}

// numbered is a message with the number of its publisher and its own, and size bytes more.
func numbered(publisher, n, size int) []byte {
	data := binary.BigEndian.AppendUint32(nil, uint32(publisher))
	data = binary.BigEndian.AppendUint32(data, uint32(n))
	return append(data, make([]byte, size)...)
}

var errForeign = errors.New("a message was heard that nobody has published")

func numbers(data []byte) (publisher, n int, err error) {
	if len(data) < 8 {
		return 0, 0, errForeign
	}
	return int(binary.BigEndian.Uint32(data)), int(binary.BigEndian.Uint32(data[4:])), nil
}

// rises checks that the numbers of each publisher only rise: each message came at most once, and in
// order.
func rises(t *testing.T, messages [][]byte) {
	t.Helper()
	last := make(map[int]int)
	for _, data := range messages {
		publisher, n, err := numbers(data)
		if err != nil {
			t.Fatal(err)
		}
		if before, any := last[publisher]; any && n <= before {
			t.Fatalf("message %d of publisher %d came after its message %d", n, publisher, before)
		}
		last[publisher] = n
	}
}
