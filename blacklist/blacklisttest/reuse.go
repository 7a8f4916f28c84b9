package blacklisttest

import (
	"testing"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// reuse is what becomes of tokens that were used and replaced, or never known.
func reuse() []clause {
	return []clause{
		{"Reuse ends the session if the app wants that", func(t *testing.T, store blacklist.Store) {
			for _, ways := range [][]with{nil, {confirming}} {
				s := login(t, store)
				code := s.code()
				first := s.presents(accepted, code)
				second := s.presents(accepted, first, ways...)
				s.presents(reuseDetected, code)
				s.ended(sessionCompromised, code, first, second)
				if len(s.living()) != 0 {
					t.Error("Sessions tells it still")
				}
			}
		}},
		{"A lost branch presented is reuse", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			lost, got := s.presents(accepted, code, confirming), s.presents(accepted, code, confirming)
			s.confirms(accepted, got)
			s.presents(reuseDetected, lost)
			s.ended(sessionCompromised, code, lost, got)
		}},
		{"Reuse that is not to end the session changes nothing", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			first := s.presents(accepted, code)
			second := s.presents(accepted, first)
			for _, token := range []blacklist.TokenRef{code, first} {
				s.presents(replaced, token, rejectOnly)
				s.presents(replaced, token, rejectOnly, confirming)
			}
			s.presents(accepted, second)
		}},
		{"A late frame of up to ten generations ago is no reuse", func(t *testing.T, store blacklist.Store) {
			for _, ways := range [][]with{nil, {confirming}} {
				s := login(t, store)
				tokens := []blacklist.TokenRef{s.code()}
				grow := func() {
					next := s.presents(accepted, tokens[len(tokens)-1], ways...)
					if len(ways) > 0 {
						s.confirms(accepted, next)
					}
					tokens = append(tokens, next)
				}
				for range 10 {
					grow()
					for _, token := range tokens[:len(tokens)-1] {
						s.presents(superseded, token, late)
					}
				}
				s.presents(accepted, tokens[10], late) // which ends nothing
				s.presents(replaced, tokens[0], late, rejectOnly)
				s.presents(superseded, tokens[1], late)
				s.presents(reuseDetected, tokens[0], late)
				s.presents(sessionCompromised, tokens[1], late)
			}
		}},
		{"A token presented on a socket opened after it was replaced is reuse", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			first := s.presents(accepted, code)
			s.presents(accepted, first)
			s.presents(replaced, first, rejectOnly)
			s.presents(replaced, code, rejectOnly)
			s.presents(reuseDetected, code)
		}},
		{"A token replaced longer ago than SupersededWithin is reuse", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			first := s.presents(accepted, code)
			pass()
			short := func(p *blacklist.Presentation) { p.SupersededWithin = time.Millisecond }
			s.presents(replaced, code, late, short, rejectOnly)
			s.presents(superseded, code, late)
			s.presents(reuseDetected, code, late, short)
			s.presents(sessionCompromised, first)
		}},
		{"A token that was replaced and has expired is judged as any other", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			first := s.presents(accepted, code)
			second := s.presents(accepted, first)
			first.ExpiresAt = time.Now().Add(-time.Minute)
			s.checks(replaced, first)
			s.presents(superseded, first, keep, late)
			s.presents(replaced, first, keep, rejectOnly)
			s.checks(accepted, second)
			s.presents(reuseDetected, first, keep)
			s.ended(sessionCompromised, code, first, second)
		}},
		{"A predecessor that has expired is alive while nobody holds the next", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			first := s.presents(accepted, s.code())
			next := s.presents(accepted, first, confirming)
			first.ExpiresAt = time.Now().Add(-time.Minute)
			s.checks(accepted, first)
			s.confirms(accepted, next)
			s.checks(replaced, first)
		}},
		{"Tokens of unknown sessions are refused and leave nothing behind", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			unknownToken := s.next(code)
			s.presents(unknown, unknownToken)
			s.presents(unknown, unknownToken, keep)
			s.checksWithin(unknown, unknownToken, time.Hour, time.Hour)
			s.confirms(unknown, unknownToken)
			if len(s.living()) != 0 {
				t.Error("one has begun a session")
			}
			s.presents(accepted, code)
		}},
		{"A generation ahead is unknown and burns nothing", func(t *testing.T, store blacklist.Store) {
			for _, ways := range [][]with{nil, {confirming}} {
				s := login(t, store)
				code := s.code()
				first := s.presents(accepted, code, ways...)
				for _, ahead := range []uint64{2, 7, 1 << 31, 1<<32 + 1, 1<<64 - 1} {
					token := first
					token.Generation = ahead
					s.presents(unknown, token)
					s.presents(unknown, token, confirming)
					s.confirms(unknown, token)
					s.checksWithin(unknown, token, time.Hour, time.Hour)
				}
				s.presents(accepted, first)
			}
		}},
		{"A second code of a session is no way into it", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code, other := s.code(), s.code()
			first := s.presents(accepted, code, confirming)
			for range 2 {
				s.checks(replaced, other)
				s.presents(replaced, other, rejectOnly)
				s.presents(replaced, other, rejectOnly, confirming)
				s.confirms(accepted, first)
			}
			s.presents(reuseDetected, other)
		}},
		{"A code of before the store remembers is unknown", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			code.IssuedAt = code.IssuedAt.Add(-time.Hour)
			s.presents(unknown, code)
			s.checks(unknown, code)
			if len(s.living()) != 0 {
				t.Error("it has begun a session")
			}
		}},
		{"Sessions know nothing of each other", func(t *testing.T, store blacklist.Store) {
			one := login(t, store)
			two := loginOf(t, store, one.user)
			code, token := one.code(), two.presents(accepted, two.code())
			one.presents(accepted, code)
			foreign := token
			foreign.SessionID = one.id
			one.presents(replaced, foreign, rejectOnly)
			one.presents(reuseDetected, code)
			two.presents(accepted, token)
		}},
	}
}
