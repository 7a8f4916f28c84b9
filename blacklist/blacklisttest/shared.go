package blacklisttest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// RunShared tests a store that several processes share. open returns at least three stores of one
// empty database, each as a process of its own has it, and has t.Cleanup close them. They may keep
// nothing in common but the database.
//
// Each promise of Run is tested with each call going to any of the stores, in an order whose seed
// is logged; then what only such stores promise. One code is presented to all stores at once as
// many times as rounds says.
//
// A store with the method Now() time.Time is that of a process whose clock shows that time; it
// takes its own time from there. So RunShared can be run with clocks that are seconds apart, which
// it should be.
func RunShared(t *testing.T, rounds int, open func(t *testing.T) []blacklist.Store) {
	for _, c := range clauses() {
		t.Run(c.promise, func(t *testing.T) { c.check(t, newSpread(t, open(t))) })
	}
	for _, c := range shared(rounds) {
		t.Run(c.promise, func(t *testing.T) { c.check(t, open(t)) })
	}
}

// RunLossy tests that a store which processes share notices that it has missed a change. The stores
// that open returns hear nothing of each other, although all that they ask the database is
// answered: each message from one to another is lost.
func RunLossy(t *testing.T, open func(t *testing.T) []blacklist.Store) {
	for _, c := range lossy() {
		t.Run(c.promise, func(t *testing.T) { c.check(t, open(t)) })
	}
}

// sharedClause is one promise of stores that share a database.
type sharedClause struct {
	promise string
	check   func(t *testing.T, stores []blacklist.Store)
}

// one returns a store with the clock of the test.
func one(t *testing.T, store blacklist.Store) *spread { return newSpread(t, []blacklist.Store{store}) }

// at returns the session as another store has it.
func (s *session) at(store blacklist.Store) *session {
	other := *s
	other.store = store
	return &other
}

// pairs calls check for each store beside each other one.
func pairs(t *testing.T, stores []blacklist.Store, check func(t *testing.T, a, b *spread)) {
	if len(stores) < 3 {
		t.Fatalf("%d stores, want at least 3", len(stores))
	}
	for i, a := range stores {
		for j, b := range stores {
			if i != j {
				check(t, one(t, a), one(t, b))
			}
		}
	}
}

// shared is what stores promise that share a database.
func shared(rounds int) []sharedClause {
	return []sharedClause{
		{"What another store has written is not undone", func(t *testing.T, stores []blacklist.Store) {
			pairs(t, stores, func(t *testing.T, a, b *spread) {
				s := login(t, a)
				first := s.presents(accepted, s.code())
				second := s.at(b).presents(accepted, first)
				s.presents(superseded, first, late) // a may still take it for the latest
				third := s.at(b).presents(accepted, second, confirming)
				s.confirms(accepted, third)
				s.at(b).checks(replaced, second)
				s.presents(accepted, third)
				s.at(b).presents(reuseDetected, second)
				s.ended(sessionCompromised, first, second, third)
				for _, r := range []blacklist.Revocation{
					{SessionID: s.id, UserID: s.user, Why: revoked}, {UserID: s.user, Why: revoked}, {All: true, Why: revoked},
				} {
					s := login(t, a)
					token := s.presents(accepted, s.code(), confirming)
					if !r.All {
						r.UserID = s.user
					}
					if r.SessionID != "" {
						r.SessionID = s.id
					}
					s.at(b).revokes(r)
					s.confirms(revoked, token)
					s.ended(revoked, token)
					s.at(b).ended(revoked, token)
				}
			})
		}},
		{"A refusal is by what is stored, not by what was read", func(t *testing.T, stores []blacklist.Store) {
			pairs(t, stores, func(t *testing.T, a, b *spread) {
				s := login(t, a)
				first := s.presents(accepted, s.code(), confirming)
				branch := s.presents(accepted, first, confirming)
				second := s.at(b).presents(accepted, branch, confirming)
				s.confirms(accepted, second) // for a, a generation ahead
				third := s.at(b).presents(accepted, second)
				fourth := s.presents(accepted, third)
				c := s.at(b).raises(true)
				fifth := s.presents(accepted, fourth, marked(c.Mark))
				s.at(b).presents(accepted, fifth)
			})
		}},
		{"A check is by what is stored, not by what was read", func(t *testing.T, stores []blacklist.Store) {
			pairs(t, stores, func(t *testing.T, a, b *spread) {
				s, out, all := login(t, a), login(t, a), login(t, a)
				first, gone, ended := s.presents(accepted, s.code()), out.presents(accepted, out.code()), all.presents(accepted, all.code())
				s.checks(accepted, first)
				out.checks(accepted, gone)
				all.checks(accepted, ended)
				second := s.at(b).presents(accepted, first)
				s.checks(replaced, first)
				s.checks(accepted, second)
				out.at(b).revokes(blacklist.Revocation{UserID: out.user, SessionID: out.id, Why: loggedOut})
				out.checks(loggedOut, gone)
				all.at(b).revokes(blacklist.Revocation{UserID: all.user, Why: revoked})
				all.checks(revoked, ended)
				s.at(b).raises(false)
				r, err := a.Check(t.Context(), second, 0, 0)
				s.wants(stale, r.Verdict, err, "Check", second)
				s.at(b).revokes(blacklist.Revocation{All: true, Why: revoked})
				s.checks(revoked, second)
			})
		}},
		{"A log-in from before a revocation at another store begins nothing", func(t *testing.T, stores []blacklist.Store) {
			pairs(t, stores, func(t *testing.T, a, b *spread) {
				for _, r := range []blacklist.Revocation{{Why: revoked}, {All: true, Why: revoked}} {
					known := login(t, a)
					token := known.presents(accepted, known.code())
					early, later := loginOf(t, a, known.user), loginOf(t, a, known.user)
					code := early.code()
					pass()
					if !r.All {
						r.UserID = known.user
					}
					decided := known.at(b).revokes(r).At
					early.ended(revoked, code)
					known.ended(revoked, token)
					later.login = decided.Add(time.Millisecond)
					code = later.code()
					later.presents(accepted, later.presents(accepted, code))
				}
			})
		}},
		{"A store's clock is never ahead of what it decides by", func(t *testing.T, stores []blacklist.Store) {
			pairs(t, stores, func(t *testing.T, a, b *spread) {
				if _, ok := a.stores[0].(blacklist.Clock); !ok {
					t.Fatal("it is no Clock")
				}
				for range 10 {
					s := login(t, a)
					decided := s.at(b).revokes(blacklist.Revocation{UserID: s.user, Why: revoked}).At
					if off := decided.Sub(s.login); off < 0 || off > patience {
						t.Fatalf("a log-in %v before a revocation", off)
					}
					code := s.code()
					s.ended(revoked, code)
				}
			})
		}},
		{"Times by the store's clock are taken as they are, and those of a process are not", func(t *testing.T, stores []blacklist.Store) {
			pairs(t, stores, func(t *testing.T, a, b *spread) {
				s := login(t, a)
				first := s.presents(accepted, s.code())
				branch := s.presents(accepted, first, confirming)
				s.at(b).checksWithin(accepted, branch, 0, time.Second+leeway(a))
				old := s.next(first)
				old.IssuedAt = old.IssuedAt.Add(-3 * time.Second)
				s.presentsFor(accepted, first, old, confirming)
				s.at(b).checksWithin(replaced, old, 0, 3*time.Second)
				s.at(b).checksWithin(accepted, old, 0, 10*time.Second)

				s.at(b).confirms(accepted, branch)
				now := time.Now()
				around := func(opened time.Duration) with {
					return func(p *blacklist.Presentation) {
						p.SocketOpenedAt, p.PresentedAt, p.SupersededWithin = now.Add(opened), now, time.Second
					}
				}
				for _, store := range []*spread{a, b} {
					s.at(store).presents(superseded, first, around(-time.Second))
					s.at(store).presents(replaced, first, around(time.Second), rejectOnly)
					living := s.at(store).living()[s.id]
					if d := living.LastSeen.Sub(now).Abs(); d > time.Second {
						t.Errorf("last seen %v ago", d)
					}
				}
			})
		}},
		{"CheckAll answers as Check does", func(t *testing.T, stores []blacklist.Store) {
			pairs(t, stores, func(t *testing.T, a, b *spread) {
				batch, ok := b.stores[0].(blacklist.BatchChecker)
				if !ok {
					return // nor need it be
				}
				tokens := variety(t, a, b)
				for _, some := range [][]blacklist.TokenRef{nil, tokens[:1], tokens} {
					results, err := batch.CheckAll(t.Context(), some)
					if err != nil || len(results) != len(some) {
						t.Fatalf("%d results of %d tokens, %v", len(results), len(some), err)
					}
					for n, token := range some {
						want, err := b.Check(t.Context(), token, 0, 0)
						if err != nil || results[n] != want {
							t.Errorf("token %d: %s %d, and Check: %s %d, %v", n, name(results[n].Verdict), results[n].Mark, name(want.Verdict), want.Mark, err)
						}
					}
				}
				cancelled, cancel := context.WithCancel(t.Context())
				cancel()
				if _, err := batch.CheckAll(cancelled, tokens); err == nil {
					t.Error("it answers although its context has ended")
				}
			})
		}},
		{"One code presented to all stores at once is accepted once", func(t *testing.T, stores []blacklist.Store) {
			for round := range rounds {
				s := login(t, one(t, stores[round%len(stores)]))
				code := s.code()
				verdicts, next := make([]blacklist.Verdict, len(stores)), make([]blacklist.TokenRef, len(stores))
				together(len(stores), func(n int) {
					next[n] = s.next(code)
					v, err := verdict(stores[n].Present(t.Context(), presentation(code, next[n], rejectOnly)))
					if verdicts[n] = v; err != nil {
						t.Errorf("Present: %v", err)
					}
				})
				if got := count(verdicts); got[accepted] != 1 || got[replaced] != len(stores)-1 {
					t.Fatalf("round %d: %d accepted and %d replaced of %d", round, got[accepted], got[replaced], len(stores))
				}
				for n, v := range verdicts {
					s.at(stores[(n+round)%len(stores)]).checks(map[bool]blacklist.Verdict{true: accepted, false: replaced}[v == accepted], next[n])
				}
			}
		}},
		{"A revocation passes however fast others rotate, and ends them all", func(t *testing.T, stores []blacklist.Store) {
			for n, r := range []blacklist.Revocation{{SessionID: "its", Why: revoked}, {Why: revoked}, {All: true, Why: revoked}} {
				hammer(t, stores, stores[n%len(stores)], r)
			}
		}},
		{"A watcher hears a Gap first of all, and what happens at each store", func(t *testing.T, stores []blacklist.Store) {
			var watchers []*watcher
			for _, store := range stores {
				w := watch(t, one(t, store), nil)
				watchers = append(watchers, w)
				w.mu.Lock()
				if len(w.heard) == 0 || w.heard[0] != (blacklist.Change{Gap: true}) {
					t.Errorf("it heard %+v first", w.heard)
				}
				w.mu.Unlock()
			}
			for _, store := range stores {
				s := login(t, one(t, store))
				code := s.code()
				s.presents(accepted, code)
				s.presents(reuseDetected, code)
				s.revokes(blacklist.Revocation{UserID: s.user, Why: revoked})
				for _, w := range watchers {
					seen := make(map[blacklist.Verdict]int)
					for _, c := range w.about(s.user, 3) {
						seen[c.Verdict]++
					}
					if seen[accepted] != 1 || seen[sessionCompromised] != 1 || seen[revoked] != 1 {
						t.Errorf("heard %v", seen)
					}
				}
			}
		}},
		{"A watcher is told again and again that nothing was missed", func(t *testing.T, stores []blacklist.Store) {
			signs := make(chan time.Time, 100)
			watch(t, one(t, stores[0]), func(c blacklist.Change) {
				if c == (blacklist.Change{}) {
					signs <- time.Now()
				}
			})
			deadline := time.After(patience)
			last := time.Now()
			for range 4 {
				select {
				case at := <-signs:
					if late := at.Sub(last); late > 2*time.Second+stragglers { // 2 s, on a machine that is busy
						t.Errorf("told after %v", late)
					}
					last = at
				case <-deadline:
					t.Fatal("not told in time")
				}
			}
		}},
	}
}

// variety returns tokens of every kind, of which store b may keep what is out of date.
func variety(t *testing.T, a, b *spread) []blacklist.TokenRef {
	early := login(t, a)
	gone, goneToken := login(t, a), blacklist.TokenRef{}
	goneToken = gone.presents(accepted, gone.code())
	gone.at(b).checks(accepted, goneToken)
	pass()
	gone.revokes(blacklist.Revocation{All: true, Why: revoked})
	s, out, fresh, bound := login(t, b), login(t, b), login(t, a), login(t, a)
	code := s.code()
	first := s.presents(accepted, code)
	second := s.presents(accepted, first, confirming)
	third := s.at(a).presents(accepted, second, confirming)
	other := s.at(a).presents(accepted, second, confirming)
	left := out.presents(accepted, out.code())
	out.at(a).revokes(blacklist.Revocation{UserID: out.user, SessionID: out.id, Why: loggedOut})
	raised := login(t, b)
	low := raised.presents(accepted, raised.code())
	raised.at(a).raises(true)
	began := bound.presents(accepted, bound.code(), bind(newKey()))
	traded, key := login(t, b), newKey()
	tradedCode := traded.code()
	traded.presents(accepted, tradedCode, bind(key), confirming)
	tokens := []blacklist.TokenRef{
		early.code(), goneToken, code, first, second, third, other, s.next(s.next(third)), left, low, fresh.code(),
		raised.code(), loginOf(t, a, raised.user).code(), began, unboundOf(began), fresh.next(fresh.code()),
		tradedCode, withKey(tradedCode, key), withKey(tradedCode, newKey()),
		{SessionID: "none", TokenID: "none", UserID: "none"}, {},
	}
	foreign := third
	foreign.UserID = "another"
	return append(tokens, foreign, third)
}

// hammer has every store rotate a session of one user as fast as it can while they are revoked at
// one of the stores.
func hammer(t *testing.T, stores []blacklist.Store, by blacklist.Store, r blacklist.Revocation) {
	const clients = 8
	s := login(t, one(t, by))
	token := s.presents(accepted, s.code(), confirming)
	if !r.All {
		r.UserID = s.user
	}
	if r.SessionID != "" {
		r.SessionID = s.id
	}
	pass()
	var over atomic.Bool
	var begun, rotating sync.WaitGroup
	begun.Add(clients)
	var last [clients][2]blacklist.TokenRef // the last ones that each was given
	for n := range clients {
		store := stores[n%len(stores)]
		rotating.Go(func() {
			for turn := 0; ; turn++ {
				late := over.Load()
				next := s.next(token)
				v, err := verdict(store.Present(t.Context(), presentation(token, next, confirming)))
				if turn == 0 {
					begun.Done()
				}
				switch {
				case err != nil || v == accepted && late || v != accepted && v != revoked:
					t.Errorf("%s, %v; revoked before: %v", name(v), err, late)
					return
				case v == revoked:
					return
				}
				last[n][turn%2] = next
			}
		})
	}
	begun.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), patience/2)
	defer cancel()
	r.Keep = time.Hour
	began := time.Now()
	c, err := by.Revoke(ctx, r)
	noteAll(t, c)
	over.Store(true)
	rotating.Wait()
	if err != nil {
		t.Fatalf("Revoke, after %v: %v", time.Since(began), err)
	}
	for _, given := range last {
		for _, one := range append(given[:], token) {
			for _, store := range stores {
				if one.SessionID != "" {
					s.at(store).checks(revoked, one)
					s.at(store).presents(revoked, one, late)
				}
			}
		}
	}
}

// lossy is that what was missed is noticed.
func lossy() []sharedClause {
	kinds := []struct {
		name string
		make func(s *session, token, code blacklist.TokenRef)
	}{
		{"a confirmation", func(s *session, token, _ blacklist.TokenRef) { s.presents(accepted, token) }},
		{"a reuse", func(s *session, _, code blacklist.TokenRef) { s.presents(reuseDetected, code) }},
		{"a log-out", func(s *session, _, _ blacklist.TokenRef) {
			s.revokes(blacklist.Revocation{UserID: s.user, SessionID: s.id, Why: loggedOut})
		}},
		{"a mark", func(s *session, _, _ blacklist.TokenRef) { s.raises(true) }},
		{"a revocation of a user", func(s *session, _, _ blacklist.TokenRef) {
			s.revokes(blacklist.Revocation{UserID: s.user, Why: revoked})
		}},
		{"a revocation of all", func(s *session, _, _ blacklist.TokenRef) {
			s.revokes(blacklist.Revocation{All: true, Why: revoked})
		}},
	}
	clauses := make([]sharedClause, len(kinds))
	for n, kind := range kinds {
		clauses[n] = sharedClause{fmt.Sprintf("A watcher that misses %s is told of a Gap", kind.name), func(t *testing.T, stores []blacklist.Store) {
			s := login(t, one(t, stores[n%len(stores)]))
			code := s.code()
			token := s.presents(accepted, code)
			heard := make(chan blacklist.Change, 1000)
			watch(t, one(t, stores[(n+1)%len(stores)]), func(c blacklist.Change) { heard <- c })
			quiet(t, heard)
			kind.make(s, token, code)
			wantsGap(t, heard, s.user)
		}}
	}
	return clauses
}

// quiet returns once the watcher is told that it has missed nothing.
func quiet(t *testing.T, heard <-chan blacklist.Change) {
	t.Helper()
	for deadline := time.After(patience); ; {
		select {
		case c := <-heard:
			if c == (blacklist.Change{}) {
				return
			}
		case <-deadline:
			t.Fatal("not told that nothing was missed")
		}
	}
}

// wantsGap wants a watcher to hear of a Gap before it is told that it has missed nothing. It may be
// told so once, of what was before.
func wantsGap(t *testing.T, heard <-chan blacklist.Change, user string) {
	t.Helper()
	signs := 0
	for deadline := time.After(patience); ; {
		select {
		case c := <-heard:
			if c.Gap {
				return
			}
			if c == (blacklist.Change{}) {
				signs++
			}
			if signs > 1 || c.UserID == user || c.All {
				t.Fatalf("told that nothing was missed, or of %+v", c)
			}
		case <-deadline:
			t.Fatal("nothing is heard")
		}
	}
}
