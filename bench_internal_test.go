package socketauth

import (
	"context"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/authn"
)

// BenchmarkPresentation measures what the library does for one presentation. It may take half
// as long as BenchmarkParseAndSign.
func BenchmarkPresentation(b *testing.B) {
	op := startPresentation(b, 0)
	for b.Loop() {
		if err := op(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParseAndSign measures what golang-jwt alone needs to parse and sign a token.
func BenchmarkParseAndSign(b *testing.B) {
	a, err := New(Options[any]{Secret: testSecret})
	if err != nil {
		b.Fatal(err)
	}
	t, err := a.tokens.code(b.Context(), jwt.MapClaims{"sub": "anna"}, time.Now(), "")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		parsed, err := jwt.Parse(t.Text, func(*jwt.Token) (any, error) { return testSecret, nil })
		if err != nil {
			b.Fatal(err)
		}
		if _, err := jwt.NewWithClaims(jwt.SigningMethodHS256, parsed.Claims).SignedString(testSecret); err != nil {
			b.Fatal(err)
		}
	}
}

// instantStore answers at once that every token is alive.
type instantStore struct{ blacklist.Store }

func (instantStore) Check(context.Context, blacklist.TokenRef, time.Duration, time.Duration) (blacklist.Result, error) {
	return blacklist.Result{Verdict: blacklist.Accepted}, nil
}

// instantBatches is an instantStore that answers for many at once.
type instantBatches struct{ instantStore }

func (instantBatches) CheckAll(_ context.Context, tokens []blacklist.TokenRef) ([]blacklist.Result, error) {
	results := make([]blacklist.Result, len(tokens))
	for n := range results {
		results[n].Verdict = blacklist.Accepted
	}
	return results, nil
}

// BenchmarkGap is a gap on a server with 100,000 sockets of as many sessions: what the library
// itself takes to have all of them looked up.
func BenchmarkGap(b *testing.B) {
	for name, store := range map[string]blacklist.Store{"one by one": instantStore{}, "in batches": instantBatches{}} {
		b.Run(name, func(b *testing.B) {
			a, err := New(Options[any]{Secret: testSecret, Blacklist: store})
			if err != nil {
				b.Fatal(err)
			}
			s := &Server{auth: a}
			s.watcher = newWatcher(b.Context(), a, &s.work, s)
			for range 100_000 {
				socket := &Socket{server: s, auth: authn.New(time.Now(), time.Second)}
				socket.member.Value = socket
				t := &authn.Token{SessionID: newID(), UserID: newID(), ExpiresAt: time.Now().Add(time.Hour)}
				socket.auth.Enter(time.Now(), t)
				s.hub.Join(&socket.member, session(t.SessionID))
				s.hub.Join(&socket.member, user(t.UserID))
				s.hub.Join(&socket.member, everyone)
			}
			for b.Loop() {
				s.watcher.hear(blacklist.Change{Gap: true})
				s.work.Wait()
				if n := s.watcher.rechecks.Left(); n != 0 {
					b.Fatalf("%d sessions are left", n)
				}
			}
		})
	}
}
