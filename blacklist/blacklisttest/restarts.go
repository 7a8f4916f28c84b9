package blacklisttest

import (
	"testing"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

type restartClause struct {
	promise string
	check   func(t *testing.T, store blacklist.Store, restart func() blacklist.Store)
}

// restarts is what survives one.
func restarts() []restartClause {
	return []restartClause{
		{"Living sessions survive a restart, and no token that was replaced", func(t *testing.T, store blacklist.Store, restart func() blacklist.Store) {
			plain, pending, confirmed := login(t, store), login(t, store), login(t, store)
			code := plain.code()
			first := plain.presents(accepted, code)
			second := plain.presents(accepted, first, from("192.0.2.1", "browser"))
			pendingCode := pending.code()
			one, two := pending.presents(accepted, pendingCode, confirming), pending.presents(accepted, pendingCode, confirming)
			confirmedCode := confirmed.code()
			lost, got := confirmed.presents(accepted, confirmedCode, confirming), confirmed.presents(accepted, confirmedCode, confirming)
			confirmed.confirms(accepted, got)
			told := plain.living()[plain.id]

			store = restart()
			plain.store, pending.store, confirmed.store = store, store, store
			if again := plain.living()[plain.id]; again.Address != "192.0.2.1" || again.UserAgent != "browser" ||
				!again.Since.Equal(told.Since) || !again.LastSeen.Equal(told.LastSeen) || !again.ExpiresAt.Equal(told.ExpiresAt) {
				t.Errorf("Sessions tells %+v, and before %+v", again, told)
			}
			plain.presents(superseded, first, late)
			plain.presents(replaced, first, rejectOnly)
			third := plain.presents(accepted, second)
			plain.presents(reuseDetected, code)
			plain.ended(sessionCompromised, second, third)

			pending.checks(accepted, pendingCode)
			pending.checks(accepted, one)
			pending.confirms(accepted, two)
			pending.confirms(superseded, one)
			pending.presents(accepted, two)

			confirmed.confirms(accepted, got)
			confirmed.confirms(superseded, lost)
			confirmed.checks(replaced, confirmedCode)
			confirmed.presents(accepted, got)
		}},
		{"A step repeated after a restart gets the same verdict", func(t *testing.T, store blacklist.Store, restart func() blacklist.Store) {
			s := login(t, store)
			code := s.code()
			first := s.presents(accepted, code)
			second := s.next(first)
			s.presentsFor(accepted, first, second)
			s.store = restart()
			s.presentsFor(accepted, first, second)
			s.presents(accepted, second)
		}},
		{"What was revoked stays so over a restart, for its first reason", func(t *testing.T, store blacklist.Store, restart func() blacklist.Store) {
			one, two, never, unused, stolen := login(t, store), login(t, store), login(t, store), login(t, store), login(t, store)
			first, second := one.presents(accepted, one.code()), two.presents(accepted, two.code(), confirming)
			unused.user = two.user
			early := unused.code()
			stolenCode := stolen.code()
			owned := stolen.presents(accepted, stolenCode)
			stolen.presents(reuseDetected, stolenCode)
			pass()
			one.revokes(blacklist.Revocation{UserID: one.user, SessionID: one.id, Why: loggedOut})
			never.revokes(blacklist.Revocation{UserID: never.user, SessionID: never.id, Why: loggedOut})
			c := two.revokes(blacklist.Revocation{UserID: two.user, Why: revoked})

			store = restart()
			for _, s := range []*session{one, two, never, unused, stolen} {
				s.store = store
			}
			one.ended(loggedOut, first)
			two.ended(revoked, second)
			never.ended(loggedOut, never.code())
			unused.ended(revoked, early)
			stolen.ended(sessionCompromised, owned)
			if len(one.living())+len(two.living())+len(stolen.living()) != 0 {
				t.Error("Sessions tells some of them")
			}
			after := loginOf(t, store, two.user)
			after.login = c.At.Add(time.Millisecond)
			after.presents(accepted, after.presents(accepted, after.code()))
		}},
		{"After a revocation of all and a restart nothing of before is accepted", func(t *testing.T, store blacklist.Store, restart func() blacklist.Store) {
			s, out, unused := login(t, store), login(t, store), login(t, store)
			first, own := s.presents(accepted, s.code()), out.presents(accepted, out.code())
			out.revokes(blacklist.Revocation{UserID: out.user, SessionID: out.id, Why: loggedOut})
			early := unused.code()
			pass()
			c := s.revokes(blacklist.Revocation{All: true, Why: revoked})
			after := login(t, store)
			after.login = c.At.Add(time.Millisecond)
			token := after.presents(accepted, after.code())

			store = restart()
			for _, each := range []*session{s, out, unused, after} {
				each.store = store
			}
			s.ended(revoked, first)
			out.ended(loggedOut, own)
			unused.ended(revoked, early)
			after.presents(accepted, token)
		}},
		{"Marks, proofs and bindings survive a restart", func(t *testing.T, store blacklist.Store, restart func() blacklist.Store) {
			s, unused := login(t, store), login(t, store)
			unused.user = s.user
			code, never := s.code(), unused.code()
			first := s.presents(accepted, code, bind(newKey()), confirming)
			s.confirms(accepted, first)
			pass()
			proof := stepUp(s.now())
			second := s.presents(accepted, first, proving(proof), confirming)
			c := s.raises(true)

			store = restart()
			s.store, unused.store = store, store
			unused.stale(c.Mark, never)
			s.stale(c.Mark, first, confirming)
			s.checksStale(c.Mark, second)
			s.presents(stepUpRefused, first, proving(stepUp(proof.At)), marked(c.Mark), confirming)
			s.presents(accepted, first, proving(proof), marked(c.Mark), confirming)
			s.presents(unknown, unboundOf(first), marked(c.Mark))
			if !s.living()[s.id].Bound {
				t.Error("Sessions says that it is not bound")
			}
			if later := s.raises(true); later.Mark <= c.Mark {
				t.Errorf("mark %d after %d", later.Mark, c.Mark)
			}
		}},
		{"A code knows the key it was bound to over a restart", func(t *testing.T, store blacklist.Store, restart func() blacklist.Store) {
			key := newKey()
			s, other, bare := login(t, store), login(t, store), login(t, store)
			all := []*session{s, other, bare}
			var codes []blacklist.TokenRef
			for _, each := range all {
				codes = append(codes, each.code())
				each.presents(accepted, codes[len(codes)-1], bind(key), confirming)
			}
			store = restart()
			for _, each := range all {
				each.store = store
			}
			first := s.presents(accepted, codes[0], bind(key), confirming)
			s.confirms(accepted, first)
			s.presents(accepted, first)
			other.presents(reuseDetected, codes[1], bind(newKey()), confirming)
			bare.presents(reuseDetected, codes[2], confirming)
		}},
		{"A code issued before a restart is good once", func(t *testing.T, store blacklist.Store, restart func() blacklist.Store) {
			used, unused := login(t, store), login(t, store)
			code, other := used.code(), unused.code()
			used.presents(accepted, code)
			store = restart()
			used.store, unused.store = store, store
			used.presents(replaced, code, rejectOnly)
			unused.presents(accepted, other)
			unused.presents(replaced, other, rejectOnly)
		}},
	}
}
