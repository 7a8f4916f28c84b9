//go:build unix

package redistest

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// A Cluster is a Redis Cluster of three masters.
type Cluster struct {
	Masters  []*Server
	Replicas []*Server // of the masters in their order, if there are any

	t testing.TB
}

const slots = 16384

// StartCluster starts a cluster of three masters, each with a replica if replicas is true, and
// returns once all of it serves. Each master has a third of the slots.
func StartCluster(t testing.TB, replicas bool, flags ...string) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	all := make([]*Server, 3, 6)
	if replicas {
		all = all[:6]
	}
	for n := range all {
		all[n] = Start(t, slices.Concat([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", "2000"}, flags)...)
	}
	c.Masters, c.Replicas = all[:3:3], all[3:]
	for n, s := range c.Masters {
		args := []any{"CLUSTER", "ADDSLOTS"}
		for slot := n * slots / 3; slot < (n+1)*slots/3; slot++ {
			args = append(args, slot)
		}
		s.Do(args...)
	}
	for n, s := range all {
		s.Do("CLUSTER", "SET-CONFIG-EPOCH", n+1)
	}
	for _, s := range all[1:] {
		host, port, _ := net.SplitHostPort(s.Addr)
		all[0].Do("CLUSTER", "MEET", host, port)
	}
	c.await(all, len(all))
	for n, r := range c.Replicas {
		id := c.Masters[n].Do("CLUSTER", "MYID").(string)
		Eventually(t, "the replica knows its master", func() bool { return strings.Contains(r.Do("CLUSTER", "NODES").(string), id) })
		r.Do("CLUSTER", "REPLICATE", id)
		r.awaitLink()
	}
	// Each server has to have heard who is a replica, or a client may be told otherwise.
	for _, s := range all {
		Eventually(t, "all know all replicas", func() bool {
			return strings.Count(s.Do("CLUSTER", "NODES").(string), "slave") == len(c.Replicas)
		})
	}
	return c
}

// await waits until all servers know each other and serve all slots.
func (c *Cluster) await(servers []*Server, known int) {
	c.t.Helper()
	for _, s := range servers {
		Eventually(c.t, "the cluster serves", func() bool {
			info := s.Do("CLUSTER", "INFO").(string)
			return strings.Contains(info, "cluster_state:ok\r\n") &&
				strings.Contains(info, "cluster_known_nodes:"+strconv.Itoa(known)+"\r\n")
		})
	}
}

// Addrs returns the masters' addresses.
func (c *Cluster) Addrs() (addrs []string) {
	for _, s := range c.Masters {
		addrs = append(addrs, s.Addr)
	}
	return addrs
}

// Client returns a new client of the cluster, closed when the test ends. Its calls end with their
// contexts; of its own accord it only follows redirections.
func (c *Cluster) Client() *redis.ClusterClient {
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs(), ContextTimeoutEnabled: true})
	c.t.Cleanup(func() { _ = client.Close() })
	return client
}

// Proxies returns a new client of the cluster, closed when the test t ends, whose connections to
// each server go through a proxy, and the proxies in the order of Masters and Replicas.
func (c *Cluster) Proxies(t testing.TB) (*redis.ClusterClient, []*Proxy) {
	t.Helper()
	var proxies []*Proxy
	through := make(map[string]string)
	for _, s := range slices.Concat(c.Masters, c.Replicas) {
		p := NewProxy(t, s.Addr)
		through[s.Addr] = p.Addr
		proxies = append(proxies, p)
	}
	var dialer net.Dialer
	client := redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: c.Addrs(), ContextTimeoutEnabled: true,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, through[addr])
		},
	})
	t.Cleanup(func() { _ = client.Close() })
	return client, proxies
}
