package mounts

import (
	"log/slog"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/z-open/socketauth"
)

// GinApp is an app on gin.
func GinApp(log *slog.Logger) *gin.Engine {
	r := gin.New()
	r.Use(func(c *gin.Context) {
		c.Next()
		log.Info("request", slog.String("method", c.Request.Method),
			slog.String("path", c.Request.URL.Path), slog.Int("status", c.Writer.Status()))
	})
	r.GET("/", gin.WrapF(text(homePage)))
	r.GET("/login", gin.WrapF(text(loginPage)))
	return r
}

// OnGin mounts socketauth.
func OnGin[U any](server *http.Server, r gin.IRouter, opts socketauth.Options[U]) (*socketauth.Server, error) {
	mux := socketauth.MuxFunc(func(method, path string, h http.Handler) { r.Handle(method, path, gin.WrapH(h)) })
	return socketauth.Infrastructure(server, mux, opts)
}
