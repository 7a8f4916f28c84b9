package redisstore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// lag is a store on a master whose replica has fallen behind and can take over.
func lag(t *testing.T) (client *redis.Client, fall, takeOver func()) {
	t.Helper()
	master := redistest.Start(t)
	link := redistest.NewProxy(t, master.Addr)
	replica := master.Replica(link.Addr, "--repl-diskless-sync-delay", "0")
	door := redistest.NewProxy(t, master.Addr)
	client = redis.NewClient(&redis.Options{Addr: door.Addr, ContextTimeoutEnabled: true, MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	fall = func() {
		offset := func(s *redistest.Server, name string) string {
			c := s.Client()
			defer c.Close()
			return c.InfoMap(context.Background(), "replication").Val()["Replication"][name]
		}
		redistest.Eventually(t, "the replica has all", func() bool {
			return offset(replica, "slave_repl_offset") == offset(master, "master_repl_offset")
		})
		link.Stall()
	}
	takeOver = func() {
		master.Kill()
		replica.Promote()
		door.SwitchTo(replica.Addr)
		door.CutOnce()
		redistest.Eventually(t, "the replica answers", func() bool { return client.Ping(context.Background()).Err() == nil })
	}
	return client, fall, takeOver
}

// Guards codes against a replica that was behind and took over: one that was used before is not
// good again, nor is any that was issued before.
func TestLostLogins(t *testing.T) {
	client, fall, takeOver := lag(t)
	s := open(t, client, Options{Prefix: "a:"})
	idle := present(t, s, login(t, s, "idle"))
	fall()
	var codes, tokens []blacklist.TokenRef
	for n := range 50 {
		code := login(t, s, fmt.Sprint("user ", n))
		codes, tokens = append(codes, code), append(tokens, present(t, s, code))
	}
	unused := login(t, s, "unused")
	takeOver()
	checks(t, s, blacklist.Accepted, idle)
	checks(t, s, blacklist.Unknown, tokens...) // their users log in again
	for _, other := range []*Store{s, open(t, client, Options{Prefix: "a:"})} {
		checks(t, other, blacklist.Unknown, codes...)
		for _, code := range append(codes, unused) {
			wants(t, other, blacklist.Unknown, presentation(code, successor(code)))
		}
	}
	redistest.Eventually(t, "a login works again", func() bool {
		code := login(t, s, "late")
		r, err := s.Present(t.Context(), presentation(code, successor(code)))
		return err == nil && r.Verdict == blacklist.Accepted
	})
}

// Guards logins after a failover: as soon as one bucket has noticed it, all have, so that logins
// are not refused again and again as one after the other notices.
func TestFailoverIsNoticedAtOnce(t *testing.T) {
	client, fall, takeOver := lag(t)
	s := open(t, client, Options{Prefix: "a:"})
	births := func() (late int) {
		for _, key := range s.bucketKeys {
			state, err := parseState(client.HGet(t.Context(), key, "e").Val())
			if err != nil {
				t.Fatal(err)
			}
			if state.birth > time.Now().UnixMicro() {
				late++
			}
		}
		return late
	}
	code := login(t, s, "user")
	fall()
	takeOver()
	checks(t, s, blacklist.Unknown, code)
	if _, err := s.Sessions(t.Context(), "user"); err != nil {
		t.Fatal(err)
	}
	if n := births(); n != buckets {
		t.Errorf("%d buckets have noticed", n)
	}
}

// hears has a store hear what is published, and waits until it remembers so much.
func hears(t testing.TB, s *Store, published <-chan string, n int) {
	t.Helper()
	for range n {
		m, err := parseMessage(<-published)
		if err != nil {
			t.Fatal(err)
		}
		s.heard(m)
	}
	redistest.Eventually(t, "it is remembered", func() bool { return len(s.recent.last()) == n })
}

// Guards revocations against a replica that was behind and took over: each process says again what
// it has made or heard, which ends what had begun by then and nothing else.
func TestLostRevocations(t *testing.T) {
	for _, heard := range []bool{false, true} {
		t.Run(fmt.Sprint("heard ", heard), func(t *testing.T) { lostRevocations(t, heard) })
	}
}

func lostRevocations(t *testing.T, heard bool) {
	client, fall, takeOver := lag(t)
	s := open(t, client, Options{Prefix: "a:"})
	begin := func(user string) blacklist.TokenRef { return present(t, s, login(t, s, user)) }
	revoked, excepted, out, stale := begin("revoked"), begin("revoked"), begin("out"), begin("stale")
	stolenCode := login(t, s, "stolen")
	stolen := present(t, s, stolenCode)
	confirms(t, s, stolen)
	never, early := login(t, s, "never"), login(t, s, "revoked")
	idle := begin("idle")
	published := subscribe(t, s)
	fall()
	revokes(t, s, blacklist.Revocation{UserID: "revoked", Except: excepted.SessionID, Why: blacklist.Revoked})
	revokes(t, s, blacklist.Revocation{UserID: "out", SessionID: out.SessionID, Why: blacklist.LoggedOut})
	revokes(t, s, blacklist.Revocation{UserID: "never", SessionID: never.SessionID, Why: blacklist.LoggedOut})
	mark := revokes(t, s, blacklist.Revocation{UserID: "stale", Why: blacklist.Stale}).Mark
	wants(t, s, blacklist.ReuseDetected, presentation(stolenCode, successor(stolenCode)))
	if heard { // and the process that has made them is no more
		s = open(t, client, Options{Prefix: "a:"})
		hears(t, s, published, 5)
	} else {
		m, err := parseMessage(string(fmt.Appendf(nil, "%d 1 %d 0\n", userOf("stolen").bucket, time.Now().UnixMicro())) +
			string(appendChange(nil, blacklist.Change{UserID: "stolen", SessionID: stolen.SessionID, Verdict: blacklist.SessionCompromised}, 0)))
		if err != nil {
			t.Fatal(err)
		}
		s.recent.add(m)
	}
	takeOver()
	// The replica knows of no revocation until it is told again.
	checks(t, s, blacklist.Accepted, revoked, excepted, out, stale, stolen)

	// A session that begins later goes on.
	var later blacklist.TokenRef
	redistest.Eventually(t, "a login works again", func() bool {
		code := login(t, s, "revoked")
		later = successor(code)
		r, err := s.Present(t.Context(), presentation(code, later))
		return err == nil && r.Verdict == blacklist.Accepted
	})
	published = subscribe(t, s)
	if err := s.subscribed(t.Context()); err != nil {
		t.Fatal(err)
	}
	checks(t, s, blacklist.Revoked, revoked)
	checks(t, s, blacklist.Unknown, early)
	checks(t, s, blacklist.Accepted, excepted, later, idle)
	checks(t, s, blacklist.LoggedOut, out, never)
	checks(t, s, blacklist.SessionCompromised, stolen)
	checks(t, s, blacklist.Stale, stale)
	if r, err := s.Check(t.Context(), stale, 0, 0); err != nil || r.Mark != mark {
		t.Errorf("mark %d, %v, want %d", r.Mark, err, mark)
	}
	var told []string
	for range 5 {
		m, err := parseMessage(<-published)
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, m.change.UserID)
	}
	if all := strings.Join(told, " "); len(told) != 5 {
		t.Errorf("the others were told of %s", all)
	}
	if err := s.subscribed(t.Context()); err != nil { // which has nothing more to say
		t.Fatal(err)
	}
	select {
	case text := <-published:
		t.Errorf("said once more: %q", text)
	case <-time.After(50 * time.Millisecond):
	}
}

// Guards the revocation of all against a replica that was behind and took over.
func TestLostRevocationOfAll(t *testing.T) {
	client, fall, takeOver := lag(t)
	s := open(t, client, Options{Prefix: "a:"})
	var tokens []blacklist.TokenRef
	for n := range 100 {
		tokens = append(tokens, present(t, s, login(t, s, fmt.Sprint("user ", n))))
	}
	early := login(t, s, "early")
	published := subscribe(t, s)
	fall()
	revokes(t, s, blacklist.Revocation{All: true, Why: blacklist.LoggedOut})
	s = open(t, client, Options{Prefix: "a:"})
	hears(t, s, published, 1)
	takeOver()
	checks(t, s, blacklist.Accepted, tokens...)
	if err := s.subscribed(t.Context()); err != nil {
		t.Fatal(err)
	}
	checks(t, s, blacklist.LoggedOut, tokens...)
	checks(t, s, blacklist.Revoked, early)
	states := func() (all []string) {
		for _, key := range s.bucketKeys {
			all = append(all, fmt.Sprint(client.HMGet(t.Context(), key, "e", "n").Val()))
		}
		return all
	}
	before := states()
	if err := s.subscribed(t.Context()); err != nil || !slices.Equal(states(), before) { // once only
		t.Errorf("the states are %q, and before %q, %v", states(), before, err)
	}
}

// Guards revocations of a user whose sessions Redis has lost: processes that still have sockets of
// them are told that they are over, not that they are unknown, which ends no socket.
func TestRevocationOfLostSessions(t *testing.T) {
	client, fall, takeOver := lag(t)
	s, other := open(t, client, Options{Prefix: "a:"}), open(t, client, Options{Prefix: "a:"})
	fall()
	lost := present(t, other, login(t, other, "user"))
	takeOver()
	checks(t, other, blacklist.Unknown, lost)
	revokes(t, s, blacklist.Revocation{UserID: "user", Why: blacklist.Revoked})
	checks(t, other, blacklist.Revoked, lost)
	if all, err := other.CheckAll(t.Context(), []blacklist.TokenRef{lost}); err != nil || all[0].Verdict != blacklist.Revoked {
		t.Errorf("CheckAll: %+v, %v", all, err)
	}
}
