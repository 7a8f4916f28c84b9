package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/examples/internal/dpop"
)

// exchanges is how many TestLostAnswers makes. EXCHANGES=100000 is what was run once.
func exchanges(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("EXCHANGES"))
	if err != nil {
		return 2000
	}
	return n
}

type logs struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

func (l *logs) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.String()
}

// start starts an app, and a client of it that loses answers and does not wait.
func start(t *testing.T, rate float64) (*app, *client, *lossy, *logs) {
	t.Helper()
	return startBound(t, rate, nil)
}

// startBound is start for a client with a key.
func startBound(t *testing.T, rate float64, key *dpop.Key) (*app, *client, *lossy, *logs) {
	t.Helper()
	log := new(logs)
	a, err := serve(slog.New(slog.NewTextHandler(log, nil)), socketauth.Limits{FailuresPerAddress: socketauth.NoLimit})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	network := &lossy{RoundTripper: transport, rate: rate}
	c, err := newClient(a.url, network, tokenFile(filepath.Join(t.TempDir(), "token")), key)
	if err != nil {
		t.Fatal(err)
	}
	c.pause = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	if err := until(t.Context(), func() error { return c.Login(t.Context(), "ada", "open sesame") }); err != nil {
		t.Fatal(err)
	}
	return a, c, network, log
}

// TestLostAnswers guards that a client which loses 5 % of its answers never loses its session,
// starts again from its file now and then, and is never taken for a thief.
func TestLostAnswers(t *testing.T) {
	a, c, network, log := start(t, 0.05)
	n := exchanges(t)
	began := time.Now()
	for i := range n {
		if _, err := c.current(t.Context(), c.token); err != nil {
			t.Fatalf("exchange %d: %v\n%s", i, err, log.text())
		}
		if got := claimsOf(c.token).Generation; got != uint64(i+1) {
			t.Fatalf("exchange %d: generation %d", i, got)
		}
		if i%100 == 99 {
			if text, err := c.Get(t.Context(), "/api/hello"); err != nil && !errors.Is(err, errLost) || err == nil && text != "hello ada, you are admin" {
				t.Fatalf("exchange %d: %q, %v", i, text, err)
			}
			again, err := newClient(a.url, network, c.file, nil)
			if err != nil {
				t.Fatal(err)
			}
			again.pause, c = c.pause, again
		}
	}
	sessions, err := a.auth.Sessions(t.Context(), "ada")
	if err != nil || len(sessions) != 1 {
		t.Errorf("%d sessions, %v", len(sessions), err)
	}
	if text := log.text(); strings.Contains(text, "level=WARN") || strings.Contains(text, "level=ERROR") {
		t.Errorf("the log has warnings:\n%s", text)
	}
	if n >= 1000 && network.lost.Load() == 0 {
		t.Error("no answer was lost")
	}
	t.Logf("%d exchanges in %v, %d answers lost", n, time.Since(began).Round(time.Millisecond), network.lost.Load())
}

// TestParallelRequests guards that requests in parallel share one exchange, also when the claims
// change.
func TestParallelRequests(t *testing.T) {
	a, c, _, log := start(t, 0)
	get := func(want string) {
		var work sync.WaitGroup
		for range 20 {
			work.Go(func() {
				if text, err := c.Get(t.Context(), "/api/hello"); err != nil || text != want {
					t.Errorf("%q, %v", text, err)
				}
			})
		}
		work.Wait()
	}
	get("hello ada, you are admin")
	if err := a.demote(t.Context()); err != nil {
		t.Fatal(err)
	}
	get("hello ada, you are guest")
	if got := claimsOf(c.token); got.Generation != 2 || got.Role != "guest" {
		t.Errorf("%+v\n%s", got, log.text())
	}
}

// TestSessionEnds guards that a session that the server has ended, and one that the client has,
// leave no token behind.
func TestSessionEnds(t *testing.T) {
	a, c, _, _ := start(t, 0)
	if _, err := c.Get(t.Context(), "/api/hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.auth.RevokeUser(t.Context(), "ada"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.current(t.Context(), c.token); !errors.Is(err, errSignedOut) || !strings.Contains(err.Error(), "session_revoked") {
		t.Errorf("%v", err)
	}
	if token, err := c.file.load(); token != "" || err != nil {
		t.Errorf("the file has a token, %v", err)
	}
	if _, err := c.Get(t.Context(), "/api/hello"); !errors.Is(err, errSignedOut) {
		t.Errorf("%v", err)
	}
	if err := c.Login(t.Context(), "ada", "wrong"); err == nil || !strings.Contains(err.Error(), "USER_INVALID") {
		t.Errorf("%v", err)
	}

	a, c, _, _ = start(t, 0.3)
	if _, err := c.current(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if err := c.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	if sessions, err := a.auth.Sessions(t.Context(), "ada"); err != nil || len(sessions) != 0 {
		t.Errorf("%d sessions, %v", len(sessions), err)
	}
}

// TestRun guards that the command does what it says.
func TestRun(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out, tokenFile(filepath.Join(t.TempDir(), "token")), 0.3); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, line := range []string{"you are admin, generation 1", "generation 4", "you are guest, generation 5", "logged out"} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no %q in\n%s", line, out.String())
		}
	}
}
