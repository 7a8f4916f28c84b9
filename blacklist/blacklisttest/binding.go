package blacklisttest

import (
	"crypto/rand"
	"encoding/base64"
	"sync"
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
		{"A code that was bound by its trade is good for the same key until its successor is held", func(t *testing.T, store blacklist.Store) {
			for _, way := range [][]with{{}, {confirming}} {
				s, key := login(t, store), newKey()
				code := s.code()
				lost := s.presents(accepted, code, bind(key), confirming)
				s.presentsFor(accepted, code, lost, bind(key), confirming) // the same step: its reply was lost
				s.checks(accepted, withKey(code, key))
				branch := s.presents(accepted, code, bind(key), confirming)
				s.presents(accepted, code, bind(key), confirming, late)
				if !s.living()[s.id].Bound {
					t.Error("Sessions says that it is not bound")
				}
				s.checks(accepted, lost)
				if len(way) == 0 { // a plain client's successor is held at once
					branch = s.presents(accepted, code, bind(key))
				} else {
					s.confirms(accepted, branch)
				}
				s.confirms(superseded, lost)
				s.checks(replaced, withKey(code, key))
				s.presents(superseded, code, bind(key), confirming, late)
				second := s.presents(accepted, branch, confirming)
				s.presents(reuseDetected, code, bind(key), confirming)
				s.ended(sessionCompromised, second)
			}
		}},
		{"A code that comes with another key than before is reuse, however soon", func(t *testing.T, store blacklist.Store) {
			key := newKey()
			for _, c := range []struct{ first, again string }{
				{key, newKey()}, {key, ""}, {key, key[:len(key)-1]}, {key, key + "A"}, {"", key},
			} {
				for _, ways := range [][]with{{}, {confirming}, {late}, {confirming, late}} {
					s := login(t, store)
					code := s.code()
					branch := s.presents(accepted, code, bind(c.first), confirming)
					again := append(ways, bind(c.again))
					s.checks(replaced, withKey(code, c.again))
					s.presents(replaced, code, append(again, rejectOnly)...)
					s.checks(accepted, branch)
					s.checks(accepted, withKey(code, c.first))
					s.presents(accepted, code, bind(c.first), confirming)
					s.presents(reuseDetected, code, again...)
					s.ended(sessionCompromised, branch)
				}
			}
		}},
		{"A code that names its key needs no other", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			code.Bound = true
			for _, key := range []string{"", newKey(), newKey()} {
				s.presents(accepted, code, bind(key), confirming)
				s.checks(accepted, withKey(code, key))
			}
			first := s.presents(accepted, code, confirming)
			s.confirms(accepted, first)
			s.presents(accepted, first, bind(newKey()), confirming) // which names its key too
		}},
		{"A step-up and a mark leave a code with its key", func(t *testing.T, store blacklist.Store) {
			s, key := login(t, store), newKey()
			code := s.code()
			s.presents(stepUpRefused, code, bind(key), proving(stepUp(s.now())), confirming)
			first := s.presents(accepted, code, bind(newKey()), confirming) // nothing was bound by that
			s.presents(reuseDetected, code, bind(key), confirming)
			s.ended(sessionCompromised, first)

			for _, cut := range []bool{true, false} {
				s = login(t, store)
				code = s.code()
				first = s.presents(accepted, code, bind(key), confirming)
				pass()
				mark := int64(0)
				if cut {
					s.revokes(blacklist.Revocation{UserID: s.user, Except: s.id, Why: revoked})
				} else {
					mark = s.raises(true).Mark
					s.stale(mark, code, bind(key), confirming)
				}
				pass()
				s.presents(replaced, code, bind(newKey()), marked(mark), confirming, rejectOnly)
				s.presents(replaced, code, marked(mark), confirming, rejectOnly)
				s.presents(accepted, code, bind(key), marked(mark), confirming)
				first.Mark = mark
				proof := stepUp(s.now())
				second := s.presents(accepted, first, proving(proof), marked(mark), confirming)
				s.presents(accepted, first, proving(proof), marked(mark), confirming)
				s.confirms(accepted, second)
			}
		}},
		{"Of many who trade a code with keys of their own one gets in", func(t *testing.T, store blacklist.Store) {
			for range 20 {
				s := login(t, store)
				code := s.code()
				verdicts := make(chan blacklist.Verdict, 8)
				var all sync.WaitGroup
				for n := range cap(verdicts) {
					key := []string{"", newKey()}[min(n, 1)]
					all.Go(func() {
						v, err := verdict(store.Present(t.Context(), presentation(code, s.next(code), bind(key), confirming, rejectOnly)))
						if err != nil {
							t.Errorf("Present: %v", err)
						}
						verdicts <- v
					})
				}
				all.Wait()
				close(verdicts)
				counts := make(map[blacklist.Verdict]int)
				for v := range verdicts {
					counts[v]++
				}
				if counts[accepted] != 1 || counts[replaced] != cap(verdicts)-1 {
					t.Errorf("verdicts %v", counts)
				}
			}
		}},
		{"A session that began without a key gets none", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			first := s.presents(accepted, code, confirming)
			s.presents(replaced, code, bind(newKey()), confirming, rejectOnly)
			s.checks(accepted, first)
			if s.living()[s.id].Bound {
				t.Error("Sessions says that it is bound")
			}
			s.confirms(accepted, first)
			first = s.presents(accepted, first, bind(newKey()))
			if s.living()[s.id].Bound {
				t.Error("Sessions says that it is bound")
			}
			s.presents(reuseDetected, code, bind(newKey()), confirming)
			s.ended(sessionCompromised, first)
		}},
	}
}

// newKey returns the thumbprint of a key that nobody has.
func newKey() string {
	var key [32]byte
	rand.Read(key[:])
	return base64.RawURLEncoding.EncodeToString(key[:])
}

// withKey returns a code that comes with a key.
func withKey(code blacklist.TokenRef, key string) blacklist.TokenRef {
	code.Bind = key
	return code
}

// unboundOf returns a token without the key it names.
func unboundOf(t blacklist.TokenRef) blacklist.TokenRef {
	t.Bound = false
	return t
}
