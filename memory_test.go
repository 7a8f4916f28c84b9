package socketauth

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// passes lets time pass, and calls enough to have everything cleared away that is over.
func (m *memory) passes(d time.Duration) {
	time.Sleep(d)
	for range 2000 {
		_, _ = m.Check(context.Background(), TokenRef{SessionID: newID(), TokenID: newID(), Generation: 1}, 0, 0)
	}
}

// owners is how many users the store thinks have sessions.
func (m *memory) owners() (n int) {
	for i := range m.users {
		n += len(m.users[i].owned)
	}
	return n
}

func TestMemoryForgetsWhoseSessionsWere(t *testing.T) {
	// Guards: the list of a user's sessions must go with the last of them, and a code that began nothing must not be on it.
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		for range 3 {
			a := newActor(t, store)
			a.checks(a.code(), 0, 0, Accepted) // it may begin one
		}
		if n := store.owners(); n != 0 {
			t.Errorf("%d have sessions that never began", n)
		}
		a := newActor(t, store)
		a.must(a.code(), how{})
		if n := store.owners(); n != 1 {
			t.Errorf("%d users with a session", n)
		}
		store.passes(2 * time.Hour)
		if n := store.owners(); n != 0 {
			t.Errorf("%d have sessions that are over", n)
		}
	})
}

func TestMemoryForgetsRevocationsOfSessionsItNeverKnew(t *testing.T) {
	// Guards: a session is kept as ended though nothing of it came yet, and that must not be for ever.
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		for range 100 {
			if _, err := store.Revoke(t.Context(), Revocation{SessionID: newID(), Why: Revoked, Keep: time.Hour}); err != nil {
				t.Fatal(err)
			}
		}
		if store.passes(50 * time.Minute); store.size() != 100 {
			t.Errorf("%d are kept, while a code may come", store.size())
		}
		if store.passes(time.Hour); store.size() != 0 {
			t.Errorf("%d are kept", store.size())
		}
	})
}
