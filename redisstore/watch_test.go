package redisstore

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// watcherTest is what one call of Watch hears.
type watcherTest struct {
	t      *testing.T
	cancel context.CancelFunc
	ended  chan error

	mu      sync.Mutex
	heard   []blacklist.Change
	gaps    int
	certain int // zero Changes
	lastGap time.Time
}

// watches starts a watch and returns once it has heard that it hears all.
func watches(t *testing.T, s *Store) *watcherTest {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcherTest{t: t, cancel: cancel, ended: make(chan error, 1)}
	go func() { w.ended <- s.Watch(ctx, w.hear) }()
	t.Cleanup(func() {
		cancel()
		if err := <-w.ended; err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	w.sure("that it hears all")
	return w
}

func (w *watcherTest) hear(c blacklist.Change) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case c == blacklist.Change{Gap: true}:
		w.gaps++
		w.lastGap = time.Now()
	case w.gaps == 0:
		w.t.Errorf("before the first Gap %+v was heard", c)
	case c == blacklist.Change{}:
		w.certain++
	default:
		w.heard = append(w.heard, c)
	}
}

func (w *watcherTest) counts() (gaps, certain int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gaps, w.certain
}

// gapsAfter waits for a Gap that comes after what is done now, and logs how long that took.
func (w *watcherTest) gapsAfter(what string, do func()) {
	w.t.Helper()
	before, _ := w.counts()
	began := time.Now()
	do()
	redistest.Eventually(w.t, what+" is a Gap", func() bool { gaps, _ := w.counts(); return gaps > before })
	w.mu.Lock()
	w.t.Logf("%s: a Gap after %v", what, w.lastGap.Sub(began).Round(time.Millisecond))
	w.mu.Unlock()
	w.sure(what + ", then all is heard again")
}

// sure waits for a zero Change that comes after now.
func (w *watcherTest) sure(what string) {
	w.t.Helper()
	_, before := w.counts()
	redistest.Eventually(w.t, what, func() bool { _, certain := w.counts(); return certain > before })
}

// heardOf returns the change that ended a user's sessions, if it was heard.
func (w *watcherTest) heardOf(user string) *blacklist.Change {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.heard {
		if c.UserID == user && c.Verdict == blacklist.Revoked {
			return &c
		}
	}
	return nil
}

// hears waits until that is so.
func (w *watcherTest) hears(user string) *blacklist.Change {
	w.t.Helper()
	redistest.Eventually(w.t, "a change is heard", func() bool { return w.heardOf(user) != nil })
	return w.heardOf(user)
}

// revokesAll ends the sessions of a user.
func revokesAll(t *testing.T, s *Store, user string) {
	t.Helper()
	if _, err := s.Revoke(t.Context(), blacklist.Revocation{UserID: user, Why: blacklist.Revoked, Keep: time.Minute}); err != nil {
		t.Fatal(err)
	}
}

// pair returns two stores of one prefix; the first has a client through a proxy.
func pair(t *testing.T, server *redistest.Server) (s, other *Store, p *redistest.Proxy) {
	p = redistest.NewProxy(t, server.Addr)
	prefix := newPrefix()
	s = open(t, redistest.ClientAt(t, p.Addr), Options{Prefix: prefix})
	return s, open(t, server.Client(), Options{Prefix: prefix}), p
}

// TestWatchIsQuiet guards that no Gap is sent without a reason, and that zero Changes come all the
// time, while changes are heard as hints.
func TestWatchIsQuiet(t *testing.T) {
	s, other, _ := pair(t, redistest.Start(t))
	w := watches(t, s)
	for range 3 {
		user := newID()
		revokesAll(t, other, user)
		if c := w.hears(user); !c.Hint {
			t.Error("what was heard from others is no hint")
		}
		w.sure("all is heard")
	}
	second := watches(t, s) // shares the connection
	revokesAll(t, other, "both")
	w.hears("both")
	second.hears("both")
	if _, err := other.Revoke(t.Context(), blacklist.Revocation{All: true, Why: blacklist.Revoked}); err != nil {
		t.Fatal(err)
	}
	w.sure("all is heard after everyone was revoked")
	for _, w := range []*watcherTest{w, second} {
		if gaps, _ := w.counts(); gaps != 1 {
			t.Errorf("%d Gaps, want the first alone", gaps)
		}
	}
}

// TestOwnChangesAreNoHints guards that what this process has decided itself needs no second look,
// that it is a hint elsewhere, and that the same said again by others is one here too.
func TestOwnChangesAreNoHints(t *testing.T) {
	s, other, _ := pair(t, redistest.Start(t))
	here, there := watches(t, s), watches(t, other)
	payload := make(chan string, 10)
	sub := other.client.Subscribe(t.Context(), s.channel())
	defer sub.Close()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	go func() {
		for m := range sub.Channel() {
			payload <- m.Payload
		}
	}()
	token := present(t, s, login(t, s, "user")) // which confirms the code
	hints := func(w *watcherTest, n int) (hints []bool) {
		redistest.Eventually(t, "changes are heard", func() bool {
			w.mu.Lock()
			defer w.mu.Unlock()
			hints = nil
			for _, c := range w.heard {
				if c.Verdict == blacklist.Accepted && c.SessionID == token.SessionID {
					hints = append(hints, c.Hint)
				}
			}
			return len(hints) >= n
		})
		return hints
	}
	confirms(t, s, token)
	// The code was confirmed by its presentation, and the token now.
	first, n := <-payload, 2
	if got := hints(here, n); slices.Contains(got, true) {
		t.Errorf("own changes are hints: %v", got)
	}
	if got := hints(there, n); slices.Contains(got, false) {
		t.Errorf("changes of others are no hints: %v", got)
	}
	if err := other.client.Publish(t.Context(), s.channel(), first).Err(); err != nil {
		t.Fatal(err)
	}
	if got := hints(here, n+1); !got[n] {
		t.Error("a change that was said again by others is no hint")
	}
}

// TestWatchNoticesLoss guards that a change whose message was lost is noticed by its counter, one
// by the next message of its bucket as well, and so is a counter that has gone back.
func TestWatchNoticesLoss(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for name, client := range map[string]redis.UniversalClient{
		"one server": server.Client(),
		"cluster":    redistest.StartCluster(t, false).Client(),
	} {
		t.Run(name, func(t *testing.T) {
			prefix := newPrefix()
			s, other := open(t, client, Options{Prefix: prefix}), open(t, client, Options{Prefix: prefix})
			w := watches(t, s)
			user := newID()
			key := s.bucketKey(userOf(user).bucket)
			add := func(n int64) {
				if err := client.HIncrBy(t.Context(), key, "n", n).Err(); err != nil {
					t.Fatal(err)
				}
			}
			w.gapsAfter("a lost message", func() { add(1) })
			w.gapsAfter("a number left out", func() {
				add(1)
				revokesAll(t, other, user)
			})
			w.hears(user)
			w.gapsAfter("a counter that has gone back", func() { add(-1) })
			again := user
			for again == user || userOf(again).bucket != userOf(user).bucket {
				again = newID()
			}
			w.gapsAfter("a counter that has gone back and forth", func() {
				add(-1)
				revokesAll(t, other, again)
			})
		})
	}
}

// TestWatchSurvives guards that whatever ends the subscription is a Gap, and that changes are heard
// after it.
func TestWatchSurvives(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always",
		"--client-output-buffer-limit", "pubsub 64kb 64kb 1")
	s, other, p := pair(t, server)
	w := watches(t, s)
	hears := func(what string) {
		t.Helper()
		user := newID()
		redistest.Eventually(t, "a revocation is made after "+what, func() bool {
			_, err := other.Revoke(t.Context(), blacklist.Revocation{UserID: user, Why: blacklist.Revoked})
			return err == nil
		})
		w.hears(user)
	}
	for _, c := range []struct {
		what string
		do   func()
	}{
		{"a cut", p.CutOnce},
		{"CLIENT KILL", func() { server.Do("CLIENT", "KILL", "TYPE", "pubsub") }},
		{"kill -9", func() { server.Kill(); server.Restart() }},
		{"a subscriber that is too slow", func() {
			p.Stall()
			defer p.Pass()
			filler := strings.Repeat("x", 100_000)
			for !strings.Contains(server.Log(), "overcoming of output buffer limits") {
				server.Do("PUBLISH", s.channel(), filler)
			}
		}},
	} {
		w.gapsAfter(c.what, c.do)
		hears(c.what)
	}

	// SIGSTOP: Redis neither refuses anything nor answers. What was promised of zero Changes ends
	// then.
	server.Pause()
	time.Sleep(s.o.Poll) // a sign of life may have been on its way
	_, before := w.counts()
	time.Sleep(2 * s.o.Poll)
	if _, after := w.counts(); after != before {
		t.Errorf("%d zero Changes from a Redis that has stopped", after-before)
	}
	w.gapsAfter("SIGSTOP", server.Resume)
	hears("SIGSTOP")
	if err := s.Watch(ended, func(blacklist.Change) {}); err != nil {
		t.Errorf("Watch with a context that has ended: %v", err)
	}
}

// TestSilentSubscription guards that a subscription that dies without a word is noticed, although
// Redis is reachable on all other connections and nothing is lost that is counted.
func TestSilentSubscription(t *testing.T) {
	server := redistest.Start(t)
	p := redistest.NewProxy(t, server.Addr)
	var addr atomic.Value
	addr.Store(server.Addr)
	var dialer net.Dialer
	client := redis.NewClient(&redis.Options{
		Addr: server.Addr, ContextTimeoutEnabled: true, PoolSize: 1, MinIdleConns: 1,
		Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, network, addr.Load().(string))
		},
	})
	defer client.Close()
	s := open(t, client, Options{})
	addr.Store(p.Addr) // the pool has its connection; the next one is the subscription's
	w := watches(t, s)
	gap := make(chan struct{}, 1)
	cancel, err := s.Subscribe(t.Context(), "topic", func([]byte) {}, func() { gap <- struct{}{} })
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	addr.Store(server.Addr)
	w.gapsAfter("silence", p.LoseAll)
	<-gap
	if p.Lost() == 0 {
		t.Error("nothing was lost: the test tests nothing")
	}
}

// TestWatchSaysAgain guards that a Redis that comes back without its last writes is told what had
// ended, before the Gap.
func TestWatchSaysAgain(t *testing.T) {
	server := redistest.Start(t, "--dbfilename", "dump.rdb")
	s, _, _ := pair(t, server)
	w := watches(t, s)
	session := present(t, s, login(t, s, "user"))
	server.Do("SAVE")
	revokesAll(t, s, "user")
	w.hears("user")
	w.gapsAfter("a Redis that has lost its last writes", func() { server.Kill(); server.Restart() })
	checks(t, s, blacklist.Revoked, session)
}

// TestFailover guards that Watch hears all again once a replica has taken over a master of the
// cluster, whether that was the one that it had subscribed with or another.
func TestFailover(t *testing.T) {
	cluster := redistest.StartCluster(t, true)
	client := cluster.Client()
	s := open(t, client, Options{})
	w := watches(t, s)
	for n := range cluster.Masters[:2] {
		cluster.Masters[n].Kill()
		cluster.Replicas[n].Promote()
		// The first may be made while nobody has subscribed yet; then it is covered by the Gap.
		redistest.Eventually(t, "a change is heard after a failover", func() bool {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			user := newID()
			if _, err := s.Revoke(ctx, blacklist.Revocation{UserID: user, Why: blacklist.Revoked}); err != nil {
				return false
			}
			time.Sleep(100 * time.Millisecond)
			return w.heardOf(user) != nil
		})
		w.sure("all is heard after a failover")
	}
}

// TestRefusedSubscription guards that a Redis that forbids the channels says so to the app, which
// would otherwise wait for nothing.
func TestRefusedSubscription(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.Client(), Options{})
	server.Do("ACL", "SETUSER", "default", "resetchannels")
	server.Do("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")
	err := s.Watch(t.Context(), func(blacklist.Change) {})
	if err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("Watch: %v", err)
	}
	if _, err := s.Subscribe(t.Context(), "topic", func([]byte) {}, func() {}); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("Subscribe: %v", err)
	}
	if err := s.Publish(t.Context(), "topic", nil); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("Publish: %v", err)
	}
}

// TestUnreachable guards that an app may start before Redis: Watch waits for it, and Subscribe as
// long as its context lets it, and says why.
func TestUnreachable(t *testing.T) {
	server := redistest.Start(t)
	server.Kill()
	s, err := New(server.Client(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = s.Subscribe(ctx, "topic", func([]byte) {}, func() {})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("Subscribe: %v", err)
	}
	go server.Restart()
	watches(t, s)
}

// TestNothingIsLeft guards that the goroutines and the connection end with the last subscription,
// or with Close.
func TestNothingIsLeft(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.Client(), Options{})
	subscribers := func() int {
		list := server.Do("CLIENT", "LIST", "TYPE", "pubsub").(string)
		return strings.Count(list, "\n")
	}
	for range 3 {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		first := make(chan struct{})
		once := sync.OnceFunc(func() { close(first) })
		go func() { ended <- s.Watch(ctx, func(blacklist.Change) { once() }) }()
		cancel, err := s.Subscribe(t.Context(), "topic", func([]byte) {}, func() {})
		if err != nil {
			t.Fatal(err)
		}
		<-first
		if n := subscribers(); n != 1 {
			t.Errorf("%d connections for a Watch and a Subscribe", n)
		}
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Watch: %v", err)
		}
		cancel()
		s.bus.work.Wait() // all goroutines end
		redistest.Eventually(t, "the connection is closed", func() bool { return subscribers() == 0 })
	}
	ended := make(chan error)
	go func() { ended <- s.Watch(t.Context(), func(blacklist.Change) {}) }()
	redistest.Eventually(t, "Watch has subscribed", func() bool { return subscribers() == 1 })
	_ = s.Close()
	if err := <-ended; err == nil {
		t.Error("Watch of a store that was closed returns no error")
	}
	if _, err := s.Subscribe(t.Context(), "topic", func([]byte) {}, func() {}); err == nil {
		t.Error("Subscribe of a store that is closed returns no error")
	}
	redistest.Eventually(t, "the connection is closed", func() bool { return subscribers() == 0 })
}
