package brokertest_test

import (
	"context"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/brokertest"
)

// The suite's interface is the one that it tests.
var (
	_ brokertest.Broker = socketauth.Broker(nil)
	_ socketauth.Broker = brokertest.Broker(nil)
)

// network is what joins the brokers of one test: they are in memory, but can be cut from each other
// and stalled as if there were connections. Faults change what it does.
type network struct {
	faults

	mu      sync.Mutex
	topics  map[string][]*subscription
	stalled chan struct{} // closed with the stall; nil: none
	kept    map[string][][]byte
}

// node is a broker.
type node struct{ net *network }

// subscription calls its callbacks from a goroutine of its own.
type subscription struct {
	net     *network
	owner   *node
	message func([]byte)
	gap     func()

	mu      sync.Mutex
	changed *sync.Cond
	queue   [][]byte // nil stands for a gap
	lost    bool     // the connection has just been cut
	ended   bool
	done    chan struct{}
	failed  bool // Subscribe has returned an error; guarded by the lock of net
}

func newNetwork(f faults) *network {
	return &network{faults: f, topics: make(map[string][]*subscription), kept: make(map[string][][]byte)}
}

func (net *network) fixture() brokertest.Fixture {
	return brokertest.Fixture{Brokers: [2]brokertest.Broker{&node{net: net}, &node{net: net}}, Cut: net.cut, Stall: net.stall}
}

func (net *network) cut() {
	net.mu.Lock()
	defer net.mu.Unlock()
	for topic, subscriptions := range net.topics {
		for n, s := range subscriptions {
			if net.gapForOne && n > 0 || net.noGap {
				continue
			}
			s.put(nil)
		}
		if net.cutIsFinal {
			delete(net.topics, topic)
		}
	}
}

func (net *network) stall() func() {
	stalled := make(chan struct{})
	net.mu.Lock()
	net.stalled = stalled
	net.mu.Unlock()
	return sync.OnceFunc(func() {
		net.mu.Lock()
		net.stalled = nil
		net.mu.Unlock()
		close(stalled)
	})
}

// reach waits until the network answers.
func (net *network) reach(ctx context.Context) error {
	net.mu.Lock()
	stalled := net.stalled
	net.mu.Unlock()
	if stalled == nil || net.deaf {
		return nil
	}
	if net.noContext {
		<-stalled
		return nil
	}
	select {
	case <-stalled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (b *node) Publish(ctx context.Context, topic string, data []byte) error {
	if err := b.net.reach(ctx); err != nil {
		return err
	}
	return b.net.deliver(b, b.net.topic(topic), data)
}

func (b *node) Subscribe(ctx context.Context, topic string, message func([]byte), gap func()) (func(), error) {
	topic = b.net.topic(topic)
	s := &subscription{net: b.net, owner: b, message: message, gap: gap, done: make(chan struct{})}
	s.changed = sync.NewCond(&s.mu)
	if b.net.failedHears {
		b.net.add(topic, s)
	}
	if err := b.net.reach(ctx); err != nil {
		b.net.mu.Lock()
		s.failed = true
		b.net.mu.Unlock()
		return nil, err
	}
	cancel := func() {
		b.net.remove(topic, s)
		s.end()
	}
	if b.net.subscribesLate {
		time.AfterFunc(20*time.Millisecond, func() { b.net.add(topic, s) })
	} else {
		b.net.add(topic, s)
	}
	if b.net.contextEnds {
		context.AfterFunc(ctx, func() { b.net.remove(topic, s) })
	}
	if b.net.cancelOnce {
		cancel = hangsAgain(cancel)
	}
	return cancel, nil
}

func (net *network) add(topic string, s *subscription) {
	net.mu.Lock()
	defer net.mu.Unlock()
	if slices.Contains(net.topics[topic], s) {
		return
	}
	net.topics[topic] = append(net.topics[topic], s)
	for _, data := range net.kept[topic] {
		s.put(data)
	}
	if !net.manyAtOnce {
		go s.run()
		return
	}
	var both sync.WaitGroup
	both.Go(s.each)
	both.Go(s.each)
	go func() {
		both.Wait()
		close(s.done)
	}()
}

func (net *network) remove(topic string, s *subscription) {
	net.mu.Lock()
	defer net.mu.Unlock()
	if net.cancelEndsAll {
		delete(net.topics, topic)
	}
	net.topics[topic] = slices.DeleteFunc(slices.Clone(net.topics[topic]), func(other *subscription) bool { return other == s })
}

// put adds a message, or a gap, to what the subscription has to hear.
func (s *subscription) put(data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case data == nil:
		s.lost = true
	case s.lost && s.net.losesAfterGap:
		return
	case s.net.overflows && len(s.queue) >= 1000:
		return
	}
	s.queue = append(s.queue, data)
	s.changed.Broadcast()
}

func (s *subscription) run() {
	defer close(s.done)
	s.each()
}

func (s *subscription) each() {
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && !s.ended {
			s.changed.Wait()
		}
		if s.ended && (len(s.queue) == 0 || !s.net.cancelLeavesQueue) {
			s.mu.Unlock()
			return
		}
		data := s.queue[0]
		s.queue = s.queue[1:]
		s.mu.Unlock()
		if data == nil {
			s.gap()
			time.AfterFunc(30*time.Millisecond, func() {
				s.mu.Lock()
				s.lost = false
				s.mu.Unlock()
			})
		} else {
			s.message(data)
		}
	}
}

func (s *subscription) end() {
	s.mu.Lock()
	s.ended = true
	s.changed.Broadcast()
	s.mu.Unlock()
	if !s.net.cancelReturns && !s.net.cancelLeavesQueue {
		<-s.done
	}
}

// faultEnv names the fault of the broker in a process whose tests are expected to fail.
const faultEnv = "BROKERTEST_FAULT"

func TestMemory(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Fixture {
		var f faults
		if fault, ok := broken[os.Getenv(faultEnv)]; ok {
			fault.breaks(&f)
		}
		return newNetwork(f).fixture()
	})
}

// TestMemoryWithoutConnections checks that the suite asks no broker for what it says it cannot do.
func TestMemoryWithoutConnections(t *testing.T) {
	brokertest.Run(t, func(t *testing.T) brokertest.Fixture {
		return brokertest.Fixture{Brokers: newNetwork(faults{}).fixture().Brokers}
	})
}
