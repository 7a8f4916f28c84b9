// Package testserver is the server that the official test suites of Engine.IO and Socket.IO expect,
// for either version. It has no authentication and no limits on origins, so it is for those suites
// and for experiments only.
package testserver

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/engine"
)

// Engine returns an engine for bare Engine.IO, Sockets one for Socket.IO.
type (
	Engine  func(o engine.Options, accept func(*eio.Session) eio.Receiver) *eio.Engine
	Sockets func(o engine.Options) *eio.Engine
)

// Run serves until it is interrupted, and returns the exit code of the process.
func Run(newEngine Engine, newSockets Sockets) int {
	addr := flag.String("addr", "127.0.0.1:3000", "address to listen on")
	interval := flag.Duration("ping-interval", 300*time.Millisecond, "time between heartbeats")
	timeout := flag.Duration("ping-timeout", 200*time.Millisecond, "time to answer a heartbeat")
	debug := flag.Bool("debug", false, "log why connections end")
	flag.Parse()
	level := slog.LevelInfo
	if *debug {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o := engine.Options{
		PingInterval:   *interval,
		PingTimeout:    *timeout,
		ConnectTimeout: time.Second,
		MaxPayload:     1_000_000,
		Logger:         log,
	}
	raw := newEngine(o, func(s *eio.Session) eio.Receiver { return echo{s} })
	o.Namespaces = map[string]engine.Accept{"/": accept, "/custom": accept}
	if err := serve(ctx, *addr, raw, newSockets(o)); err != nil {
		log.Error("testserver", "error", err)
		return 1
	}
	return 0
}

func serve(ctx context.Context, addr string, raw, sio *eio.Engine) error {
	mux := http.NewServeMux()
	mux.Handle("/engine.io/", cors(raw))
	mux.Handle("/socket.io/", cors(sio))
	server := &http.Server{Addr: addr, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(raw.Shutdown(end), sio.Shutdown(end), server.Shutdown(end))
}

func cors(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Access-Control-Allow-Headers", "*")
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// echo sends every Engine.IO message back.
type echo struct{ s *eio.Session }

func (e echo) Message(data []byte, binary bool) {
	_ = e.s.Send(eio.NewMessage(data, binary)) // if it fails, the session has ended
}

func (echo) Closed(engine.Reason) {}

// peer is one Socket.IO client.
type peer struct {
	c    engine.Conn
	auth *time.Timer
}

// authDelay is the time between the answer to CONNECT and "auth". The suites wait for one after the
// other, and miss the second of two frames that they read together.
const authDelay = 30 * time.Millisecond

func accept(c engine.Conn, h engine.Handshake) engine.Receiver {
	auth := h.Auth
	if auth == nil {
		auth = json.RawMessage("{}")
	}
	return peer{c, time.AfterFunc(authDelay, func() { emit(c, "auth", auth) })}
}

func (p peer) Event(name string, args engine.Args, ack engine.Ack) {
	switch name {
	case "message":
		emit(p.c, "message-back", values(args)...)
	case "message-with-ack":
		if ack != nil {
			_ = ack(values(args)...)
		}
	case "bye": // not used by the suites: closes with a last event
		m, err := engine.NewMessage("last", values(args)...)
		if err == nil {
			p.c.Close(m)
		}
	}
}

func (p peer) Disconnected(engine.Reason) { p.auth.Stop() }

func emit(c engine.Conn, event string, args ...any) {
	m, err := engine.NewMessage(event, args...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	_ = c.Emit(m)
}

// values returns arguments in the form in which they can be sent.
func values(args engine.Args) []any {
	out := make([]any, len(args.Values))
	for i, v := range args.Values {
		if data, ok := args.Attachment(i); ok {
			out[i] = data
		} else {
			out[i] = v
		}
	}
	return out
}
