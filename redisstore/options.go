package redisstore

import (
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Options configure a Store. The zero value is ready to use.
type Options struct {
	// Prefix is what the names of all keys and channels of the store begin with. Stores with
	// different prefixes share nothing. The default is "sa:".
	Prefix string

	// MaxSkew is how far this process's clock and that of Redis may differ. If they differ by more,
	// nothing is accepted, and methods return ErrClock; revocations are made all the same. The
	// default is 20 seconds; a negative value means any difference.
	MaxSkew time.Duration

	// Poll is how often Watch compares what it has heard with what Redis has counted. A change is
	// heard, or a Gap, within twice that time while Redis can be reached. The least is 10
	// milliseconds; the default, and the most, is 1 second.
	Poll time.Duration

	// MaxKept is how many records of sessions this process keeps, so that a step takes one round
	// trip instead of two. The default is 100,000, about 50 MB if all are used; a negative value
	// means none.
	MaxKept int

	// Durable says that Redis loses nothing that it has answered: it has appendfsync always, and no
	// replica is ever promoted. A code issued before a restart is good after it then. Otherwise
	// such codes are refused, because Redis may have lost that they were used.
	Durable bool
}

const (
	defaultPrefix  = "sa:"
	defaultMaxSkew = 20 * time.Second
	defaultPoll    = time.Second
	minPoll        = 10 * time.Millisecond
	defaultMaxKept = 100_000
	maxPrefix      = 200
)

// withDefaults returns the options to use, or an error if some are not valid.
func (o Options) withDefaults() (Options, error) {
	switch {
	case len(o.Prefix) > maxPrefix:
		return o, fmt.Errorf("redisstore: Options.Prefix is longer than %d bytes", maxPrefix)
	case o.Poll != 0 && (o.Poll < minPoll || o.Poll > defaultPoll):
		return o, fmt.Errorf("redisstore: Options.Poll is %s: want %s to %s", o.Poll, minPoll, defaultPoll)
	}
	for n := range len(o.Prefix) {
		// The first { of a key begins what decides the slot.
		if c := o.Prefix[n]; c <= ' ' || c >= 0x7f || c == '{' || c == '}' {
			return o, errors.New("redisstore: Options.Prefix has characters other than printable ASCII, or a brace")
		}
	}
	if o.Prefix == "" {
		o.Prefix = defaultPrefix
	}
	if o.MaxSkew == 0 {
		o.MaxSkew = defaultMaxSkew
	}
	if o.Poll == 0 {
		o.Poll = defaultPoll
	}
	if o.MaxKept == 0 {
		o.MaxKept = defaultMaxKept
	}
	return o, nil
}

var (
	errNoClient = errors.New("redisstore: New needs a client")
	errRing     = errors.New("redisstore: a redis.Ring cannot be used: use a single server, Sentinel or a cluster")
	errReplicas = errors.New("redisstore: the client reads from replicas (ReadOnly, RouteByLatency or RouteRandomly), which may be behind: what was revoked would be accepted")
	errDeadline = errors.New("redisstore: the client has no ContextTimeoutEnabled: it would not return when a call's deadline is over")
)

// checkClient returns an error if the store cannot rely on the client.
func checkClient(client redis.UniversalClient) error {
	switch c := client.(type) {
	case nil:
		return errNoClient
	case *redis.Ring:
		return errRing
	case *redis.Client:
		if c == nil {
			return errNoClient
		}
		if !c.Options().ContextTimeoutEnabled {
			return errDeadline
		}
	case *redis.ClusterClient:
		if c == nil {
			return errNoClient
		}
		o := c.Options()
		if o.ReadOnly || o.RouteByLatency || o.RouteRandomly {
			return errReplicas
		}
		if !o.ContextTimeoutEnabled {
			return errDeadline
		}
	}
	return nil
}
