package blacklist

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/id"
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

func TestMemorySweepsUsersBesideSessions(t *testing.T) {
	// Guards: many sessions that are over do not delay the removal of users' entries, nor the other
	// way round.
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		a := newActor(t, store)
		sh := store.shard(store.user(a.user))
		for range 100 {
			a.revokes(Revocation{UserID: a.user, SessionID: newID(), Why: Revoked, Keep: time.Minute})
		}
		for n := 0; len(sh.users) < 100; n++ {
			if other := fmt.Sprint(n); store.shard(store.user(other)) == sh {
				a.revokes(Revocation{UserID: other, Why: Revoked, Keep: time.Minute})
			}
		}
		time.Sleep(time.Hour)
		for left := 100; left > 0; left -= 10 {
			if len(sh.users) != left || sh.records.Len() != left {
				t.Fatalf("%d entries and %d sessions are left, want %d", len(sh.users), sh.records.Len(), left)
			}
			sh.sweep(time.Now(), 10)
		}
	})
}

func TestMemoryForgetsTexts(t *testing.T) {
	// Guards: the texts of users, addresses and user agents, and states that had no room in their
	// records, are removed with what they belong to, however that ends.
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		for n := range 400 {
			time.Sleep(time.Millisecond)
			a := newActor(t, store)
			a.user = fmt.Sprintf("user %d", n/3)
			a.address, a.agent = fmt.Sprintf("2001:db8::%x", n), fmt.Sprintf("agent %d", n)
			token := a.must(a.code(), how{})
			for range n % 12 { // their times need room
				token = a.must(token, how{confirming: n%2 == 0})
				a.agent += "+"
			}
			a.address = []string{"192.0.2.1", "", "2001:db8::1"}[n%3]
			time.Sleep(time.Millisecond)
			switch n % 5 {
			case 0:
				a.revokes(Revocation{UserID: a.user, SessionID: a.sid, Why: LoggedOut})
			case 1:
				a.must(token, how{})
			case 2:
				a.revokes(Revocation{UserID: a.user, Why: Revoked})
			case 3:
				a.refused(a.code(), how{}, ReuseDetected)
			}
			if n == 300 {
				a.revokes(Revocation{All: true, Why: Revoked})
				time.Sleep(time.Second)
			}
		}
		store.passes(2 * time.Hour)
		texts := 0
		for n := range store.shards {
			texts += store.shards[n].texts.Len()
		}
		if texts != 0 || store.agents.Len() != 0 || store.size() != 0 || store.owners() != 0 {
			t.Errorf("%d texts and %d user agents are left, %d sessions, %d users", texts, store.agents.Len(), store.size(), store.owners())
		}
		if n := len(store.expiries.pages); n != 0 {
			t.Errorf("%d pages of expiries are left", n)
		}
		a := newActor(t, store)
		a.agent = "agent"
		a.must(a.code(), how{})
		a.revokes(Revocation{UserID: a.user, SessionID: a.sid, Why: LoggedOut})
		if store.agents.Len() != 0 {
			t.Error("the user agent of a session that has ended is kept")
		}
	})
}

func TestLateFrameAfterAnotherStep(t *testing.T) {
	// Guards: what the store keeps of the times of earlier generations is enough for all of
	// SupersededWithin, whatever steps come meanwhile.
	synctest.Test(t, func(t *testing.T) {
		a := newActor(t, newMemory())
		opened := time.Now()
		code := a.code()
		token := a.must(code, how{})
		for range 5 {
			time.Sleep(900 * time.Millisecond)
			token = a.must(token, how{})
		}
		time.Sleep(500 * time.Millisecond) // five seconds after the code was replaced
		a.must(token, how{})
		a.refused(code, how{opened: opened}, Superseded)
	})
}

func TestRevokeAllLooksAtNoSession(t *testing.T) {
	// Guards: revoking everyone counts the sessions that live, and neither those that have expired
	// and are not forgotten yet nor those that have ended, and takes no longer the more there are.
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		var living []*actor
		var tokens []TokenRef
		for n := range 60 {
			a := newActor(t, store)
			a.user = fmt.Sprint(n % 7)
			first := a.must(a.code(), how{})
			next := a.next(first)
			next.ExpiresAt = time.Now().Add(time.Hour + time.Duration(n)*time.Second)
			a.presentsFor(first, next, how{})
			if n == 50 || n == 59 {
				a.revokes(Revocation{UserID: a.user, SessionID: a.sid, Why: LoggedOut})
			} else if n > 20 {
				living, tokens = append(living, a), append(tokens, next)
			}
		}
		time.Sleep(time.Hour + 20*time.Second) // 21 have expired
		contents := func() (all []record) {
			for i := range store.shards {
				for n := range store.shards[i].records.Len() {
					all = append(all, *store.shards[i].records.At(uint32(n + 1)))
				}
			}
			return all
		}
		before := contents()
		if c := living[0].revokes(Revocation{All: true, Why: Revoked}); c.Sessions != len(living) {
			t.Errorf("%d sessions, want %d", c.Sessions, len(living))
		}
		if !slices.Equal(contents(), before) {
			t.Error("records were written")
		}
		for n, a := range living {
			a.checks(tokens[n], 0, 0, Revoked)
			if list, _ := store.Sessions(t.Context(), a.user); len(list) != 0 {
				t.Errorf("%+v", list)
			}
		}
		if c := living[0].revokes(Revocation{All: true, Why: LoggedOut}); c.Sessions != 0 {
			t.Errorf("again, it ended %d", c.Sessions)
		}
		living[0].checks(tokens[0], 0, 0, Revoked) // the first reason stays
		time.Sleep(time.Second)
		a := newActor(t, store)
		a.must(a.code(), how{})
		if c := a.revokes(Revocation{All: true, Why: LoggedOut}); c.Sessions != 1 {
			t.Errorf("%d sessions, want 1", c.Sessions)
		}
		a.checks(a.code(), 0, 0, LoggedOut)
		living[0].checks(tokens[0], 0, 0, Revoked)
	})
}

func TestMemorySessionOfAnother(t *testing.T) {
	// Guards: the change of a revocation that names another user's session is zero, wherever in the
	// store the two users are.
	store := newMemory()
	for n := range 100 {
		a, other := newActor(t, store), newActor(t, store)
		a.user, other.user = fmt.Sprint("one ", n), fmt.Sprint("two ", n)
		token := a.must(a.code(), how{})
		for _, why := range []Verdict{LoggedOut, Revoked, Stale} {
			if c := other.revokes(Revocation{UserID: other.user, SessionID: a.sid, Why: why}); c != (Change{}) {
				t.Errorf("the change: %+v", c)
			}
		}
		a.checks(token, 0, 0, Accepted)
	}
}

func TestMemoryPresentedTwiceAtOneTime(t *testing.T) {
	// Guards: a client's address that changed was not written if the state was the same, as it is
	// if a token comes twice at one time of a clock that is not fine. The record could not be read
	// any more.
	synctest.Test(t, func(t *testing.T) {
		addresses := []string{"", "0.0.0.0", "192.0.2.1", "2001:db8::1", "::", "unix:@", "a"}
		for _, from := range addresses {
			for _, to := range addresses {
				a := newActor(t, newMemory())
				token := a.must(a.code(), how{})
				a.address = from
				next := a.next(token)
				for _, a.address = range []string{from, to} {
					if v := a.presentsFor(token, next, how{confirming: true}); v != Accepted {
						t.Fatalf("from %q to %q: verdict %d", from, to, v)
					}
				}
				a.checks(next, 0, 0, Accepted)
				list, err := a.store.Sessions(t.Context(), a.user)
				if err != nil || len(list) != 1 || list[0].Address != to || list[0].UserID != a.user {
					t.Errorf("from %q to %q: %+v, %v", from, to, list, err)
				}
			}
		}
	})
}

func TestMemoryForgetsUnknownSessionsAfterSetBack(t *testing.T) {
	// Guards: a session that was ended before it began is remembered for as long as was asked, and
	// not until the store was made, by a clock that was ahead.
	var store *memory
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(24 * time.Hour)
		store = newMemory()
	})
	synctest.Test(t, func(t *testing.T) {
		a := newActor(t, store)
		a.revokes(Revocation{UserID: a.user, SessionID: a.sid, Why: Revoked, Keep: time.Minute})
		if store.passes(5 * time.Minute); store.size() != 0 {
			t.Error("it is kept")
		}
	})
}

func TestMemorySessionBeginsWhileAnotherRevokes(t *testing.T) {
	// Guards: a session that begins between the look at whose it is and its end is not ended by
	// another user, nor are its claims made stale.
	store := newMemory()
	a, other := newActor(t, store), newActor(t, store)
	for n := 0; other.user == a.user || store.shard(store.user(other.user)) != store.shard(store.user(a.user)); n++ {
		other.user = fmt.Sprint("other ", n)
	}
	token := a.must(a.code(), how{})
	for _, why := range []Verdict{Stale, Revoked} {
		sid, _ := id.Parse(a.sid)
		u := store.user(other.user)
		c := Change{UserID: other.user, SessionID: a.sid, Verdict: why, At: time.Now()}
		if store.shard(u).revoke(sid, u, Revocation{UserID: other.user, SessionID: a.sid, Why: why}, &c); c != (Change{}) {
			t.Errorf("the change: %+v", c)
		}
		a.checks(token, 0, 0, Accepted)
	}
}

func TestMemoryMadeUpSessions(t *testing.T) {
	// Guards: sessions that a user made up, to end them before they begin, are not all in one chain
	// of the table, where each step would look at all of them.
	store := newMemory()
	a := newActor(t, store)
	for n := range 2000 {
		sid := id.ID{14: byte(n), 15: byte(n >> 8)}
		a.revokes(Revocation{UserID: a.user, SessionID: sid.String(), Why: Revoked, Keep: time.Hour})
	}
	sh, longest := store.shard(store.user(a.user)), 0
	for n := range 2000 {
		length := 0
		sid := id.ID{14: byte(n), 15: byte(n >> 8)}
		for at := sh.sessions.First(store.hash(&sid)); at != 0; at = sh.records.At(at).next {
			length++
		}
		longest = max(longest, length)
	}
	if longest == 0 || longest > 20 {
		t.Errorf("%d sessions are in one chain", longest)
	}
}

func TestExpiriesBefore1970(t *testing.T) {
	// Guards: revoking everyone while the clock is not set yet and shows a time before 1970.
	var e expiries
	e.move(0, 5)
	e.move(0, 1000)
	if n := e.take(-7); n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
}
