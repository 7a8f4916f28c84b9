package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/z-open/socketauth"
)

// NewCollector returns a collector of what stats returns, which is called once for each scrape.
// Give it the method Stats of a *socketauth.Auth. Where a process has several, register each
// collector with a label that names it, by prometheus.WrapRegistererWith.
func NewCollector(stats func() socketauth.Stats) prometheus.Collector {
	c := &collector{stats: stats}
	for _, m := range metrics {
		c.descs = append(c.descs, prometheus.NewDesc(m.name, m.help, m.labels, nil))
	}
	return c
}

type stats = socketauth.Stats

type collector struct {
	stats func() socketauth.Stats
	descs []*prometheus.Desc // of metrics, in their order
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, desc := range c.descs {
		out <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := c.stats()
	for n, m := range metrics {
		m.collect(&s, &output{c.descs[n], m.kind, out})
	}
}

// output is where the samples of one metric go.
type output struct {
	desc *prometheus.Desc
	kind prometheus.ValueType // of what is no histogram
	out  chan<- prometheus.Metric
}

// value adds a sample. There is one label for each of the metric's, in UTF-8.
func (o *output) value(value float64, labels ...string) {
	o.send(prometheus.NewConstMetric(o.desc, o.kind, value, labels...))
}

// histogram adds a histogram, whose buckets are cumulative.
func (o *output) histogram(count uint64, sum float64, buckets map[float64]uint64) {
	o.send(prometheus.NewConstHistogram(o.desc, count, sum, buckets))
}

func (o *output) send(m prometheus.Metric, err error) {
	if err != nil {
		m = prometheus.NewInvalidMetric(o.desc, err) // the scrape reports it
	}
	o.out <- m
}

// total collects a counter.
func total(of func(*stats) uint64) func(*stats, *output) {
	return func(s *stats, o *output) { o.value(float64(of(s))) }
}

// byName collects a counter with one label, the key of a map. A sample with the value 0 is given
// for each of the names that the map does not have.
func byName(of func(*stats) map[string]uint64, names ...string) func(*stats, *output) {
	return func(s *stats, o *output) {
		sums := make(map[string]uint64)
		for _, name := range names {
			sums[name] = 0
		}
		for name, n := range of(s) {
			sums[strings.ToValidUTF8(name, "\ufffd")] += n // the app's own codes may be any bytes
		}
		for name, n := range sums {
			o.value(float64(n), name)
		}
	}
}
