// Package mounts shows socketauth on four routers. Each file has an app with pages and a logging
// middleware, and the call that adds socketauth to it.
package mounts

import (
	"log/slog"
	"net/http"
)

// The app's own pages. socketauth adds POST /login, and GET /login stays the app's.
const (
	homePage  = "the app's home page"
	loginPage = "the app's login page"
)

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }
}

// logged returns a logging middleware such as many apps have.
func logged(log *slog.Logger) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			record := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
			next.ServeHTTP(record, r)
			log.Info("request", slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", record.status))
		})
	}
}

// statusRecorder records the status of an answer.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap is what websockets and long polling need from the ResponseWriter of a middleware, for
// http.ResponseController.
func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
