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

// open returns a new store with a prefix of its own, which remembers already.
func open(t testing.TB, client redis.UniversalClient, o Options) *Store {
	t.Helper()
	if o.Prefix == "" {
		o.Prefix = fmt.Sprintf("t%d:", prefixes.Add(1))
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

type watching struct{ *Store }

func (w watching) Watch(ctx context.Context, fn func(blacklist.Change)) error {
	sub := w.client.Subscribe(ctx, w.channel())
	defer sub.Close()
	if _, err := sub.Receive(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	ch := sub.Channel()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m := <-ch:
			p, err := parseMessage(m.Payload)
			if err != nil {
				return err
			}
			fn(p.change)
		}
	}
}

// Guards every promise of the contract, on one server.
func TestStore(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	blacklisttest.Run(t, func(t *testing.T) blacklist.Store { return watching{open(t, client, Options{})} })
}

// Guards every promise of the contract, on a cluster of three masters.
func TestStoreOnCluster(t *testing.T) {
	client := redistest.StartCluster(t, false).Client()
	blacklisttest.Run(t, func(t *testing.T) blacklist.Store { return watching{open(t, client, Options{})} })
}

// Guards what survives the end of a Redis that loses nothing.
func TestRestarts(t *testing.T) {
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
	blacklisttest.RunRestarts(t, func(t *testing.T) (blacklist.Store, func() blacklist.Store) {
		o := Options{Prefix: fmt.Sprintf("r%d:", prefixes.Add(1)), Durable: true}
		return watching{open(t, server.Client(), o)}, func() blacklist.Store {
			server.Kill()
			server.Restart()
			return watching{open(t, server.Client(), o)}
		}
	})
}
