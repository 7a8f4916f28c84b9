package blacklisttest

import (
	"testing"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// zeroID is the id that a store may take for none.
const zeroID = "AAAAAAAAAAAAAAAAAAAAAA"

func stepUp(at time.Time) blacklist.StepUp { return blacklist.StepUp{ID: newID(), At: at} }

// stepUps is how users prove again who they are.
func stepUps() []clause {
	return []clause{
		{"A step-up is good if it is later than the last proof, and once", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			began := time.Now().Add(-time.Minute)
			s.login = s.now().Add(-time.Minute).Truncate(time.Millisecond)
			code := s.code()
			code.IssuedAt = s.now()
			first := s.presents(accepted, code)
			proof := stepUp(s.login.Add(2 * time.Second))
			for _, bad := range []time.Time{{}, s.login.Add(-time.Second), s.login} {
				s.presents(stepUpRefused, first, proving(stepUp(bad)))
				s.presents(stepUpRefused, first, proving(stepUp(bad)), confirming)
			}
			s.presents(stepUpRefused, first, proving(blacklist.StepUp{ID: zeroID, At: s.login}))
			s.checks(accepted, first)
			second := s.presents(accepted, first, proving(proof))
			for _, used := range []blacklist.StepUp{proof, {ID: newID(), At: proof.At}, stepUp(proof.At.Add(-time.Second))} {
				s.presents(stepUpRefused, second, proving(used))
				s.presents(stepUpRefused, second, proving(used), confirming)
			}
			third := s.presents(accepted, second, proving(stepUp(proof.At.Add(time.Millisecond))))
			s.presents(accepted, third)
			if since := s.living()[s.id].Since; since.Sub(began).Abs() > time.Millisecond+leeway(store) {
				t.Errorf("the session is from %v, want %v", since, began)
			}
		}},
		{"A step-up whose reply was lost is good again until a generation is held", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			first := s.presents(accepted, s.code())
			pass()
			proof := stepUp(s.now())
			s.presents(accepted, first, proving(proof), confirming)
			s.presents(stepUpRefused, first, proving(blacklist.StepUp{ID: newID(), At: proof.At}), confirming)
			plain := s.presents(accepted, first, confirming) // a branch without it
			second := s.presents(accepted, first, proving(proof), confirming)
			s.confirms(accepted, second)
			s.presents(stepUpRefused, second, proving(proof), confirming)
			s.presents(replaced, plain, rejectOnly)

			third := s.presents(accepted, second, confirming)
			pass()
			proof = stepUp(s.now())
			s.presents(accepted, second, proving(proof), confirming)
			fourth := s.presents(accepted, third, proving(proof), confirming) // which confirms third, and comes with it
			s.presents(accepted, third, proving(proof), confirming)
			s.presents(accepted, fourth)
			s.presents(replaced, third, proving(proof), rejectOnly)
		}},
		{"A step-up is refused that is older than its user's revocation", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			first := s.presents(accepted, s.code())
			pass()
			lost, old := stepUp(s.now()), stepUp(s.now().Add(time.Millisecond))
			s.presents(accepted, first, proving(lost), confirming)
			pass()
			c := s.revokes(blacklist.Revocation{UserID: s.user, Except: s.id, Why: revoked})
			s.presents(stepUpRefused, first, proving(old), confirming)
			s.presents(stepUpRefused, first, proving(lost), confirming)
			s.presents(stepUpRefused, first, proving(stepUp(c.At)), confirming)
			second := s.presents(accepted, first, proving(stepUp(c.At.Add(time.Millisecond))))
			s.presents(accepted, second)
		}},
		{"A step-up begins no session and replaces a token", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			pass()
			proof := proving(stepUp(s.now()))
			s.presents(stepUpRefused, code, proof)
			s.presents(stepUpRefused, code, proof, confirming)
			if n := len(s.living()); n != 0 {
				t.Errorf("%d sessions have begun", n)
			}
			first := s.presents(accepted, code, confirming)
			s.presents(stepUpRefused, code, proof, confirming)
			s.presents(stepUpRefused, first, proof, keep)
			for _, id := range []string{"", "abc", newID() + "A"} {
				s.presents(stepUpRefused, first, proving(blacklist.StepUp{ID: id, At: s.now()}))
			}
			s.presents(accepted, code, confirming) // so first is not held
			s.presents(accepted, first, proof)
		}},
		{"Revocation and reuse come before a step-up, and it before the mark", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			first := s.presents(accepted, code)
			pass()
			proof := proving(stepUp(s.now()))
			s.presents(replaced, code, proof, rejectOnly)
			s.presents(superseded, code, proof, late)
			s.presents(unknown, s.next(s.next(first)), proof)
			c := s.raises(true)
			s.stale(c.Mark, first, proof)
			s.presents(stepUpRefused, first, proving(stepUp(s.login)))
			second := s.presents(accepted, first, proof, marked(c.Mark)) // none of these has used it
			s.presents(reuseDetected, first, proof)
			s.presents(sessionCompromised, second, proof)
		}},
	}
}
