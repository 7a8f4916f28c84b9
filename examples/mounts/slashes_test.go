package mounts_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/examples/internal/slashes"
	"github.com/z-open/socketauth/examples/internal/wire"
)

func TestSlashes(t *testing.T) {
	// Guards: on every router, sockets are served whatever it does to the last slash of a path, and
	// whether or not the client sends one.
	transports := map[string]func(testing.TB, string, any) *wire.Client{"websocket": wire.WebSocketAt, "polling": wire.PollingAt}
	for _, app := range slashes.Apps() {
		t.Run(app.Name, func(t *testing.T) {
			handler, srv, err := app.Mount(socketauth.Options[string]{
				Secret:                bytes.Repeat([]byte("k"), 32),
				FindUserByCredentials: func(_ context.Context, c socketauth.Credentials) (string, error) { return c.Get("username"), nil },
				Claim:                 func(name string) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": name}, nil },
				Logger:                slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			server := httptest.NewServer(handler)
			t.Cleanup(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
				defer cancel()
				if err := srv.Shutdown(ctx); err != nil {
					t.Errorf("shutdown: %v", err)
				}
				server.Close()
			})
			for name, connect := range transports {
				for _, path := range []string{"/socket.io", "/socket.io/"} {
					if app.Redirects && path == "/socket.io/" {
						continue
					}
					t.Run(name+" "+path, func(t *testing.T) {
						c := connect(t, server.URL+path, wire.Auth(wire.Code(t, server.URL+"/login", "ada", "open sesame")))
						c.AwaitToken()
						c.Emit("logout")
						c.Await("logged_out")
					})
				}
			}
		})
	}
}
