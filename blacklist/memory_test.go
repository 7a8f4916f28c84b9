package blacklist

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// passes lets time pass, and makes enough calls that the store removes everything that is over.
func (m *memory) passes(d time.Duration) {
	time.Sleep(d)
	for range 2000 {
		_, _ = m.Check(context.Background(), TokenRef{SessionID: newID(), TokenID: newID(), Generation: 1}, 0, 0)
	}
}

// owners returns how many users have sessions in the store.
func (m *memory) owners() (n int) {
	for i := range m.shards {
		n += m.shards[i].owners.Len()
	}
	return n
}

func TestMemoryForgetsOwners(t *testing.T) {
	// Guards: the list of a user's sessions is removed with the last session, and a code that
	// began no session is not on it.
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		for range 3 {
			a := newActor(t, store)
			a.checks(a.code(), 0, 0, Accepted) // it may begin a session
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

func TestMemoryForgetsUnknownSessions(t *testing.T) {
	// Guards: a session that was ended before its code was used is remembered as ended, but not
	// for ever.
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		for range 100 {
			if _, err := store.Revoke(t.Context(), Revocation{UserID: "anna", SessionID: newID(), Why: Revoked, Keep: time.Hour}); err != nil {
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

func TestMemorySweepsAfterSetBack(t *testing.T) {
	// Guards: after a clock that ran ahead was set back, nothing was removed until the clock had
	// reached the later time again.
	var store *memory
	fill := func(t *testing.T) {
		for n := range 200 {
			a := newActor(t, store)
			a.must(a.code(), how{}) // valid for an hour
			if _, err := store.Revoke(t.Context(), Revocation{UserID: fmt.Sprint(n), Why: Revoked, Keep: time.Minute}); err != nil {
				t.Fatal(err)
			}
		}
	}
	left := func() int {
		users, sessionsDue, usersDue := store.remembered()
		return users + sessionsDue + usersDue + store.size()
	}
	synctest.Test(t, func(t *testing.T) {
		store = newMemory()
		fill(t)
		store.passes(10 * 365 * 24 * time.Hour)
		if n := left(); n != 0 {
			t.Errorf("%d are left though the clock is years ahead", n)
		}
		fill(t)
	})
	synctest.Test(t, func(t *testing.T) { // ten years earlier
		before := left()
		fill(t)
		store.passes(2 * time.Hour)
		if n := left(); n > before {
			t.Errorf("%d are left, %d of them of the time that the clock was ahead", n, before)
		}
	})
}

func TestMemoryForgetsEachInTime(t *testing.T) {
	// Guards: entries that one core keeps for long must not delay the removal of another's
	// entries, and repeated revocations of one user must not each add an entry.
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		for n := range 2000 {
			keep := time.Minute
			if n < 64 {
				keep = 24 * time.Hour
			}
			for range 3 {
				if _, err := store.Revoke(t.Context(), Revocation{UserID: fmt.Sprint(n), Why: Revoked, Keep: keep}); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, want := range []int{2000, 64, 0} {
			if revoked, _, due := store.remembered(); revoked != want || due != want {
				t.Errorf("%d are kept and %d are to be looked at, want %d", revoked, due, want)
			}
			store.passes(5 * time.Minute)
			if want == 64 {
				store.passes(24 * time.Hour)
			}
		}
	})
}
