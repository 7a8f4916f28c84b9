package blacklisttest

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/z-open/socketauth/blacklist"
)

const (
	rounds  = 20
	parties = 16
)

// together lets parties do something at once, and waits for them.
func together(n int, do func(n int)) {
	var start, done sync.WaitGroup
	start.Add(1)
	for i := range n {
		done.Go(func() {
			start.Wait()
			do(i)
		})
	}
	start.Done()
	done.Wait()
}

// races is that each call is one step.
func races() []clause {
	return []clause{
		{"Of many presentations of a plain client's token one is accepted", func(t *testing.T, store blacklist.Store) {
			for range rounds {
				s := login(t, store)
				for _, token := range []blacklist.TokenRef{s.code(), {}} {
					if token.SessionID == "" {
						fresh := login(t, store)
						s, token = fresh, fresh.presents(accepted, fresh.code())
					}
					next, verdicts := s.presentsTogether(token, late)
					if got := count(verdicts); got[accepted] != 1 || got[superseded] != parties-1 {
						t.Fatalf("%d accepted, %d superseded", got[accepted], got[superseded])
					}
					for n, v := range verdicts {
						if v == accepted {
							s.checks(accepted, next[n])
						} else {
							s.checks(replaced, next[n])
						}
					}
				}
			}
		}},
		{"Of many confirmations of branches one is accepted", func(t *testing.T, store blacklist.Store) {
			for range rounds {
				s := login(t, store)
				branches, verdicts := s.presentsTogether(s.code(), confirming)
				if got := count(verdicts); got[accepted] != parties {
					t.Fatalf("%d of %d branches", got[accepted], parties)
				}
				together(parties, func(n int) {
					verdicts[n], _ = verdict(store.Confirm(t.Context(), branches[n]))
				})
				if got := count(verdicts); got[accepted] != 1 || got[superseded] != parties-1 {
					t.Fatalf("%d accepted, %d superseded", got[accepted], got[superseded])
				}
				for n, v := range verdicts {
					if v == accepted {
						s.checks(accepted, branches[n])
					} else {
						s.checks(replaced, branches[n])
					}
				}
			}
		}},
		{"Of branches presented at once one survives", func(t *testing.T, store blacklist.Store) {
			for range rounds {
				s := login(t, store)
				branches, _ := s.presentsTogether(s.code(), confirming)
				verdicts := make([]blacklist.Verdict, parties)
				together(parties, func(n int) {
					verdicts[n], _ = verdict(store.Present(t.Context(), presentation(branches[n], s.next(branches[n]), late, confirming)))
				})
				if got := count(verdicts); got[accepted] != 1 || got[superseded] != parties-1 {
					t.Fatalf("%d accepted, %d superseded", got[accepted], got[superseded])
				}
			}
		}},
		{"Reuse at once is found and ends the session once", func(t *testing.T, store blacklist.Store) {
			for range rounds {
				s := login(t, store)
				code := s.code()
				first := s.presents(accepted, code)
				_, verdicts := s.presentsTogether(code)
				if got := count(verdicts); got[reuseDetected] != 1 || got[sessionCompromised] != parties-1 {
					t.Fatalf("%d reuseDetected, %d ended by reuse", got[reuseDetected], got[sessionCompromised])
				}
				s.checks(sessionCompromised, first)
			}
		}},
		{"A revocation that races a rotation leaves no survivor", func(t *testing.T, store blacklist.Store) {
			for n := range rounds {
				s := login(t, store)
				token := s.presents(accepted, s.code())
				raceRevocation(t, store, s, token, []blacklist.Revocation{
					{UserID: s.user, SessionID: s.id, Why: revoked}, {UserID: s.user, Why: revoked}, {All: true, Why: revoked},
				}[n%3])
			}
		}},
		{"A revocation that races a log-in leaves no survivor", func(t *testing.T, store blacklist.Store) {
			for n := range rounds {
				s := login(t, store)
				raceRevocation(t, store, s, s.code(), []blacklist.Revocation{
					{UserID: s.user, SessionID: s.id, Why: revoked}, {UserID: s.user, Why: revoked}, {All: true, Why: revoked},
				}[n%3])
			}
		}},
		{"Revocations at once count each session once", func(t *testing.T, store blacklist.Store) {
			for range rounds {
				s := login(t, store)
				s.presents(accepted, s.code())
				var mu sync.Mutex
				total := 0
				together(6, func(n int) {
					c, err := store.Revoke(t.Context(), []blacklist.Revocation{
						{UserID: s.user, SessionID: s.id, Why: revoked}, {UserID: s.user, Why: revoked}, {All: true, Why: revoked},
					}[n%3])
					if err != nil {
						t.Error(err)
					}
					noteAll(t, c)
					mu.Lock()
					defer mu.Unlock()
					total += c.Sessions
				})
				if total != 1 {
					t.Fatalf("%d sessions ended, want 1", total)
				}
			}
		}},
		{"Sessions in parallel do not disturb each other", func(t *testing.T, store blacklist.Store) {
			user := "user " + newID()
			together(parties, func(n int) {
				s := loginOf(t, store, user)
				token := s.code()
				for range rounds / 2 {
					next := s.next(token)
					v, err := verdict(store.Present(t.Context(), presentation(token, next, confirming)))
					if err != nil || v != accepted {
						t.Errorf("generation %d: %s, %v", token.Generation, name(v), err)
						return
					}
					if v, err := verdict(store.Confirm(t.Context(), next)); err != nil || v != accepted {
						t.Errorf("confirming generation %d: %s, %v", next.Generation, name(v), err)
						return
					}
					token = next
				}
			})
			if n := len(loginOf(t, store, user).living()); n != parties {
				t.Errorf("%d sessions, want %d", n, parties)
			}
		}},
	}
}

// presentsTogether presents a token many times at once, each time for another successor.
func (s *session) presentsTogether(token blacklist.TokenRef, ways ...with) (next []blacklist.TokenRef, verdicts []blacklist.Verdict) {
	next, verdicts = make([]blacklist.TokenRef, parties), make([]blacklist.Verdict, parties)
	together(parties, func(n int) {
		next[n] = s.next(token)
		var err error
		if verdicts[n], err = verdict(s.store.Present(s.t.Context(), presentation(token, next[n], ways...))); err != nil {
			s.t.Errorf("Present: %v", err)
		}
	})
	return next, verdicts
}

func count(verdicts []blacklist.Verdict) map[blacklist.Verdict]int {
	got := make(map[blacklist.Verdict]int)
	for _, v := range verdicts {
		got[v]++
	}
	return got
}

// raceRevocation presents token and what follows it, again and again, while it is revoked.
func raceRevocation(t *testing.T, store blacklist.Store, s *session, token blacklist.TokenRef, r blacklist.Revocation) {
	pass()                                   // the log-in is before the revocation
	revokeAt := 2 * min(1, token.Generation) // during the first presentation of a code, or later
	var presented []blacklist.TokenRef
	var over atomic.Bool // Revoke has returned
	begun := make(chan struct{})
	var rotating sync.WaitGroup
	rotating.Go(func() {
		for n := uint64(0); ; n++ {
			if n == revokeAt {
				close(begun)
			}
			presented = append(presented, token)
			next := s.next(token)
			p := presentation(token, next)
			p.Confirming = n%2 == 1
			late := over.Load()
			if v, err := verdict(store.Present(t.Context(), p)); err != nil || v != accepted || late {
				if v != revoked {
					t.Errorf("generation %d: %s, %v", token.Generation, name(v), err)
				}
				presented = append(presented, next)
				if n < revokeAt {
					close(begun)
				}
				return
			}
			token = next
		}
	})
	<-begun
	s.revokes(r)
	over.Store(true)
	rotating.Wait()
	for _, token := range presented[max(0, len(presented)-5):] { // which of them it came to know, only the store can say
		v, err := verdict(store.Check(t.Context(), token, 0, 0))
		v2, err2 := verdict(store.Present(t.Context(), presentation(token, s.next(token), late)))
		v3, err3 := verdict(store.Confirm(t.Context(), token))
		if err != nil || err2 != nil || err3 != nil || v == accepted || v2 == accepted || v3 == accepted {
			t.Errorf("generation %d afterwards: %s, %s, %s, %v, %v, %v", token.Generation, name(v), name(v2), name(v3), err, err2, err3)
		}
	}
	if len(s.living()) != 0 {
		t.Error("Sessions tells it still")
	}
}
