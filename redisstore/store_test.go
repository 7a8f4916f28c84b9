package redisstore

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/blacklist/blacklisttest"
	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

var prefixes atomic.Int64

func newPrefix() string { return fmt.Sprintf("t%d:", prefixes.Add(1)) }

// open returns a new store with a prefix of its own, which remembers already, and which counts all
// that has ended, however busy the machine is.
func open(t testing.TB, client redis.UniversalClient, o Options) *Store {
	t.Helper()
	if o.Prefix == "" {
		o.Prefix = newPrefix()
	}
	s, err := New(client, o)
	if err == nil {
		s.countTime = time.Minute
		err = s.touchAll(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Guards every promise of the contract, on one server.
func TestStore(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	blacklisttest.Run(t, func(t *testing.T) blacklist.Store { return open(t, client, Options{}) })
}

// Guards every promise of the contract, on a cluster of three masters.
func TestStoreOnCluster(t *testing.T) {
	t.Parallel()
	client := redistest.StartCluster(t, false).Client()
	blacklisttest.Run(t, func(t *testing.T) blacklist.Store { return open(t, client, Options{}) })
}

// Guards what survives the end of a Redis that loses nothing.
func TestRestarts(t *testing.T) {
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	blacklisttest.RunRestarts(t, func(t *testing.T) (blacklist.Store, func() blacklist.Store) {
		o := Options{Prefix: newPrefix(), Durable: true}
		return open(t, server.Client(), o), func() blacklist.Store {
			server.Kill()
			server.Restart()
			return open(t, server.Client(), o)
		}
	})
}

// process is the store of a process whose clock is off.
type process struct{ *Store }

func (p process) Now() time.Time { return p.now() }

// processes returns what opens the stores of three processes, whose clocks are two seconds apart if
// they are to be, and of a Redis whose clock is in between.
func processes(client func() redis.UniversalClient, skewed, lossy bool) func(t *testing.T) []blacklist.Store {
	return func(t *testing.T) (stores []blacklist.Store) {
		o := Options{Prefix: newPrefix()}
		for n := range 3 {
			s, err := New(client(), o)
			if err != nil {
				t.Fatal(err)
			}
			s.countTime = time.Minute
			if skewed {
				s.ahead, s.scripts = time.Duration(n)*2*time.Second, newScripts(3*time.Second)
			}
			if lossy {
				s.apart = fmt.Sprint(n)
			}
			if err := s.touchAll(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			stores = append(stores, process{s})
		}
		return stores
	}
}

// Guards what several processes promise together, also with clocks that are two seconds apart.
func TestShared(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	clients := make([]redis.UniversalClient, 3)
	for n := range clients {
		clients[n] = server.Client()
	}
	turn := 0
	next := func() redis.UniversalClient {
		turn++
		return clients[turn%len(clients)]
	}
	t.Run("one clock", func(t *testing.T) { blacklisttest.RunShared(t, 1000, processes(next, false, false)) })
	t.Run("clocks apart", func(t *testing.T) { blacklisttest.RunShared(t, 100, processes(next, true, false)) })
	t.Run("messages lost", func(t *testing.T) { blacklisttest.RunLossy(t, processes(next, false, true)) })
}

// Guards what several processes promise together on a cluster of three masters.
func TestSharedOnCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, false)
	client := cluster.Client()
	next := func() redis.UniversalClient { return client }
	t.Run("one clock", func(t *testing.T) { blacklisttest.RunShared(t, 100, processes(next, false, false)) })
	t.Run("clocks apart", func(t *testing.T) { blacklisttest.RunShared(t, 20, processes(next, true, false)) })
	t.Run("messages lost", func(t *testing.T) { blacklisttest.RunLossy(t, processes(next, false, true)) })
}
