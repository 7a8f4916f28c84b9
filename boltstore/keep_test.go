package boltstore

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/z-open/socketauth/blacklist"
)

// forgottenAfter is when what is kept for as long as a code lives can be forgotten: with the minute
// for clocks, and the rest of the one in which it is due.
const forgottenAfter = aCode + leeway + time.Minute + time.Second

// keepsRevoking revokes that many unknown sessions and users at the same time.
func keepsRevoking(t *testing.T, s *Store, n int, keep time.Duration) {
	t.Helper()
	many(n, func(n int) {
		for _, r := range []blacklist.Revocation{{UserID: "anna", SessionID: newID()}, {UserID: fmt.Sprint("user ", n)}} {
			r.Why, r.Keep = blacklist.Revoked, keep
			if _, err := s.Revoke(t.Context(), r); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestRevocationsAreForgotten(t *testing.T) {
	// Guards: an app that revokes any id that a form sends must not fill the file with these ids.
	for name, idle := range map[string]time.Duration{"soon": 0, "after a month without a call": 31 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(folder(t), "sessions.db")
				s := reopen(t, path)
				keepsRevoking(t, s, 400, aCode)
				time.Sleep(aCode)
				stir(s, 10)
				wantKept(t, s, 400, 0, 400)
				time.Sleep(forgottenAfter - aCode + idle)
				stir(s, 800/sweepsPerStep)
				wantKept(t, s, 0, 0, 0)
			})
		})
	}
}

func TestLongEntryBlocksNoOther(t *testing.T) {
	// Guards: if cores with different lifetimes share a store, entries that one keeps for long must
	// not delay the removal of another's entries.
	synctest.Test(t, func(t *testing.T) {
		s := fresh(t)
		for n := range 10 {
			keep := aCode
			if n%3 == 0 {
				keep = 30 * 24 * time.Hour
			}
			many(10, func(i int) {
				for _, r := range []blacklist.Revocation{{UserID: "anna", SessionID: newID()}, {UserID: fmt.Sprint(n, " ", i)}} {
					r.Why, r.Keep = blacklist.Revoked, keep
					if _, err := s.Revoke(t.Context(), r); err != nil {
						t.Error(err)
					}
				}
			})
		}
		err := s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte(dueBucket)).Put([]byte{0}, nil) })
		if err != nil { // damaged entries that sort before all others
			t.Fatal(err)
		}
		time.Sleep(forgottenAfter)
		stir(s, 60)
		wantKept(t, s, 40, 0, 40)
		time.Sleep(30 * 24 * time.Hour)
		stir(s, 60)
		wantKept(t, s, 0, 0, 0)
	})
}

func TestRevokingAgainTakesNoRoom(t *testing.T) {
	// Guards: each RevokeUser of the same user, and each logout of the same session, added one more
	// entry that says when to forget it.
	synctest.Test(t, func(t *testing.T) {
		s := fresh(t)
		unknown := newID()
		for n := range 300 {
			revokes(t, s, blacklist.Revocation{UserID: "anna"})
			revokes(t, s, blacklist.Revocation{UserID: "anna", SessionID: unknown})
			if n%10 == 0 {
				wantKept(t, s, 1, 0, 1)
			}
			time.Sleep(11 * time.Second)
		}
		time.Sleep(forgottenAfter)
		stir(s, 1)
		wantKept(t, s, 0, 0, 0)
	})
}
