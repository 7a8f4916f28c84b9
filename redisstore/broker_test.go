package redisstore

import (
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/brokertest"
	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

var _ socketauth.Broker = (*Store)(nil)

// brokers returns two stores of one prefix, each with a client that goes through proxies of its
// own.
func brokers(t *testing.T, connect func() (redis.UniversalClient, []*redistest.Proxy)) brokertest.Fixture {
	var f brokertest.Fixture
	var proxies []*redistest.Proxy
	prefix := newPrefix()
	for n := range f.Brokers {
		client, through := connect()
		s := open(t, client, Options{Prefix: prefix})
		t.Cleanup(func() { _ = s.Close() })
		f.Brokers[n], proxies = s, append(proxies, through...)
	}
	f.Cut = func() {
		for _, p := range proxies {
			p.CutOnce()
		}
	}
	f.Stall = func() func() {
		for _, p := range proxies {
			p.Stall()
		}
		return sync.OnceFunc(func() {
			for _, p := range proxies {
				p.Pass()
			}
		})
	}
	return f
}

// Guards every promise of a Broker, on one server.
func TestBroker(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	brokertest.Run(t, func(t *testing.T) brokertest.Fixture {
		return brokers(t, func() (redis.UniversalClient, []*redistest.Proxy) {
			p := redistest.NewProxy(t, server.Addr)
			return redistest.ClientAt(t, p.Addr), []*redistest.Proxy{p}
		})
	})
}

// Guards every promise of a Broker, on a cluster of three masters.
func TestBrokerOnCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, false)
	brokertest.Run(t, func(t *testing.T) brokertest.Fixture {
		return brokers(t, func() (redis.UniversalClient, []*redistest.Proxy) {
			client, proxies := cluster.Proxies(t)
			return client, proxies
		})
	})
}
