package blacklisttest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// RunSetBack runs what a store promises if the wall clock is set back. open returns what opens
// one store again and again, by the clock of the testing/synctest bubble that it is called in: an
// empty one at first, and from then on the one that it opened before, which was closed by t.Cleanup
// if it needs that. A store in memory is simply returned again.
func RunSetBack(t *testing.T, open func(t *testing.T) func(t *testing.T) blacklist.Store) {
	for _, c := range setBack() {
		t.Run(c.promise, func(t *testing.T) {
			again := open(t)
			before, after := c.check()
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Hour)
				store := again(t)
				time.Sleep(time.Hour)
				before(t, store)
			})
			synctest.Test(t, func(t *testing.T) { // its clock begins at the same time as the other's
				time.Sleep(time.Hour / 2) // before the store was there at all
				after(t, again(t))
			})
		})
	}
}

// setBackClause is one promise: what happens before the clock is set back, by an hour and a half or
// more, and what is to hold after.
type setBackClause struct {
	promise string
	check   func() (before, after func(t *testing.T, store blacklist.Store))
}

// on continues a session in the bubble of another test.
func (s *session) on(t *testing.T, store blacklist.Store) { s.t, s.store = t, store }

func opened(at time.Time) with {
	return func(p *blacklist.Presentation) {
		p.SocketOpenedAt, p.PresentedAt, p.SupersededWithin = at, time.Now(), 5*time.Second
	}
}

func setBack() []setBackClause {
	type step = func(t *testing.T, store blacklist.Store)
	return []setBackClause{
		{"A clock set back keeps nobody from logging in or staying in", func() (before, after step) {
			var s *session
			var token blacklist.TokenRef
			before = func(t *testing.T, store blacklist.Store) {
				s = login(t, store)
				token = s.presents(accepted, s.code())
			}
			after = func(t *testing.T, store blacklist.Store) {
				for range 3 {
					other := loginOf(t, store, s.user)
					code := other.code()
					other.checks(accepted, code)
					first := other.presents(accepted, code)
					other.checks(accepted, first)
					other.presents(replaced, code, rejectOnly)
					other.presents(accepted, first)
					time.Sleep(10 * time.Minute)
				}
				s.on(t, store)
				s.checks(accepted, token)
				token = s.presents(accepted, token, confirming)
				s.confirms(accepted, token)
				if n := len(s.living()); n != 4 {
					t.Errorf("%d sessions, want 4", n)
				}
			}
			return before, after
		}},
		{"A clock set back keeps nobody from logging in after others were forgotten", func() (before, after step) {
			before = func(t *testing.T, store blacklist.Store) {
				s := login(t, store)
				s.presents(accepted, s.code()) // an hour
				time.Sleep(2 * time.Hour)
				stir(t, store)
			}
			after = func(t *testing.T, store blacklist.Store) {
				for range 3 {
					s := login(t, store)
					s.presents(accepted, s.presents(accepted, s.code()))
					time.Sleep(10 * time.Minute)
				}
			}
			return before, after
		}},
		{"A replaced token passes no check for longer since the clock was set back", func() (before, after step) {
			var plain, confirmed, waiting *session
			var old, latest [2]blacklist.TokenRef
			var code, branch blacklist.TokenRef
			before = func(t *testing.T, store blacklist.Store) {
				plain, confirmed, waiting = login(t, store), login(t, store), login(t, store)
				old[0] = plain.presents(accepted, plain.code())
				latest[0] = plain.presents(accepted, old[0])
				old[1] = confirmed.presents(accepted, confirmed.code())
				latest[1] = confirmed.presents(accepted, old[1], confirming)
				confirmed.confirms(accepted, latest[1])
				code = waiting.code()
				branch = waiting.presents(accepted, code, confirming)
				for _, bound := range []time.Duration{time.Second, time.Minute} {
					plain.checksWithin(accepted, old[0], bound, bound)
					confirmed.checksWithin(accepted, old[1], bound, bound)
					waiting.checksWithin(accepted, branch, bound, bound)
				}
			}
			after = func(t *testing.T, store blacklist.Store) {
				for range 2 {
					for n, s := range []*session{plain, confirmed} {
						s.on(t, store)
						for _, bound := range []time.Duration{0, 10 * time.Second, 30 * time.Minute} {
							s.checksWithin(replaced, old[n], bound, bound)
							s.checksWithin(accepted, latest[n], bound, bound)
						}
					}
					waiting.on(t, store)
					waiting.checksWithin(replaced, branch, 0, 5*time.Second) // it is young for nothing
					waiting.checksWithin(accepted, branch, 0, 0)             // and may be presented
					waiting.checksWithin(accepted, code, 0, 5*time.Second)
					time.Sleep(10 * time.Minute)
				}
				waiting.presents(accepted, branch)
			}
			return before, after
		}},
		{"Reuse is noticed though the clock was set back", func() (before, after step) {
			var rotated [4]*session
			var code, first [4]blacklist.TokenRef
			before = func(t *testing.T, store blacklist.Store) {
				for n := range rotated {
					s := login(t, store)
					rotated[n], code[n] = s, s.code()
					first[n] = s.presents(accepted, code[n])
				}
			}
			after = func(t *testing.T, store blacklist.Store) {
				for n, s := range rotated {
					s.on(t, store)
					switch n {
					case 0: // on a socket that was opened after all that, and seems to be from before
						s.presents(reuseDetected, code[n], opened(time.Now()))
					case 1:
						time.Sleep(30 * time.Minute)
						s.presents(reuseDetected, code[n], opened(time.Now().Add(-time.Second)))
					case 2: // what its owner does meanwhile is no excuse
						s.presents(accepted, first[n])
						s.presents(reuseDetected, code[n], opened(time.Now()))
					case 3:
						second := s.presents(accepted, first[n])
						s.presents(accepted, second)
						s.presents(reuseDetected, code[n], opened(time.Now()))
					}
					s.ended(sessionCompromised, code[n], first[n])
				}
				s := login(t, store) // nor is anything an alarm that was none before
				code := s.code()
				at := time.Now()
				s.presents(accepted, code)
				s.presents(superseded, code, opened(at))
			}
			return before, after
		}},
		{"A code issued before the clock was set back begins nothing once its session is forgotten", func() (before, after step) {
			var used, unused *session
			var code, other blacklist.TokenRef
			before = func(t *testing.T, store blacklist.Store) {
				used, unused = login(t, store), login(t, store)
				code, other = used.code(), unused.code()
				used.presents(accepted, code) // an hour
				time.Sleep(2 * time.Hour)
				stir(t, store)
			}
			after = func(t *testing.T, store blacklist.Store) {
				for n, code := range []blacklist.TokenRef{code, other} {
					s := []*session{used, unused}[n]
					s.on(t, store)
					s.checks(unknown, code)
					s.presents(unknown, code)
					s.presents(unknown, code, confirming)
				}
				if len(used.living()) != 0 {
					t.Error("it has begun a session")
				}
			}
			return before, after
		}},
		{"A mark is above those of before though the clock was set back", func() (before, after step) {
			var s *session
			var token blacklist.TokenRef
			var last int64
			before = func(t *testing.T, store blacklist.Store) {
				s = login(t, store)
				first := s.presents(accepted, s.code())
				last = s.raises(false).Mark
				token = s.presents(accepted, first, marked(last))
			}
			after = func(t *testing.T, store blacklist.Store) {
				s.on(t, store)
				for n := range 4 {
					c := s.raises(n%2 == 0)
					if c.Mark <= last {
						t.Errorf("mark %d after %d", c.Mark, last)
					}
					s.checksStale(c.Mark, token)
					token = s.presents(accepted, token, marked(c.Mark))
					last = c.Mark
				}
				other := loginOf(t, store, s.user)
				other.stale(s.raises(true).Mark, other.code(), marked(last))
			}
			return before, after
		}},
		{"What is over stays so if the clock is set back", func() (before, after step) {
			var out, byUser, unused, never, stolen *session
			var token, second, early, late blacklist.TokenRef
			var stolenCode, owned blacklist.TokenRef
			before = func(t *testing.T, store blacklist.Store) {
				out, byUser, never, stolen = login(t, store), login(t, store), login(t, store), login(t, store)
				unused = loginOf(t, store, byUser.user)
				early = unused.code()
				token, second = out.presents(accepted, out.code()), byUser.presents(accepted, byUser.code(), confirming)
				late = never.code()
				stolenCode = stolen.code()
				owned = stolen.presents(accepted, stolenCode)
				stolen.presents(reuseDetected, stolenCode)
				time.Sleep(time.Second)
				out.revokes(blacklist.Revocation{UserID: out.user, SessionID: out.id, Why: loggedOut})
				never.revokes(blacklist.Revocation{UserID: never.user, SessionID: never.id, Why: loggedOut})
				byUser.revokes(blacklist.Revocation{UserID: byUser.user, Why: revoked})
			}
			after = func(t *testing.T, store blacklist.Store) {
				for range 4 { // also when their time comes again
					for _, s := range []*session{out, byUser, unused, never, stolen} {
						s.on(t, store)
					}
					out.ended(loggedOut, token)
					byUser.ended(revoked, second)
					never.ended(loggedOut, late)
					stolen.ended(sessionCompromised, stolenCode, owned)
					if v, err := verdict(store.Present(t.Context(), presentation(early, unused.next(early)))); err != nil || v != revoked && v != unknown {
						t.Errorf("a code of before: %s, %v", name(v), err)
					}
					if len(out.living())+len(byUser.living())+len(stolen.living()) != 0 {
						t.Error("Sessions tells some of them")
					}
					time.Sleep(30 * time.Minute)
				}
			}
			return before, after
		}},
	}
}
