package blacklisttest

import (
	"testing"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

const (
	accepted           = blacklist.Accepted
	unknown            = blacklist.Unknown
	superseded         = blacklist.Superseded
	replaced           = blacklist.Replaced
	reuseDetected      = blacklist.ReuseDetected
	sessionCompromised = blacklist.SessionCompromised
	loggedOut          = blacklist.LoggedOut
	revoked            = blacklist.Revoked
	stale              = blacklist.Stale
	stepUpRefused      = blacklist.StepUpRefused
)

// rotation is how tokens follow each other.
func rotation() []clause {
	return []clause{
		{"A plain client's successor is alive at once and its predecessor dead", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			token := s.code()
			for range 5 {
				s.checks(accepted, token)
				next := s.presents(accepted, token)
				s.checks(accepted, next)
				s.checks(replaced, token)
				s.presents(replaced, token, rejectOnly)
				token = next
			}
		}},
		{"A confirming client's predecessor lives until its successor is confirmed", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			token := s.code()
			for range 5 {
				next := s.presents(accepted, token, confirming)
				s.checks(accepted, token)
				s.checks(accepted, next)
				s.confirms(accepted, next)
				s.checks(replaced, token)
				s.presents(replaced, token, confirming, rejectOnly)
				s.checks(accepted, next)
				token = next
			}
		}},
		{"Presenting a successor confirms it", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			token := s.code()
			for range 5 {
				next := s.presents(accepted, token, confirming)
				after := s.presents(accepted, next, confirming)
				s.checks(replaced, token)
				s.checks(accepted, next) // the predecessor of one that nobody holds yet
				s.checks(accepted, after)
				token = next
			}
		}},
		{"At most one branch survives a confirmation", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			var branches []blacklist.TokenRef
			for range 4 {
				branches = append(branches, s.presents(accepted, code, confirming))
			}
			for _, branch := range branches {
				s.checks(accepted, branch)
			}
			s.confirms(accepted, branches[1])
			for n, branch := range branches {
				if n == 1 {
					continue
				}
				s.checks(replaced, branch)
				s.confirms(superseded, branch)
				s.presents(replaced, branch, rejectOnly)
				s.presents(superseded, branch, late)
			}
			s.presents(accepted, branches[1])
		}},
		{"Presenting a branch kills the others", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			one, two := s.presents(accepted, code, confirming), s.presents(accepted, code, confirming)
			next := s.presents(accepted, two, confirming)
			s.checks(replaced, one)
			s.confirms(replaced, one)
			s.presents(replaced, one, rejectOnly)
			s.confirms(accepted, next)
		}},
		{"A plain client takes the generation from unconfirmed branches", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			branch := s.presents(accepted, code, confirming)
			holder := s.presents(accepted, code)
			s.checks(replaced, code)
			s.checks(replaced, branch)
			s.confirms(superseded, branch)
			s.presents(accepted, holder)
		}},
		{"A token presented again for the same successor gets the same verdict", func(t *testing.T, store blacklist.Store) {
			for _, ways := range [][]with{nil, {confirming}} {
				s := login(t, store)
				token := s.code()
				for range 3 {
					next := s.next(token)
					for range 3 {
						s.presentsFor(accepted, token, next, ways...)
					}
					s.checks(accepted, next)
					if len(ways) > 0 {
						s.confirms(accepted, next)
						s.presentsFor(accepted, token, next, ways...) // its reply came later than the client's confirmation
						s.checks(replaced, token)
					}
					s.checks(accepted, next)
					token = next
				}
				s.presents(replaced, s.code(), rejectOnly)
			}
		}},
		{"Refusals are the same each time", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			first := s.presents(accepted, code)
			next, ahead := s.next(code), s.next(s.next(first))
			for range 3 {
				s.presentsFor(superseded, code, next, late)
				s.presentsFor(replaced, code, next, rejectOnly)
				s.presentsFor(unknown, ahead, s.next(ahead))
			}
			s.presentsFor(reuseDetected, code, next)
			for range 3 {
				s.presentsFor(sessionCompromised, code, next) // the one verdict that a repeat cannot have
			}
		}},
		{"A token kept as it is is confirmed and stays the latest", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			lost, first := s.presents(accepted, code, confirming), s.presents(accepted, code, confirming)
			s.presents(accepted, first, keep)
			for range 2 {
				s.presents(accepted, first, keep, confirming)
				s.checks(accepted, first)
				s.checks(replaced, code)
				s.checks(replaced, lost)
			}
			s.confirms(superseded, lost)
			s.presents(replaced, lost, keep, rejectOnly)
			next := s.presents(accepted, first, confirming)
			s.presents(accepted, first, keep) // nobody holds the next one yet
			s.confirms(accepted, next)
			s.presents(replaced, first, keep, rejectOnly)
			s.presents(reuseDetected, first, keep)
		}},
		{"A code is never kept", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			s.presents(unknown, code, keep)
			if len(s.living()) != 0 {
				t.Error("it has begun a session")
			}
			s.presents(accepted, code)
		}},
		{"A confirmation says what became of its token", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			s.confirms(unknown, s.next(code)) // no session yet
			lost, first := s.presents(accepted, code, confirming), s.presents(accepted, code, confirming)
			s.confirms(unknown, code)         // a code is nobody's successor
			s.confirms(unknown, s.next(lost)) // a generation ahead
			s.confirms(accepted, first)
			s.confirms(accepted, first) // already
			s.confirms(superseded, lost)
			second := s.presents(accepted, first, confirming)
			s.confirms(accepted, first) // it did until the next one began
			s.confirms(replaced, lost)
			s.confirms(accepted, second)
			third := s.presents(accepted, second, confirming)
			s.confirms(replaced, first)
			s.checks(accepted, second) // nothing but the first of these changed anything
			s.checks(accepted, third)
			s.confirms(accepted, third)
			s.presents(accepted, third)
		}},
		{"A check records nothing", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			s.checks(accepted, code)
			if len(s.living()) != 0 {
				t.Error("it has begun a session")
			}
			one, two := s.presents(accepted, code, confirming), s.presents(accepted, code, confirming)
			for range 2 {
				s.checksWithin(accepted, one, time.Hour, time.Hour)
				s.checksWithin(accepted, two, time.Hour, time.Hour)
				s.checksWithin(accepted, code, time.Hour, time.Hour)
			}
			s.confirms(accepted, two)
			s.checks(replaced, one) // and raises no alarm
			s.checks(accepted, two)
		}},
		{"A check spares the predecessor for the grace it is given", func(t *testing.T, store blacklist.Store) {
			for _, ways := range [][]with{nil, {confirming}} {
				s := login(t, store)
				code := s.code()
				first := s.presents(accepted, code)
				second := s.presents(accepted, first, ways...)
				if len(ways) > 0 {
					s.confirms(accepted, second)
				}
				pass()
				s.checksWithin(accepted, first, time.Hour, 0)
				s.checksWithin(replaced, first, time.Millisecond, 0)
				s.checksWithin(replaced, first, 0, 0)
				s.checksWithin(replaced, code, time.Hour, time.Hour) // the one before it not
				s.checksWithin(accepted, second, 0, 0)
			}
		}},
		{"A check takes an unconfirmed successor for as long as it is told", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			young, old := s.next(code), s.next(code)
			old.IssuedAt = old.IssuedAt.Add(-time.Hour)
			s.presentsFor(accepted, code, young, confirming)
			s.presentsFor(accepted, code, old, confirming)
			s.checksWithin(accepted, young, 0, time.Minute)
			s.checksWithin(replaced, old, 0, time.Minute)
			s.checksWithin(accepted, old, 0, 2*time.Hour)
			s.checksWithin(accepted, old, 0, 0)
			s.checksWithin(accepted, code, 0, time.Minute) // its predecessor lives
			s.confirms(accepted, old)
			s.checksWithin(accepted, old, 0, time.Minute) // whoever holds its generation has no such bound
			s.checksWithin(replaced, young, 0, time.Hour)
		}},
		{"A check says whether nobody has confirmed a token", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			is := func(want bool, token blacklist.TokenRef) {
				t.Helper()
				r, err := s.store.Check(t.Context(), token, time.Minute, 0)
				if s.wants(accepted, r.Verdict, err, "Check", token); r.Unconfirmed != want {
					t.Errorf("Check of generation %d: Unconfirmed is %v", token.Generation, r.Unconfirmed)
				}
			}
			code := s.code()
			first, other := s.presents(accepted, code, confirming), s.presents(accepted, code, confirming)
			is(true, first)
			is(true, other)
			is(false, code) // it holds the generation before
			s.confirms(accepted, first)
			is(false, first)
			second := s.presents(accepted, first, confirming)
			is(true, second)
			third := s.presents(accepted, second) // which confirms it
			is(false, second)
			is(false, third)
		}},
	}
}
