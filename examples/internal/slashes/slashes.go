// Package slashes mounts socketauth behind middleware and router options that change the slashes of
// a path, for the tests of package mounts and for real clients in interop.
package slashes

import (
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	chimiddleware "github.com/go-chi/chi/v5/middleware"
	"github.com/labstack/echo/v4"
	echomiddleware "github.com/labstack/echo/v4/middleware"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/examples/mounts"
)

// App is a router with one way to treat slashes.
type App struct {
	Name string

	// Redirects reports whether the router redirects requests whose path ends with a slash. Clients
	// do not follow redirects of a POST or a websocket, so they have to leave out the slash.
	Redirects bool

	Mount func(opts socketauth.Options[string]) (http.Handler, *socketauth.Server, error)
}

// Apps returns all apps.
func Apps() []App {
	return []App{
		{Name: "servemux", Mount: func(opts socketauth.Options[string]) (http.Handler, *socketauth.Server, error) {
			mux := http.NewServeMux()
			srv, err := mounts.OnServeMux(nil, mux, opts)
			return mux, srv, err
		}},
		onChi("chi", nil),
		onChi("chi-StripSlashes", chimiddleware.StripSlashes),
		onChi("chi-CleanPath", chimiddleware.CleanPath),
		redirecting(onChi("chi-RedirectSlashes", chimiddleware.RedirectSlashes)),
		onEcho("echo", nil, ""),
		onEcho("echo-RemoveTrailingSlash", echomiddleware.RemoveTrailingSlash(), ""),
		onEcho("echo-AddTrailingSlash", echomiddleware.AddTrailingSlash(), "/login/"),
		redirecting(onEcho("echo-RemoveTrailingSlash-redirect",
			echomiddleware.RemoveTrailingSlashWithConfig(echomiddleware.TrailingSlashConfig{RedirectCode: http.StatusPermanentRedirect}), "")),
		onGin("gin", func(*gin.Engine) {}),
		onGin("gin-strict", func(r *gin.Engine) { r.RedirectTrailingSlash = false }),
		onGin("gin-RemoveExtraSlash", func(r *gin.Engine) { r.RemoveExtraSlash, r.RedirectFixedPath = true, true }),
	}
}

func redirecting(a App) App { a.Redirects = true; return a }

func onChi(name string, middleware func(http.Handler) http.Handler) App {
	return App{Name: name, Mount: func(opts socketauth.Options[string]) (http.Handler, *socketauth.Server, error) {
		r := chi.NewRouter()
		if middleware != nil {
			r.Use(middleware)
		}
		srv, err := mounts.OnChi(nil, r, opts)
		return r, srv, err
	}}
}

// onEcho returns an app with the given LoginPath, which is where the middleware leads to.
func onEcho(name string, middleware echo.MiddlewareFunc, login string) App {
	return App{Name: name, Mount: func(opts socketauth.Options[string]) (http.Handler, *socketauth.Server, error) {
		e := echo.New()
		if middleware != nil {
			e.Pre(middleware)
		}
		opts.LoginPath = login
		srv, err := mounts.OnEcho(nil, e, opts)
		return e, srv, err
	}}
}

func onGin(name string, set func(*gin.Engine)) App {
	return App{Name: name, Mount: func(opts socketauth.Options[string]) (http.Handler, *socketauth.Server, error) {
		r := gin.New()
		set(r)
		srv, err := mounts.OnGin(nil, r, opts)
		return r, srv, err
	}}
}
