//go:build unix

package processes

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// TestEmits checks that what processes emit reaches the sockets of all processes once, in the order
// of each of them, and nobody else: to all, a room, a user and a session.
func TestEmits(t *testing.T) {
	const each = 200
	redis := redistest.Start(t)
	all := startAll(t, 3, config{Redis: []string{redis.Addr}})
	nodeNames(t, all)
	var anna []*socket
	for _, p := range all {
		s := p.login("anna")
		if _, err := s.call(t.Context(), "join", "room"); err != nil {
			t.Fatal(err)
		}
		anna = append(anna, s)
	}
	bert := all[1].login("bert") // in no room
	everyone := append(slices.Clone(anna), bert)
	for _, test := range []struct {
		name    string
		target  order
		members []*socket
	}{
		{"all", order{All: true}, everyone},
		{"room", order{Room: "room"}, anna},
		{"user", order{User: "anna"}, anna},
		{"session", order{Session: sessionOf(anna[2].stored())}, anna[2:]},
	} {
		t.Run(test.name, func(t *testing.T) {
			connect(t, all, test.target, test.members)
			failed := make(chan error, len(all))
			for n, p := range all {
				go func() {
					o := test.target
					o.Event, o.N, o.Data = "news", each, fmt.Sprint(n)
					_, err := p.ask(t.Context(), "emit", o)
					failed <- err
				}()
			}
			for range all {
				if err := <-failed; err != nil {
					t.Fatal(err)
				}
			}
			for n, s := range test.members {
				var next [3]int
				for range each * len(all) {
					e, err := s.wait(t.Context(), "news")
					if err != nil {
						t.Fatalf("socket %d heard %v of them and no more: %v", n, next, err)
					}
					var number, from int
					_ = json.Unmarshal(e.args[1], &number)
					_, _ = fmt.Sscan(e.text(0), &from)
					if number != next[from] {
						t.Fatalf("socket %d heard number %d of process %d, not %d", n, number, from, next[from])
					}
					next[from]++
				}
			}
			connect(t, all, order{All: true}, everyone) // what else was emitted has come too
			for n, s := range everyone {
				if more := s.all("news"); len(more) != 0 {
					t.Errorf("socket %d heard %d that were not for it, or came twice", n, len(more))
				}
			}
		})
	}
}

// connect returns once each socket has heard what each process emits to the target. The processes
// have subscribed to it then.
func connect(t testing.TB, all []*process, target order, members []*socket) {
	t.Helper()
	for _, p := range all {
		target.Event = fmt.Sprintf("probe %d", probes.Add(1))
		eventually(t, patience, func() error {
			p.must("emit", target)
			for n, s := range members {
				if _, err := s.call(t.Context(), "echo", ""); err != nil {
					t.Fatal(err)
				}
				if len(s.all(target.Event)) == 0 {
					return fmt.Errorf("socket %d hears nothing of %s", n, p.url)
				}
			}
			return nil
		})
	}
}

var probes atomic.Int64

// sessionOf returns the session of a token.
func sessionOf(token string) string {
	var claims struct{ SID string }
	if parts := strings.Split(token, "."); len(parts) == 3 {
		data, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(data, &claims)
	}
	return claims.SID
}

// TestPresence checks that each process knows who is connected to all of them.
func TestPresence(t *testing.T) {
	redis := redistest.Start(t)
	all := startAll(t, 3, config{Redis: []string{redis.Addr}})
	names := nodeNames(t, all)
	for _, p := range all {
		s := p.login("anna")
		if _, err := s.call(t.Context(), "join", "room"); err != nil {
			t.Fatal(err)
		}
	}
	all[2].login("bert")
	for _, p := range all {
		for _, test := range []struct {
			name   string
			target order
			want   []string
		}{
			{"all", order{All: true}, []string{"anna " + names[0], "anna " + names[1], "anna " + names[2], "bert " + names[2]}},
			{"room", order{Room: "room"}, []string{"anna " + names[0], "anna " + names[1], "anna " + names[2]}},
			{"user", order{User: "bert"}, []string{"bert " + names[2]}},
			{"nobody", order{User: "carl"}, nil},
		} {
			want := slices.Sorted(slices.Values(test.want))
			if got := present(p.must("sockets", test.target).Peers); !slices.Equal(got, want) {
				t.Errorf("%s, as %s knows it: %q, want %q", test.name, p.url, got, want)
			}
		}
	}

	all[2].stop()
	a, err := all[0].ask(t.Context(), "sockets", order{Room: "room"})
	if err == nil {
		t.Errorf("with a process that stands still: %q without an error", present(a.Peers))
	} else if got := present(a.Peers); len(got) != 2 {
		t.Errorf("with a process that stands still: %q, %v", got, err)
	}
	all[2].cont()
	eventually(t, patience, func() error {
		_, err := all[0].ask(t.Context(), "sockets", order{Room: "room"})
		return err
	})
}

// present returns users and processes of sockets, sorted.
func present(peers []socketauth.Peer) (names []string) {
	for _, p := range peers {
		names = append(names, p.UserID+" "+p.Node)
	}
	slices.Sort(names)
	return names
}
