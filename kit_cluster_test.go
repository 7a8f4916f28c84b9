package socketauth_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// memoryBroker is the broker of an app whose processes are in one test. It delivers within Publish.
type memoryBroker struct {
	mu        sync.Mutex
	subs      map[string][]*subscription
	published []publication // everything so far
}

type publication struct {
	topic string
	data  []byte
}

type subscription struct {
	by      *processBroker
	mu      sync.Mutex // held while a callback runs
	message func(data []byte)
}

// publish delivers data to all subscriptions but those of processes that do not run.
func (b *memoryBroker) publish(topic string, data []byte) {
	b.mu.Lock()
	b.published = append(b.published, publication{topic, slices.Clone(data)})
	subs := slices.Clone(b.subs[topic])
	b.mu.Unlock()
	for _, s := range subs {
		s.mu.Lock()
		if s.message != nil && !s.by.isStopped() {
			s.message(slices.Clone(data))
		}
		s.mu.Unlock()
	}
}

// topics returns how many topics have subscriptions of a process.
func (b *memoryBroker) topics(of *processBroker) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, subs := range b.subs {
		if slices.ContainsFunc(subs, func(s *subscription) bool { return s.by == of }) {
			n++
		}
	}
	return n
}

// recorded returns what was published so far.
func (b *memoryBroker) recorded() []publication {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.published)
}

// processBroker is the broker as one process sees it.
type processBroker struct {
	*memoryBroker

	mu      sync.Mutex
	stopped bool // the process does not run: it sends and hears nothing
	down    bool // the process cannot reach the broker

	subscribing atomic.Int64 // how long Subscribe takes, as a time.Duration
}

var errBrokerDown = errors.New("the broker is down")

func (b *processBroker) stop()           { b.set(true, false) }
func (b *processBroker) disconnect()     { b.set(true, true) }
func (b *processBroker) reconnect()      { b.set(false, false) }
func (b *processBroker) isStopped() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.stopped }

func (b *processBroker) set(stopped, down bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped, b.down = stopped, down
}

func (b *processBroker) isDown() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.down }

func (b *processBroker) Publish(ctx context.Context, topic string, data []byte) error {
	switch {
	case b.isDown():
		return errBrokerDown
	case !b.isStopped():
		b.publish(topic, data)
	}
	return ctx.Err()
}

func (b *processBroker) Subscribe(ctx context.Context, topic string, message func([]byte), _ func()) (func(), error) {
	if b.isDown() {
		return nil, errBrokerDown
	}
	// Without a timer of zero, by which Go 1.26 crashes now and then in a bubble under the race
	// detector.
	if d := time.Duration(b.subscribing.Load()); d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	s := &subscription{by: b, message: message}
	m := b.memoryBroker
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.subs == nil {
		m.subs = make(map[string][]*subscription)
	}
	m.subs[topic] = append(m.subs[topic], s)
	return func() {
		m.mu.Lock()
		m.subs[topic] = slices.DeleteFunc(m.subs[topic], func(other *subscription) bool { return other == s })
		if len(m.subs[topic]) == 0 {
			delete(m.subs, topic)
		}
		m.mu.Unlock()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.message = nil
	}, nil
}

// process is one process of an app.
type process struct {
	*testServer
	broker *processBroker
	store  *lateStore
}

// node returns the name of the process.
func (p *process) node() string { return p.Auth().Stats().Nodes[0].Name }

// clusterOnEngines runs a test as withCluster does, once with clients of Engine.IO 3 and once with
// clients of 4.
func clusterOnEngines(t *testing.T, many int, change func(o *socketauth.Options[string]), test func(p []*process)) {
	t.Helper()
	for _, version := range []string{"3", "4"} {
		t.Run("Engine.IO "+version, func(t *testing.T) {
			withCluster(t, many, change, func(p []*process) {
				for _, p := range p {
					p.version = version
				}
				test(p)
			})
		})
	}
}

// withCluster runs a test against an app of so many processes. change may adjust the options of
// each.
func withCluster(t *testing.T, many int, change func(o *socketauth.Options[string]), test func(p []*process)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		broker, store := new(memoryBroker), blacklist.NewMemory()
		var processes []*process
		for range many {
			p := &process{broker: &processBroker{memoryBroker: broker}, store: &lateStore{faultyStore: &faultyStore{Store: store}}}
			p.testServer = newTestServer(t, func(o *socketauth.Options[string]) {
				o.Blacklist = p.store
				o.Cluster.Broker = p.broker
				if change != nil {
					change(o)
				}
			})
			processes = append(processes, p)
		}
		time.Sleep(time.Second) // until they have found each other
		for _, p := range processes {
			if n := len(p.Auth().Stats().Nodes); n != many {
				t.Fatalf("a process knows %d processes, and there are %d", n, many)
			}
		}
		test(processes)
	})
}

// lateStore is the store that the processes share, as one of them sees it. It may be deaf to the
// changes that the others make.
type lateStore struct {
	*faultyStore
	deaf atomic.Bool
}

func (s *lateStore) Watch(ctx context.Context, fn func(blacklist.Change)) error {
	return s.faultyStore.Watch(ctx, func(c blacklist.Change) {
		if !s.deaf.Load() {
			fn(c)
		}
	})
}

// secondMux serves "second" as another host.
func (p *process) secondMux() *http.ServeMux {
	mux := http.NewServeMux()
	p.Mux.Handle("second/", mux)
	return mux
}
