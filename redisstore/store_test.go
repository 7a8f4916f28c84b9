package redisstore

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/blacklist/blacklisttest"
	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

var prefixes atomic.Int64

func newPrefix() string { return fmt.Sprintf("t%d:", prefixes.Add(1)) }

// open returns a new store with a prefix of its own, which remembers already.
func open(t testing.TB, client redis.UniversalClient, o Options) *Store {
	t.Helper()
	if o.Prefix == "" {
		o.Prefix = newPrefix()
	}
	s, err := New(client, o)
	if err == nil {
		err = s.ready(context.Background())
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
