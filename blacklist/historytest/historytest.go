// Package historytest plays random histories on a blacklist.Store: honest clients with tabs that
// crash, thieves who copied their storage, an operator who revokes, and a network, hooks and a
// store that fail. It finds what no single test thinks of: a client that is locked out, a token
// that is accepted twice, a theft that nobody notices. What the store decides is compared with a
// reference that remembers everything.
//
// It is for stores that can live in a testing/synctest bubble; each history runs in one of its own.
// Run package blacklisttest first: its failures say what is wrong.
package historytest

import (
	"testing"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/histories"
)

// Run plays n histories in which the store is called by one goroutine at a time. open returns a
// new, empty store for each, and has t.Cleanup close it.
func Run(t *testing.T, n int, open func(t *testing.T) blacklist.Store) {
	histories.Play(t, uint64(max(n, 0)), histories.On(open))
}

// RunServer plays n histories through the library's own server, which calls the store from many
// goroutines. open returns a new, empty store for each, and has t.Cleanup close it.
func RunServer(t *testing.T, n int, open func(t *testing.T) blacklist.Store) {
	histories.Play(t, uint64(max(n, 0)), histories.Through(open))
}

// RunShared plays n histories through several of the library's own servers, which share a store as
// the processes of one app do: each connection and each request is handled by any of them. open
// returns the stores of the processes, of one database that is new and empty, and has t.Cleanup
// close them. Each must be a blacklist.Clock. Their messages to each other may be lost or doubled.
func RunShared(t *testing.T, n int, open func(t *testing.T) []blacklist.Store) {
	histories.Play(t, uint64(max(n, 0)), histories.ThroughShared(func(t *testing.T, _ uint64) []blacklist.Store { return open(t) }))
}
