package main

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/metrics"
)

// serveMetrics serves /metrics until stop is called. It has a listener of its own, which the operator
// chooses, because the figures say how many users there are and how many logins fail.
func serveMetrics(listener net.Listener, stats func() socketauth.Stats, log *slog.Logger) (stop func() error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewCollector(stats),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	errorLog := slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorLog: errorLog}))
	server := &http.Server{Handler: mux, ReadTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, ErrorLog: errorLog}

	serving := make(chan error, 1)
	go func() { serving <- server.Serve(listener) }()
	log.Info("metrics are ready", slog.String("url", urlOf(listener)+"/metrics"))
	return func() error {
		err := server.Close()
		if served := <-serving; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(served, err)
		}
		return err
	}
}
