//go:build unix

package processes

import (
	"fmt"
	"testing"
	"time"

	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// This file holds what happens when a process is cut off from Redis, or stands still.

// heardWithin is a generous bound for how long a change that was not heard stays so: twice the
// poll's interval of a second, and what a busy machine adds.
const heardWithin = 10 * time.Second

// TestCutSubscription checks that a revocation whose message is lost closes the sockets at other
// processes, because they look them up again: where the subscription is cut, where the process is
// cut off, and where Redis is started again.
func TestCutSubscription(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		flags []string
		lose  func(redis *redistest.Server, proxy *redistest.Proxy, revoke func())
	}{
		{"subscriptions closed", nil, func(redis *redistest.Server, _ *redistest.Proxy, revoke func()) {
			redis.Do("CLIENT", "KILL", "TYPE", "pubsub")
			revoke()
		}},
		{"connections closed", nil, func(_ *redistest.Server, proxy *redistest.Proxy, revoke func()) {
			proxy.Cut()
			revoke()
			proxy.Pass()
		}},
		{"network lost", nil, func(_ *redistest.Server, proxy *redistest.Proxy, revoke func()) {
			proxy.LoseAll()
			revoke()
			proxy.Pass()
		}},
		{"Redis restarted", []string{"--appendonly", "yes", "--appendfsync", "always"}, func(redis *redistest.Server, proxy *redistest.Proxy, revoke func()) {
			proxy.Cut() // or the process might hear of it after all
			redis.Restart()
			revoke()
			proxy.Pass()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			redis := redistest.Start(t, test.flags...)
			proxy := redistest.NewProxy(t, redis.Addr)
			one := start(t, config{Redis: []string{redis.Addr}})
			other := start(t, config{Redis: []string{proxy.Addr}})
			var longest time.Duration
			for round := range 3 {
				user := fmt.Sprintf("user%d", round)
				s := loginEventually(t, other, user)
				test.lose(redis, proxy, func() {
					eventually(t, patience, func() error {
						_, err := one.ask(t.Context(), "revoke-user", order{User: user})
						return err
					})
				})
				began := time.Now()
				if code, err := s.waitEnd(t.Context()); code != "session_revoked" {
					t.Fatalf("round %d: the socket ended with %q, %v", round, code, err)
				}
				longest = max(longest, time.Since(began))
			}
			t.Logf("looked up again after at most %v", longest)
			if longest > heardWithin {
				t.Errorf("looked up again after %v", longest)
			}
		})
	}
}

// TestCutOff checks that a process that is cut off from Redis accepts nothing and closes its
// sockets after MaxStale, in the way after which clients come back; that other processes keep
// theirs; and that it serves again once it reaches Redis.
func TestCutOff(t *testing.T) {
	t.Parallel()
	const maxStale = 4 * time.Second
	redis := redistest.Start(t)
	proxy := redistest.NewProxy(t, redis.Addr)
	one := start(t, config{Redis: []string{redis.Addr}, Timeout: timeout, MaxStale: maxStale})
	off := start(t, config{Redis: []string{proxy.Addr}, Timeout: timeout, MaxStale: maxStale})
	here, there := one.login("anna"), off.login("anna")
	pause(2 * maxStale)
	if !here.open() || !there.open() {
		t.Fatal("sockets were closed although nothing was wrong")
	}
	proxy.LoseAll()
	began := time.Now()
	if code, err := there.waitEnd(t.Context()); code != "" || err != nil {
		t.Errorf("the socket of the process that was cut off ended with %q, %v", code, err)
	}
	t.Logf("sockets were closed %v after the process was cut off", time.Since(began))
	if took := time.Since(began); took < maxStale-2*time.Second || took > maxStale+heardWithin {
		t.Errorf("it was closed after %v, with a MaxStale of %v", took, maxStale)
	}
	nothingAccepted(t, []*process{off}, there.stored())
	if !here.open() {
		t.Error("the socket of the other process was closed")
	}
	if _, err := enter(t.Context(), one.url, there.stored()); err != nil {
		t.Errorf("the client did not come back at the other process: %v", err)
	}
	proxy.Pass()
	eventually(t, patience, func() error {
		a, err := off.ask(t.Context(), "codes", order{User: "anna", N: 1})
		if err != nil {
			return err
		}
		s, err := enter(t.Context(), off.url, a.Codes[0])
		if err == nil {
			t.Cleanup(s.close)
			err = s.settled(t.Context())
		}
		return err
	})
}

// TestStoodStill checks that a process which has stood still for longer than MaxStale calls no
// handler of a socket before it has closed it: its session may have ended meanwhile.
func TestStoodStill(t *testing.T) {
	t.Parallel()
	const maxStale, sockets = 3 * time.Second, 50
	redis := redistest.Start(t)
	all := startAll(t, 2, config{Redis: []string{redis.Addr}, MaxStale: maxStale, ReceiptTimeout: time.Second})
	for round := range 2 {
		user := fmt.Sprintf("user%d", round)
		var waiting []*socket
		for range sockets { // which of them the process hears first is chance
			waiting = append(waiting, all[1].login(user))
		}
		all[1].stop()
		all[0].must("revoke-user", order{User: user})
		pause(maxStale + time.Second)
		answered := make(chan bool, sockets)
		for _, s := range waiting {
			go func() {
				reply, err := s.call(t.Context(), "echo", "am I alive?")
				answered <- err == nil && string(reply) == `["am I alive?"]`
			}()
		}
		pause(200 * time.Millisecond) // what the clients have sent is in the buffers of the connections
		all[1].cont()
		called := 0
		for range waiting {
			if <-answered {
				called++
			}
		}
		if called > 0 {
			t.Errorf("round %d: handlers of %d sockets were called, whose session was revoked %v before", round, called, maxStale)
		}
		for _, s := range waiting {
			if _, err := s.waitEnd(t.Context()); err != nil {
				t.Fatalf("round %d: a socket stays open: %v", round, err)
			}
		}
		loginEventually(t, all[1], "another user").close()
	}
}
