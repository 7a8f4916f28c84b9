package socketauth

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/cluster"
	"github.com/z-open/socketauth/internal/hub"
)

// deafBroker takes everything and delivers nothing.
type deafBroker struct{}

func (deafBroker) Publish(context.Context, string, []byte) error { return nil }

func (deafBroker) Subscribe(context.Context, string, func([]byte), func()) (func(), error) {
	return func() {}, nil
}

// newTestBus returns a bus that runs until the test ends.
func newTestBus(t *testing.T, logs *bytes.Buffer, deliver func(cluster.Message)) (*bus, *busRun) {
	t.Helper()
	b := newBus(clusterConfig{broker: deafBroker{}, key: make([]byte, 32), receiptTimeout: time.Second},
		slog.New(slog.NewTextHandler(logs, nil)), Limits{}.throttle(nil), deliver, nil)
	run, err := b.start(true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.close(context.Background(), func() bool { return false }); err != nil {
			t.Error(err)
		}
	})
	return b, run
}

// TestJoinsBalance checks that the bus is subscribed to what has members in the end, in whatever
// order it is told, and that it stays so when it is started again.
func TestJoinsBalance(t *testing.T) {
	synctest.Test(t, testJoinsBalance)
}

func testJoinsBalance(t *testing.T) {
	b, run := newTestBus(t, new(bytes.Buffer), nil)
	before := run.Stats().Topics
	expect := func(more int) {
		t.Helper()
		synctest.Wait()
		if n := run.Stats().Topics - before; n != more {
			t.Errorf("%d topics, want %d", n, more)
		}
	}
	red, blue := hub.Group{Kind: 'r', Name: "red"}, hub.Group{Kind: 'r', Name: "blue"}
	b.leave(red) // of a member that joined, of which the bus is told later
	b.join(red)
	b.join(blue)
	expect(1)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range 50 {
				b.join(red)
				b.leave(red)
			}
		})
		wg.Go(func() {
			for range 50 {
				b.leave(red)
				b.join(red)
			}
		})
	}
	wg.Wait()
	expect(1)
	if err := b.close(t.Context(), func() bool { return false }); err != nil {
		t.Error(err)
	}
	var err error
	if run, err = b.start(true); err != nil {
		t.Fatal(err)
	}
	expect(1)
	b.leave(blue)
	expect(0)
}

// TestInboxBounded checks that messages of others that cannot be passed on in time do not pile up.
func TestInboxBounded(t *testing.T) {
	var logs bytes.Buffer
	first, goOn := make(chan struct{}), make(chan struct{})
	delivered := 0
	b, run := newTestBus(t, &logs, func(cluster.Message) {
		if delivered++; delivered == 1 {
			close(first)
			<-goOn
		}
	})
	data := make([]byte, 1<<20)
	b.take(run, cluster.Message{Data: data})
	<-first
	for range 100 {
		b.take(run, cluster.Message{Data: data})
	}
	close(goOn)
	if err := b.close(t.Context(), func() bool { return false }); err != nil { // waits for the deliveries
		t.Error(err)
	}
	if delivered != 17 { // the one that was being delivered, and 16 MiB
		t.Errorf("%d were delivered", delivered)
	}
	if n := strings.Count(logs.String(), "some of it is lost"); n != 1 {
		t.Errorf("the log says so %d times", n)
	}
}
