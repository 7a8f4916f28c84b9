package main

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/boltstore"
)

//go:embed static
var static embed.FS

const (
	shutdownTimeout = 10 * time.Second
	recently        = 5 * time.Minute
)

// config configures a server.
type config struct {
	Data     string        // folder
	Cost     int           // of bcrypt; 0 for the default
	Lifetime time.Duration // of session tokens; 0 for the default
	Recent   time.Duration // how long ago who ends a device may have given the password; 0 for the default
	Metrics  net.Listener  // serves /metrics, and is closed; nil for none
	Log      *slog.Logger
}

// serve runs the app on a listener, which it closes, until ctx ends.
func serve(ctx context.Context, listener net.Listener, c config) (err error) {
	defer func() { err = errors.Join(err, ignoreClosed(listener.Close())) }()
	if c.Metrics != nil {
		defer func() { err = errors.Join(err, ignoreClosed(c.Metrics.Close())) }()
	}
	if c.Data, err = filepath.Abs(c.Data); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return err
	}
	store, err := openStore(ctx, filepath.Join(c.Data, "chat.db"))
	if err != nil {
		return fmt.Errorf("database in %s: %w", c.Data, err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	secret, err := store.Secret(ctx)
	if err != nil {
		return fmt.Errorf("database in %s: %w", c.Data, err)
	}
	blacklist, err := boltstore.Open(filepath.Join(c.Data, "sessions.db")) // sessions outlive a restart
	if err != nil {
		return fmt.Errorf("sessions in %s: %w", c.Data, err)
	}
	defer func() { err = errors.Join(err, blacklist.Close()) }()
	pages, err := fs.Sub(static, "static")
	if err != nil {
		return err
	}

	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(pages))
	server := &http.Server{
		Handler:           secure(mux),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(c.Log.Handler(), slog.LevelWarn),
	}
	accounts := &accounts{store: store, passwords: &socketauth.Passwords{Cost: c.Cost}}
	sockets, err := socketauth.Infrastructure(server, mux, socketauth.Options[user]{
		Secret:                secret,
		FindUserByCredentials: socketauth.PasswordLogin(accounts.passwords, accounts.FindByName),
		Register:              accounts.Register,
		Account:               accounts.Account,
		Claim:                 accounts.Claim,
		Blacklist:             blacklist,
		TokenLifetime:         c.Lifetime,
		ClientPath:            "/socketauth/", // where the page imports the client from
		Logger:                c.Log,
	})
	if err != nil {
		return err
	}
	serveRoom(sockets, store)
	serveDevices(sockets, store, c.Log, cmp.Or(c.Recent, recently))
	if c.Metrics != nil {
		stop := serveMetrics(c.Metrics, sockets.Auth().Stats, c.Log)
		defer func() { err = errors.Join(err, stop()) }()
	}

	serving := make(chan error, 1)
	go func() { serving <- server.Serve(listener) }()
	c.Log.Info("chat is ready", slog.String("url", urlOf(listener)), slog.String("data", c.Data))
	var served error
	select {
	case served = <-serving:
	case <-ctx.Done():
		c.Log.Info("chat is shutting down")
	}

	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	// Sockets first, because http.Server does not wait for websockets.
	err = errors.Join(sockets.Shutdown(stopping), server.Shutdown(stopping))
	if served == nil {
		served = <-serving
	}
	if !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(served, err)
	}
	return err
}

// ignoreClosed returns err unless it says that the listener is closed already.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// urlOf returns the URL at which a browser on this machine reaches the server.
func urlOf(listener net.Listener) string {
	addr, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return listener.Addr().String()
	}
	host := "localhost" // without TLS, browsers have Web Locks only there
	if !addr.IP.IsLoopback() && !addr.IP.IsUnspecified() {
		host = addr.IP.String()
	}
	return "http://" + net.JoinHostPort(host, fmt.Sprint(addr.Port))
}

// secure adds headers that let pages load only what this server serves, and run no inline scripts.
func secure(next http.Handler) http.Handler {
	const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache")
		next.ServeHTTP(w, r)
	})
}
