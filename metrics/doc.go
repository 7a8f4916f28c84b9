// Package metrics gives Prometheus what a server of socketauth counts: a collector of all that
// Auth.Stats returns. It is a module of its own:
//
//	go get github.com/z-open/socketauth/metrics
//
//	registry := prometheus.NewRegistry()
//	registry.MustRegister(metrics.NewCollector(srv.Auth().Stats))
//	http.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
//
// The figures tell strangers how many users there are and whether guesses at passwords succeed, so
// serve them on an address that only Prometheus reaches.
//
// Trace makes spans of OpenTelemetry of logins, presentations, store calls and handlers, for
// Options.Trace.
//
// The runbook in docs/operations.md has each metric, what it means and what to do when it grows.
// The folder also has board.json, a board for Grafana.
//
// # Labels
//
// No label is about a user, a session or an address. The codes and limits in labels are those of
// Stats, which names at most 200 in each map and counts the others as "other". A series of a code
// or a limit appears with its first event, with the value 1 or more, which functions like increase
// do not count.
//
// Processes are not named either, since the names in Stats.Nodes are others after each start. The
// label "instance", which Prometheus adds to what it scrapes, tells them apart.
package metrics
