package blacklisttest

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// seedEnv is the environment variable with the seed of a run to repeat.
const seedEnv = "BLACKLISTTEST_SEED"

// spread makes one store of several, as processes that share one have them: each call goes to any
// of them. Its clock is the test's, whatever the clocks of the processes show.
type spread struct {
	stores []blacklist.Store

	mu   sync.Mutex
	rand *rand.Rand
}

// newSpread returns a spread of stores. It logs its seed.
func newSpread(t *testing.T, stores []blacklist.Store) *spread {
	seed := rand.Uint64()
	if n, err := strconv.ParseUint(os.Getenv(seedEnv), 10, 64); err == nil {
		seed = n
	}
	if len(stores) > 1 {
		t.Logf("%d stores, %s=%d", len(stores), seedEnv, seed)
	}
	return &spread{stores: stores, rand: rand.New(rand.NewPCG(seed, 0))}
}

func (s *spread) any() blacklist.Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stores[s.rand.IntN(len(s.stores))]
}

// ahead returns how far the clock of a store's process is ahead of the test's.
func ahead(store blacklist.Store) time.Duration {
	if process, ok := store.(interface{ Now() time.Time }); ok {
		return time.Until(process.Now()).Round(time.Millisecond)
	}
	return 0
}

// byProcess returns a time of the test by the clock of a store's process, or the zero time.
func byProcess(store blacklist.Store, t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(ahead(store))
}

func (s *spread) Present(ctx context.Context, p blacklist.Presentation) (blacklist.Result, error) {
	store := s.any()
	p.PresentedAt, p.SocketOpenedAt = byProcess(store, p.PresentedAt), byProcess(store, p.SocketOpenedAt)
	return store.Present(ctx, p)
}

func (s *spread) Confirm(ctx context.Context, t blacklist.TokenRef) (blacklist.Result, error) {
	return s.any().Confirm(ctx, t)
}

func (s *spread) Check(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Result, error) {
	return s.any().Check(ctx, t, grace, branch)
}

func (s *spread) Revoke(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
	return s.any().Revoke(ctx, r)
}

func (s *spread) Sessions(ctx context.Context, userID string) ([]blacklist.Session, error) {
	store := s.any()
	sessions, err := store.Sessions(ctx, userID)
	for n := range sessions {
		one := &sessions[n]
		for _, t := range [...]*time.Time{&one.Since, &one.LastSeen, &one.ExpiresAt} {
			*t = t.Add(-ahead(store))
		}
	}
	return sessions, err
}

func (s *spread) Watch(ctx context.Context, fn func(blacklist.Change)) error {
	return s.any().Watch(ctx, fn)
}

// Time implements blacklist.Clock. Without one, a process would stamp tokens by its own clock.
func (s *spread) Time(ctx context.Context, userID string, t time.Time) (time.Time, error) {
	store := s.any()
	t = byProcess(store, t)
	if clock, ok := store.(blacklist.Clock); ok {
		return clock.Time(ctx, userID, t)
	}
	return t, nil
}
