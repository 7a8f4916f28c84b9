// Package boardtest has tests of the board for Grafana, metrics/board.json, and of the alerts in
// docs/operations.md. It is a module of its
// own, since it needs Grafana's types and the parser of Prometheus.
package boardtest
