package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/redisstore"
)

//go:embed static
var static embed.FS

const shutdownTimeout = 5 * time.Second

// runNode runs one process of the app, until stdin or ctx ends. It writes its address to stdout.
func runNode(ctx context.Context, stdin io.Reader, stdout, logs io.Writer) (err error) {
	decoder := json.NewDecoder(stdin)
	var c nodeConfig
	if err := decoder.Decode(&c); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // ends with the process that started this one
		cancel()
	}()
	log := slog.New(slog.NewTextHandler(logs, nil)).With(slog.String("node", c.Name))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()

	client := redis.NewClient(&redis.Options{Addr: c.Redis, ContextTimeoutEnabled: true})
	defer func() { err = errors.Join(err, client.Close()) }()
	shared, err := redisstore.New(client, redisstore.Options{
		Prefix:  "example:",
		Durable: c.InMemory, // the stand-in does not restart, and has no INFO that would say so
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, shared.Close()) }()
	accounts, err := newAccounts(ctx)
	if err != nil {
		return err
	}
	pages, err := fs.Sub(static, "static")
	if err != nil {
		return err
	}

	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(pages))
	server := &http.Server{Handler: secure(mux), ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	srv, err := socketauth.Infrastructure(server, mux, socketauth.Options[string]{
		Secret:                []byte(c.Secret),
		FindUserByCredentials: socketauth.PasswordLogin(&accounts.passwords, accounts.find),
		Claim:                 func(name string) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": name}, nil },
		Blacklist:             shared,
		Cluster: socketauth.Cluster{
			Broker:    shared,
			Advertise: "http://" + listener.Addr().String(),
			MaxStale:  time.Minute,
		},
		ClientIP:   func(r *http.Request) string { return r.Header.Get("X-Forwarded-For") }, // the balancer sets it
		ClientPath: "/socketauth/",
		Logger:     log,
	})
	if err != nil {
		return err
	}
	serveApp(srv, c)

	serving := make(chan error, 1)
	go func() { serving <- server.Serve(listener) }()
	log.Info("the node is ready", slog.Int("pid", os.Getpid()), slog.String("addr", listener.Addr().String()))
	fmt.Fprintln(stdout, listener.Addr())
	var served error
	select {
	case served = <-serving:
	case <-ctx.Done():
	}

	stopping, stop := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer stop()
	err = errors.Join(srv.Shutdown(stopping), server.Shutdown(stopping)) // sockets first
	if served == nil {
		served = <-serving
	}
	if !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(served, err)
	}
	return err
}

// accounts are the users, who are the same in each process. An app has them in a database.
type accounts struct {
	passwords socketauth.Passwords
	hash      string
}

func newAccounts(ctx context.Context) (*accounts, error) {
	a := new(accounts)
	hash, err := a.passwords.Hash(ctx, "open sesame")
	a.hash = hash
	return a, err
}

func (a *accounts) find(_ context.Context, name string) (user, hash string, err error) {
	switch name {
	case "ada", "bob":
		return name, a.hash, nil
	}
	return "", "", socketauth.ErrInvalidCredentials
}

// secure adds headers that let the page load only what this app serves, and run no inline scripts.
func secure(next http.Handler) http.Handler {
	const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
		next.ServeHTTP(w, r)
	})
}
