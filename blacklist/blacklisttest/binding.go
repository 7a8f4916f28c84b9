package blacklisttest

import (
	"testing"

	"github.com/z-open/socketauth/blacklist"
)

// users is that a session is one user's.
func users() []clause {
	return []clause{
		{"A session of another user is left alone", func(t *testing.T, store blacklist.Store) {
			s, other := login(t, store), login(t, store)
			token := s.presents(accepted, s.code())
			for _, why := range []blacklist.Verdict{loggedOut, revoked, stale} {
				// A store that knows sessions by their users alone takes it for one that it does not know.
				c := s.revokes(blacklist.Revocation{UserID: other.user, SessionID: s.id, Why: why})
				if c != (blacklist.Change{}) && (c.UserID != other.user || c.Verdict != why || c.Sessions != 0) {
					t.Errorf("the change: %+v", c)
				}
			}
			s.revokes(blacklist.Revocation{UserID: other.user, Why: revoked})
			s.checks(accepted, token)
			if n := len(s.living()); n != 1 {
				t.Errorf("%d sessions, want 1", n)
			}
			s.presents(accepted, token)
		}},
		{"A token whose user is not the session's is unknown and burns nothing", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			first := s.presents(accepted, code)
			second := s.presents(accepted, first, confirming)
			for _, user := range []string{"", "another", s.user + "x", "User" + s.user[4:]} {
				for _, token := range []blacklist.TokenRef{first, second} {
					token.UserID = user
					s.presents(unknown, token)
					s.presents(unknown, token, late, confirming)
					s.checks(unknown, token)
					s.confirms(unknown, token)
				}
				// A store that knows sessions by their users alone takes it for one of another session.
				foreign := code
				foreign.UserID = user
				if v, err := verdict(store.Present(t.Context(), presentation(foreign, s.next(foreign), late, confirming))); err != nil || v != unknown && v != accepted {
					t.Errorf("a code with another user: %s, %v", name(v), err)
				}
			}
			if living := s.living(); len(living) != 1 {
				t.Errorf("%d sessions of the user, want 1", len(living))
			}
			s.confirms(accepted, second)
			s.presents(accepted, second)
		}},
	}
}

// binding is how sessions are bound to a key of a device.
func binding() []clause {
	return []clause{
		{"A session is bound from its beginning or never", func(t *testing.T, store blacklist.Store) {
			for _, bound := range []bool{true, false} {
				s := login(t, store)
				code := s.code()
				code.Bound = bound
				s.presents(accepted, code, confirming)
				first := s.presents(accepted, code, confirming)
				if got := s.living()[s.id].Bound; got != bound {
					t.Errorf("Sessions says %v, want %v", got, bound)
				}
				second := s.presents(accepted, first)
				for _, token := range []blacklist.TokenRef{first, second} {
					token.Bound = !bound
					s.presents(unknown, token)
					s.checks(unknown, token)
					s.confirms(unknown, token)
				}
				s.presents(accepted, second)
			}
		}},
		{"A code that is bound by its trade is reuse when it comes again", func(t *testing.T, store blacklist.Store) {
			for _, again := range [][]with{{bind}, {bind, confirming}, {}, {confirming}} {
				s := login(t, store)
				code := s.code()
				first := s.presents(accepted, code, bind, confirming)
				s.presentsFor(accepted, code, first, bind, confirming) // the same step: its reply was lost
				if !s.living()[s.id].Bound {
					t.Error("Sessions says that it is not bound")
				}
				s.checks(replaced, code)
				s.presents(reuseDetected, code, again...)
				s.ended(sessionCompromised, first)
			}
			s := login(t, store)
			first := s.presents(accepted, s.code(), bind, confirming)
			s.confirms(accepted, first)
			s.presents(accepted, first)
		}},
		{"A session that began without a key gets none", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			first := s.presents(accepted, code, confirming)
			s.presents(replaced, code, bind, confirming, rejectOnly)
			s.checks(accepted, first)
			s.presents(reuseDetected, code, bind, confirming)
			s.ended(sessionCompromised, first)
		}},
	}
}

// unboundOf returns a token without the key it names.
func unboundOf(t blacklist.TokenRef) blacklist.TokenRef {
	t.Bound = false
	return t
}
