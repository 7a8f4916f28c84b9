package redisstore

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// Guards New: it refuses what a store cannot rely on, and does no I/O.
func TestNew(t *testing.T) {
	single := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", ContextTimeoutEnabled: true})
	cluster := func(o redis.ClusterOptions) redis.UniversalClient {
		o.Addrs, o.ContextTimeoutEnabled = []string{"127.0.0.1:1"}, true
		return redis.NewClusterClient(&o)
	}
	var none *redis.Client
	for name, test := range map[string]struct {
		client redis.UniversalClient
		o      Options
		want   error
	}{
		"none":          {nil, Options{}, errNoClient},
		"nil":           {none, Options{}, errNoClient},
		"ring":          {redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}}), Options{}, errRing},
		"read only":     {cluster(redis.ClusterOptions{ReadOnly: true}), Options{}, errReplicas},
		"latency":       {cluster(redis.ClusterOptions{RouteByLatency: true}), Options{}, errReplicas},
		"random":        {cluster(redis.ClusterOptions{RouteRandomly: true}), Options{}, errReplicas},
		"no deadlines":  {redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}), Options{}, errDeadline},
		"no deadlines2": {redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}}), Options{}, errDeadline},
		"good":          {single, Options{}, nil},
		"good cluster":  {cluster(redis.ClusterOptions{}), Options{Prefix: "a:", Poll: time.Second, MaxSkew: -1, MaxKept: -1}, nil},
	} {
		s, err := New(test.client, test.o)
		if !errors.Is(err, test.want) || (s == nil) != (err != nil) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if c, ok := test.client.(*redis.Client); test.client != nil && !(ok && c == nil) {
			_ = test.client.Close()
		}
	}
	for _, o := range []Options{{Prefix: "a{b"}, {Prefix: "a}"}, {Prefix: "ä"}, {Prefix: "a b"}, {Prefix: strings.Repeat("a", 201)}, {Poll: -1}, {Poll: 1}, {Poll: 2 * time.Second}} {
		if _, err := New(single, o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

// Guards against Redis users who may not call INFO: nothing is accepted, the error says why, and
// revocations are made. With Durable, INFO is not needed.
func TestInfoForbidden(t *testing.T) {
	server := redistest.Start(t)
	server.Do("ACL", "SETUSER", "app", "on", ">secret-password", "~*", "&*", "+@all", "-info")
	client := redis.NewClient(&redis.Options{Addr: server.Addr, Username: "app", Password: "secret-password", ContextTimeoutEnabled: true})
	defer client.Close()
	s, err := New(client, Options{Prefix: "a:"})
	if err != nil {
		t.Fatal(err)
	}
	code := blacklist.TokenRef{SessionID: newID(), TokenID: newID(), UserID: "user", IssuedAt: time.Now(), AuthTime: time.Now()}
	_, err1 := s.Present(t.Context(), presentation(code, successor(code)))
	_, err2 := s.Time(t.Context(), "user", time.Now())
	_, err3 := s.Check(t.Context(), code, 0, 0)
	for _, err := range []error{err1, err2, err3} {
		if !errors.Is(err, ErrRunID) || !strings.Contains(err.Error(), "+info") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v", err)
		}
	}
	revokes(t, s, blacklist.Revocation{UserID: "user", Why: blacklist.Revoked})
	revokes(t, s, blacklist.Revocation{All: true, Why: blacklist.Revoked})
	durable := open(t, client, Options{Prefix: "b:", Durable: true})
	present(t, durable, login(t, durable, "user"))
}

// Guards the ACL in the package's documentation: it is enough, and other keys cannot be written.
func TestACL(t *testing.T) {
	server := redistest.Start(t)
	server.Do(append([]any{"ACL", "SETUSER", "app", "on", ">password"}, documentedACL(t)...)...)
	client := redis.NewClient(&redis.Options{Addr: server.Addr, Username: "app", Password: "password", ContextTimeoutEnabled: true})
	defer client.Close()
	s := open(t, client, Options{Prefix: "sa:"})
	first := present(t, s, login(t, s, "user"))
	confirms(t, s, first)
	checks(t, s, blacklist.Accepted, first)
	if _, err := s.Sessions(t.Context(), "user"); err != nil {
		t.Error(err)
	}
	if _, err := s.counters(t.Context()); err != nil {
		t.Error(err)
	}
	subscribe(t, s)
	for _, why := range []blacklist.Verdict{blacklist.Stale, blacklist.LoggedOut} {
		revokes(t, s, blacklist.Revocation{UserID: "user", SessionID: first.SessionID, Why: why})
		revokes(t, s, blacklist.Revocation{UserID: "user", Why: why})
	}
	present(t, s, login(t, s, "another"))
	if c := revokes(t, s, blacklist.Revocation{All: true, Why: blacklist.Revoked}); c.Sessions != 1 {
		t.Errorf("%d sessions counted", c.Sessions)
	}
	if err := s.subscribed(t.Context()); err != nil {
		t.Error(err)
	}
	if foreign, err := New(client, Options{Prefix: "other:"}); err != nil || foreign.touchAll(t.Context()) == nil {
		t.Errorf("keys of others can be written: %v", err)
	}
}

// documentedACL returns what the package's documentation says that the store's user needs.
func documentedACL(t testing.TB) []any {
	t.Helper()
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, acl, _ := strings.Cut(string(text), "ACL SETUSER app on >PASSWORD ")
	acl, _, _ = strings.Cut(acl, "\n//\n")
	return words(strings.ReplaceAll(acl, "//", ""))
}

// documentedClusterACL returns what it says that a client of a cluster needs beside that.
func documentedClusterACL(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, acl, _ := strings.Cut(string(text), "A client of a cluster also needs ")
	acl, _, _ = strings.Cut(acl, ".\n")
	return acl
}

// words returns the words of a text.
func words(s string) (all []any) {
	for f := range strings.FieldsSeq(s) {
		all = append(all, f)
	}
	return all
}

// Guards against a client that reads from a replica without saying so: nothing is accepted.
func TestReplicaIsRefused(t *testing.T) {
	master := redistest.Start(t)
	s := open(t, master.Client(), Options{Prefix: "a:"})
	first := present(t, s, login(t, s, "user"))
	replica := master.Replica("")
	redistest.Eventually(t, "the replica has it", func() bool {
		return replica.Client().Exists(t.Context(), s.livingKey(userOf("user"))).Val() == 1
	})
	behind, err := New(replica.Client(), Options{Prefix: "a:"})
	if err != nil {
		t.Fatal(err)
	}
	behind.touched[userOf("user").bucket].Store(true)
	if r, err := behind.Check(t.Context(), first, 0, 0); err == nil || r.Verdict != 0 || !strings.Contains(err.Error(), "READONLY") {
		t.Errorf("Check: verdict %d, %v", r.Verdict, err)
	}
	if _, err := behind.CheckAll(t.Context(), []blacklist.TokenRef{first}); err == nil {
		t.Error("CheckAll accepts")
	}
	if _, err := behind.Sessions(t.Context(), "user"); err == nil {
		t.Error("Sessions reads from it")
	}
}
