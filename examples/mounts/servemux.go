package mounts

import (
	"log/slog"
	"net/http"

	"github.com/z-open/socketauth"
)

// ServeMuxApp is an app on http.ServeMux. Its middleware wraps the whole mux.
func ServeMuxApp(log *slog.Logger) (*http.ServeMux, http.Handler) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", text(homePage))
	mux.HandleFunc("GET /login", text(loginPage))
	return mux, logged(log)(mux)
}

// OnServeMux mounts socketauth.
func OnServeMux[U any](server *http.Server, mux *http.ServeMux, opts socketauth.Options[U]) (*socketauth.Server, error) {
	return socketauth.Infrastructure(server, mux, opts)
}
