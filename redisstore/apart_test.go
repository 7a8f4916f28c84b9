package redisstore

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// usersOf returns a session of each of some users, by the number of the master that they are on.
func usersOf(t *testing.T, s *Store, cluster *redistest.Cluster, users int) (of [3][]blacklist.TokenRef) {
	t.Helper()
	client := s.client.(*redis.ClusterClient)
	for n := range users {
		id := fmt.Sprint("user ", n)
		master, err := client.MasterForKey(t.Context(), s.livingKey(userOf(id)))
		if err != nil {
			t.Fatal(err)
		}
		for m, server := range cluster.Masters {
			if master.Options().Addr == server.Addr {
				of[m] = append(of[m], present(t, s, login(t, s, id)))
			}
		}
	}
	return of
}

// startParted starts a cluster whose masters serve while another is out.
func startParted(t *testing.T) *redistest.Cluster {
	t.Helper()
	return redistest.StartCluster(t, false, "--cluster-require-full-coverage", "no")
}

// wantAll wants CheckAll to accept the sessions of some masters, and not to answer for the others.
func wantAll(t *testing.T, ctx context.Context, s *Store, of [3][]blacklist.TokenRef, answers [3]bool) {
	t.Helper()
	var tokens []blacklist.TokenRef
	var want []blacklist.Verdict
	for m := range of {
		for _, token := range of[m] {
			tokens = append(tokens, token)
			if answers[m] {
				want = append(want, blacklist.Accepted)
			} else {
				want = append(want, 0)
			}
		}
	}
	results, err := s.CheckAll(ctx, tokens)
	if err != nil || len(results) != len(tokens) {
		t.Fatalf("%d results, %v", len(results), err)
	}
	for n, r := range results {
		if r.Verdict != want[n] {
			t.Fatalf("session %d: verdict %d, want %d (%v answer)", n, r.Verdict, want[n], answers)
		}
	}
}

// Guards the look at all sessions while masters of a cluster are out: those of the users of the
// others are answered for, although one hangs and one is gone, also by a process that has just
// started, and batch after batch.
func TestCheckAllWithoutSomeMasters(t *testing.T) {
	t.Parallel()
	cluster := startParted(t)
	client := cluster.Client()
	s := open(t, client, Options{Prefix: "a:"})
	of := usersOf(t, s, cluster, 150)
	wantAll(t, t.Context(), s, of, [3]bool{true, true, true})

	cluster.Masters[1].Pause()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // in which no 50 time-outs fit
	defer cancel()
	for range 50 {
		wantAll(t, ctx, s, of, [3]bool{true, false, true})
	}
	fresh, err := New(client, Options{Prefix: "a:"})
	if err != nil {
		t.Fatal(err)
	}
	wantAll(t, ctx, fresh, of, [3]bool{true, false, true})
	present(t, fresh, login(t, fresh, of[0][0].UserID))

	cluster.Masters[2].Kill()
	for range 5 {
		wantAll(t, ctx, s, of, [3]bool{true, false, false})
	}
	if results, err := s.CheckAll(ctx, append(of[1], of[2]...)); err == nil {
		t.Errorf("nobody answers, but there is no error: %v", results)
	}

	cluster.Masters[1].Resume()
	cluster.Masters[2].Restart()
	for m, tokens := range of {
		redistest.Eventually(t, fmt.Sprintf("master %d answers again", m), func() bool {
			results, err := s.CheckAll(t.Context(), tokens)
			return err == nil && results[0].Verdict != 0
		})
	}
	redistest.Eventually(t, "all are asked again", func() bool {
		results, err := s.CheckAll(t.Context(), append(append(of[0][:1:1], of[1][0]), of[2][0]))
		return err == nil && results[1].Verdict != 0 && results[2].Verdict != 0
	})
}

// Guards the look at all sessions against one damaged record: the others are answered for.
func TestCheckAllWithDamagedRecord(t *testing.T) {
	s := open(t, redistest.Start(t).Client(), Options{})
	sound, damaged := present(t, s, login(t, s, "user")), present(t, s, login(t, s, "user"))
	raw, _ := rawID(damaged.SessionID)
	if err := s.client.HSet(t.Context(), s.livingKey(userOf("user")), raw, "damaged").Err(); err != nil {
		t.Fatal(err)
	}
	results, err := s.CheckAll(t.Context(), []blacklist.TokenRef{damaged, sound})
	if err != nil || results[0].Verdict != 0 || results[1].Verdict != blacklist.Accepted {
		t.Errorf("%+v, %v", results, err)
	}
	if _, err := s.CheckAll(t.Context(), []blacklist.TokenRef{damaged}); err == nil {
		t.Error("no error although nothing is answered")
	}
}
