// Command clusternode is one process of an app that runs on several, for tests.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/redisstore"
)

func main() {
	addr := flag.String("addr", "", "the `host:port` to serve on, at which other processes reach this one")
	redisAddr := flag.String("redis", "", "the `host:port` of Redis")
	flag.Parse()
	if err := run(*addr, *redisAddr); err != nil {
		log.Fatal(err)
	}
}

func run(addr, redisAddr string) error {
	client := redis.NewClient(&redis.Options{Addr: redisAddr, ContextTimeoutEnabled: true})
	shared, err := redisstore.New(client, redisstore.Options{})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	server := &http.Server{Addr: addr, Handler: mux, ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second}
	srv, err := socketauth.Infrastructure(server, mux, socketauth.Options[string]{
		Secret: []byte("a secret that is used for tests alone"),
		FindUserByCredentials: func(_ context.Context, c socketauth.Credentials) (string, error) {
			return c.Get("username"), nil
		},
		Claim:     func(user string) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": user}, nil },
		Timeout:   30 * time.Second, // tests of other things must not fail on a busy machine
		Limits:    socketauth.Limits{SocketsPerUser: 1000, SessionsPerUser: 10_000},
		Blacklist: shared,
		Cluster:   socketauth.Cluster{Broker: shared, Advertise: "http://" + addr},
		ClientIP:  func(r *http.Request) string { return r.Header.Get("X-Forwarded-For") },
	})
	if err != nil {
		return err
	}
	srv.On("address", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		return s.Request().ClientIP, nil
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(srv.Auth().Stats())
	})

	served := make(chan error, 1)
	go func() { served <- server.ListenAndServe() }()
	stop, release := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer release()
	select {
	case err = <-served:
	case <-stop.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(err, srv.Shutdown(ctx), server.Shutdown(ctx), shared.Close(), client.Close())
}
