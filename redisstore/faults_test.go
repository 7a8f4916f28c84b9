package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

func revokes(t testing.TB, s *Store, r blacklist.Revocation) blacklist.Change {
	t.Helper()
	r.Keep = time.Minute
	c, err := s.Revoke(context.Background(), r)
	if err != nil {
		t.Fatalf("Revoke: %v", err)
	}
	return c
}

// Guards revocations where Redis is full: they pass, as does all that adds nothing; logins do not.
func TestRedisFull(t *testing.T) {
	server := redistest.Start(t, "--maxmemory-policy", "noeviction")
	s := open(t, server.Client(), Options{})
	code := login(t, s, "one")
	first := present(t, s, code)
	confirms(t, s, first)
	stolenCode := login(t, s, "stolen")
	stolen := present(t, s, stolenCode)
	confirms(t, s, stolen)
	other := present(t, s, login(t, s, "other"))
	early := login(t, s, "early")
	server.Do("CONFIG", "SET", "maxmemory", "1")

	if r, err := s.Present(t.Context(), presentation(early, successor(early))); err == nil || r.Verdict != 0 {
		t.Errorf("a login is accepted where Redis is full: %d, %v", r.Verdict, err)
	}
	second := present(t, s, first)
	confirms(t, s, second)
	checks(t, s, blacklist.Accepted, second)
	wants(t, s, blacklist.ReuseDetected, presentation(stolenCode, successor(stolenCode)))
	checks(t, s, blacklist.SessionCompromised, stolen)
	if c := revokes(t, s, blacklist.Revocation{UserID: "one", Why: blacklist.Stale}); c.Sessions != 1 {
		t.Errorf("%d sessions have new claims", c.Sessions)
	}
	if c := revokes(t, s, blacklist.Revocation{UserID: "one", SessionID: first.SessionID, Why: blacklist.LoggedOut}); c.Sessions != 1 {
		t.Errorf("%d sessions ended", c.Sessions)
	}
	checks(t, s, blacklist.LoggedOut, second)
	revokes(t, s, blacklist.Revocation{UserID: "early", Why: blacklist.Revoked})
	checks(t, s, blacklist.Revoked, early)
	revokes(t, s, blacklist.Revocation{UserID: "other", Why: blacklist.Revoked})
	checks(t, s, blacklist.Revoked, other)
	revokes(t, s, blacklist.Revocation{All: true, Why: blacklist.Revoked})

	server.Do("CONFIG", "SET", "maxmemory", "0")
	// A login that is not later than the revocation of all would be refused.
	time.Sleep(time.Until(time.Now().Truncate(time.Millisecond).Add(2 * time.Millisecond)))
	present(t, s, login(t, s, "late"))
}

// Guards against forged messages: what Redis does not say too is not remembered, so that no process
// ends a session because of it.
func TestForgedMessages(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.Client(), Options{})
	first := present(t, s, login(t, s, "user"))
	revokes(t, s, blacklist.Revocation{UserID: "other", Why: blacklist.Revoked})
	s.recent = recent{}
	forge := func(c blacklist.Change) {
		b := userOf(c.UserID).bucket
		m := message{bucket: b, counter: 1, change: c, keep: maxKeep}
		if c.All {
			m = message{all: true, counters: new([buckets]int64), epochs: new([buckets]int64), moments: new([buckets]int64), change: c}
			for n := range buckets {
				m.epochs[n], m.moments[n] = s.states[n].Load().epoch+int64(n/63), c.At.UnixMicro()
			}
		}
		s.heard(m)
	}
	now := time.Now()
	for _, c := range []blacklist.Change{
		{UserID: "user", Verdict: blacklist.Revoked},
		{UserID: "other", Verdict: blacklist.Revoked}, // who was, but before
		{UserID: "user", SessionID: first.SessionID, Verdict: blacklist.LoggedOut},
		{UserID: "user", SessionID: first.SessionID, Verdict: blacklist.SessionCompromised},
		{UserID: "user", SessionID: newID(), Verdict: blacklist.Revoked},
		{UserID: "user", SessionID: "none", Verdict: blacklist.Revoked},
		{UserID: "user", Verdict: blacklist.Stale, Mark: now.UnixMicro()},
		{UserID: "user", SessionID: first.SessionID, Verdict: blacklist.Stale, Mark: now.UnixMicro()},
		{All: true, Verdict: blacklist.Revoked},
	} {
		c.At = now
		forge(c)
	}
	out := present(t, s, login(t, s, "out"))
	at := revokes(t, s, blacklist.Revocation{UserID: "out", SessionID: out.SessionID, Why: blacklist.LoggedOut}).At
	s.recent.mu.Lock()
	s.recent.list, s.recent.known = nil, nil
	s.recent.mu.Unlock()
	forge(blacklist.Change{UserID: "out", SessionID: out.SessionID, Verdict: blacklist.LoggedOut, At: at})
	redistest.Eventually(t, "what is true is remembered", func() bool { return len(s.recent.last()) > 0 })
	redistest.Eventually(t, "all is looked at", func() bool {
		s.recent.mu.Lock()
		defer s.recent.mu.Unlock()
		return !s.recent.verifying
	})
	if all := s.recent.last(); len(all) != 1 || all[0].change.UserID != "out" || all[0].keep > 24*time.Hour {
		t.Errorf("remembered: %+v", all)
	}
	if err := s.subscribed(t.Context()); err != nil {
		t.Fatal(err)
	}
	checks(t, s, blacklist.Accepted, first)
}

// subscribe returns what is published from now on.
func subscribe(t testing.TB, s *Store) <-chan string {
	t.Helper()
	sub := s.client.Subscribe(context.Background(), s.channel())
	if _, err := sub.Receive(context.Background()); err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for m := range sub.Channel() {
			heard <- m.Payload
		}
	}()
	t.Cleanup(func() {
		_ = sub.Close()
		<-done
	})
	return heard
}

// Guards revocations against clients that present a token so fast that a compare-and-set would
// never succeed: once the revocation has returned, none of them is accepted.
func TestRevocationAmongHammering(t *testing.T) {
	server := redistest.Start(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr, ContextTimeoutEnabled: true, PoolSize: 50})
	defer client.Close()
	stores := [3]*Store{}
	for n := range stores {
		stores[n] = open(t, client, Options{Prefix: "a:"})
	}
	token := present(t, stores[0], login(t, stores[0], "user"))
	confirms(t, stores[0], token)
	var over, stop atomic.Bool
	var accepted, late atomic.Int64
	var clients sync.WaitGroup
	for n := range 100 {
		clients.Go(func() {
			for !stop.Load() {
				after := over.Load()
				r, err := stores[n%3].Present(t.Context(), presentation(token, successor(token)))
				switch {
				case err != nil:
					t.Error(err)
					return
				case r.Verdict == blacklist.Accepted && after:
					late.Add(1)
				case r.Verdict == blacklist.Accepted:
					accepted.Add(1)
				}
			}
		})
	}
	redistest.Eventually(t, "they are at it", func() bool { return accepted.Load() > 300 })
	revokes(t, stores[1], blacklist.Revocation{UserID: "user", Why: blacklist.Revoked})
	over.Store(true)
	before := time.Now()
	redistest.Eventually(t, "they go on", func() bool { return time.Since(before) > 100*time.Millisecond })
	stop.Store(true)
	clients.Wait()
	if late.Load() > 0 {
		t.Errorf("accepted %d times after the revocation", late.Load())
	}
	checks(t, stores[2], blacklist.Revoked, token)
}

// Guards all calls against a Redis that has forgotten the scripts.
func TestScriptsForgotten(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.Client(), Options{})
	var tokens []blacklist.TokenRef
	for n := range 200 {
		server.Do("SCRIPT", "FLUSH")
		tokens = append(tokens, present(t, s, login(t, s, fmt.Sprint("user ", n))))
	}
	server.Do("SCRIPT", "FLUSH")
	results, err := s.CheckAll(t.Context(), tokens)
	if err != nil {
		t.Fatal(err)
	}
	for n, r := range results {
		if r.Verdict != blacklist.Accepted {
			t.Errorf("session %d: verdict %d", n, r.Verdict)
		}
	}
	server.Do("SCRIPT", "FLUSH")
	if c := revokes(t, s, blacklist.Revocation{All: true, Why: blacklist.Revoked}); c.Sessions != 200 {
		t.Errorf("%d sessions ended", c.Sessions)
	}
	server.Do("SCRIPT", "FLUSH")
	if _, err := s.Sessions(t.Context(), "user 1"); err != nil {
		t.Error(err)
	}
}

// Guards calls whose reply is lost: the same call again says the same.
func TestRepliesLost(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr)
	client := redistest.ClientAt(t, proxy.Addr)
	s := open(t, client, Options{})
	lose := func(what func(ctx context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if err := client.Ping(ctx).Err(); err != nil { // so that there is a connection
			t.Fatal(err)
		}
		proxy.LoseReplies()
		began := time.Now()
		if err := what(ctx); !errors.Is(err, context.DeadlineExceeded) && !strings.Contains(fmt.Sprint(err), "timeout") {
			t.Errorf("without a reply: %v", err)
		}
		if time.Since(began) > 5*time.Second {
			t.Errorf("it took %s to give up", time.Since(began))
		}
		proxy.Pass()
		proxy.CutOnce()
	}
	// Redis has to know the script before replies are lost.
	revokes(t, s, blacklist.Revocation{UserID: "other", Why: blacklist.Revoked})
	token := login(t, s, "user")
	for n := range 4 {
		next := successor(token)
		p := presentation(token, next)
		p.Confirming = n%2 == 0
		lose(func(ctx context.Context) error { _, err := s.Present(ctx, p); return err })
		wants(t, s, blacklist.Accepted, p)
		if p.Confirming {
			lose(func(ctx context.Context) error { _, err := s.Confirm(ctx, next); return err })
			confirms(t, s, next)
		}
		token = next
	}
	r := blacklist.Revocation{UserID: "user", Why: blacklist.Revoked, Keep: time.Minute}
	lose(func(ctx context.Context) error { _, err := s.Revoke(ctx, r); return err })
	if c := revokes(t, s, r); c.Sessions != 0 {
		t.Errorf("%d sessions ended again", c.Sessions)
	}
	checks(t, s, blacklist.Revoked, token)
}

// TestWrongPassword guards that the store says why Redis refuses it, also where commands are sent
// together, and not that a reply has a wrong type.
func TestWrongPassword(t *testing.T) {
	server := redistest.Start(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr, Username: "app", Password: "wrong", ContextTimeoutEnabled: true})
	t.Cleanup(func() { client.Close() })
	s, err := New(client, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, ofTime := s.Time(t.Context(), "user", time.Now())
	_, ofCounters := s.counters(t.Context())
	_, ofBatch := s.CheckAll(t.Context(), []blacklist.TokenRef{{SessionID: newID(), TokenID: newID(), UserID: "user"}})
	for what, err := range map[string]error{"Time": ofTime, "counters": ofCounters, "CheckAll": ofBatch} {
		if err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
