//go:build unix

package redistest

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// TestServer checks that what the tests of this module do to a server happens.
func TestServer(t *testing.T) {
	s := Start(t, "--appendonly", "yes", "--appendfsync", "always")
	c := s.Client()
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got := s.Do("CONFIG", "GET", "appendfsync"); got == nil {
		t.Error("no flag is heeded")
	}

	s.Pause()
	if err := c.Get(short(t), "k").Err(); err == nil {
		t.Error("a server that is stopped answers")
	}
	s.Resume()
	if v, err := c.Get(t.Context(), "k").Result(); v != "v" {
		t.Errorf("after SIGCONT: %q, %v", v, err)
	}

	s.Pause()
	s.Kill()
	if s.ping() {
		t.Error("a server that was killed answers")
	}
	s.Restart()
	if v, err := s.Client().Get(t.Context(), "k").Result(); v != "v" {
		t.Errorf("after a restart: %q, %v", v, err)
	}
}

// TestReplica checks that a replica follows its master, through a proxy as well, and can be
// promoted.
func TestReplica(t *testing.T) {
	s := Start(t)
	p := NewProxy(t, s.Addr)
	r := s.Replica(p.Addr)
	get := func(key string) string {
		v, _ := r.Do("GET", key).(string)
		return v
	}
	s.Do("SET", "k", "1")
	Eventually(t, "a key reaches the replica", func() bool { return get("k") == "1" })
	p.LoseAll()
	s.Do("SET", "k", "2")
	Eventually(t, "the proxy loses it", func() bool { return p.Lost() > 0 })
	s.Kill()
	r.Promote()
	if v := get("k"); v != "1" {
		t.Errorf("the replica that was cut off has %q", v)
	}
	r.Do("SET", "k", "3")
}

// TestCluster checks that a cluster serves all keys, and still does when a replica has taken over.
func TestCluster(t *testing.T) {
	c := StartCluster(t, true)
	client := c.Client()
	keys := []string{"{a}k", "{b}k", "{c}k", "{d}k", "{e}k"}
	all := func() (err error) {
		for _, key := range keys {
			if e := client.Incr(t.Context(), key).Err(); e != nil {
				err = e
			}
		}
		return err
	}
	if err := all(); err != nil {
		t.Fatal(err)
	}
	c.Masters[0].Kill()
	c.Replicas[0].Promote()
	Eventually(t, "all keys are served again", func() bool {
		client.ReloadState(t.Context())
		return all() == nil
	})
}

// TestProxy checks each thing that a proxy can do.
func TestProxy(t *testing.T) {
	s := Start(t)
	p := NewProxy(t, s.Addr)
	c := ClientAt(t, p.Addr)
	incr := func(ctx context.Context) error { return c.Incr(ctx, "n").Err() }
	works := func(after string) {
		t.Helper()
		// The pool may still have connections that were closed.
		Eventually(t, "the proxy passes on after "+after, func() bool { return incr(t.Context()) == nil })
	}
	works("its start")

	p.Cut()
	if incr(short(t)) == nil {
		t.Error("a proxy that was cut passes on")
	}
	p.Pass()
	works("a cut")

	sub := c.Subscribe(t.Context(), "s")
	defer sub.Close()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.CutOnce()
	if m, err := sub.ReceiveTimeout(t.Context(), patience); err == nil {
		t.Errorf("a connection that was cut says %v", m)
	}
	works("one cut")

	p.Stall()
	if incr(short(t)) == nil {
		t.Error("a proxy that is stalled passes on")
	}
	p.Pass()
	works("a stall")

	before, _ := s.Client().Get(t.Context(), "n").Int()
	p.LoseReplies()
	if incr(short(t)) == nil {
		t.Error("a reply came that was to be lost")
	}
	Eventually(t, "a reply is lost", func() bool { return p.Lost() > 0 })
	p.Pass()
	works("replies were lost")
	if after, _ := s.Client().Get(t.Context(), "n").Int(); after < before+2 && c.Options().MaxRetries == 0 {
		t.Errorf("the command whose reply was lost was not carried out: %d after %d", after, before)
	}

	p.LoseAll()
	if incr(short(t)) == nil {
		t.Error("a proxy that loses all passes on")
	}
	p.Pass()
	works("all was lost")

	other := Start(t)
	p.SwitchTo(other.Addr)
	works("a switch to another server")
	if n, err := other.Client().Get(t.Context(), "n").Int(); n != 1 {
		t.Errorf("the other server has %d, %v", n, err)
	}
}

// TestMissingServer checks that a test without redis-server is skipped with a line that says so,
// and fails where CI=true.
func TestMissingServer(t *testing.T) {
	if os.Getenv("REDIS_SERVER") == "no-such-program" {
		Start(t)
		return
	}
	for _, c := range []struct{ ci, want string }{
		{"", "--- SKIP"},
		{"true", "--- FAIL"},
	} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestMissingServer$", "-test.v")
		cmd.Env = append(os.Environ(), "REDIS_SERVER=no-such-program", "CI="+c.ci)
		out, _ := cmd.CombinedOutput()
		if !strings.Contains(string(out), c.want) || !strings.Contains(string(out), "this test needs redis-server") {
			t.Errorf("CI=%s: %s", c.ci, out)
		}
	}
}
