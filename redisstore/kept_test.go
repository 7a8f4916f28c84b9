package redisstore

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// trips counts round trips.
type trips struct{ n atomic.Int64 }

func (c *trips) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (c *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmd)
	}
}

func (c *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmds)
	}
}

// Guards the number of round trips: one for a decision on a record that is kept, two for others,
// and none is saved on a refusal.
func TestRoundTrips(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	count := new(trips)
	warm, cold := open(t, client, Options{Prefix: "a:"}), open(t, server.Client(), Options{Prefix: "a:", MaxKept: -1})
	// Redis has to know the scripts before round trips are counted.
	revokes(t, warm, blacklist.Revocation{UserID: "nobody", Why: blacklist.Revoked})
	checks(t, warm, blacklist.Accepted, present(t, warm, login(t, warm, "first")))
	if _, err := warm.Sessions(t.Context(), "first"); err != nil {
		t.Error(err)
	}
	client.AddHook(count)
	takes := func(want int64, what string, do func()) {
		t.Helper()
		count.n.Store(0)
		if do(); count.n.Load() != want {
			t.Errorf("%s takes %d round trips, want %d", what, count.n.Load(), want)
		}
	}
	code := login(t, warm, "user")
	var first, second blacklist.TokenRef
	takes(1, "a login", func() { first = present(t, warm, code) })
	takes(1, "a confirmation", func() { confirms(t, warm, first) })
	takes(1, "a rotation", func() { second = present(t, warm, first) })
	takes(1, "a check", func() { checks(t, warm, blacklist.Accepted, second) })
	takes(1, "a refusal", func() {
		p := presentation(code, successor(code))
		p.EndOnReuse = false
		wants(t, warm, blacklist.Replaced, p)
	})
	confirms(t, cold, second)
	takes(2, "a rotation of what is not kept as it is", func() { present(t, warm, second) })
	takes(1, "a revocation", func() { revokes(t, warm, blacklist.Revocation{UserID: "user", Why: blacklist.Revoked}) })
	takes(1, "Sessions", func() {
		if _, err := warm.Sessions(t.Context(), "user"); err != nil {
			t.Error(err)
		}
	})
}

// Guards against refusals decided on a record that another process has replaced since.
func TestRefusalsAreFresh(t *testing.T) {
	server := redistest.Start(t)
	a, b := open(t, server.Client(), Options{Prefix: "a:"}), open(t, server.Client(), Options{Prefix: "a:"})
	token := login(t, a, "user")
	for n := range 10 {
		next := present(t, a, token)
		confirms(t, b, next)
		after := present(t, b, next) // a has an older record
		if n%2 == 0 {
			confirms(t, b, after)
		}
		confirms(t, a, after)
		token = after
	}
	// Nor is anything accepted on one.
	next := present(t, a, token)
	confirms(t, a, next)
	revokes(t, b, blacklist.Revocation{UserID: "user", SessionID: token.SessionID, Why: blacklist.LoggedOut})
	wants(t, a, blacklist.LoggedOut, presentation(next, successor(next)))
	other := present(t, a, login(t, a, "user"))
	mark := revokes(t, b, blacklist.Revocation{UserID: "user", SessionID: other.SessionID, Why: blacklist.Stale}).Mark
	r, err := a.Present(t.Context(), presentation(other, successor(other)))
	if err != nil || r.Verdict != blacklist.Stale || r.Mark != mark {
		t.Errorf("%+v, %v", r, err)
	}
	revokes(t, b, blacklist.Revocation{All: true, Why: blacklist.Revoked})
	wants(t, a, blacklist.Revoked, presentation(other, successor(other)))
}

// Guards how many records are kept.
func TestKeptAreBounded(t *testing.T) {
	c := cache{most: 100}
	for n := range 10_000 {
		c.put(fmt.Sprint(n), sight{record: "x"})
		if _, ok := c.get(fmt.Sprint(n)); !ok {
			t.Fatalf("%d is not kept", n)
		}
		if len(c.young)+len(c.old) > 100 {
			t.Fatalf("%d are kept", len(c.young)+len(c.old))
		}
	}
	c.put("9999", sight{})
	if _, ok := c.get("9999"); ok {
		t.Error("what has no record is kept")
	}
	none := cache{most: -1}
	none.put("x", sight{record: "x"})
	if _, ok := none.get("x"); ok {
		t.Error("kept, though nothing is to be")
	}
}

// Guards a year of daily logins: what is over is taken out as the next session begins, and each key
// expires.
func TestYearOfLogins(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s := open(t, client, Options{MaxSkew: -1})
	u := userOf("user")
	const day = 24 * time.Hour
	var size int64
	for n := range 365 {
		s.scripts = newScripts(time.Duration(n) * day)
		if err := s.touchAll(t.Context()); err != nil {
			t.Fatal(err)
		}
		code := login(t, s, "user")
		next := successor(code)
		next.ExpiresAt = code.IssuedAt.Add(30 * day)
		wants(t, s, blacklist.Accepted, presentation(code, next))
		confirms(t, s, next)
		if n%3 == 0 {
			revokes(t, s, blacklist.Revocation{UserID: "user", SessionID: code.SessionID, Why: blacklist.LoggedOut})
		}
		fields := client.HLen(t.Context(), s.livingKey(u)).Val() + client.HLen(t.Context(), s.endedKey(u)).Val()
		if n > 40 && fields > 31*3+2 {
			t.Fatalf("day %d: %d fields", n, fields)
		}
		size = max(size, fields)
	}
	list, err := s.Sessions(t.Context(), "user")
	if err != nil || len(list) < 19 || len(list) > 21 {
		t.Errorf("%d sessions, %v, want the two thirds of 30", len(list), err)
	}
	t.Logf("at most %d fields", size)
	for _, key := range client.Keys(t.Context(), s.o.Prefix+"*").Val() {
		if left := client.PTTL(t.Context(), key).Val(); left <= 0 {
			t.Errorf("%q expires in %s", key, left)
		}
	}
}

// Guards the cost of a login of a user who has a great many sessions that are over: it goes through
// some of them, and takes out more than are added.
func TestManyOver(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s := open(t, client, Options{MaxSkew: -1})
	u := userOf("user")
	for range 2000 {
		present(t, s, login(t, s, "user"))
	}
	if n := client.HLen(t.Context(), s.livingKey(u)).Val(); n < 4000 {
		t.Fatalf("%d fields", n)
	}
	s.scripts = newScripts(40 * 24 * time.Hour)
	if err := s.touchAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		code := login(t, s, "user")
		next := successor(code)
		next.ExpiresAt = code.IssuedAt.Add(time.Hour)
		wants(t, s, blacklist.Accepted, presentation(code, next))
		revokes(t, s, blacklist.Revocation{UserID: "user", SessionID: code.SessionID, Why: blacklist.LoggedOut})
	}
	if n := client.HLen(t.Context(), s.livingKey(u)).Val(); n > 10 {
		t.Errorf("%d fields are left", n)
	}
}

// Guards expiries: they only grow, whichever session of a user comes last.
func TestExpiriesOnlyGrow(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	s := open(t, client, Options{})
	u := userOf("user")
	long := login(t, s, "user")
	next := successor(long)
	next.ExpiresAt = time.Now().Add(30_000 * time.Hour) // years
	wants(t, s, blacklist.Accepted, presentation(long, next))
	for n := range 4 {
		short := login(t, s, "user")
		p := presentation(short, successor(short))
		p.SuccessorExpiresAt = time.Now().Add(time.Minute)
		wants(t, s, blacklist.Accepted, p)
		if n%2 == 0 {
			revokes(t, s, blacklist.Revocation{UserID: "user", SessionID: short.SessionID, Why: blacklist.LoggedOut})
		}
		if left := client.PTTL(t.Context(), s.livingKey(u)).Val(); left < 29_999*time.Hour {
			t.Errorf("the sessions expire in %s", left)
		}
	}
	if left := client.PTTL(t.Context(), s.bucketKey(u.bucket)).Val(); left < 30_000*time.Hour {
		t.Errorf("the bucket expires in %s", left)
	}
	revokes(t, s, blacklist.Revocation{UserID: "user", SessionID: long.SessionID, Why: blacklist.LoggedOut})
	revokes(t, s, blacklist.Revocation{UserID: "user", SessionID: newID(), Why: blacklist.LoggedOut})
	if left := client.PTTL(t.Context(), s.endedKey(u)).Val(); left < 29_999*time.Hour {
		t.Errorf("what has ended expires in %s", left)
	}
}

// Guards names of keys: they are told apart, and spread over the slots of a cluster.
func TestKeys(t *testing.T) {
	s := &Store{o: Options{Prefix: "app*:"}}
	seen := make(map[int]int)
	for n, tag := range bucketTags {
		s.bucketKeys[n] = s.o.Prefix + "{" + tag + "}"
		seen[slotOf(tag)/(slots/buckets)]++
	}
	if len(seen) != buckets {
		t.Errorf("%d parts of the slots have a bucket", len(seen))
	}
	for n := range 1000 {
		u := userOf(strings.Repeat("x", n))
		for _, key := range []string{s.livingKey(u), s.endedKey(u)} {
			if got, ok := s.parseKey(key); !ok || got != u {
				t.Errorf("%q is of %+v, %v", key, got, ok)
			}
		}
		if _, ok := s.parseKey(s.bucketKey(u.bucket)); ok {
			t.Error("a bucket is a user")
		}
	}
	if slotOf("123456789") != 0x31c3%slots {
		t.Errorf("slot %#x", slotOf("123456789"))
	}
}
