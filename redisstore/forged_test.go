package redisstore

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// publishes publishes a change of one bucket as somebody would who can publish but has decided
// nothing.
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

// Guards revocations against records that are damaged, in whichever way: they end all the same, and
// so do the user's other sessions; logins work, and what is whole is listed.
func TestDamagedRecords(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	for _, damage := range []string{"", "x", "\x01", "\xff", "\x8f" + "12345678", "0123456789abcde"} {
		s := open(t, client, Options{Prefix: newPrefix()})
		living, ended := s.livingKey(userOf("user")), s.endedKey(userOf("user"))
		damages := func(key string, token blacklist.TokenRef) {
			t.Helper()
			sid, _ := rawID(token.SessionID)
			if err := client.HSet(t.Context(), key, sid, damage).Err(); err != nil {
				t.Fatal(err)
			}
		}
		revoked := func(what string, r blacklist.Revocation, tokens ...blacklist.TokenRef) {
			t.Helper()
			r.Keep = time.Minute
			if _, err := s.Revoke(t.Context(), r); err != nil {
				t.Errorf("damage %q: %s: %v", damage, what, err)
			}
			for _, token := range tokens {
				if r, err := s.Check(t.Context(), token, 0, 0); err != nil || r.Verdict != blacklist.Revoked {
					t.Errorf("damage %q: %s: verdict %d, %v", damage, what, r.Verdict, err)
				}
			}
		}
		code := login(t, s, "user")
		whole, broken := present(t, s, login(t, s, "user")), present(t, s, code)
		damages(living, broken)
		if r, err := s.Check(t.Context(), broken, 0, 0); err == nil && r.Verdict == blacklist.Accepted {
			t.Errorf("damage %q is accepted", damage)
		}
		if all, err := s.Sessions(t.Context(), "user"); err != nil || len(all) != 1 {
			t.Errorf("damage %q: %d sessions are listed, %v", damage, len(all), err)
		}
		late := login(t, s, "user")
		if r, err := s.Present(t.Context(), presentation(late, successor(late))); err != nil || r.Verdict != blacklist.Accepted {
			t.Errorf("damage %q: a login: verdict %d, %v", damage, r.Verdict, err)
		}
		damages(living, broken)
		revoked("new claims", blacklist.Revocation{UserID: "user", Why: blacklist.Stale})
		damages(living, broken)
		revoked("everyone", blacklist.Revocation{All: true, Why: blacklist.Revoked})
		damages(living, broken)
		revoked("the session", blacklist.Revocation{UserID: "user", SessionID: broken.SessionID, Why: blacklist.Revoked}, broken)
		damages(living, broken)
		revoked("the user", blacklist.Revocation{UserID: "user", Why: blacklist.Revoked}, whole, broken)
		damages(ended, broken)
		next := login(t, s, "user")
		next.Mark = time.Now().Add(time.Minute).UnixMicro()
		// This also looks for what can be forgotten.
		wants(t, s, blacklist.Accepted, presentation(next, successor(next)))
		if r, err := s.Present(t.Context(), presentation(code, successor(code))); err == nil && r.Verdict == blacklist.Accepted {
			t.Errorf("damage %q: a code that was used is accepted", damage)
		}
		revoked("the session that has ended", blacklist.Revocation{UserID: "user", SessionID: broken.SessionID, Why: blacklist.Revoked}, broken)
		client.HSet(t.Context(), living, "", damage)
		revoked("a damaged user", blacklist.Revocation{UserID: "user", Why: blacklist.Revoked}, whole)
	}
}

// Guards what processes remember against a flood of messages that differ from true ones in what
// Redis does not know: they are no more, so that nothing true is forgotten for them.
func TestForgedVariants(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s, other := open(t, client, Options{Prefix: "a:"}), open(t, client, Options{Prefix: "a:"})
	out := present(t, other, login(t, other, "out"))
	published := subscribe(t, s)
	revoked := revokes(t, other, blacklist.Revocation{UserID: "user", Why: blacklist.Revoked})
	stale := revokes(t, other, blacklist.Revocation{UserID: "user", Why: blacklist.Stale})
	ended := revokes(t, other, blacklist.Revocation{UserID: "out", SessionID: out.SessionID, Why: blacklist.LoggedOut})
	all := revokes(t, other, blacklist.Revocation{All: true, Why: blacklist.Revoked})
	hears(t, s, published, 4)
	for n := range 20 {
		ago := time.Duration(n) * time.Microsecond
		for _, c := range []blacklist.Change{
			{UserID: "user", Verdict: blacklist.Revoked, At: revoked.At.Add(-ago)},
			{UserID: "user", Verdict: blacklist.Revoked, At: revoked.At, Except: newID()},
			{UserID: "user", Verdict: blacklist.Stale, At: stale.At.Add(-ago), Mark: stale.Mark},
			{UserID: "user", Verdict: blacklist.Stale, At: stale.At, Mark: stale.Mark - int64(n)},
			{UserID: "out", SessionID: out.SessionID, Verdict: blacklist.LoggedOut, At: ended.At.Add(-ago)},
		} {
			s.heard(message{bucket: userOf(c.UserID).bucket, counter: 1, change: c, keep: time.Duration(n) * time.Minute})
		}
		for _, why := range []blacklist.Verdict{blacklist.Revoked, blacklist.LoggedOut, blacklist.SessionCompromised, blacklist.Stale} {
			m := message{all: true, counters: new([buckets]int64), epochs: new([buckets]int64), moments: new([buckets]int64)}
			for b := range buckets {
				m.epochs[b], m.moments[b] = other.states[b].Load().epoch-int64(n), int64(n)
			}
			m.change = blacklist.Change{All: true, Verdict: why, At: all.At.Add(-ago)}
			s.heard(m)
		}
	}
	verified(t, s)
	if list := s.recent.last(); len(list) != 4 {
		t.Errorf("%d messages are remembered, want the 4 true ones: %+v", len(list), list)
	}
}

// Guards how often sessions are looked up because of what anybody may publish: numbers of changes
// that were never made are a Gap at most once in each poll. (Whoever listens stays sure of what it
// hears.)
func TestForgedCounters(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s := open(t, client, Options{Prefix: "a:", Poll: 100 * time.Millisecond})
	w := watches(t, s)
	before, _ := w.counts()
	began := time.Now()
	for n := int64(1); ; n++ {
		counter := 1000 * n
		if n%2 == 0 {
			counter = 1
		}
		publishes(t, client, s, counter, blacklist.Change{UserID: "user", Verdict: blacklist.Revoked, At: time.Now()}, 0)
		after, _ := w.counts()
		if most := 2 + int(time.Since(began)/(s.o.Poll*4/5)); after-before > most {
			t.Fatalf("%d Gaps in %v", after-before, time.Since(began))
		} else if most > 20 {
			break
		}
	}
	w.sure("all is heard")
}

// Guards the memory of processes against a flood of long messages, while Redis does not say whether
// they are true.
func TestForgedFlood(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.Client(), Options{})
	present(t, s, login(t, s, "user"))
	server.Pause()
	defer server.Resume()
	for n := range 10_000 {
		c := blacklist.Change{UserID: text(int64(n)) + strings.Repeat("u", maxField-10), TokenID: newID(), Verdict: blacklist.Revoked, At: time.Now()}
		s.heard(message{bucket: userOf(c.UserID).bucket, counter: 1, change: c})
	}
	s.recent.mu.Lock()
	defer s.recent.mu.Unlock()
	if n := len(s.recent.unverified); n == 0 || n > maxUnverified/(maxField-10) || s.recent.size > maxUnverified {
		t.Errorf("%d messages wait, of %d bytes", n, s.recent.size)
	}
}
