package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// login is the code of a new session of a user, by the store's clock.
func login(t testing.TB, s *Store, user string) blacklist.TokenRef {
	t.Helper()
	now, err := s.Time(context.Background(), user, s.now())
	if err != nil {
		t.Fatal(err)
	}
	return blacklist.TokenRef{
		SessionID: newID(), TokenID: newID(), UserID: user, IssuedAt: now, AuthTime: now, ExpiresAt: now.Add(30 * time.Second),
	}
}

func successor(token blacklist.TokenRef) blacklist.TokenRef {
	token.TokenID, token.Generation = newID(), token.Generation+1
	token.ExpiresAt = time.Now().Add(30 * 24 * time.Hour)
	return token
}

func presentation(token, next blacklist.TokenRef) blacklist.Presentation {
	return blacklist.Presentation{
		Token: token, SuccessorID: next.TokenID, SuccessorExpiresAt: next.ExpiresAt, SuccessorMark: next.Mark,
		SocketOpenedAt: time.Now().Add(2 * time.Hour), EndOnReuse: true, Confirming: true,
		Address: "192.0.2.17", UserAgent: agents[0],
	}
}

// present wants a token to be accepted, and returns its successor.
func present(t testing.TB, s *Store, token blacklist.TokenRef) blacklist.TokenRef {
	t.Helper()
	next := successor(token)
	wants(t, s, blacklist.Accepted, presentation(token, next))
	return next
}

func wants(t testing.TB, s *Store, want blacklist.Verdict, p blacklist.Presentation) {
	t.Helper()
	if r, err := s.Present(context.Background(), p); err != nil || r.Verdict != want {
		t.Fatalf("Present: verdict %d, %v, want %d", r.Verdict, err, want)
	}
}

func confirms(t testing.TB, s *Store, token blacklist.TokenRef) {
	t.Helper()
	if r, err := s.Confirm(context.Background(), token); err != nil || r.Verdict != blacklist.Accepted {
		t.Fatalf("Confirm: verdict %d, %v", r.Verdict, err)
	}
}

func checks(t testing.TB, s *Store, want blacklist.Verdict, tokens ...blacklist.TokenRef) {
	t.Helper()
	for _, token := range tokens {
		if r, err := s.Check(context.Background(), token, 0, 0); err != nil || r.Verdict != want {
			t.Fatalf("Check of generation %d: verdict %d, %v, want %d", token.Generation, r.Verdict, err, want)
		}
	}
}

func usedMemory(t testing.TB, client *redis.Client) int {
	t.Helper()
	info := client.InfoMap(context.Background(), "memory").Val()
	n, err := strconv.Atoi(info["Memory"]["used_memory"])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// begins returns the step that begins a session, as if it had been used for a while already.
func begins(t testing.TB, s *Store, n int) (call, blacklist.TokenRef) {
	state, userID := begun(t, 1+n%6, agents[n%len(agents)], fmt.Sprintf("203.0.113.%d", n%256))
	u := userOf(userID)
	e := s.states[u.bucket].Load()
	record, err := encodeRecord(&state, userID, e.epoch)
	if err != nil {
		t.Fatal(err)
	}
	sid := newID()
	raw, _ := rawID(sid)
	token := blacklist.TokenRef{SessionID: sid, TokenID: textID(string(holder(t, &state))), UserID: userID, Generation: uint64(1 + n%6), AuthTime: time.Now()}
	return call{bucket: u.bucket, keys: s.keys(u), args: []any{raw, "", "", e.text, "", record, "", s.channel(), u.bucket, "", s.durable()}}, token
}

// holder returns the token that holds the latest generation of a session.
func holder(t testing.TB, state *blacklist.State) []byte {
	t.Helper()
	plain, err := state.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	f, ok := parsePlain(plain)
	if !ok {
		t.Fatal("the State has another form than the one that is packed")
	}
	return f.holder[:]
}

// fill begins many sessions, a multiple of 1000, as if they had been used for a while already.
func fill(t testing.TB, s *Store, sessions int) []blacklist.TokenRef {
	t.Helper()
	tokens := make([]blacklist.TokenRef, sessions)
	for from := 0; from < sessions; from += 1000 {
		var calls []call
		for n := from; n < from+1000; n++ {
			c, token := begins(t, s, n)
			calls, tokens[n] = append(calls, c), token
		}
		if err := s.runAll(t.Context(), s.scripts.step, calls); err != nil {
			t.Fatal(err)
		}
		for _, c := range calls {
			if len(c.reply) != 1 {
				t.Fatalf("not written: %q", c.reply)
			}
		}
	}
	return tokens
}

// Guards the memory that a session takes in Redis, and that all of them can be checked at once.
func TestManySessions(t *testing.T) {
	const sessions = 100_000
	server := redistest.Start(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr, ContextTimeoutEnabled: true, PoolSize: 8})
	defer client.Close()
	s := open(t, client, Options{Prefix: "app:"})
	present(t, s, login(t, s, "first"))
	before := usedMemory(t, client)
	tokens := fill(t, s, sessions)
	each := (usedMemory(t, client) - before) / sessions
	t.Logf("%d bytes a session", each)
	if each > 350 {
		t.Errorf("%d bytes a session, want at most 350", each)
	}

	began := time.Now()
	results, err := s.CheckAll(t.Context(), tokens)
	if err != nil || len(results) != sessions {
		t.Fatalf("%d results, %v", len(results), err)
	}
	t.Logf("%d sessions checked in %s", sessions, time.Since(began).Round(time.Millisecond))
	for n, r := range results {
		if r.Verdict != blacklist.Accepted {
			t.Fatalf("session %d: verdict %d", n, r.Verdict)
		}
	}
	began = time.Now()
	c, err := s.Revoke(t.Context(), blacklist.Revocation{All: true, Why: blacklist.Revoked, Keep: time.Minute})
	if err != nil || c.Sessions != sessions+1 {
		t.Errorf("%d sessions ended, %v", c.Sessions, err)
	}
	t.Logf("all revoked and counted in %s", time.Since(began).Round(time.Millisecond))
	if !strings.HasPrefix(s.livingKey(userOf("x")), "app:{") {
		t.Error(s.livingKey(userOf("x")))
	}
}
