package mounts

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/z-open/socketauth"
)

// ChiApp is an app on chi.
func ChiApp(log *slog.Logger) *chi.Mux {
	r := chi.NewRouter()
	r.Use(logged(log))
	r.Get("/", text(homePage))
	r.Get("/login", text(loginPage))
	return r
}

// OnChi mounts socketauth.
func OnChi[U any](server *http.Server, r chi.Router, opts socketauth.Options[U]) (*socketauth.Server, error) {
	return socketauth.Infrastructure(server, r, opts)
}

// CarefulChi returns a mux for r that panics if the app has a route already. chi itself replaces
// the route silently.
func CarefulChi(r chi.Router) socketauth.Mux {
	return socketauth.MuxFunc(func(method, path string, h http.Handler) {
		err := chi.Walk(r, func(m, p string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
			if m == method && p == path {
				return fmt.Errorf("the app has %s %s already", method, path)
			}
			return nil
		})
		if err != nil {
			panic(err) // as http.ServeMux does; socketauth returns it as an error
		}
		r.Method(method, path, h)
	})
}
