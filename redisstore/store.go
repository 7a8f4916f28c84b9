package redisstore

import (
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
)

// Store is a blacklist.Store in Redis. It is safe for concurrent use.
type Store struct {
	client     redis.UniversalClient
	o          Options
	bucketKeys [buckets]string
	isCluster  bool
	scripts    *scripts
	ahead      time.Duration        // of this process's clock; 0, but in tests
	apart      string               // of the channel, so that others hear nothing; "", but in tests
	touched    [buckets]atomic.Bool // the bucket has been seen, and remembers
	silence    silence
	countTime  time.Duration // countTime, but in tests
	states     [buckets]atomic.Pointer[bucketState]
	clocks     [buckets]clock
	kept       cache
	recent     recent
	bus        *bus
	watching   watching
	own        own
}

var (
	_ blacklist.Store        = (*Store)(nil)
	_ blacklist.Clock        = (*Store)(nil)
	_ blacklist.BatchChecker = (*Store)(nil)
)

// New returns a store on the client, which stays the caller's to close. It does no I/O, so that an
// app may start before Redis does. It returns an error if the options are not valid, or if the
// store cannot rely on the client: one that reads from replicas, or that does not keep the deadline
// of a call (ContextTimeoutEnabled).
func New(client redis.UniversalClient, o Options) (*Store, error) {
	if err := checkClient(client); err != nil {
		return nil, err
	}
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{client: client, o: o, scripts: theScripts, kept: cache{most: o.MaxKept}, bus: newBus(client, o.Poll), countTime: countTime}
	s.bus.broken = s.doubtClocks
	_, s.isCluster = client.(*redis.ClusterClient)
	for n, tag := range bucketTags {
		s.bucketKeys[n] = o.Prefix + "{" + tag + "}"
	}
	return s, nil
}
