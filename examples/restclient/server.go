package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// app is a server without sockets: login, /token, and an API behind Middleware. Its only user is
// ada.
type app struct {
	http.Server
	auth *socketauth.Auth
	url  string
	role atomic.Value // of ada, as a database would have it
}

// serve starts the app on a free port of this machine.
func serve(log *slog.Logger, limits socketauth.Limits) (*app, error) {
	a := &app{}
	a.role.Store("admin")
	mux := http.NewServeMux()
	var err error
	a.auth, err = socketauth.APIServe(mux, socketauth.Options[string]{
		Secret:        []byte("an example of 32 bytes or more, which is no secret"),
		TokenPath:     "/token",
		TokenLifetime: 15 * time.Minute,
		FindUserByCredentials: func(_ context.Context, c socketauth.Credentials) (string, error) {
			if c.Get("username") != "ada" || c.Get("password") != "open sesame" {
				return "", socketauth.ErrInvalidCredentials
			}
			return "ada", nil
		},
		Claim: func(name string) (jwt.MapClaims, error) {
			return jwt.MapClaims{"sub": name, "role": a.role.Load()}, nil
		},
		UpdateClaims: func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
			old["role"] = a.role.Load()
			return old, nil
		},
		Logger: log,
		Limits: limits,
	})
	if err != nil {
		return nil, err
	}
	mux.Handle("GET /api/hello", a.auth.Middleware(http.HandlerFunc(hello)))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	a.url, a.Handler = "http://"+listener.Addr().String(), mux
	go func() { _ = a.Serve(listener) }()
	return a, nil
}

func hello(w http.ResponseWriter, r *http.Request) {
	claims, _ := socketauth.ClaimsFromContext(r.Context())
	fmt.Fprintf(w, "hello %s, you are %s", claims["sub"], claims["role"])
}

// demote gives ada another role. Tokens that say the one before are refused from then on.
func (a *app) demote(ctx context.Context) error {
	a.role.Store("guest")
	_, err := a.auth.RefreshUser(ctx, "ada")
	return err
}
