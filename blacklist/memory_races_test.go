package blacklist

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestMemoryConcurrentSteps guards that all that the store keeps fits together after steps and
// revocations of every kind at the same time, on the same users.
func TestMemoryConcurrentSteps(t *testing.T) {
	store := newMemory()
	const users, rounds = 8, 600
	var done sync.WaitGroup
	for seed := range uint64(6) {
		done.Go(func() {
			random := rand.New(rand.NewPCG(seed, 5))
			a := newActor(t, store)
			token := a.code()
			for range rounds {
				a.address, a.agent = oddTexts[random.IntN(len(oddTexts))], oddTexts[random.IntN(len(oddTexts))]
				next, v := a.presents(token, how{confirming: random.IntN(2) == 0})
				if random.IntN(3) == 0 {
					if _, err := store.Confirm(context.Background(), next); err != nil {
						t.Error(err)
					}
				}
				if token = next; v != Accepted || random.IntN(8) == 0 {
					a.sid, a.birth, a.user = newID(), time.Now(), fmt.Sprint("user ", random.IntN(users))
					token = a.code()
				}
				r := Revocation{UserID: fmt.Sprint("user ", random.IntN(users)), Why: Revoked, Keep: time.Minute}
				switch random.IntN(12) {
				case 0:
				case 1:
					r.Why = Stale
				case 2:
					r.UserID, r.All = "", true
				case 3:
					r.UserID, r.Except = a.user, a.sid
				case 4:
					r.UserID, r.SessionID, r.Why = a.user, a.sid, LoggedOut
				default:
					if _, err := store.Sessions(context.Background(), r.UserID); err != nil {
						t.Error(err)
					}
					continue
				}
				if _, err := store.Revoke(context.Background(), r); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done.Wait()
	store.consistent(t)
}

// consistent fails unless all that the store keeps fits together. Nobody else uses the store.
func (m *memory) consistent(t *testing.T) {
	t.Helper()
	expiries, agents := make(map[int64]int), make(map[uint32]bool)
	for i := range m.shards {
		sh := &m.shards[i]
		var records, texts, listed, walked int
		for n := uint32(1); records < sh.records.Len(); n++ {
			r := sh.records.At(n)
			if sh.find(r.sid) != n {
				continue // it is free
			}
			records++
			c := sh.load(n, user{})
			for _, has := range []bool{r.is(recordSpilled), r.is(recordAddress)} {
				if has {
					texts++
				}
			}
			if c.agent != 0 {
				agents[c.agent] = true
			}
			if at := c.living(); at != 0 {
				expiries[at]++
			}
			if r.is(recordListed) {
				listed++
			}
			if r.is(recordFirst) {
				texts++ // the user, which the others on the list have too
				walked += sh.walk(t, n)
			}
		}
		if listed != walked {
			t.Errorf("%d sessions are on lists, and %d are found there", listed, walked)
		}
		if sh.due.Len() != records || sh.sessions.Len() != records || sh.texts.Len() != texts {
			t.Errorf("%d sessions, %d due, %d in the table; %d texts, want %d", records, sh.due.Len(), sh.sessions.Len(), sh.texts.Len(), texts)
		}
	}
	for number, p := range m.expiries.pages {
		for n, got := range p.counts {
			at := number*expirySeconds + int64(n)
			if int(got) != expiries[at] {
				t.Errorf("%d sessions expire at %d, want %d", got, at, expiries[at])
			}
			delete(expiries, at)
		}
	}
	if len(expiries) != 0 || m.agents.Len() != len(agents) {
		t.Errorf("%d expiries are not counted; %d user agents, want %d", len(expiries), m.agents.Len(), len(agents))
	}
}

// walk returns how many sessions are on the list that begins with record first.
func (sh *shard) walk(t *testing.T, first uint32) (count int) {
	owner := sh.m.user(sh.texts.Get(sh.records.At(first).user))
	if sh.m.shard(owner) != sh || sh.first(owner) != first {
		t.Errorf("the list of %q is not found", owner.id)
	}
	var epochs []uint64
	for n, before := first, uint32(0); n != 0; n, before = sh.records.At(n).after, n {
		r := sh.records.At(n)
		if n != first && r.before != before || !r.is(recordListed) || r.is(recordFirst) != (n == first) || r.user != sh.records.At(first).user {
			t.Errorf("the list of %q is broken", owner.id)
		}
		epochs = append(epochs, sh.read(r).epoch)
	}
	slices.Reverse(epochs)
	if !slices.IsSorted(epochs) {
		t.Errorf("the list of %q has sessions of earlier epochs first: %v", owner.id, epochs)
	}
	return len(epochs)
}
