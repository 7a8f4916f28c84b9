//go:build unix

package processes

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// This file holds what happens when Redis, or what is between it and the app, fails.

// timeout is Options.Timeout of the processes in tests of failures.
const timeout = 2 * time.Second

// TestRedisDown checks that nothing is accepted while Redis cannot be reached or does not answer,
// that all calls end in time and sockets stay, and that the processes go on when it is back.
func TestRedisDown(t *testing.T) {
	for _, test := range []struct {
		name     string
		down, up func(*redistest.Server)
	}{
		{"unreachable", (*redistest.Server).Kill, (*redistest.Server).Restart},
		{"hanging", (*redistest.Server).Pause, (*redistest.Server).Resume},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			redis := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
			all := startAll(t, 2, config{Redis: []string{redis.Addr}, Timeout: timeout})
			live := []*socket{all[0].login("anna"), all[1].login("anna")}
			token := all[0].login("bert").stored()
			used := all[0].login("carl")
			replaced := used.stored()
			newest := all[0].enter(replaced).stored()

			test.down(redis)
			nothingAccepted(t, all, token, replaced)
			for n, s := range live {
				if reply, err := s.call(t.Context(), "echo", "here"); string(reply) != `["here"]` {
					t.Errorf("socket %d: %s, %v", n, reply, err)
				}
				all[n].must("emit", order{User: "anna", Event: "here"})
				if _, err := s.wait(t.Context(), "here"); err != nil {
					t.Errorf("socket %d does not hear its own process: %v", n, err)
				}
			}
			test.up(redis)

			all[0].comesBack(token, patience)
			all[1].comesBack(newest, patience)
			if _, err := enterDecided(t, all[0], replaced); refused(err) != "token_reused" {
				t.Errorf("a replaced token: %v", err)
			}
			if r := all[0].must("revoke-user", order{User: "anna"}).Receipt; r.Sessions != 2 {
				t.Errorf("receipt %+v", r)
			}
			for n, s := range live {
				if code, err := s.waitEnd(t.Context()); code != "session_revoked" {
					t.Errorf("socket %d after the revocation: %q, %v", n, code, err)
				}
			}
		})
	}
}

// nothingAccepted checks that no process accepts a token, at a socket or in the middleware, or says
// that it has revoked a session; and that each says so in time.
func nothingAccepted(t *testing.T, all []*process, tokens ...string) {
	t.Helper()
	var work sync.WaitGroup
	inTime := func(what string, f func() error) {
		work.Go(func() {
			began := time.Now()
			if err := f(); err != nil {
				t.Errorf("%s without Redis: %v", what, err)
			}
			if took := time.Since(began); took > timeout+8*time.Second {
				t.Errorf("%s took %v", what, took)
			}
		})
	}
	for _, p := range all {
		for _, token := range tokens {
			inTime("a presentation", func() error {
				s, err := enter(t.Context(), p.url, token)
				if err == nil {
					s.close()
					return errors.New("accepted")
				}
				if code := refused(err); code != "unavailable" && code != "timeout" {
					return err
				}
				return nil
			})
			inTime("a request", func() error {
				if status := p.me(token); status != http.StatusServiceUnavailable {
					return fmt.Errorf("status %d", status)
				}
				return nil
			})
		}
		inTime("a revocation", func() error {
			if a, err := p.ask(t.Context(), "revoke-user", order{User: "nobody"}); err == nil {
				return fmt.Errorf("receipt %+v", a.Receipt)
			}
			return nil
		})
	}
	work.Wait()
}

// enterDecided presents a token until the answer is a decision.
func enterDecided(t *testing.T, p *process, token string) (s *socket, err error) {
	t.Helper()
	eventually(t, patience, func() error {
		s, err = enter(t.Context(), p.url, token)
		if code := refused(err); code == "unavailable" || code == "timeout" || err != nil && code == "" {
			return err
		}
		return nil
	})
	if s != nil {
		t.Cleanup(s.close)
	}
	return s, err
}

// TestStartBeforeRedis checks that processes which start while there is no Redis serve once there
// is.
func TestStartBeforeRedis(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	redis.Kill()
	all := startAll(t, 2, config{Redis: []string{redis.Addr}, Timeout: timeout})
	if _, err := enter(t.Context(), all[0].url, "no token"); refused(err) != "invalid_token" {
		t.Errorf("no token, without Redis: %v", err)
	}
	if a, err := all[0].ask(t.Context(), "codes", order{User: "anna", N: 1}); err == nil {
		if _, err := enter(t.Context(), all[0].url, a.Codes[0]); refused(err) != "unavailable" && refused(err) != "timeout" {
			t.Errorf("a code, without Redis: %v", err)
		}
	}
	redis.Restart()
	var one *socket
	eventually(t, patience, func() error { // the first code may be from before
		a, err := all[0].ask(t.Context(), "codes", order{User: "anna", N: 1})
		if err == nil {
			one, err = enter(t.Context(), all[0].url, a.Codes[0])
		}
		return err
	})
	t.Cleanup(one.close)
	other := all[1].comesBack(one.stored(), patience)
	connect(t, all, order{User: "anna"}, []*socket{one, other})
	all[1].must("revoke-user", order{User: "anna"})
	for n, s := range []*socket{one, other} {
		if code, err := s.waitEnd(t.Context()); code != "session_revoked" {
			t.Errorf("socket %d: %q, %v", n, code, err)
		}
	}
}

// TestLostReply checks that a client whose presentation Redis has recorded, but whose process did
// not get the reply, is let in all the same; and that a revocation is, whose reply was lost.
func TestLostReply(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	proxy := redistest.NewProxy(t, redis.Addr)
	p := start(t, config{Redis: []string{proxy.Addr}, Timeout: 10 * time.Second})
	direct := start(t, config{Redis: []string{redis.Addr}})
	for round := range 6 {
		user := fmt.Sprintf("user%d", round)
		token := loginEventually(t, p, user).stored()
		seen := direct.must("sessions", order{User: user}).Sessions[0].LastSeen

		p.warm(proxy)
		s, err := dial(t.Context(), p.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.close)
		proxy.LoseReplies()
		done := make(chan error, 1)
		go func() { done <- s.present(t.Context(), token, round%2 == 0) }()
		eventually(t, patience, func() error { // the other process sees that it is recorded
			if now := direct.must("sessions", order{User: user}).Sessions[0].LastSeen; !now.After(seen) {
				return errors.New("the presentation is not recorded")
			}
			return nil
		})
		proxy.Pass()
		err = <-done
		if err == nil {
			err = s.settled(t.Context())
		}
		if err != nil {
			t.Fatalf("round %d: the presentation: %v", round, err)
		}

		p.must("revoke-user", order{User: "nobody"}) // so that Redis knows the script
		p.warm(proxy)
		proxy.LoseReplies()
		go func() {
			_, err := p.ask(t.Context(), "revoke-user", order{User: user})
			done <- err
		}()
		eventually(t, patience, func() error {
			if n := len(direct.must("sessions", order{User: user}).Sessions); n != 0 {
				return errors.New("the revocation is not recorded")
			}
			return nil
		})
		proxy.Pass()
		if err := <-done; err != nil {
			t.Fatalf("round %d: the revocation: %v", round, err)
		}
		if code, err := s.waitEnd(t.Context()); code != "session_revoked" {
			t.Errorf("round %d: the socket ended with %q, %v", round, code, err)
		}
	}
}

// TestRedisFull checks that with Redis full logins are refused and revocations are not.
func TestRedisFull(t *testing.T) {
	redis := redistest.Start(t, "--maxmemory-policy", "noeviction")
	all := startAll(t, 2, config{Redis: []string{redis.Addr}, Timeout: timeout})
	one, other := all[0].login("anna"), all[1].login("anna")
	code := all[0].code("bert")
	redis.Do("CONFIG", "SET", "maxmemory", "1")
	if _, err := enter(t.Context(), all[0].url, code); refused(err) != "unavailable" && refused(err) != "timeout" {
		t.Errorf("a login with Redis full: %v", err)
	}
	if r := all[0].must("revoke-user", order{User: "anna"}).Receipt; r.Sessions != 2 {
		t.Errorf("receipt %+v", r)
	}
	for n, s := range []*socket{one, other} {
		if code, err := s.waitEnd(t.Context()); code != "session_revoked" {
			t.Errorf("socket %d: %q, %v", n, code, err)
		}
	}
	if _, err := enter(t.Context(), all[1].url, other.stored()); refused(err) != "session_revoked" && refused(err) != "unavailable" {
		t.Errorf("a token after its revocation, with Redis full: %v", err)
	}
	all[0].must("revoke-all", order{})
	redis.Do("CONFIG", "SET", "maxmemory", "0")
	if _, err := enterDecided(t, all[0], one.stored()); refused(err) != "session_revoked" {
		t.Errorf("a token after its revocation: %v", err)
	}
	all[1].login("carl")
}

// TestRedisEmptied checks that after Redis has lost everything no code of before is accepted, used
// or not, nor any token, and that new logins are.
func TestRedisEmptied(t *testing.T) {
	redis := redistest.Start(t) // keeps nothing on disk
	all := startAll(t, 2, config{Redis: []string{redis.Addr}})
	used, unused := all[0].code("anna"), all[0].code("anna")
	token := all[1].enter(used).stored()
	redis.Restart()
	for what, text := range map[string]string{"a used code": used, "an unused code": unused, "a token": token} {
		for _, p := range all {
			if s, err := enterDecided(t, p, text); !slices.Contains([]string{"no_longer_valid", "token_reused"}, refused(err)) {
				t.Errorf("%s was accepted after Redis had lost everything: %v, %v", what, s != nil, err)
			}
		}
	}
	eventually(t, patience, func() error {
		s, err := enter(t.Context(), all[1].url, all[1].code("anna"))
		if err == nil {
			s.close()
		}
		return err
	})
}
