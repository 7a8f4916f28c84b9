package metrics

import "github.com/prometheus/client_golang/prometheus"

// metric is one metric: how it is described, and how it follows from Stats.
type metric struct {
	name    string
	kind    prometheus.ValueType // UntypedValue for a histogram
	labels  []string
	help    string
	collect func(*stats, *output)
}

const (
	counter   = prometheus.CounterValue
	gauge     = prometheus.GaugeValue
	histogram = prometheus.UntypedValue
)

// metrics has a metric for each field of Stats. A counter is named after its field, with "_total".
// The table in docs/operations.md has the same names.
var metrics = []metric{
	{"socketauth_sockets", gauge, []string{"engine", "state"},
		"Sockets that are connected, by version of Engine.IO and by whether they have authenticated.",
		func(s *stats, o *output) {
			engines := map[string]bool{"3": true, "4": true} // a series does not end with the last socket
			for engine := range s.Sockets {
				engines[engine] = true
			}
			for engine := range engines {
				o.value(float64(s.Sockets[engine].Connecting), engine, "connecting")
				o.value(float64(s.Sockets[engine].Authenticated), engine, "authenticated")
			}
		}},
	{"socketauth_logins_total", counter, []string{"code"},
		"Logins and registrations, by the code of the answer; OK if they were accepted.",
		byName(func(s *stats) map[string]uint64 { return s.Logins }, "OK")},
	{"socketauth_authentications_total", counter, []string{"code"},
		"Sockets that authenticated and codes that were traded, as ok, and refusals on sockets, by code.",
		byName(func(s *stats) map[string]uint64 { return s.Authentications }, "ok")},
	{"socketauth_requests_refused_total", counter, []string{"code"},
		"Requests that were refused by Middleware and at TokenPath, by code.",
		byName(func(s *stats) map[string]uint64 { return s.Requests })},
	{"socketauth_rotations_total", counter, nil,
		"Session tokens that were replaced.",
		total(func(s *stats) uint64 { return s.Rotations })},
	{"socketauth_reuses_total", counter, nil,
		"Sessions that ended because a replaced token was presented.",
		total(func(s *stats) uint64 { return s.Reuses })},
	{"socketauth_logouts_total", counter, nil,
		"Sessions that their users ended.",
		total(func(s *stats) uint64 { return s.Logouts })},
	{"socketauth_revocations_total", counter, nil,
		"Revocations by the app, and sessions that the limit for one user ended.",
		total(func(s *stats) uint64 { return s.Revocations })},
	{"socketauth_expiries_total", counter, nil,
		"Sockets that were disconnected because their token expired.",
		total(func(s *stats) uint64 { return s.Expiries })},
	{"socketauth_bound_total", counter, nil,
		"Codes that were traded for tokens which are bound to a key.",
		total(func(s *stats) uint64 { return s.Bound })},
	{"socketauth_proofs_refused_total", counter, nil,
		"Presentations and requests that were refused because the proof of the token's key was missing or not valid.",
		total(func(s *stats) uint64 { return s.ProofsRefused })},
	{"socketauth_stale_total", counter, nil,
		"Sockets that were disconnected because the blacklist was not heard for Cluster.MaxStale.",
		total(func(s *stats) uint64 { return s.Stale })},
	{"socketauth_limited_total", counter, []string{"limit"},
		"What was refused or closed because of a limit, by the name of the limit.",
		byName(func(s *stats) map[string]uint64 { return s.Limited })},

	{"socketauth_store_call_duration_seconds", histogram, nil,
		"Calls of the blacklist, by how long they took.",
		func(s *stats, o *output) {
			buckets := make(map[float64]uint64)
			for _, b := range s.Store.Buckets {
				buckets[b.UpTo.Seconds()] = b.Calls
			}
			o.histogram(s.Store.Calls, s.Store.Time.Seconds(), buckets)
		}},
	{"socketauth_store_errors_total", counter, nil,
		"Calls of the blacklist that failed.",
		total(func(s *stats) uint64 { return s.Store.Errors })},
	{"socketauth_store_silence_seconds", gauge, nil,
		"For how long changes that other processes made may have been missed.",
		func(s *stats, o *output) { o.value(s.Store.Silence.Seconds()) }},

	{"socketauth_nodes", gauge, []string{"state"},
		"Processes of the app that this one knows, itself included, by whether they are heard or silent.",
		func(s *stats, o *output) {
			silent := 0
			for _, n := range s.Nodes {
				if n.Silent {
					silent++
				}
			}
			o.value(float64(len(s.Nodes)-silent), "heard")
			o.value(float64(silent), "silent")
		}},
	{"socketauth_bus_sent_total", counter, nil,
		"Messages to other processes that the broker has taken.",
		total(func(s *stats) uint64 { return s.Bus.Sent })},
	{"socketauth_bus_dropped_total", counter, nil,
		"Messages to other processes that were not sent.",
		total(func(s *stats) uint64 { return s.Bus.Dropped })},
	{"socketauth_bus_received_total", counter, nil,
		"Messages of other processes that were received.",
		total(func(s *stats) uint64 { return s.Bus.Received })},
	{"socketauth_bus_rejected_total", counter, nil,
		"Messages without a valid signature, too old, or repeated.",
		total(func(s *stats) uint64 { return s.Bus.Rejected })},
	{"socketauth_bus_gaps_total", counter, nil,
		"How often messages of other processes were missing.",
		total(func(s *stats) uint64 { return s.Bus.Gaps })},
	{"socketauth_bus_queued", gauge, nil,
		"Messages to other processes that wait to be sent.",
		func(s *stats, o *output) { o.value(float64(s.Bus.Queued)) }},
	{"socketauth_forwarded_sent_total", counter, nil,
		"Requests that this process passed on to others.",
		total(func(s *stats) uint64 { return s.Forwarded.Sent })},
	{"socketauth_forwarded_failed_total", counter, nil,
		"Requests that were passed on and that the other process did not answer.",
		total(func(s *stats) uint64 { return s.Forwarded.Failed })},
	{"socketauth_forwarded_received_total", counter, nil,
		"Requests that other processes passed on to this one.",
		total(func(s *stats) uint64 { return s.Forwarded.Received })},
	{"socketauth_forwarded_forged_total", counter, nil,
		"Requests that claimed to come from another process.",
		total(func(s *stats) uint64 { return s.Forwarded.Forged })},
}
