//go:build unix

package processes

import (
	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/redisstore"
)

// share has the process share what it knows through Redis.
func share(o *socketauth.Options[string], c config) error {
	client := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: c.Redis, ContextTimeoutEnabled: true})
	store, err := redisstore.New(client, redisstore.Options{})
	if err != nil {
		return err
	}
	o.Blacklist = store
	o.Cluster = socketauth.Cluster{Broker: store, MaxStale: c.MaxStale, ReceiptTimeout: c.ReceiptTimeout}
	return nil
}
