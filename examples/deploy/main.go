// Command deploy is a server as it runs in production: behind a proxy, with sessions that survive a
// restart, and with an orderly end. The configurations of the proxies are in this folder.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/boltstore"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "`host:port` to serve on, which only the proxy reaches")
	host := flag.String("host", "app.example", "the `name` under which browsers know the app")
	file := flag.String("sessions", "sessions.db", "the `file` that keeps the sessions")
	flag.Parse()
	if err := run(*addr, *host, *file); err != nil {
		log.Fatal(err)
	}
}

func run(addr, host, file string) error {
	secret, err := socketauth.DecodeSecret(os.Getenv("APP_SECRET")) // of `openssl rand -base64 32`
	if err != nil {
		return err
	}
	store, err := boltstore.Open(file)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	server := &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	srv, err := socketauth.Infrastructure(server, mux, socketauth.Options[string]{
		Secret:                secret,
		FindUserByCredentials: findUser,
		Claim:                 func(name string) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": name}, nil },
		Blacklist:             store,
		Hosts:                 []string{host},
		// The proxy sets this header to one address, whatever the client sent.
		ClientIP: func(r *http.Request) string { return r.Header.Get("X-Forwarded-For") },
	})
	if err != nil {
		return errors.Join(err, store.Close())
	}
	srv.On("address", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		return s.Request().ClientIP, nil
	})

	served := make(chan error, 1)
	go func() { served <- server.ListenAndServe() }()
	stop, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer release()
	select {
	case err = <-served: // the port is taken, for example
	case <-stop.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(err, srv.Shutdown(ctx), server.Shutdown(ctx), store.Close()) // in this order
}

var passwords socketauth.Passwords

// findUser stands for the look-up in your database.
var findUser = socketauth.PasswordLogin(&passwords, func(ctx context.Context, name string) (string, string, error) {
	if name != "ada" {
		return "", "", socketauth.ErrInvalidCredentials
	}
	hash, err := passwords.Hash(ctx, "open sesame")
	return name, hash, err
})
