// Package blacklisttest has the tests that every blacklist.Store has to pass. Each subtest is one
// promise of that interface:
//
//	func TestStore(t *testing.T) {
//		blacklisttest.Run(t, func(t *testing.T) blacklist.Store { return openEmptyStore(t) })
//	}
//
// Run is for every store. RunInBubble and RunSetBack are for stores that can live in a
// testing/synctest bubble: they test what takes minutes, and what has to hold when the wall clock
// is set back. RunRestarts is for stores that survive a restart. RunShared and RunLossy are for
// stores that several processes share.
package blacklisttest

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/z-open/socketauth/blacklist"
)

// Run runs the suite. open returns a new, empty store for each promise, and has t.Cleanup close it.
// A Gap that a store sends to its watchers is ignored.
func Run(t *testing.T, open func(t *testing.T) blacklist.Store) {
	for _, c := range clauses() {
		t.Run(c.promise, func(t *testing.T) { c.check(t, open(t)) })
	}
}

func clauses() []clause {
	return slices.Concat(rotation(), reuse(), revocation(), users(), marks(), stepUps(), binding(), sessions(), watching(), races(), edges())
}

// RunInBubble tests what needs time to pass, by the clock of a testing/synctest bubble. A store
// that runs in one serves a single process, so its watchers have to hear of a change before the
// method that makes it returns.
func RunInBubble(t *testing.T, open func(t *testing.T) blacklist.Store) {
	for _, c := range timed() {
		t.Run(c.promise, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.check(t, open(t)) })
		})
	}
}

// RunRestarts tests what a store has to know after a restart. open returns a new, empty store and a
// function that stops it, as abruptly as the test can, and opens it again.
func RunRestarts(t *testing.T, open func(t *testing.T) (store blacklist.Store, restart func() blacklist.Store)) {
	for _, c := range restarts() {
		t.Run(c.promise, func(t *testing.T) {
			store, restart := open(t)
			c.check(t, store, restart)
		})
	}
}

// clause is one promise.
type clause struct {
	promise string
	check   func(t *testing.T, store blacklist.Store)
}
