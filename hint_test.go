package socketauth_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/id"
	"github.com/z-open/socketauth/internal/sharedtest"
	"github.com/z-open/socketauth/internal/siotest"
)

// withHints runs a test against a server whose store only has hints of what others have changed.
// tell tells the server something that was not verified.
func withHints(t *testing.T, test func(srv *testServer, store *sharedtest.Store, tell func(blacklist.Change))) {
	t.Helper()
	var told *sharedStore
	var store *sharedtest.Store
	withServer(t, func(o *socketauth.Options[string]) {
		store = sharedtest.New(0).Open(0)
		told = &sharedStore{Store: store, watch: func(ctx context.Context) error { <-ctx.Done(); return nil }}
		o.Blacklist = told
	}, func(srv *testServer) {
		synctest.Wait()
		test(srv, store, func(c blacklist.Change) {
			c.Hint, c.At = true, time.Now()
			told.notify(c)
			synctest.Wait()
		})
	})
}

// TestHintOfEnd checks that nobody is told that a session is over before the store has said so, by
// each kind of hint, and that a true one has its sockets closed with the store's reason.
func TestHintOfEnd(t *testing.T) {
	withHints(t, func(srv *testServer, store *sharedtest.Store, tell func(blacklist.Change)) {
		for _, why := range []blacklist.Verdict{blacklist.Revoked, blacklist.LoggedOut, blacklist.SessionCompromised} {
			for name, about := range map[string]func(sid string) blacklist.Change{
				"a session":        func(sid string) blacklist.Change { return blacklist.Change{UserID: "anna", SessionID: sid} },
				"a user":           func(string) blacklist.Change { return blacklist.Change{UserID: "anna"} },
				"a user but one":   func(string) blacklist.Change { return blacklist.Change{UserID: "anna", Except: id.New().String()} },
				"all":              func(string) blacklist.Change { return blacklist.Change{All: true} },
				"a session of all": func(sid string) blacklist.Change { return blacklist.Change{SessionID: sid} },
			} {
				c, _ := srv.authenticated()
				offered := srv.dial("")
				offered.offerFor(srv.code())
				hint := about(srv.sessionOf(c))
				hint.Verdict = why
				tell(hint)
				c.expectAuthenticated()
				offered.expectUnauthenticated()

				if _, err := store.Revoke(srv.Context(), blacklist.Revocation{UserID: "anna", Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
					t.Fatal(name, err)
				}
				tell(hint)
				c.expectRefused("session_revoked")
				offered.close()
				time.Sleep(10 * time.Millisecond)
			}
		}
	})
}

// TestChangeOfAnotherUser checks that what a store reports of a session and another user than the
// session's closes no socket. A store that knows sessions by their users alone does report that.
func TestChangeOfAnotherUser(t *testing.T) {
	store := &sharedStore{watch: func(ctx context.Context) error { <-ctx.Done(); return nil }}
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		synctest.Wait()
		c, _ := srv.authenticated()
		store.notify(blacklist.Change{UserID: "bert", SessionID: srv.sessionOf(c), Verdict: blacklist.Revoked, At: time.Now()})
		c.expectAuthenticated()
		store.notify(blacklist.Change{UserID: "anna", SessionID: srv.sessionOf(c), Verdict: blacklist.Revoked, At: time.Now()})
		c.expectRefused("session_revoked")
	})
}

// TestHintOfConfirmation checks that a client is told of a newer token, or loses its branch, only
// once the store has said that the token was confirmed.
func TestHintOfConfirmation(t *testing.T) {
	withHints(t, func(srv *testServer, store *sharedtest.Store, tell func(blacklist.Change)) {
		c, token := srv.authenticated()
		sid := srv.sessionOf(c)
		other := srv.dial("")
		branch := other.offerFor(token)
		hint := func(id string, generation uint64) blacklist.Change {
			return blacklist.Change{UserID: "anna", SessionID: sid, Verdict: blacklist.Accepted, TokenID: id, Generation: generation}
		}
		tell(hint(id.New().String(), 1)) // another branch than the one that holds it
		tell(hint(id.New().String(), 2)) // nobody holds it yet
		tell(hint(id.New().String(), 3))
		tell(hint(idOf(t, branch.token), 2)) // offered, and not confirmed
		tell(hint(idOf(t, branch.token), 7))
		c.expectAuthenticated()
		c.expectNothing()
		other.expectUnauthenticated()

		third := srv.dial("")
		winner := third.offerFor(token)
		winner.confirm()
		third.expectAuthenticated()
		for range 2 {
			tell(hint(idOf(t, winner.token), 2))
			c.expect(`42["rotated"]`)
		}
		if u := other.expectRefused("no_longer_valid"); u.Terminal {
			t.Error("a branch that was lost is said to be the end")
		}
		third.expectAuthenticated()

		store.Down.Store(true)
		tell(hint(idOf(t, winner.token), 2))
		c.expectNothing()
		store.Down.Store(false)
		c.expectAuthenticated()
	})
}

// TestHintOnTheWire checks what clients of each engine are told after hints, by any transport.
func TestHintOnTheWire(t *testing.T) {
	for _, version := range []string{"3", "4"} {
		for _, transport := range siotest.Transports {
			t.Run(version+" "+transport, func(t *testing.T) {
				withHints(t, func(srv *testServer, store *sharedtest.Store, tell func(blacklist.Change)) {
					c := srv.rawAuthenticated(version, transport, "anna")
					tell(blacklist.Change{UserID: "anna", Verdict: blacklist.Revoked})
					if err := c.Write(`421["nobody handles this"]`); err != nil {
						t.Fatal(err)
					}
					if _, err := c.Expect(`431[{"error":{"code":"unknown_event"}}]`); err != nil {
						t.Fatal(err)
					}
					if _, err := store.Revoke(srv.Context(), blacklist.Revocation{UserID: "anna", Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
						t.Fatal(err)
					}
					tell(blacklist.Change{UserID: "anna", Verdict: blacklist.Revoked})
					if _, err := c.Expect(`42["unauthorized",{"message":"Session was revoked","code":"session_revoked"`); err != nil {
						t.Fatal(err)
					}
				})
			})
		}
	}
}

// idOf returns the claim "jti" of a token.
func idOf(t *testing.T, token string) (jti string) {
	t.Helper()
	if err := json.Unmarshal(payloadOf(t, token)["jti"], &jti); err != nil {
		t.Fatal(err)
	}
	return jti
}

// countingStore counts Checks, of which each takes a while.
type countingStore struct {
	blacklist.Store
	watch             sharedStore
	checks, now, most atomic.Int32
}

func (s *countingStore) Watch(ctx context.Context, fn func(blacklist.Change)) error {
	return s.watch.Watch(ctx, fn)
}

func (s *countingStore) Check(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Result, error) {
	s.checks.Add(1)
	n := s.now.Add(1)
	defer s.now.Add(-1)
	for most := s.most.Load(); most < n && !s.most.CompareAndSwap(most, n); most = s.most.Load() {
	}
	time.Sleep(time.Millisecond)
	return s.Store.Check(ctx, t, grace, branch)
}

// batchingStore is one that answers many at once.
type batchingStore struct {
	*countingStore
	batches, largest atomic.Int32
}

func (s *batchingStore) CheckAll(ctx context.Context, tokens []blacklist.TokenRef) ([]blacklist.Result, error) {
	s.batches.Add(1)
	s.largest.Store(max(s.largest.Load(), int32(len(tokens))))
	results := make([]blacklist.Result, len(tokens))
	for n, t := range tokens {
		var err error
		if results[n], err = s.Store.Check(ctx, t, 0, 0); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// partialStore answers for the sessions of anna only.
type partialStore struct {
	*sharedtest.Store
	whole atomic.Bool
}

func (s *partialStore) CheckAll(ctx context.Context, tokens []blacklist.TokenRef) ([]blacklist.Result, error) {
	results, err := s.Store.CheckAll(ctx, tokens)
	for n := range results {
		if tokens[n].UserID != "anna" && !s.whole.Load() {
			results[n] = blacklist.Result{}
		}
	}
	return results, err
}

// TestGapPartOfStoreOut checks that sockets are closed whose sessions have ended although a part of
// the store does not answer, and the others once it does; and that nothing is assumed meanwhile.
func TestGapPartOfStoreOut(t *testing.T) {
	store := new(partialStore)
	withServer(t, func(o *socketauth.Options[string]) {
		store.Store = sharedtest.New(0).Open(0)
		o.Blacklist = store
	}, func(srv *testServer) {
		a, _ := srv.authenticated()
		b, _ := srv.authenticatedAs(claimsOf("bert"))
		alive, _ := srv.authenticatedAs(claimsOf("carl"))
		store.Mute.Store(true)
		for _, user := range []string{"anna", "bert"} {
			if _, err := store.Revoke(srv.Context(), blacklist.Revocation{UserID: user, Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		store.Mute.Store(false)
		a.expectRefused("session_revoked")
		time.Sleep(time.Minute)
		b.expectAuthenticated()
		if silence := srv.Auth().Stats().Store.Silence; silence < time.Minute {
			t.Errorf("Stats: silence %v", silence)
		}
		srv.expectLogged("cannot ask the blacklist whether the session of a socket has ended")
		store.whole.Store(true)
		b.expectRefused("session_revoked")
		alive.expectAuthenticated()
	})
}

// TestGapAsksOncePerSession checks that after a gap the store is asked about each session once,
// however many sockets it has, and about several at a time.
func TestGapAsksOncePerSession(t *testing.T) {
	for _, batches := range []bool{false, true} {
		const sessions, each = 40, 3
		counting := &countingStore{watch: sharedStore{watch: func(ctx context.Context) error { <-ctx.Done(); return nil }}}
		batching := &batchingStore{countingStore: counting}
		withServer(t, func(o *socketauth.Options[string]) {
			counting.Store = blacklist.NewMemory()
			if o.Blacklist = counting; batches {
				o.Blacklist = batching
			}
			o.Limits = socketauth.Limits{SocketsPerUser: socketauth.NoLimit, SessionsPerUser: socketauth.NoLimit}
		}, func(srv *testServer) {
			synctest.Wait()
			clients := make([][]*client, sessions)
			for n := range clients {
				c, token := srv.authenticated()
				clients[n] = append(clients[n], c)
				for range each - 1 {
					var other *client
					other, token = srv.confirmed(token)
					clients[n] = append(clients[n], other)
				}
				time.Sleep(time.Millisecond)
			}
			ended := srv.sessionOf(clients[7][0])
			if _, err := counting.Store.Revoke(srv.Context(), blacklist.Revocation{UserID: "anna", SessionID: ended, Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
				t.Fatal(err)
			}
			counting.checks.Store(0)
			counting.watch.notify(blacklist.Change{Gap: true})
			time.Sleep(time.Second)
			if n := len(socketauth.Authenticated(srv.Server.Server)); n != (sessions-1)*each {
				t.Errorf("%d sockets are left, want %d", n, (sessions-1)*each)
			}
			switch {
			case batches:
				if n := counting.checks.Load(); n != 0 || batching.batches.Load() > 4 {
					t.Errorf("%d checks and %d batches", n, batching.batches.Load())
				}
			default:
				if n, most := counting.checks.Load(), counting.most.Load(); n != sessions || most < 2 || most > 32 {
					t.Errorf("%d checks of %d sessions, %d at a time", n, sessions, most)
				}
			}
		})
	}
}

// countedChecks counts the calls of Check.
type countedChecks struct {
	blacklist.Store
	checks atomic.Int32
}

func (c *countedChecks) Check(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (blacklist.Result, error) {
	c.checks.Add(1)
	return c.Store.Check(ctx, t, grace, branch)
}

// TestHintOfNoToken checks that the store is not asked about what cannot be a token.
func TestHintOfNoToken(t *testing.T) {
	counted := new(countedChecks)
	told := &sharedStore{Store: counted, watch: func(ctx context.Context) error { <-ctx.Done(); return nil }}
	withServer(t, func(o *socketauth.Options[string]) {
		counted.Store = sharedtest.New(0).Open(0)
		o.Blacklist = told
	}, func(srv *testServer) {
		synctest.Wait()
		c, _ := srv.authenticated()
		hint := blacklist.Change{UserID: "anna", SessionID: srv.sessionOf(c), Verdict: blacklist.Accepted, Generation: 7, Hint: true}
		for token, want := range map[string]int32{"": 0, strings.Repeat("x", 1<<16): 0, id.New().String(): 1} {
			before := counted.checks.Load()
			hint.TokenID = token
			told.notify(hint)
			synctest.Wait()
			if n := counted.checks.Load() - before; n != want {
				t.Errorf("%d checks because of a token of %d bytes, want %d", n, len(token), want)
			}
		}
	})
}

// TestHintsOfAll checks that all sessions are looked up at most once a second however often it is
// hinted that all have ended, and that they are after the last hint.
func TestHintsOfAll(t *testing.T) {
	counted := new(countedChecks)
	told := &sharedStore{Store: counted, watch: func(ctx context.Context) error { <-ctx.Done(); return nil }}
	withServer(t, func(o *socketauth.Options[string]) {
		counted.Store = sharedtest.New(0).Open(0)
		o.Blacklist = told
	}, func(srv *testServer) {
		synctest.Wait()
		c, _ := srv.authenticated()
		before := counted.checks.Load()
		hint := blacklist.Change{All: true, Verdict: blacklist.Revoked, Hint: true}
		for range 1000 {
			told.notify(hint)
			time.Sleep(10 * time.Millisecond)
		}
		if n := counted.checks.Load() - before; n < 5 || n > 12 {
			t.Errorf("%d lookups in ten seconds", n)
		}
		c.expectAuthenticated()
		if _, err := counted.Revoke(srv.Context(), blacklist.Revocation{All: true, Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
			t.Fatal(err)
		}
		told.notify(hint)
		time.Sleep(2 * time.Second)
		c.expectRefused("session_revoked")
	})
}
