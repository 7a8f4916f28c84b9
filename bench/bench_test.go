package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/googollee/go-socket.io/logger"
	"github.com/z-open/socketauth/internal/dpop/dpoptest"
	"golang.org/x/exp/slog"
)

const (
	listeners = 200 // number of sockets that receive a broadcast
	parallel  = 8   // number of clients at a time in the benchmarks of throughput
)

func TestMain(m *testing.M) {
	// go-socket.io logs the end of each connection; no other candidate does.
	logger.Log = slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError + 1}))
	if name := os.Getenv(childEnv); name != "" {
		if err := child(name); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	m.Run()
}

// server is a candidate that serves on its own port.
type server struct {
	candidate
	app
	url string
}

// start serves a candidate until the test is over.
func start(tb testing.TB, c candidate) *server {
	tb.Helper()
	mux := http.NewServeMux()
	a, err := c.serve(mux)
	if err != nil {
		tb.Fatal(err)
	}
	h := httptest.NewServer(mux)
	tb.Cleanup(func() {
		_ = h.Listener.Close() // first, so that there are no new handshakes
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := a.stop(ctx); err != nil {
			tb.Errorf("stop: %v", err)
		}
		h.Close()
	})
	return &server{candidate: c, app: a, url: h.URL}
}

// scenario is what one client, or one group of clients, does until next returns false. It prepares
// everything before its first call of next.
type scenario func(ctx context.Context, s *server, next func() bool) error

// echo is one event and its acknowledgement.
func echo(dial dialer) scenario {
	return func(ctx context.Context, s *server, next func() bool) error {
		c, err := enter(ctx, s, dial)
		if err != nil {
			return err
		}
		defer c.close()
		for next() {
			if err := c.echo(); err != nil {
				return err
			}
		}
		return nil
	}
}

// broadcast sends one event to a number of websockets. The next event is sent when all of them have
// received the one before.
func broadcast(sockets int) scenario {
	return func(ctx context.Context, s *server, next func() bool) error {
		ctx, cancel := context.WithCancel(ctx)
		var readers sync.WaitGroup
		defer readers.Wait()
		defer cancel()
		heard := make(chan error, sockets)
		for range sockets {
			c, err := enter(ctx, s, dialWebsocket)
			if err != nil {
				return err
			}
			defer c.close()
			readers.Go(func() {
				for {
					_, err := c.expect(newsText)
					select {
					case heard <- err:
					case <-ctx.Done():
						return
					}
					if err != nil {
						return
					}
				}
			})
		}
		for next() {
			if err := s.emit("news", payload); err != nil {
				return err
			}
			for range sockets {
				if err := <-heard; err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// connectOnce opens a websocket, waits for the answer to its first event, and closes it. The first
// event of a client of the library is "authenticate", with the token that it got before.
func connectOnce(ctx context.Context, s *server, next func() bool) error {
	var token string
	var key *dpoptest.Key
	if s.bound {
		key = dpoptest.NewKey()
	}
	if s.authenticate {
		var err error
		if token, err = login(ctx, s.url); err != nil {
			return err
		}
	}
	once := func() error {
		t, err := dialWebsocket(ctx, s.url)
		if err != nil {
			return err
		}
		defer t.close()
		c, err := join(t)
		if err != nil {
			return err
		}
		c.key = key
		if s.authenticate {
			token, err = c.authenticate(token)
		} else {
			err = c.echo()
		}
		if err != nil {
			return err
		}
		return t.(*websocketTransport).leave()
	}
	for next() {
		if err := once(); err != nil {
			return err
		}
	}
	return nil
}

// together runs a scenario in several clients at a time, which begin when all are ready.
func together(clients int, run scenario) scenario {
	return func(ctx context.Context, s *server, next func() bool) error {
		var ready, done sync.WaitGroup
		ready.Add(clients)
		var mu sync.Mutex
		over := false
		errs := make([]error, clients)
		for i := range clients {
			done.Go(func() {
				arrive := sync.OnceFunc(ready.Done)
				defer arrive() // also after a failure, so that the others do not wait for it
				errs[i] = run(ctx, s, func() bool {
					arrive()
					ready.Wait()
					mu.Lock()
					defer mu.Unlock()
					over = over || !next()
					return !over
				})
			})
		}
		done.Wait()
		return errors.Join(errs...)
	}
}

// benchmark measures a scenario for each candidate but those that are bound, for which it is the
// same. messages is how many clients one round reaches, if that is more than one.
func benchmark(b *testing.B, messages int, run scenario) {
	benchmarkOf(b, slices.DeleteFunc(candidates(), func(c candidate) bool { return c.bound }), messages, run)
}

func benchmarkOf(b *testing.B, candidates []candidate, messages int, run scenario) {
	for _, c := range candidates {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			if err := run(b.Context(), start(b, c), b.Loop); err != nil {
				b.Fatal(err)
			}
			if messages > 1 {
				b.ReportMetric(float64(messages*b.N)/b.Elapsed().Seconds(), "messages/s")
			}
		})
	}
}

// BenchmarkEcho measures how long one client waits for the answer to an event, over a websocket.
func BenchmarkEcho(b *testing.B) { benchmark(b, 1, echo(dialWebsocket)) }

// BenchmarkEchoPolling measures the same over polling: a POST, and the end of a poll.
func BenchmarkEchoPolling(b *testing.B) { benchmark(b, 1, echo(dialPolling)) }

// BenchmarkEchoParallel measures how many events are answered when 8 clients send them at the same
// time over websockets.
func BenchmarkEchoParallel(b *testing.B) { benchmark(b, 1, together(parallel, echo(dialWebsocket))) }

// BenchmarkBroadcast measures one event to 200 websockets.
func BenchmarkBroadcast(b *testing.B) { benchmark(b, listeners, broadcast(listeners)) }

// BenchmarkConnect measures how often 8 clients at a time can open a websocket, get the answer to a
// first event, and close it.
func BenchmarkConnect(b *testing.B) {
	benchmarkOf(b, candidates(), 1, together(parallel, connectOnce))
}

// TestScenarios guards that every benchmark works with every candidate.
func TestScenarios(t *testing.T) {
	scenarios := map[string]scenario{
		"echo":          echo(dialWebsocket),
		"echo polling":  echo(dialPolling),
		"echo parallel": together(2, echo(dialWebsocket)),
		"broadcast":     broadcast(5),
		"connect":       together(2, connectOnce),
	}
	const due = 10
	for _, c := range candidates() {
		for name, run := range scenarios {
			t.Run(c.name+"/"+name, func(t *testing.T) {
				rounds := 0
				next := func() bool { rounds++; return rounds <= due }
				if err := run(t.Context(), start(t, c), next); err != nil {
					t.Fatal(err)
				}
				if rounds != due+1 {
					t.Errorf("%d rounds, %d are due", rounds-1, due)
				}
			})
		}
	}
}
