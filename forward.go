package socketauth

import (
	"log/slog"

	"github.com/z-open/socketauth/internal/forward"
)

// newForwarder returns what hands requests on to the processes that have their connections. It is
// nil if the process is on its own, that is, without a bus.
func (c *config) newForwarder(b *bus) (*forward.Forwarder, error) {
	if b == nil {
		return nil, nil
	}
	f, err := forward.New(forward.Config{
		Key:         c.cluster.key,
		Advertise:   c.cluster.advertise,
		Peers:       b.addresses,
		ClientIP:    c.address,
		MaxBody:     int64(c.limits.Message),
		MaxRequests: c.limits.Sockets,
		Counts:      &c.counts.forwarded,
		Limited:     func() { c.limited(limitForwarded) },
		Logger:      c.log,
	})
	switch {
	case err != nil:
		return nil, err
	case f.Name() != "":
		c.log.Info("socketauth: the ids of this process's connections begin with a prefix, for rules in a load balancer",
			slog.String("prefix", f.Name()), slog.String("url", c.cluster.advertise))
	default:
		c.log.Info("socketauth: Cluster.Advertise is empty: clients that poll need a load balancer that sends all requests of each " +
			"of them to the same process")
	}
	return f, nil
}

// addresses returns the URLs that the other processes advertise, silent ones included: a process is
// silent as well if only the broker does not work.
func (b *bus) addresses() (urls []string) {
	run := b.run.Load()
	if run == nil {
		return nil
	}
	for _, m := range run.Members() {
		if m.Address != "" {
			urls = append(urls, m.Address)
		}
	}
	return urls
}

// addForwarded adds what was handed on between the processes, and by what prefix their connections
// can be told.
func (c *config) addForwarded(s *Stats) {
	n := &c.counts.forwarded
	s.Forwarded.Sent, s.Forwarded.Failed = n.Sent.Load(), n.Failed.Load()
	s.Forwarded.Received, s.Forwarded.Forged = n.Received.Load(), n.Forged.Load()
	for i := range s.Nodes {
		if node := &s.Nodes[i]; node.Advertise != "" {
			node.Prefix, _ = forward.NameOf(c.cluster.key, node.Advertise) // newForwarder has checked the key
		}
	}
}
