package boltstore

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/z-open/socketauth/blacklist"
)

func newID() string {
	var id [16]byte
	rand.Read(id[:])
	return base64.RawURLEncoding.EncodeToString(id[:])
}

func newCode(user string) blacklist.TokenRef {
	now := time.Now()
	return blacklist.TokenRef{SessionID: newID(), TokenID: newID(), UserID: user, IssuedAt: now, AuthTime: now, ExpiresAt: now.Add(30 * time.Second)}
}

// begins presents a code without confirmation, for a token that is valid for an hour.
func begins(s *Store, code blacklist.TokenRef) (blacklist.Verdict, error) {
	return verdict(s.Present(context.Background(), presentation(code, time.Now())))
}

func presentation(t blacklist.TokenRef, now time.Time) blacklist.Presentation {
	return blacklist.Presentation{Token: t, SuccessorID: newID(), SuccessorExpiresAt: now.Add(time.Hour), SocketOpenedAt: now}
}

// kept returns how many entries each bucket has.
func kept(t *testing.T, s *Store) map[string]int {
	t.Helper()
	got := make(map[string]int)
	err := s.db.View(func(tx *bolt.Tx) error {
		for _, name := range []string{sessionsBucket, ownedBucket, entriesBucket, dueBucket} {
			got[name] = tx.Bucket([]byte(name)).Stats().KeyN
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func wantKept(t *testing.T, s *Store, sessions, owned, cutoffs int) {
	t.Helper()
	got := kept(t, s)
	want := map[string]int{sessionsBucket: sessions, ownedBucket: owned, entriesBucket: cutoffs, dueBucket: sessions + cutoffs}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("kept %v, want %v", got, want)
	}
}

func TestWhatIsOverIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(folder(t), "sessions.db")
		s := reopen(t, path)
		many(100, func(n int) {
			if v, err := begins(s, newCode(fmt.Sprint("user ", n%10))); v != blacklist.Accepted {
				t.Errorf("verdict %d, %v", v, err)
			}
			for _, r := range []blacklist.Revocation{{UserID: "anna", SessionID: newID()}, {UserID: fmt.Sprint("another ", n)}} {
				r.Why, r.Keep = blacklist.Revoked, 3*time.Hour
				if _, err := s.Revoke(t.Context(), r); err != nil {
					t.Error(err)
				}
			}
		})
		wantKept(t, s, 200, 100, 100)
		time.Sleep(time.Hour)
		stir(s, 100)
		wantKept(t, s, 200, 100, 100)
		time.Sleep(2*time.Minute + time.Second)
		stir(s, 1) // a few at a time
		if got := kept(t, s)[sessionsBucket]; got != 200-sweepsPerStep {
			t.Errorf("%d sessions kept after one call", got)
		}
		stir(s, 30)
		wantKept(t, s, 100, 0, 100)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1000 * time.Hour) // nobody calls the store for a long time
		s = reopen(t, path)
		stir(s, 40)
		wantKept(t, s, 0, 0, 0)
	})
}

func TestWhatIsProlongedIsKeptAsLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fresh(t)
		code := newCode("anna")
		p := presentation(code, time.Now())
		p.SuccessorExpiresAt = time.Now().Add(time.Minute)
		if v, err := verdict(s.Present(t.Context(), p)); v != blacklist.Accepted {
			t.Fatalf("verdict %d, %v", v, err)
		}
		next := code
		next.TokenID, next.Generation = p.SuccessorID, 1
		if v, err := begins(s, next); v != blacklist.Accepted { // an hour
			t.Fatalf("verdict %d, %v", v, err)
		}
		for _, keep := range []time.Duration{time.Minute, time.Hour, time.Minute} {
			if _, err := s.Revoke(t.Context(), blacklist.Revocation{UserID: "another", Why: blacklist.Revoked, Keep: keep}); err != nil {
				t.Fatal(err)
			}
		}
		for range 6 {
			time.Sleep(10 * time.Minute)
			stir(s, 10)
			wantKept(t, s, 1, 1, 1)
		}
		time.Sleep(3 * time.Minute)
		stir(s, 10)
		wantKept(t, s, 0, 0, 0)
	})
}

// stir makes calls that store nothing new.
func stir(s *Store, calls int) {
	for range calls {
		_, _ = s.Confirm(context.Background(), blacklist.TokenRef{SessionID: newID(), TokenID: newID(), Generation: 1, AuthTime: time.Now()})
	}
}

func many(n int, do func(n int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { do(i) })
	}
	all.Wait()
}

func TestFileUsesItsRoomAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(folder(t), "sessions.db")
		s := reopen(t, path)
		size := func() int64 {
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			return info.Size()
		}
		var after []int64
		for range 8 { // in each round, 1000 sessions begin and end
			for range 4 {
				many(250, func(int) {
					code := newCode("anna")
					p := presentation(code, time.Now())
					if v, err := verdict(s.Present(t.Context(), p)); v != blacklist.Accepted {
						t.Errorf("verdict %d, %v", v, err)
					}
					code.TokenID, code.Generation = p.SuccessorID, 1
					if v, err := begins(s, code); v != blacklist.Accepted {
						t.Errorf("verdict %d, %v", v, err)
					}
				})
			}
			after = append(after, size())
			time.Sleep(2 * time.Hour)
		}
		if after[7] > 2*after[1] {
			t.Errorf("the file grew on and on: %v", after)
		}
		t.Logf("1000 sessions at a time, 8 times: %v", after)
	})
}

// folder returns a folder, in memory if the system has that, since these tests do not need a disk.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "boltstore")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// verdict returns the verdict of a result, without its mark.
func verdict(r blacklist.Result, err error) (blacklist.Verdict, error) { return r.Verdict, err }
