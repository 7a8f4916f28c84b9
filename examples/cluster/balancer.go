package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
)

// A balancer passes each request to the next node, whoever sends it: its clients need not come to
// the same node twice. nginx, HAProxy or Traefik do this in production.
type balancer struct {
	httputil.ReverseProxy

	mu    sync.Mutex
	addrs []string // of the nodes; empty while a node does not run
	last  int
}

func newBalancer(nodes int, log *slog.Logger) *balancer {
	b := &balancer{addrs: make([]string, nodes)}
	b.ReverseProxy = httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetXForwarded()         // what clients have sent under these names is removed before
			r.Out.Host = r.In.Host    // to which the Origin header of a page is compared
			r.Out.URL.Scheme = "http" // to the node that dial chooses
			r.Out.URL.Host = "node"
		},
		// With a connection for each request, dial chooses a node for each.
		Transport: &http.Transport{DialContext: b.dial, DisableKeepAlives: true},
		ErrorLog:  slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	return b
}

// set notes the address of a node, "" if it does not run.
func (b *balancer) set(node int, addr string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addrs[node] = addr
}

// next returns the addresses of the nodes in the order in which to try them.
func (b *balancer) next() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = (b.last + 1) % len(b.addrs)
	return append(append([]string(nil), b.addrs[b.last:]...), b.addrs[:b.last]...)
}

// dial connects to the next node that can be reached.
func (b *balancer) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	err := errors.New("no node runs")
	for _, addr := range b.next() {
		if addr == "" {
			continue
		}
		var conn net.Conn
		if conn, err = new(net.Dialer).DialContext(ctx, network, addr); err == nil {
			return conn, nil
		}
	}
	return nil, err
}
