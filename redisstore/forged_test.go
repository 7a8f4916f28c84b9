package redisstore

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// publishes publishes a change of one bucket as somebody would who can publish but has decided nothing.
func publishes(t testing.TB, client *redis.Client, s *Store, counter int64, c blacklist.Change, keep time.Duration) {
	t.Helper()
	head := text(int64(userOf(c.UserID).bucket)) + " " + text(counter) + " " + text(c.At.UnixMicro()) + " " + text(c.Mark) + "\n"
	if err := client.Publish(t.Context(), s.channel(), head+string(appendChange(nil, c, keep))).Err(); err != nil {
		t.Fatal(err)
	}
}

// verified waits until the store has looked at all that it has heard.
func verified(t testing.TB, s *Store) {
	t.Helper()
	redistest.Eventually(t, "all is looked at", func() bool {
		s.recent.mu.Lock()
		defer s.recent.mu.Unlock()
		return !s.recent.verifying
	})
}

// Guards the session that a revocation excepts: who publishes the revocation again, without the
// exception, has no process end it, now or after the next subscription.
func TestForgedException(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s, other := open(t, client, Options{Prefix: "a:"}), open(t, client, Options{Prefix: "a:"})
	w := watches(t, s)
	own := present(t, other, login(t, other, "user"))
	thief := present(t, other, login(t, other, "user"))
	at := revokes(t, other, blacklist.Revocation{UserID: "user", Except: own.SessionID, Why: blacklist.Revoked}).At
	checks(t, other, blacklist.Revoked, thief)
	w.hears("user")
	verified(t, s)
	if n := len(s.recent.last()); n != 1 {
		t.Errorf("%d revocations are remembered, want the true one", n)
	}
	for _, except := range []string{"", newID(), thief.SessionID} {
		for _, at := range []time.Time{at, at.Add(-time.Microsecond)} {
			publishes(t, client, s, 1, blacklist.Change{UserID: "user", Except: except, Verdict: blacklist.Revoked, At: at}, time.Hour)
		}
	}
	w.sure("all is heard")
	verified(t, s)
	w.gapsAfter("a new subscription", func() { server.Do("CLIENT", "KILL", "TYPE", "pubsub") })
	checks(t, s, blacklist.Accepted, own)
	if n := len(s.recent.last()); n != 1 {
		t.Errorf("%d revocations are remembered, want the true one", n)
	}
}

// Guards what Redis keeps: a message with a time far off makes no key live longer.
func TestForgedTime(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s, other := open(t, client, Options{Prefix: "a:"}), open(t, client, Options{Prefix: "a:"})
	w := watches(t, s)
	revokes(t, other, blacklist.Revocation{UserID: "user", Why: blacklist.Stale})
	w.sure("all is heard")
	verified(t, s)
	key := s.livingKey(userOf("user"))
	before := client.PTTL(t.Context(), key).Val()
	publishes(t, client, s, 1, blacklist.Change{UserID: "user", Verdict: blacklist.Stale, At: time.UnixMicro(maxMicros)}, time.Hour)
	w.sure("all is heard")
	verified(t, s)
	w.gapsAfter("a new subscription", func() { server.Do("CLIENT", "KILL", "TYPE", "pubsub") })
	if after := client.PTTL(t.Context(), key).Val(); after > before {
		t.Errorf("a forged message has a key live for %v, not %v", after, before)
	}
}
