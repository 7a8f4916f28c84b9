package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"testing"

	"github.com/googollee/go-socket.io/logger"
	"golang.org/x/exp/slog"
)

const (
	listeners = 200 // of a broadcast
	parallel  = 8   // clients at a time, where the server is to have all it can do
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

// server is a candidate on a port of its own.
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
		_ = h.Listener.Close() // first, so that there are no more handshakes
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := a.stop(ctx); err != nil {
			tb.Errorf("stop: %v", err)
		}
		h.Close()
	})
	return &server{candidate: c, app: a, url: h.URL}
}

// scenario is what one client, or one group of them, does as long as next says so. What it needs is there before its
// first call of next.
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

// broadcast is one event to all of a number of websockets, which is sent once all have the one before.
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

// connectOnce opens a websocket, has its first event answered, and closes it. The first event of a
// client of the library is to authenticate, with the token that it was given before.
func connectOnce(ctx context.Context, s *server, next func() bool) error {
	var token string
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

// together is a scenario in several clients at a time, which begin when all are ready.
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
				defer arrive() // one that failed is not waited for
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

// benchmark measures a scenario for each candidate. messages is how many clients one round reaches, where that is more
// than one.
func benchmark(b *testing.B, messages int, run scenario) {
	for _, c := range candidates() {
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

// BenchmarkEcho is the time that one client waits for the answer to an event, over a websocket.
func BenchmarkEcho(b *testing.B) { benchmark(b, 1, echo(dialWebsocket)) }

// BenchmarkEchoPolling is the same over polling: a POST, and the end of a poll.
func BenchmarkEchoPolling(b *testing.B) { benchmark(b, 1, echo(dialPolling)) }

// BenchmarkEchoParallel is how often events are answered where 8 clients at a time send them over websockets.
func BenchmarkEchoParallel(b *testing.B) { benchmark(b, 1, together(parallel, echo(dialWebsocket))) }

// BenchmarkBroadcast is one event to all of 200 websockets.
func BenchmarkBroadcast(b *testing.B) { benchmark(b, listeners, broadcast(listeners)) }

// BenchmarkConnect is how often websockets are opened, have a first event answered, and are closed, where 8 clients at
// a time do so.
func BenchmarkConnect(b *testing.B) { benchmark(b, 1, together(parallel, connectOnce)) }

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
