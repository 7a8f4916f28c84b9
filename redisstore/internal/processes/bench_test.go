//go:build unix

package processes

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/redisstore"
	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// roundTrips counts the round trips of a client: commands, and pipelines of several.
type roundTrips struct{ n atomic.Int64 }

func (h *roundTrips) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (h *roundTrips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.n.Add(1)
		return next(ctx, cmd)
	}
}

func (h *roundTrips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.n.Add(1)
		return next(ctx, cmds)
	}
}

// openStore returns a store on a server, and what it needs of round trips.
func openStore(b *testing.B, addr string, o redisstore.Options) (*redisstore.Store, *roundTrips) {
	client := redistest.ClientAt(b, addr)
	trips := new(roundTrips)
	client.AddHook(trips)
	store, err := redisstore.New(client, o)
	if err == nil {
		_, err = store.Time(b.Context(), "somebody", time.Now()) // codes of before it began are refused
	}
	if err != nil {
		b.Fatal(err)
	}
	return store, trips
}

// login returns the presentation of a new user's code.
func login(b *testing.B, s *redisstore.Store) blacklist.Presentation {
	b.Helper()
	user := newID()
	now, err := s.Time(b.Context(), user, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	return blacklist.Presentation{
		Token: blacklist.TokenRef{
			SessionID: newID(), TokenID: newID(), UserID: user, IssuedAt: now, AuthTime: now, ExpiresAt: now.Add(time.Minute),
		},
		SuccessorID: newID(), SuccessorExpiresAt: now.Add(24 * time.Hour), SocketOpenedAt: time.Now(), SupersededWithin: 5 * time.Second,
		EndOnReuse: true, Address: "203.0.113.7",
		UserAgent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
	}
}

// following returns the presentation of the token that p is answered with.
func following(p blacklist.Presentation) blacklist.Presentation {
	p.Token.TokenID, p.Token.Generation, p.Token.ExpiresAt = p.SuccessorID, p.Token.Generation+1, p.SuccessorExpiresAt
	p.SuccessorID = newID()
	return p
}

func newID() string {
	var id [16]byte
	rand.Read(id[:])
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// BenchmarkDecision measures the time and the round trips of decisions, by a process that has seen
// the session last and by one that has not.
func BenchmarkDecision(b *testing.B) {
	server := redistest.Start(b)
	ping := server.Client()
	b.Run("PING", func(b *testing.B) {
		for b.Loop() {
			if err := ping.Ping(b.Context()).Err(); err != nil {
				b.Fatal(err)
			}
		}
	})
	present := func(b *testing.B, s *redisstore.Store, p blacklist.Presentation) {
		if r, err := s.Present(b.Context(), p); err != nil || r.Verdict != blacklist.Accepted {
			b.Fatalf("%+v, %v", r, err)
		}
	}
	for _, test := range []struct {
		name string
		step func(b *testing.B, one, other *redisstore.Store, p *blacklist.Presentation)
	}{
		{"login", func(b *testing.B, one, _ *redisstore.Store, _ *blacklist.Presentation) {
			present(b, one, login(b, one))
		}},
		{"rotation", func(b *testing.B, one, _ *redisstore.Store, p *blacklist.Presentation) {
			present(b, one, *p)
			*p = following(*p)
		}},
		{"rotation, another process", func(b *testing.B, one, other *redisstore.Store, p *blacklist.Presentation) {
			s := one
			if p.Token.Generation%2 == 0 {
				s = other
			}
			present(b, s, *p)
			*p = following(*p)
		}},
		{"check", func(b *testing.B, one, _ *redisstore.Store, p *blacklist.Presentation) {
			if r, err := one.Check(b.Context(), p.Token, 0, 0); err != nil || r.Verdict != blacklist.Accepted {
				b.Fatalf("%+v, %v", r, err)
			}
		}},
		{"revoke session", func(b *testing.B, one, _ *redisstore.Store, p *blacklist.Presentation) {
			r := blacklist.Revocation{UserID: p.Token.UserID, SessionID: p.Token.SessionID, Why: blacklist.Revoked, Keep: time.Minute}
			if _, err := one.Revoke(b.Context(), r); err != nil {
				b.Fatal(err)
			}
		}},
		{"revoke user", func(b *testing.B, one, _ *redisstore.Store, p *blacklist.Presentation) {
			r := blacklist.Revocation{UserID: p.Token.UserID, Why: blacklist.Revoked, Keep: time.Minute}
			if _, err := one.Revoke(b.Context(), r); err != nil {
				b.Fatal(err)
			}
		}},
		{"revoke all", func(b *testing.B, one, _ *redisstore.Store, _ *blacklist.Presentation) {
			r := blacklist.Revocation{All: true, Why: blacklist.Revoked, Keep: time.Minute}
			if _, err := one.Revoke(b.Context(), r); err != nil {
				b.Fatal(err)
			}
		}},
	} {
		b.Run(test.name, func(b *testing.B) {
			one, trips := openStore(b, server.Addr, redisstore.Options{})
			other, more := openStore(b, server.Addr, redisstore.Options{})
			first := login(b, one)
			present(b, one, first)
			p := following(first)
			present(b, other, p)
			p = following(p)
			if test.name != "rotation, another process" {
				present(b, one, p)
				p = following(p)
			}
			before := trips.n.Load() + more.n.Load()
			for b.Loop() {
				test.step(b, one, other, &p)
			}
			b.ReportMetric(float64(trips.n.Load()+more.n.Load()-before)/float64(b.N), "roundtrips/op")
		})
	}
}

// BenchmarkSessionBytes measures what a session takes of Redis's memory, with 100,000 sessions.
func BenchmarkSessionBytes(b *testing.B) {
	const sessions = 100_000
	for range b.N { // once is enough: go test -bench SessionBytes -benchtime 1x
		server := redistest.Start(b)
		store, _ := openStore(b, server.Addr, redisstore.Options{})
		present := func(n int) {
			done := make(chan error, 8)
			for range cap(done) {
				go func() {
					for range n / cap(done) {
						p := login(b, store)
						for range 2 {
							if r, err := store.Present(b.Context(), p); err != nil || r.Verdict != blacklist.Accepted {
								done <- fmt.Errorf("%+v, %v", r, err)
								return
							}
							p = following(p)
						}
					}
					done <- nil
				}()
			}
			for range cap(done) {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
		}
		present(80) // scripts, connections
		before := number(b, server, "used_memory")
		present(sessions)
		b.ReportMetric(float64(number(b, server, "used_memory")-before)/sessions, "B/session")
		b.ReportMetric(0, "ns/op")
	}
}

// BenchmarkEmits measures how many events a second reach a socket at another process, and how long
// one takes.
func BenchmarkEmits(b *testing.B) {
	const batch = 500
	server := redistest.Start(b)
	all := startAll(b, 2, config{Redis: []string{server.Addr}})
	s := all[1].login("anna")
	connect(b, all, order{User: "anna"}, []*socket{s})
	emit := func(b *testing.B, n int) {
		all[0].must("emit", order{User: "anna", Event: "news", N: n, Data: "some text of an event"})
	}
	hear := func(b *testing.B, n int) {
		for range n {
			if _, err := s.wait(b.Context(), "news"); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("many", func(b *testing.B) { // an op is a batch; two are under way at any time
		emit(b, batch)
		for b.Loop() {
			emit(b, batch)
			hear(b, batch)
		}
		b.ReportMetric(float64(b.N)*batch/b.Elapsed().Seconds(), "events/s")
		hear(b, batch)
	})
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			emit(b, 1)
			hear(b, 1)
		}
	})
}
