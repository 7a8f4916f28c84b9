package redisstore_test

import (
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/redisstore"
)

type user struct{ id string }

func findUser(context.Context, socketauth.Credentials) (user, error) {
	return user{}, socketauth.ErrInvalidCredentials
}

func run() error {
	secret, err := socketauth.DecodeSecret(os.Getenv("APP_SECRET")) // the same in all processes
	if err != nil {
		return err
	}
	client := redis.NewUniversalClient(&redis.UniversalOptions{
		// For a cluster, several of its servers; with MasterName, the sentinels.
		Addrs:                 []string{"redis.internal:6379"},
		Username:              "app",
		Password:              os.Getenv("REDIS_PASSWORD"),
		TLSConfig:             &tls.Config{MinVersion: tls.VersionTLS12},
		ContextTimeoutEnabled: true, // the store insists on it
	})
	shared, err := redisstore.New(client, redisstore.Options{Prefix: "app:"})
	if err != nil {
		return errors.Join(err, client.Close())
	}
	mux := http.NewServeMux()
	server := &http.Server{Addr: ":8080", Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	srv, err := socketauth.Infrastructure(server, mux, socketauth.Options[user]{
		Secret:                secret,
		FindUserByCredentials: findUser,
		Claim:                 func(u user) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": u.id}, nil },
		Blacklist:             shared,
		Cluster: socketauth.Cluster{
			Broker: shared,
			// Where the other processes reach this one.
			Advertise: "http://" + net.JoinHostPort(os.Getenv("POD_IP"), "8080"),
			MaxStale:  time.Minute,
		},
		// The load balancer sets the header.
		ClientIP: func(r *http.Request) string { return r.Header.Get("X-Forwarded-For") },
	})
	if err != nil {
		return errors.Join(err, shared.Close(), client.Close())
	}

	served := make(chan error, 1)
	go func() { served <- server.ListenAndServe() }()
	stop, release := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer release()
	select {
	case err = <-served:
	case <-stop.Done():
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// The order matters: sockets first, the Redis client last.
	return errors.Join(err, srv.Shutdown(ctx), server.Shutdown(ctx), shared.Close(), client.Close())
}

// A process of an app that has several.
func Example() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
