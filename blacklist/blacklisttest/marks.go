package blacklisttest

import (
	"sync"
	"testing"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// marks is how claims are brought up to date.
func marks() []clause {
	return []clause{
		{"Claims below the mark are stale, which consumes nothing", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			first := s.presents(accepted, s.code())
			c := s.raises(true)
			if c.Sessions != 1 {
				t.Errorf("%d sessions, want 1", c.Sessions)
			}
			for _, ways := range [][]with{{marked(0)}, {marked(c.Mark - 1)}, {marked(0), confirming}, {marked(0), late}} {
				s.stale(c.Mark, first, ways...)
			}
			second := s.presents(accepted, first, marked(c.Mark), confirming)
			s.stale(c.Mark, first, marked(c.Mark-1))
			s.stale(c.Mark, first, marked(c.Mark-1), confirming)
			third := s.presents(accepted, first, marked(c.Mark+1), confirming) // another branch
			s.stale(c.Mark, third, marked(0), confirming)
			s.checks(accepted, at(first, c.Mark)) // third is not confirmed by that
			s.confirms(accepted, second)
			s.presents(accepted, second)
		}},
		{"A token that is kept is compared with the mark", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			first := s.presents(accepted, s.code())
			s.presents(accepted, first, keep)
			c := s.raises(false)
			s.stale(c.Mark, first, keep)
			second := s.presents(accepted, first, marked(c.Mark), confirming)
			s.stale(c.Mark, at(second, 0), keep)
			s.presents(accepted, second, keep)
			s.checks(replaced, first)
		}},
		{"A check is compared with the mark", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			first := s.presents(accepted, s.code())
			branch := s.presents(accepted, first, confirming)
			c := s.raises(true)
			s.checksStale(c.Mark, first)
			s.checksStale(c.Mark, branch)
			r, err := store.Check(t.Context(), branch, time.Hour, time.Hour)
			s.wantsStale(c.Mark, r, err, "Check", branch)
			second := s.presents(accepted, first, marked(c.Mark))
			s.checks(accepted, second)
			// A token that was replaced is compared with nothing, but whoever asks learns the mark.
			for _, token := range []blacklist.TokenRef{first, branch, at(branch, c.Mark)} {
				r, err := store.Check(t.Context(), token, 0, 0)
				if s.wants(replaced, r.Verdict, err, "Check", token); r.Mark != c.Mark {
					t.Errorf("Check of what was replaced: the mark is %d, want %d", r.Mark, c.Mark)
				}
			}
		}},
		{"A branch below the mark is not confirmed, and can be presented", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			first := s.presents(accepted, s.code())
			branch := s.presents(accepted, first, confirming)
			c := s.raises(true)
			r, err := store.Confirm(t.Context(), branch)
			s.wantsStale(c.Mark, r, err, "Confirm", branch)
			other := s.presents(accepted, first, marked(c.Mark), confirming) // so it is still the latest that is held
			s.presents(accepted, branch, marked(c.Mark))
			s.confirms(replaced, other)
		}},
		{"Revocation and reuse come before the mark", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			first := s.presents(accepted, code)
			second := s.presents(accepted, s.presents(accepted, first))
			s.raises(true)
			s.presents(superseded, first, late)
			s.presents(replaced, first, rejectOnly)
			s.presents(unknown, s.next(s.next(second)))
			s.confirms(replaced, first)
			s.presents(reuseDetected, first)
			s.ended(sessionCompromised, second, first)
			out := login(t, store)
			token := out.presents(accepted, out.code())
			out.raises(false)
			out.revokes(blacklist.Revocation{UserID: out.user, SessionID: out.id, Why: loggedOut})
			if c := out.raises(false); c.Sessions != 0 {
				t.Errorf("%d sessions that were over", c.Sessions)
			}
			out.ended(loggedOut, token)
		}},
		{"A mark is above all of before, and the same in each session", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			two, foreign := loginOf(t, store, s.user), login(t, store)
			first, second := s.presents(accepted, s.code()), two.presents(accepted, two.code())
			alive := foreign.presents(accepted, foreign.code())
			last := int64(0)
			for range 3 {
				c := s.raises(false)
				if c.Mark <= last || c.Sessions != 1 {
					t.Errorf("mark %d after %d, of %d sessions", c.Mark, last, c.Sessions)
				}
				last = c.Mark
			}
			s.checksStale(last, first)
			two.checks(accepted, second) // which it was not about
			for range 3 {
				c := s.raises(true)
				if c.Mark <= last || c.Sessions != 2 {
					t.Errorf("mark %d after %d, of %d sessions", c.Mark, last, c.Sessions)
				}
				last = c.Mark
			}
			s.checksStale(last, first)
			two.checksStale(last, second)
			s.presents(accepted, first, marked(last))
			two.presents(accepted, second, marked(last))
			if n := len(s.living()); n != 2 {
				t.Errorf("%d sessions live, want 2", n)
			}
			foreign.checks(accepted, alive)
		}},
		{"A session begins with the mark of its user", func(t *testing.T, store blacklist.Store) {
			for _, all := range []bool{true, false} {
				s := login(t, store)
				code := s.code()
				c := s.raises(all) // of one that has not begun: whichever begins next
				if c.Sessions != 0 {
					t.Errorf("%d sessions, want none", c.Sessions)
				}
				for _, ways := range [][]with{{}, {confirming}, {marked(c.Mark - 1)}} {
					s.stale(c.Mark, code, ways...)
				}
				s.checksStale(c.Mark, code)
				if n := len(s.living()); n != 0 {
					t.Errorf("%d sessions have begun", n)
				}
				s.presents(accepted, code, marked(c.Mark), confirming)
				s.stale(c.Mark, code, confirming) // fetched before, and late
				s.presents(accepted, code, marked(c.Mark))
				later := loginOf(t, store, s.user)
				later.stale(c.Mark, later.code())
				foreign := login(t, store)
				foreign.presents(accepted, foreign.code())
			}
		}},
		{"No claims of before a mark are accepted once it is raised", func(t *testing.T, store blacklist.Store) {
			const rounds = 40
			s := login(t, store)
			var mu sync.Mutex
			raised := int64(0) // by calls that have returned
			known := func() int64 {
				mu.Lock()
				defer mu.Unlock()
				return raised
			}
			var clients sync.WaitGroup
			for range parties {
				clients.Go(func() {
					for range rounds / 4 {
						one := loginOf(t, store, s.user)
						token := one.code()
						for range 4 {
							at := known()
							next := one.next(token)
							r, err := store.Present(t.Context(), presentation(token, next))
							if err == nil && r.Verdict == stale {
								next.Mark = r.Mark
								r, err = store.Present(t.Context(), presentation(token, next))
							}
							switch {
							case err != nil || r.Verdict != accepted && r.Verdict != stale:
								t.Errorf("generation %d: %s, %v", token.Generation, name(r.Verdict), err)
								return
							case r.Verdict == accepted && next.Mark < at:
								t.Errorf("accepted with mark %d, which was raised to %d before", next.Mark, at)
							case r.Verdict == accepted:
								token = next
							}
						}
					}
				})
			}
			for n := range rounds {
				c := s.raises(n%4 > 0)
				if n%4 > 0 {
					mu.Lock()
					raised = c.Mark
					mu.Unlock()
				}
			}
			clients.Wait()
			c, one := s.raises(true), loginOf(t, store, s.user) // which may not have met any of them
			one.stale(c.Mark, one.code(), marked(c.Mark-1))
		}},
	}
}

// at returns a token with claims of another mark.
func at(t blacklist.TokenRef, mark int64) blacklist.TokenRef {
	t.Mark = mark
	return t
}
