package boltstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/z-open/socketauth/blacklist"
)

func TestFailuresRunOthersTwice(t *testing.T) {
	// Guards: a batch that started again for each failed step took time in the square of its
	// length.
	const each = 100
	oops := errors.New("oops")
	for name, fails := range map[string]struct {
		step    func(tx *bolt.Tx) (bool, error)
		deserts bool
		want    error
	}{
		"who has gone": {func(*bolt.Tx) (bool, error) { return true, nil }, true, context.Canceled},
		"an error":     {func(*bolt.Tx) (bool, error) { return false, oops }, false, oops},
		"an error after writing": {func(tx *bolt.Tx) (bool, error) {
			return true, errors.Join(oops, tx.DeleteBucket([]byte(sessionsBucket)))
		}, false, oops},
	} {
		t.Run(name, func(t *testing.T) {
			s := fresh(t)
			release := hold(t, s)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var runs atomic.Int32
			var clients sync.WaitGroup
			for n := range each { // a step that succeeds and one that fails, in turn
				clients.Go(func() {
					code := newCode("anna")
					p := presentation(code, time.Now())
					err := s.writer.do(t.Context(), func(tx *bolt.Tx, now time.Time) (bool, error) {
						runs.Add(1)
						r, _, changed, err := decide(tx, code, now, func(st *blacklist.State, now time.Time) (blacklist.Result, blacklist.Change) {
							return st.Present(p, now)
						})
						if r.Verdict != blacklist.Accepted {
							t.Errorf("verdict %d", r.Verdict)
						}
						return changed, err
					}, nil)
					if err != nil {
						t.Error(err)
					}
				})
				awaitQueue(s, 2*n+1)
				clients.Go(func() {
					mine := t.Context()
					if fails.deserts {
						mine = ctx
					}
					err := s.writer.do(mine, func(tx *bolt.Tx, _ time.Time) (bool, error) {
						runs.Add(1)
						return fails.step(tx)
					}, nil)
					if !errors.Is(err, fails.want) {
						t.Errorf("%v", err)
					}
				})
				awaitQueue(s, 2*n+2)
			}
			cancel()
			release()
			clients.Wait()
			if n := runs.Load(); n > 2*2*each {
				t.Errorf("%d steps were taken %d times", 2*each, n)
			}
			if list, err := s.Sessions(t.Context(), "anna"); len(list) != each || err != nil {
				t.Errorf("%d sessions, want %d, %v", len(list), each, err)
			}
		})
	}
}

func TestErrorsCostNoTransaction(t *testing.T) {
	// Guards: a step that fails without having written returns its error from the same transaction
	// that serves the other steps.
	s := fresh(t)
	before := transaction(t, s)
	release := hold(t, s)
	var clients sync.WaitGroup
	for n := range 32 {
		clients.Go(func() {
			if n%2 == 0 {
				if v, err := begins(s, newCode("anna")); v != blacklist.Accepted {
					t.Errorf("verdict %d, %v", v, err)
				}
				return
			}
			err := s.writer.do(t.Context(), func(*bolt.Tx, time.Time) (bool, error) { return false, ErrCorrupt }, nil)
			if !errors.Is(err, ErrCorrupt) {
				t.Error(err)
			}
		})
	}
	awaitQueue(s, 32)
	release()
	clients.Wait()
	if n := transaction(t, s) - before; n != 1 {
		t.Errorf("%d transactions", n)
	}
}
