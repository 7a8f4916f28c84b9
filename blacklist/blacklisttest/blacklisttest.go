// Package blacklisttest is what every blacklist.Store has to pass. Its subtests are the promises of that interface,
// a promise each:
//
//	func TestStore(t *testing.T) {
//		blacklisttest.Run(t, func(t *testing.T) blacklist.Store { return openEmptyStore(t) })
//	}
//
// Run is for every store. RunInBubble adds what takes minutes, and RunSetBack what is to hold where the wall clock is set
// back, for stores that can live in a testing/synctest bubble; RunRestarts is for stores that survive a restart.
package blacklisttest

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/z-open/socketauth/blacklist"
)

// Run runs the suite. open gives a new, empty store for each promise, and closes it by t.Cleanup. A Gap that a store
// tells its watchers is passed over.
func Run(t *testing.T, open func(t *testing.T) blacklist.Store) {
	for _, c := range slices.Concat(rotation(), reuse(), revocation(), users(), marks(), stepUps(), binding(), sessions(), watching(), races(), edges()) {
		t.Run(c.promise, func(t *testing.T) { c.check(t, open(t)) })
	}
}

// RunInBubble runs what needs time to pass, which goes by the clock of a testing/synctest bubble. Such a store is one of
// a single process, so that its watchers have to hear of a change before the method that makes it returns.
func RunInBubble(t *testing.T, open func(t *testing.T) blacklist.Store) {
	for _, c := range timed() {
		t.Run(c.promise, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.check(t, open(t)) })
		})
	}
}

// RunRestarts runs what a store has to know after a restart. open gives a new, empty store, and what stops it in the
// rudest way the test can afford and opens again what it left.
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
