// Package servers holds the Go servers that the comparison measures. Each runs in a process of its
// own: the program starts itself again, and Main serves one of them there.
package servers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/googollee/go-socket.io/logger"
	xslog "golang.org/x/exp/slog"
	"golang.org/x/sys/unix"
)

// The environment of a server process, in Go and on Node.
const (
	NameEnv   = "SOCKETAUTH_BENCH_SERVER" // which server to run
	SecretEnv = "SOCKETAUTH_BENCH_SECRET" // the HS256 key of all tokens
)

// Paths that every server answers, for the load generator.
const (
	ReadyPath     = "/bench/ready"     // GET: 200
	BroadcastPath = "/bench/broadcast" // POST ?n=: emits the body, numbered, n times as "news"
)

// Cost is the cost of bcrypt in the servers that hash passwords.
const Cost = 10

// Username and Password are accepted by every server that has a login.
const (
	Username = "someone"
	Password = "correct horse battery staple"
)

// app is what a server adds to its mux.
type app struct {
	broadcast func(text string) error // to all sockets; nil if there are none
	handler   http.Handler            // what serves the requests; nil for the mux itself
}

type serve func(mux *http.ServeMux, secret []byte) (app, error)

func all() map[string]serve {
	return map[string]serve{
		"socketauth":        serveLibrary(false),
		"socketauth-bcrypt": serveLibrary(true),
		"zishang":           serveZishang,
		"go-socket.io":      serveGoSocketIO,
		"centrifuge":        serveCentrifuge,
		"gws":               serveGWS,
		"gorilla":           serveGorilla,
		"gobwas":            serveGobwas,
		"net/http":          servePlain,
		"gin-jwt":           serveGinJWT,
	}
}

// Main serves what the environment names, until standard input ends, and reports true. It reports
// false if the environment names nothing: then this is not a server's process.
func Main() bool {
	name := os.Getenv(NameEnv)
	if name == "" {
		return false
	}
	if err := run(name); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	return true
}

func run(name string) error {
	serve := all()[name]
	if serve == nil {
		return errors.New("no such server")
	}
	RaiseFileLimit()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	// go-socket.io logs the end of each connection; no other candidate does.
	logger.Log = xslog.New(xslog.NewTextHandler(io.Discard, &xslog.HandlerOptions{Level: xslog.LevelError + 1}))

	mux := http.NewServeMux()
	a, err := serve(mux, []byte(os.Getenv(SecretEnv)))
	if err != nil {
		return err
	}
	mux.HandleFunc("GET "+ReadyPath, func(http.ResponseWriter, *http.Request) {})
	if a.broadcast != nil {
		mux.HandleFunc("POST "+BroadcastPath, broadcastHandler(a.broadcast))
	}
	handler := a.handler
	if handler == nil {
		handler = mux
	}
	// The address is on loopback only. The kernel limits the backlog to somaxconn.
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() {
		s := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
		failed <- s.Serve(l)
	}()
	fmt.Printf("http://%s\n", l.Addr())
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent ends, in whatever way
	}()
	select {
	case <-closed:
		return nil
	case err := <-failed:
		return err
	}
}

func broadcastHandler(emit func(text string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		n, nerr := strconv.Atoi(r.URL.Query().Get("n"))
		if err = errors.Join(err, nerr); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for i := range n {
			if err := emit(strconv.Itoa(i) + " " + string(text)); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
	}
}

// RaiseFileLimit allows this process as many open files as the system grants, and returns how many
// that is.
func RaiseFileLimit() int {
	var now unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &now) != nil {
		return 1024
	}
	const wanted = 1 << 20
	if now.Cur >= wanted {
		return wanted
	}
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: wanted, Max: max(wanted, now.Max)}) == nil {
		return wanted // only with CAP_SYS_RESOURCE
	}
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: now.Max, Max: now.Max}) == nil {
		return int(min(now.Max, wanted))
	}
	return int(now.Cur)
}
