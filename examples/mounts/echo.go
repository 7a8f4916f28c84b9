package mounts

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/z-open/socketauth"
)

// EchoApp is an app on echo.
func EchoApp(log *slog.Logger) *echo.Echo {
	e := echo.New()
	e.Use(func(next echo.HandlerFunc) echo.HandlerFunc {
		return func(c echo.Context) error {
			err := next(c)
			log.Info("request", slog.String("method", c.Request().Method),
				slog.String("path", c.Request().URL.Path), slog.Int("status", c.Response().Status))
			return err
		}
	})
	e.GET("/", echo.WrapHandler(text(homePage)))
	e.GET("/login", echo.WrapHandler(text(loginPage)))
	return e
}

// OnEcho mounts socketauth.
func OnEcho[U any](server *http.Server, e *echo.Echo, opts socketauth.Options[U]) (*socketauth.Server, error) {
	mux := socketauth.MuxFunc(func(method, path string, h http.Handler) { e.Add(method, path, echo.WrapHandler(h)) })
	return socketauth.Infrastructure(server, mux, opts)
}

// CarefulEcho returns a mux for e that panics if the app has a route already. echo itself replaces
// the route silently.
func CarefulEcho(e *echo.Echo) socketauth.Mux {
	return socketauth.MuxFunc(func(method, path string, h http.Handler) {
		for _, route := range e.Routes() {
			if route.Method == method && route.Path == path {
				// As http.ServeMux does; socketauth returns it as an error.
				panic(fmt.Errorf("the app has %s %s already", method, path))
			}
		}
		e.Add(method, path, echo.WrapHandler(h))
	})
}
