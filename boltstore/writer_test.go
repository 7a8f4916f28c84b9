package boltstore

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/z-open/socketauth/blacklist"
)

func fresh(t testing.TB) *Store {
	t.Helper()
	return reopen(t, filepath.Join(folder(t), "sessions.db"))
}

func reopen(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// hold keeps the writer busy until release is called.
func hold(t *testing.T, s *Store) (release func()) {
	t.Helper()
	begun, end := make(chan struct{}), make(chan struct{})
	go func() {
		_ = s.writer.do(context.Background(), func(*bolt.Tx, time.Time) (bool, error) {
			close(begun)
			<-end
			return false, nil
		}, nil)
	}()
	<-begun
	release = sync.OnceFunc(func() { close(end) })
	t.Cleanup(release)
	return release
}

// awaitQueue waits until that many steps wait for the writer.
func awaitQueue(s *Store, n int) {
	for {
		s.writer.mu.Lock()
		waiting := len(s.writer.queue)
		s.writer.mu.Unlock()
		if waiting >= n {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func transaction(t *testing.T, s *Store) (id int) {
	t.Helper()
	if err := s.db.View(func(tx *bolt.Tx) error { id = tx.ID(); return nil }); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestStepsShareTransaction(t *testing.T) {
	s := fresh(t)
	before := transaction(t, s)
	release := hold(t, s)
	var clients sync.WaitGroup
	for range 64 {
		clients.Go(func() {
			if v, err := begins(s, newCode("anna")); v != blacklist.Accepted {
				t.Errorf("verdict %d, %v", v, err)
			}
		})
	}
	awaitQueue(s, 64)
	release()
	clients.Wait()
	if n := transaction(t, s) - before; n != 1 {
		t.Errorf("%d transactions for 64 presentations", n)
	}
}

func TestRefusalsWriteNothing(t *testing.T) {
	s := fresh(t)
	unknownToken := newCode("anna")
	unknownToken.Generation = 3
	before := transaction(t, s)
	for range 10 {
		if v, err := begins(s, unknownToken); v != blacklist.Unknown {
			t.Errorf("verdict %d, %v", v, err)
		}
	}
	if n := transaction(t, s) - before; n != 0 {
		t.Errorf("%d transactions for 10 refusals", n)
	}
}

func TestCancelledInQueue(t *testing.T) {
	s := fresh(t)
	release := hold(t, s)
	code := newCode("anna")
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error)
	go func() {
		_, err := s.Present(ctx, blacklist.Presentation{Token: code, SuccessorID: newID()})
		result <- err
	}()
	awaitQueue(s, 1)
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) { // while the writer is still held
		t.Errorf("%v", err)
	}
	release()
	if v, err := begins(s, code); v != blacklist.Accepted {
		t.Errorf("the code afterwards: verdict %d, %v", v, err)
	}
}

func TestWatchersHearOfAbandonedStep(t *testing.T) {
	// Guards: if a caller gives up while its step is written, watchers must still get the change.
	s := fresh(t)
	code := newCode("anna")
	heard := make(chan blacklist.Change, 10)
	go func() { _ = s.Watch(context.Background(), func(c blacklist.Change) { heard <- c }) }()
	for deadline := time.After(20 * time.Second); len(heard) == 0; { // until the watcher is registered
		if _, err := s.Revoke(t.Context(), blacklist.Revocation{UserID: "anna", SessionID: newID(), Why: blacklist.Revoked}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-deadline:
			t.Fatal("Watch hears nothing")
		default:
		}
	}
	release := hold(t, s)
	ctx, cancel := context.WithCancel(context.Background())
	result, held, end := make(chan error), make(chan struct{}), make(chan struct{})
	go func() {
		_, err := s.Present(ctx, blacklist.Presentation{Token: code, SuccessorID: newID()})
		result <- err
	}()
	awaitQueue(s, 1)
	go func() { // after it, in the same transaction
		_ = s.writer.do(context.Background(), func(*bolt.Tx, time.Time) (bool, error) {
			close(held)
			<-end
			return false, nil
		}, nil)
	}()
	awaitQueue(s, 2)
	release()
	<-held
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	close(end)
	for {
		select {
		case c := <-heard:
			if c.Verdict != blacklist.Accepted {
				continue
			}
			if c.SessionID != code.SessionID {
				t.Errorf("%+v", c)
			}
			return
		case <-time.After(20 * time.Second):
			t.Fatal("nobody heard of it")
		}
	}
}

func TestAStepThatFailsFailsAlone(t *testing.T) {
	s := fresh(t)
	release := hold(t, s)
	oops := errors.New("oops")
	codes := []blacklist.TokenRef{newCode("anna"), newCode("anna")}
	var clients sync.WaitGroup
	for n, code := range codes {
		clients.Go(func() {
			if v, err := begins(s, code); v != blacklist.Accepted {
				t.Errorf("verdict %d, %v", v, err)
			}
		})
		awaitQueue(s, 2*n+1)
		clients.Go(func() {
			err := s.writer.do(context.Background(), func(tx *bolt.Tx, _ time.Time) (bool, error) {
				_ = tx.DeleteBucket([]byte(sessionsBucket)) // this must not be committed
				return true, oops
			}, nil)
			if !errors.Is(err, oops) {
				t.Errorf("%v", err)
			}
		})
		awaitQueue(s, 2*n+2)
	}
	release()
	clients.Wait()
	if list, err := s.Sessions(t.Context(), "anna"); len(list) != 2 || err != nil {
		t.Errorf("%d sessions, %v", len(list), err)
	}
}

func TestPanicOfDatabase(t *testing.T) {
	// Guards: bolt panics if its file is damaged. After that its state in memory must not be used.
	s := fresh(t)
	err := s.writer.do(context.Background(), func(*bolt.Tx, time.Time) (bool, error) { panic("page 3 is not a leaf") }, nil)
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("%v", err)
	}
	if v, err := begins(s, newCode("anna")); v != 0 || !errors.Is(err, ErrCorrupt) {
		t.Errorf("Present: verdict %d, %v", v, err)
	}
	if v, err := verdict(s.Check(t.Context(), newCode("anna"), 0, 0)); v != 0 || !errors.Is(err, ErrCorrupt) {
		t.Errorf("Check: verdict %d, %v", v, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestClosedStoreRefuses(t *testing.T) {
	s := fresh(t)
	watched := make(chan error)
	go func() { watched <- s.Watch(context.Background(), func(blacklist.Change) {}) }()
	var calls sync.WaitGroup
	for range 50 { // steps that have begun are done, the others are refused
		calls.Go(func() {
			v, err := begins(s, newCode("anna"))
			if v != blacklist.Accepted && !errors.Is(err, ErrClosed) {
				t.Errorf("verdict %d, %v", v, err)
			}
		})
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	calls.Wait()
	if err := <-watched; !errors.Is(err, ErrClosed) {
		t.Errorf("Watch: %v", err)
	}
	ctx := t.Context()
	_, present := begins(s, newCode("anna"))
	_, confirm := s.Confirm(ctx, newCode("anna"))
	_, check := s.Check(ctx, newCode("anna"), 0, 0)
	_, revoke := s.Revoke(ctx, blacklist.Revocation{All: true, Why: blacklist.Revoked})
	_, sessions := s.Sessions(ctx, "anna")
	watch := s.Watch(ctx, func(blacklist.Change) {})
	for n, err := range []error{present, confirm, check, revoke, sessions, watch} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%d: %v", n, err)
		}
	}
}
