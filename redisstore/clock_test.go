package redisstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// skews are how far the clocks of a process, and Redis's, may be off in these tests.
var skews = []time.Duration{0, 2 * time.Second, -2 * time.Second}

// skewed returns a store of a process whose clock is ahead, on a Redis whose clock is.
func skewed(t testing.TB, client redis.UniversalClient, prefix string, redisAhead, ahead time.Duration) *Store {
	t.Helper()
	s, err := New(client, Options{Prefix: prefix})
	if err != nil {
		t.Fatal(err)
	}
	s.ahead, s.scripts = ahead, newScripts(redisAhead)
	if err := s.touchAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// Guards the estimate of Redis's clock: it is never ahead of it, and at most a little behind.
func TestTimeIsNeverAhead(t *testing.T) {
	server := redistest.Start(t)
	for _, redisAhead := range skews {
		for _, ahead := range skews {
			s := skewed(t, server.Client(), fmt.Sprintf("%s%s:", redisAhead, ahead), redisAhead, ahead)
			for range 100 {
				at := time.Now().Add(ahead)
				latest := time.Unix(0, time.Now().UnixNano()) // of the same machine
				got, err := s.Time(t.Context(), "user", at)
				if err != nil {
					t.Fatal(err)
				}
				if off := got.Sub(latest.Add(redisAhead)); off > 0 || off < -time.Second {
					t.Fatalf("off by %s", off)
				}
				if rand.IntN(10) == 0 {
					if _, err := s.Sessions(t.Context(), "user"); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
}

// Guards the estimate while Redis's clock is set: it follows at the next reply.
func TestTimeFollowsRedis(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.Client(), Options{})
	for _, ahead := range []time.Duration{0, 5 * time.Second, -5 * time.Second, time.Millisecond, -10 * time.Second} {
		s.scripts = newScripts(ahead)
		if _, err := s.Sessions(t.Context(), "user"); err != nil {
			t.Fatal(err)
		}
		at := time.Now()
		latest := time.Unix(0, time.Now().UnixNano())
		got, err := s.Time(t.Context(), "user", at)
		if err != nil {
			t.Fatal(err)
		}
		if off := got.Sub(latest.Add(ahead)); off > 0 || off < -time.Second {
			t.Errorf("Redis is ahead by %s: off by %s", ahead, off)
		}
	}
}

// Guards clocks that differ by two seconds: no login survives a revocation for it, and none is
// refused.
func TestSkewedLogins(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client()
	for _, redisAhead := range skews {
		var stores []*Store
		for _, ahead := range skews {
			stores = append(stores, skewed(t, client, fmt.Sprintf("skew%s:", redisAhead), redisAhead, ahead))
		}
		one := func() *Store { return stores[rand.IntN(len(stores))] }
		for n := range 200 {
			user := fmt.Sprint("user ", n)
			code, unused := login(t, one(), user), login(t, one(), user)
			first := present(t, one(), code)
			var r blacklist.Revocation
			switch {
			case n%2 == 0:
				r = blacklist.Revocation{UserID: user, Why: blacklist.Revoked}
			default:
				r = blacklist.Revocation{All: true, Why: blacklist.Revoked}
			}
			c := revokes(t, one(), r)
			if c.Sessions != 1 && !c.All {
				t.Errorf("%d sessions ended", c.Sessions)
			}
			checks(t, one(), blacklist.Revoked, first, unused)
			wants(t, one(), blacklist.Revoked, presentation(unused, successor(unused)))
			time.Sleep(2 * time.Millisecond) // the estimates are a little behind
			after := present(t, one(), login(t, one(), user))
			checks(t, one(), blacklist.Accepted, after)
			list, err := stores[n%3].Sessions(t.Context(), user)
			if err != nil || len(list) != 1 {
				t.Fatalf("%d sessions, %v", len(list), err)
			}
			// Times are those of the process that asks.
			now := time.Now().Add(stores[n%3].ahead)
			if off := now.Sub(list[0].Since); off < -20*time.Millisecond || off > time.Second {
				t.Errorf("a session of now began %s ago", off)
			}
			if off := now.Sub(list[0].LastSeen); off < -20*time.Millisecond || off > time.Second {
				t.Errorf("a session of now was seen %s ago", off)
			}
		}
	}
}

// Guards late messages: what a client's own socket sends late is no reuse, whatever the clocks
// show.
func TestSkewedLateMessages(t *testing.T) {
	server := redistest.Start(t)
	for _, redisAhead := range skews {
		for _, ahead := range skews {
			s := skewed(t, server.Client(), fmt.Sprintf("%s%s:", redisAhead, ahead), redisAhead, ahead)
			code := login(t, s, "user")
			first := present(t, s, code)
			opened := s.now()
			time.Sleep(20 * time.Millisecond)
			confirms(t, s, first)
			time.Sleep(20 * time.Millisecond)
			p := presentation(code, successor(code))
			p.SocketOpenedAt, p.PresentedAt, p.SupersededWithin = opened, s.now(), time.Second
			wants(t, s, blacklist.Superseded, p)
			p.SocketOpenedAt = s.now()
			wants(t, s, blacklist.ReuseDetected, p)
		}
	}
}

// Guards late messages that are late by very little: in doubt a message is late, and no session
// ends.
func TestJustLateMessages(t *testing.T) {
	server := redistest.Start(t)
	for _, redisAhead := range skews {
		for _, ahead := range skews {
			prefix := fmt.Sprintf("%s%s:", redisAhead, ahead)
			one, other := skewed(t, server.Client(), prefix, redisAhead, 0), skewed(t, server.Client(), prefix, redisAhead, ahead)
			for n := range 100 {
				user := fmt.Sprint("user ", n)
				code := login(t, one, user)
				first := present(t, one, code)
				opened := other.now()
				confirms(t, one, first)
				p := presentation(code, successor(code))
				p.SocketOpenedAt, p.PresentedAt, p.SupersededWithin = opened, other.now(), time.Second
				wants(t, other, blacklist.Superseded, p)
			}
		}
	}
}

// Guards the difference of the two clocks on a busy machine, where the two readings of a time.Time
// may be many milliseconds apart: it is not taken for a difference.
func TestClocksOfBusyMachine(t *testing.T) {
	var c clock
	since := time.Since(epoch)
	c.observe(time.Now(), since-25*time.Microsecond, time.Since(epoch)+25*time.Microsecond)
	end := time.Now().Add(time.Second)
	var work sync.WaitGroup
	for range 4 * runtime.GOMAXPROCS(0) {
		work.Go(func() {
			for time.Now().Before(end) {
				if shift, _ := c.shift(time.Now()); shift != 0 {
					t.Errorf("the clocks seem to differ by %s", shift)
					return
				}
			}
		})
	}
	work.Wait()
}

// Guards against clocks that are far off: nothing is accepted, and revocations are made.
func TestClocksFarOff(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, server.Client(), Options{MaxSkew: 3 * time.Second})
	code := login(t, s, "user")
	first := present(t, s, code)
	s.scripts = newScripts(10 * time.Second)
	if r, err := s.Present(t.Context(), presentation(first, successor(first))); !errors.Is(err, ErrClock) || r.Verdict != 0 {
		t.Errorf("verdict %d, %v", r.Verdict, err)
	}
	if r, err := s.Check(t.Context(), first, 0, 0); !errors.Is(err, ErrClock) || r.Verdict != 0 {
		t.Errorf("verdict %d, %v", r.Verdict, err)
	}
	if _, err := s.CheckAll(t.Context(), []blacklist.TokenRef{first}); !errors.Is(err, ErrClock) {
		t.Errorf("CheckAll: %v", err)
	}
	if c := revokes(t, s, blacklist.Revocation{UserID: "user", SessionID: first.SessionID, Why: blacklist.LoggedOut}); c.Sessions != 1 {
		t.Errorf("%d sessions ended", c.Sessions)
	}
	revokes(t, s, blacklist.Revocation{All: true, Why: blacklist.Revoked})
	any := open(t, server.Client(), Options{Prefix: s.o.Prefix, MaxSkew: -1})
	any.scripts = s.scripts
	checks(t, any, blacklist.LoggedOut, first)
}

// Guards a Redis whose clock is set back: marks are above those of before, users that were revoked
// stay so, codes that were used begin nothing, and sessions go on.
func TestRedisClockSetBack(t *testing.T) {
	server := redistest.Start(t)
	s, err := New(server.Client(), Options{MaxSkew: -1})
	if err != nil {
		t.Fatal(err)
	}
	s.scripts = newScripts(3 * time.Hour)
	code, unused := login(t, s, "user"), login(t, s, "other")
	token := present(t, s, code)
	confirms(t, s, token)
	last := revokes(t, s, blacklist.Revocation{UserID: "user", Why: blacklist.Stale}).Mark
	gone := present(t, s, login(t, s, "gone"))
	revokes(t, s, blacklist.Revocation{UserID: "gone", Why: blacklist.Revoked})
	s.scripts = newScripts(0)
	for n := range 4 {
		r := blacklist.Revocation{UserID: "user", Why: blacklist.Stale}
		if n%2 == 0 {
			r.SessionID = token.SessionID
		}
		c := revokes(t, s, r)
		if c.Mark <= last || c.Sessions != 1 {
			t.Errorf("mark %d after %d, of %d sessions", c.Mark, last, c.Sessions)
		}
		last = c.Mark
		next := successor(token)
		next.Mark = last
		wants(t, s, blacklist.Accepted, presentation(token, next))
		confirms(t, s, next)
		token = next
	}
	checks(t, s, blacklist.Replaced, code)
	checks(t, s, blacklist.Unknown, unused)
	checks(t, s, blacklist.Revoked, gone)
	late := login(t, s, "gone")
	checks(t, s, blacklist.Revoked, late) // until the clock has passed the revocation
	present(t, s, login(t, s, "another"))
}

// Guards the first login of all, whose time is read before the store has ever asked Redis.
func TestFirstLogin(t *testing.T) {
	server := redistest.Start(t)
	for n := range 20 {
		s, err := New(server.Client(), Options{Prefix: fmt.Sprint("first", n, ":")})
		if err != nil {
			t.Fatal(err)
		}
		authTime, issued := time.Now(), time.Now()
		token := blacklist.TokenRef{SessionID: newID(), TokenID: newID(), UserID: "user", ExpiresAt: issued.Add(time.Minute)}
		if token.AuthTime, err = s.Time(t.Context(), "user", authTime); err != nil {
			t.Fatal(err)
		}
		if token.IssuedAt, err = s.Time(t.Context(), "user", issued); err != nil {
			t.Fatal(err)
		}
		present(t, s, token)
		old, err := s.Time(t.Context(), "user", time.Now().Add(-time.Minute))
		if err != nil || time.Since(old) < 59*time.Second {
			t.Errorf("a minute ago was %s, %v", old, err)
		}
	}
}

// Guards against a server that takes over and whose clock is behind: once the connection is lost,
// tokens are not stamped by what the former server's clock showed.
func TestClockOfFormerServer(t *testing.T) {
	server := redistest.Start(t)
	s, _, p := pair(t, server)
	watches(t, s)
	login(t, s, "user")
	s.clockOf(0).observe(time.Now().Add(2*time.Second), time.Since(epoch), time.Since(epoch)) // the former server's
	p.Cut()
	c := s.clockOf(0)
	redistest.Eventually(t, "nothing is stamped", func() bool {
		_, fresh := c.reading(s.now(), s.now())
		return !fresh
	})
	if time.Since(epoch)-c.at > freshFor {
		t.Error("the estimate was used until it was old")
	}
	p.Pass()
	redistest.Eventually(t, "tokens are stamped by the server that is there", func() bool {
		at, err := s.Time(t.Context(), "user", s.now())
		return err == nil && !at.After(time.Now())
	})
}
