// Command chat is a chat room with accounts, as an example of an app that uses socketauth.
//
//	go run -C examples ./chat
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, os.Args[1:], os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "chat:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, args []string, logs io.Writer) error {
	flags := flag.NewFlagSet("chat", flag.ContinueOnError)
	addr := flags.String("addr", "localhost:8080", "`host:port` to serve on")
	data := flags.String("data", defaultData(), "`folder` that keeps users, messages, sessions and the secret")
	lifetime := flags.Duration("lifetime", 0, "`time` that a session token lives, such as 30s to watch it being renewed (default 24h)")
	recent := flags.Duration("recent", recently, "`time` for which the password need not be given again to log out other devices")
	figures := flags.String("metrics", "", "`host:port` to serve /metrics on, for Prometheus and nobody else, such as localhost:9100 (default none)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	var metrics net.Listener
	if *figures != "" {
		if metrics, err = net.Listen("tcp", *figures); err != nil {
			return errors.Join(err, listener.Close())
		}
	}
	return serve(ctx, listener, config{
		Data:     *data,
		Lifetime: *lifetime,
		Recent:   *recent,
		Metrics:  metrics,
		Log:      slog.New(slog.NewTextHandler(logs, nil)),
	})
}

// defaultData returns a folder that does not depend on where the command is started, if the system
// has one for such data.
func defaultData() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "chat-data"
	}
	return filepath.Join(dir, "socketauth-chat")
}
