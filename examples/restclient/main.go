// Command restclient is a client without a socket, with a server to try it: it logs in, has its
// token replaced, and loses answers on purpose, which costs it nothing.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/z-open/socketauth"
)

func main() {
	path := flag.String("token", filepath.Join(os.TempDir(), "socketauth-restclient-token"), "the file that keeps the token")
	rate := flag.Float64("lose", 0.3, "how many of the answers are lost")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, tokenFile(*path), *rate); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run shows what the client does.
func run(ctx context.Context, out io.Writer, file tokenFile, rate float64) error {
	a, err := serve(slog.New(slog.DiscardHandler), socketauth.Limits{})
	if err != nil {
		return err
	}
	defer a.Close()
	network := &lossy{RoundTripper: http.DefaultTransport, rate: rate}
	if err := file.remove(); err != nil { // it may be of another run, whose server has ended
		return err
	}
	key, err := file.key()
	if err != nil {
		return err
	}
	c, err := newClient(a.url, network, file, key)
	if err != nil {
		return err
	}
	say := func(format string, args ...any) {
		fmt.Fprintf(out, "%-60s (%d answers lost so far)\n", fmt.Sprintf(format, args...), network.lost.Load())
	}
	if err := until(ctx, func() error { return c.Login(ctx, "ada", "open sesame") }); err != nil {
		return err
	}
	say("logged in")
	hear := func() error {
		var text string
		err := until(ctx, func() (err error) { text, err = c.Get(ctx, "/api/hello"); return err })
		say("the API says: %s, generation %d", text, claimsOf(c.token).Generation)
		return err
	}
	if err := hear(); err != nil {
		return err
	}
	for range 3 {
		if _, err := c.current(ctx, c.token); err != nil {
			return err
		}
		say("the token was replaced: generation %d", claimsOf(c.token).Generation)
	}
	if err := a.demote(ctx); err != nil {
		return err
	}
	say("ada was demoted")
	if err := hear(); err != nil {
		return err
	}
	if err := c.Logout(ctx); err != nil {
		return err
	}
	say("logged out")
	return nil
}

// until calls f until its answer is not lost.
func until(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil || !isLost(err) || ctx.Err() != nil {
			return err
		}
	}
}
