package boltstore_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/boltstore"
)

// BenchmarkPresent rotates sessions, each in its own goroutine. Each presentation is on disk when
// it returns.
func BenchmarkPresent(b *testing.B) {
	for _, concurrent := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("concurrent=%d", concurrent), func(b *testing.B) {
			store, err := boltstore.Open(filepath.Join(b.TempDir(), "sessions.db"))
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			b.ResetTimer()
			var clients sync.WaitGroup
			for n := range concurrent {
				clients.Go(func() {
					token := code("anna")
					for i := n; i < b.N; i += concurrent {
						if token, err = rotate(store, token); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			clients.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "presentations/s")
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	store, err := boltstore.Open(filepath.Join(b.TempDir(), "sessions.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	token, err := rotate(store, code("anna"))
	if err != nil {
		b.Fatal(err)
	}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if v, err := verdict(store.Check(context.Background(), token, 0, 0)); v != blacklist.Accepted {
				b.Errorf("verdict %d, %v", v, err)
				return
			}
		}
	})
}

// code returns a code that starts a session of the user.
func code(user string) blacklist.TokenRef {
	now := time.Now()
	return blacklist.TokenRef{SessionID: newID(), TokenID: newID(), UserID: user, IssuedAt: now, AuthTime: now, ExpiresAt: now.Add(30 * time.Second)}
}

// rotate presents a token without confirmation and returns its successor, which is valid for a day.
func rotate(store blacklist.Store, t blacklist.TokenRef) (blacklist.TokenRef, error) {
	next := t
	next.TokenID, next.Generation, next.IssuedAt = newID(), t.Generation+1, time.Now()
	next.ExpiresAt = next.IssuedAt.Add(24 * time.Hour)
	v, err := verdict(store.Present(context.Background(), blacklist.Presentation{
		Token: t, SuccessorID: next.TokenID, SuccessorExpiresAt: next.ExpiresAt,
		SocketOpenedAt: time.Now(), SupersededWithin: 5 * time.Second, EndOnReuse: true, Address: "192.0.2.1", UserAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
	}))
	if err == nil && v != blacklist.Accepted {
		err = fmt.Errorf("verdict %d", v)
	}
	return next, err
}
