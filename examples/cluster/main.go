// Command cluster is an app of several processes behind a load balancer, as an example of
// socketauth.Options.Cluster.
//
//	go run -C examples ./cluster
//
// It starts its processes itself, which an app leaves to its platform, and a load balancer in front
// of them. Each process is this program again, with the argument "node".
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

func main() {
	run := runCluster
	if len(os.Args) == 2 && os.Args[1] == "node" {
		signal.Ignore(os.Interrupt) // Ctrl-C reaches every process, and the cluster ends its nodes
		run = func(ctx context.Context, _ []string, logs io.Writer) error {
			return runNode(ctx, os.Stdin, os.Stdout, logs)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// maxNodes is how many letters there are to name nodes.
const maxNodes = 26

// runCluster starts the nodes and serves as their load balancer until ctx ends.
func runCluster(ctx context.Context, args []string, logs io.Writer) (err error) {
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	flags.SetOutput(logs)
	addr := flags.String("addr", "localhost:8080", "`host:port` to serve on")
	redis := flags.String("redis", "", "`host:port` of a Redis server; if empty, a stand-in that keeps all in memory is started")
	count := flags.Int("nodes", 2, "how many processes to start")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *count < 1 || *count > maxNodes {
		return fmt.Errorf("-nodes %d is not from 1 to %d", *count, maxNodes)
	}
	log := slog.New(slog.NewTextHandler(logs, nil))
	// What the nodes share: a secret, and Redis.
	config := nodeConfig{Nodes: *count, Secret: rand.Text() + rand.Text(), Redis: *redis}
	if *redis == "" {
		standIn, err := startStandIn()
		if err != nil {
			return err
		}
		defer standIn.Close()
		config.Redis, config.InMemory = standIn.Addr(), true
		log.Info("no -redis: an embedded stand-in for it keeps sessions in memory, until this command ends", slog.String("addr", config.Redis))
	}

	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	balancer := newBalancer(*count, log)
	started := make(chan error, *count)
	for n := range *count {
		config := config
		config.Name = nodeName(n)
		running.Go(func() {
			keepRunning(ctx, config, logs, log, func(addr string, err error) {
				balancer.set(n, addr)
				select {
				case started <- err:
				default: // started again
				}
			})
		})
	}
	for range *count {
		if err := <-started; err != nil {
			return err
		}
	}

	server := &http.Server{Handler: balancer, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	context.AfterFunc(ctx, func() {
		log.Info("the cluster is shutting down")
		running.Wait() // the nodes tell their clients that they end
		_ = server.Close()
	})
	log.Info("the cluster is ready", slog.String("url", urlOf(listener)), slog.Int("nodes", *count))
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// nodeName returns the name of a node: a letter.
func nodeName(n int) string { return string(rune('A' + n)) }

// urlOf returns the URL at which a browser on this machine reaches the listener.
func urlOf(listener net.Listener) string {
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return "http://" + net.JoinHostPort("localhost", port)
}
