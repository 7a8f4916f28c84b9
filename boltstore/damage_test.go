package boltstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/z-open/socketauth/blacklist"
)

// sample returns a file that has sessions, and tokens of some sessions that are revoked.
func sample(t testing.TB) (data []byte, revoked []blacklist.TokenRef) {
	t.Helper()
	path := filepath.Join(folder(t), "sessions.db")
	s := reopen(t, path)
	codes := make([]blacklist.TokenRef, 300)
	many(len(codes), func(n int) {
		codes[n] = newCode(fmt.Sprint("user ", n%7))
		if v, err := begins(s, codes[n]); v != blacklist.Accepted {
			t.Errorf("verdict %d, %v", v, err)
		}
	})
	for _, code := range codes[:20] {
		if _, err := s.Revoke(t.Context(), blacklist.Revocation{UserID: code.UserID, SessionID: code.SessionID, Why: blacklist.Revoked}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // so that it is in both of bolt's meta pages
		if v, err := begins(s, newCode("anna")); v != blacklist.Accepted {
			t.Fatalf("verdict %d, %v", v, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data, codes[:20]
}

// use opens the file and calls all methods, which may return errors but must not panic.
func use(t *testing.T, data []byte, revoked []blacklist.TokenRef) (opened bool) {
	t.Helper()
	path := filepath.Join(folder(t), "sessions.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Open(path)
	if err != nil {
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("Open: %v", err)
		}
		return false
	}
	ctx := t.Context()
	for _, token := range revoked {
		token.Generation = 1 // a code whose session cannot be found may be new
		check, _ := verdict(s.Check(ctx, token, time.Hour, time.Hour))
		present, _ := begins(s, token)
		confirm, _ := verdict(s.Confirm(ctx, token))
		if check == blacklist.Accepted || present == blacklist.Accepted || confirm == blacklist.Accepted {
			t.Errorf("a revoked token was accepted: %d, %d, %d", check, present, confirm)
		}
	}
	for n := range 7 {
		_, _ = s.Sessions(ctx, fmt.Sprint("user ", n))
		_, _ = begins(s, newCode(fmt.Sprint("user ", n)))
	}
	_, _ = s.Revoke(ctx, blacklist.Revocation{UserID: "user 1", Why: blacklist.Revoked})
	_, _ = s.Revoke(ctx, blacklist.Revocation{All: true, Why: blacklist.Revoked})
	_ = s.Close()
	return true
}

func TestFileCutShortIsAnError(t *testing.T) {
	data, _ := sample(t)
	for n := 1; n < len(data); n += 1 + len(data)/97 {
		path := filepath.Join(folder(t), "sessions.db")
		if err := os.WriteFile(path, data[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path)
		if err == nil {
			_ = s.Close()
			// bolt makes a file larger than it needs: the part after its last page is not used.
			if n >= used(t, data) {
				continue
			}
		}
		if !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut to %d of %d bytes: %v", n, len(data), err)
		}
	}
}

// used returns how much of the file its pages take.
func used(t *testing.T, data []byte) (size int) {
	t.Helper()
	path := filepath.Join(folder(t), "sessions.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s := reopen(t, path)
	if err := s.db.View(func(tx *bolt.Tx) error { size = int(tx.Size()); return nil }); err != nil {
		t.Fatal(err)
	}
	return size
}

func TestWhatIsNoBlacklistIsAnError(t *testing.T) {
	noise := make([]byte, 100_000)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(noise)
	if use(t, noise, nil) || use(t, make([]byte, 100_000), nil) || use(t, []byte("hello"), nil) {
		t.Error("it was opened")
	}
	for _, name := range []string{"something", metaBucket} {
		path := filepath.Join(folder(t), "other.db")
		other, err := bolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = other.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte(name)); return err })
		if err := errors.Join(err, other.Close()); err != nil {
			t.Fatal(err)
		}
		if s, err := Open(path); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%v", err)
			_ = s.Close()
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "no", "such", "folder")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := Open(t.TempDir()); err == nil || errors.Is(err, ErrCorrupt) {
		t.Errorf("a folder: %v", err)
	}
}

func TestBadBytesLetNobodyIn(t *testing.T) {
	data, revoked := sample(t)
	random := rand.New(rand.NewPCG(1, 2))
	opened := 0
	size := used(t, data)
	for range 60 {
		bad := append([]byte(nil), data[:size]...)
		for range 1 + random.IntN(4) {
			// Only leaves, which hold nearly all bytes: a damaged pointer to a page may send bolt
			// round in circles.
			bad[2*4096+random.IntN(len(bad)-2*4096)] ^= byte(1 << random.IntN(8))
		}
		if use(t, bad, revoked[:4]) {
			opened++
		}
	}
	if opened == 0 {
		t.Error("none could be opened: nothing was tried")
	}
	t.Logf("%d of 60 could be opened", opened)
}

func TestCodeOfLostSession(t *testing.T) {
	// Guards: if damage hides a session, its code must not start a new one.
	s := fresh(t)
	code := newCode("anna")
	if v, err := begins(s, code); v != blacklist.Accepted {
		t.Fatalf("verdict %d, %v", v, err)
	}
	sid, _ := sessionKey(code.SessionID)
	err := s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte(sessionsBucket)).Delete(sid) })
	if err != nil {
		t.Fatal(err)
	}
	if v, err := begins(s, code); v != 0 || !errors.Is(err, ErrCorrupt) {
		t.Errorf("Present: verdict %d, %v", v, err)
	}
	if v, err := verdict(s.Check(t.Context(), code, 0, 0)); v != 0 || !errors.Is(err, ErrCorrupt) {
		t.Errorf("Check: verdict %d, %v", v, err)
	}
}

func TestFileCutShortUnderUsIsAnError(t *testing.T) {
	// Guards: bolt reads its file with mmap, and reading past the end of a short file ends the
	// process.
	data, revoked := sample(t)
	path := filepath.Join(folder(t), "sessions.db")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	s := reopen(t, path)
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if v, err := verdict(s.Check(ctx, revoked[0], 0, 0)); v != 0 || !errors.Is(err, ErrCorrupt) {
		t.Errorf("Check: verdict %d, %v", v, err)
	}
	if _, err := s.Sessions(ctx, "user 1"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Sessions: %v", err)
	}
	if v, err := begins(s, revoked[0]); v != 0 || !errors.Is(err, ErrCorrupt) {
		t.Errorf("Present: verdict %d, %v", v, err)
	}
	if _, err := s.Revoke(ctx, blacklist.Revocation{All: true, Why: blacklist.Revoked}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Revoke: %v", err)
	}
	_ = s.Close() // it must return
}

func TestSecondStoreOfAFileIsRefused(t *testing.T) {
	path := filepath.Join(folder(t), "sessions.db")
	s := reopen(t, path)
	if _, err := Open(path); !errors.Is(err, ErrInUse) {
		t.Errorf("%v", err)
	}
	if v, err := begins(s, newCode("anna")); v != blacklist.Accepted {
		t.Errorf("the first: verdict %d, %v", v, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	reopen(t, path)
}
