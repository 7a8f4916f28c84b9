package redisstore

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// Guards the ACL in the package's documentation for a client of a cluster.
func TestACLOnCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, false)
	for _, addr := range cluster.Addrs() {
		c := redistest.ClientAt(t, addr)
		rules := append(documentedACL(t), words(documentedClusterACL(t))...)
		if err := c.Do(t.Context(), append([]any{"ACL", "SETUSER", "app", "on", ">password"}, rules...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: cluster.Addrs(), Username: "app", Password: "password", ContextTimeoutEnabled: true,
	})
	defer client.Close()
	s := open(t, client, Options{Prefix: "sa:"})
	first := present(t, s, login(t, s, "user"))
	confirms(t, s, first)
	checks(t, s, blacklist.Accepted, first)
	subscribe(t, s)
	if c := revokes(t, s, blacklist.Revocation{All: true, Why: blacklist.Revoked}); c.Sessions != 1 {
		t.Errorf("%d sessions counted", c.Sessions)
	}
}
