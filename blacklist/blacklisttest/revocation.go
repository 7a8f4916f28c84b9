package blacklisttest

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// revocation is how sessions end for other reasons than reuse.
func revocation() []clause {
	return []clause{
		{"Revoking a session ends it and no other", func(t *testing.T, store blacklist.Store) {
			for _, why := range []blacklist.Verdict{loggedOut, revoked} {
				s := login(t, store)
				other := loginOf(t, store, s.user)
				code := s.code()
				first := s.presents(accepted, code)
				second := s.presents(accepted, first, confirming)
				alive := other.presents(accepted, other.code())
				c := s.revokes(blacklist.Revocation{UserID: s.user, SessionID: s.id, Why: why})
				if c.SessionID != s.id || c.UserID != s.user || c.All || c.Verdict != why || c.Sessions != 1 || c.At.IsZero() {
					t.Errorf("the change: %+v", c)
				}
				s.ended(why, code, first, second)
				if c := s.revokes(blacklist.Revocation{UserID: s.user, SessionID: s.id, Why: why}); c.Sessions != 0 {
					t.Errorf("again, it ended %d", c.Sessions)
				}
				other.presents(accepted, alive)
			}
		}},
		{"A session revoked before its code was used stays dead", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			c := s.revokes(blacklist.Revocation{UserID: s.user, SessionID: s.id, Why: loggedOut})
			if c.Sessions != 0 || c.Verdict != loggedOut {
				t.Errorf("the change: %+v", c)
			}
			code := s.code()
			s.ended(loggedOut, code, s.next(code))
			if len(s.living()) != 0 {
				t.Error("Sessions tells it")
			}
		}},
		{"Revoking a user ends all their sessions and nobody else's", func(t *testing.T, store blacklist.Store) {
			one := login(t, store)
			two, unused := loginOf(t, store, one.user), loginOf(t, store, one.user)
			foreign := login(t, store)
			first, second, alive := one.presents(accepted, one.code()), two.presents(accepted, two.code(), confirming), foreign.presents(accepted, foreign.code())
			early := unused.code()
			pass()
			c := one.revokes(blacklist.Revocation{UserID: one.user, Why: revoked})
			if c.SessionID != "" || c.UserID != one.user || c.All || c.Verdict != revoked || c.Sessions != 2 || c.At.IsZero() {
				t.Errorf("the change: %+v", c)
			}
			one.ended(revoked, first)
			two.ended(revoked, second)
			unused.ended(revoked, early)
			if len(one.living()) != 0 {
				t.Error("Sessions tells some")
			}
			foreign.presents(accepted, alive)
		}},
		{"Revoking a user but for one session leaves that alone alive", func(t *testing.T, store blacklist.Store) {
			kept := login(t, store)
			two, unused, foreign := loginOf(t, store, kept.user), loginOf(t, store, kept.user), login(t, store)
			first, second := kept.presents(accepted, kept.code()), two.presents(accepted, two.code(), confirming)
			alive := foreign.presents(accepted, foreign.code())
			early := unused.code()
			pass()
			c := kept.revokes(blacklist.Revocation{UserID: kept.user, Except: kept.id, Why: revoked})
			if c.SessionID != "" || c.UserID != kept.user || c.Except != kept.id || c.Verdict != revoked || c.Sessions != 1 {
				t.Errorf("the change: %+v", c)
			}
			two.ended(revoked, second)
			unused.ended(revoked, early)
			kept.checks(accepted, first)
			first = kept.presents(accepted, first, confirming)
			kept.confirms(accepted, first)
			if living := kept.living(); len(living) != 1 || living[kept.id].UserID != kept.user {
				t.Errorf("living: %+v", living)
			}
			// Nor does what has not begun go on, nor what is another's.
			for _, except := range []string{loginOf(t, store, kept.user).id, foreign.id, "none"} {
				again := login(t, store)
				code := again.code()
				token := again.presents(accepted, code)
				c := again.revokes(blacklist.Revocation{UserID: again.user, Except: except, Why: revoked})
				if c.Sessions != 1 {
					t.Errorf("except %q: the change: %+v", except, c)
				}
				again.ended(revoked, code, token)
			}
			waits := login(t, store)
			code := waits.code()
			pass()
			waits.revokes(blacklist.Revocation{UserID: waits.user, Except: waits.id, Why: revoked})
			waits.ended(revoked, code)
			foreign.presents(accepted, alive)
			pass()
			kept.revokes(blacklist.Revocation{UserID: kept.user, Why: revoked})
			kept.ended(revoked, first)
		}},
		{"A log-in after the revocation of its user works", func(t *testing.T, store blacklist.Store) {
			worksAfter(t, store, func(user string) blacklist.Revocation {
				return blacklist.Revocation{UserID: user, Why: loggedOut}
			})
		}},
		{"A log-in after the revocation of all works", func(t *testing.T, store blacklist.Store) {
			worksAfter(t, store, func(string) blacklist.Revocation { return blacklist.Revocation{All: true, Why: loggedOut} })
		}},
		{"Revoking a user nobody knows kills the codes of before", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			pass()
			if c := s.revokes(blacklist.Revocation{UserID: s.user, Why: revoked}); c.Sessions != 0 {
				t.Errorf("it ended %d", c.Sessions)
			}
			s.ended(revoked, code)
			other := login(t, store)
			other.presents(accepted, other.code())
		}},
		{"Revoking all ends every session", func(t *testing.T, store blacklist.Store) {
			var all []*session
			var tokens []blacklist.TokenRef
			for n := range 5 {
				s := login(t, store)
				token := s.presents(accepted, s.code())
				if n%2 == 0 {
					token = s.presents(accepted, token, confirming)
				}
				all, tokens = append(all, s), append(tokens, token)
			}
			all[0].revokes(blacklist.Revocation{UserID: all[0].user, SessionID: all[0].id, Why: loggedOut})
			unused := login(t, store)
			early := unused.code()
			pass()
			c := unused.revokes(blacklist.Revocation{All: true, Why: revoked})
			if c.SessionID != "" || c.UserID != "" || !c.All || c.Verdict != revoked || c.Sessions != 4 || c.At.IsZero() {
				t.Errorf("the change: %+v", c)
			}
			all[0].ended(loggedOut, tokens[0])
			for n := 1; n < len(all); n++ {
				all[n].ended(revoked, tokens[n])
				if len(all[n].living()) != 0 {
					t.Error("Sessions tells one")
				}
			}
			unused.ended(revoked, early)
			if c := unused.revokes(blacklist.Revocation{All: true, Why: loggedOut}); c.Sessions != 0 {
				t.Errorf("again, it ended %d", c.Sessions)
			}
			all[1].ended(revoked, tokens[1])
		}},
		{"The reason that a session ended for first stays", func(t *testing.T, store blacklist.Store) {
			afterwards := func(s *session) {
				for _, r := range []blacklist.Revocation{
					{UserID: s.user, SessionID: s.id, Why: loggedOut}, {UserID: s.user, Why: revoked}, {All: true, Why: loggedOut}, {UserID: s.user, SessionID: s.id, Why: revoked},
				} {
					s.revokes(r)
				}
			}
			for why, end := range map[blacklist.Verdict]func(*session, blacklist.TokenRef){
				loggedOut: func(s *session, _ blacklist.TokenRef) {
					s.revokes(blacklist.Revocation{UserID: s.user, SessionID: s.id, Why: loggedOut})
				},
				revoked: func(s *session, _ blacklist.TokenRef) {
					s.revokes(blacklist.Revocation{UserID: s.user, Why: revoked})
				},
				sessionCompromised: func(s *session, code blacklist.TokenRef) { s.presents(reuseDetected, code) },
			} {
				s := login(t, store)
				code := s.code()
				first := s.presents(accepted, code)
				end(s, code)
				afterwards(s)
				s.ended(why, first)
			}
			s := login(t, store)
			first := s.presents(accepted, s.code())
			s.revokes(blacklist.Revocation{All: true, Why: revoked})
			afterwards(s)
			s.ended(revoked, first)
			never := login(t, store)
			never.revokes(blacklist.Revocation{UserID: never.user, SessionID: never.id, Why: revoked})
			never.revokes(blacklist.Revocation{UserID: never.user, SessionID: never.id, Why: loggedOut})
			never.ended(revoked, never.code())
		}},
		{"A later revocation of a user reaches what came after the earlier", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			first := s.revokes(blacklist.Revocation{UserID: s.user, Why: revoked})
			s.login = first.At.Add(time.Millisecond)
			code := s.code()
			s.checks(accepted, code)
			pass()
			s.revokes(blacklist.Revocation{UserID: s.user, Why: revoked})
			s.ended(revoked, code)
		}},
		{"A revocation that says too little, too much or no reason is an error and ends nothing", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			token := s.presents(accepted, s.code())
			for _, bad := range []blacklist.Revocation{
				{}, {Why: revoked}, {SessionID: s.id, Why: revoked}, {SessionID: s.id, All: true, Why: revoked},
				{UserID: s.user, All: true, Why: revoked}, {UserID: s.user, SessionID: s.id, All: true, Why: revoked},
				{UserID: s.user, SessionID: s.id, Except: s.id, Why: revoked}, {All: true, Except: s.id, Why: revoked},
				{UserID: s.user, SessionID: s.id}, {UserID: s.user}, {All: true},
				{UserID: s.user, SessionID: s.id, Why: accepted}, {UserID: s.user, Why: accepted}, {All: true, Why: accepted},
				{UserID: s.user, SessionID: s.id, Why: unknown}, {UserID: s.user, Why: reuseDetected}, {UserID: s.user, Why: stepUpRefused},
				{All: true, Why: stale}, {UserID: s.user, Except: s.id, Why: stale},
			} {
				bad.Keep = time.Hour
				if _, err := store.Revoke(t.Context(), bad); err == nil {
					t.Errorf("%+v is taken", bad)
				}
			}
			s.presents(accepted, token)
		}},
	}
}

// worksAfter wants a log-in right after a revocation, in the same second, to begin a session like
// any other, and the session of before to be dead.
func worksAfter(t *testing.T, store blacklist.Store, revocation func(user string) blacklist.Revocation) {
	before := login(t, store)
	dead := before.presents(accepted, before.code())
	c := before.revokes(revocation(before.user))
	after := loginOf(t, store, before.user)
	after.login = c.At.Add(time.Millisecond)
	token := after.code()
	for range 3 {
		after.checks(accepted, token)
		token = after.presents(accepted, token)
	}
	if _, lives := after.living()[after.id]; !lives {
		t.Error("Sessions does not tell it")
	}
	before.ended(loggedOut, dead)
	tooEarly := loginOf(t, store, before.user)
	tooEarly.login = c.At.Add(-time.Millisecond)
	code := tooEarly.code()
	code.IssuedAt = tooEarly.now() // its password was checked before
	if v, err := verdict(store.Present(t.Context(), presentation(code, tooEarly.next(code)))); err != nil || v != revoked && v != loggedOut {
		t.Errorf("a log-in from before: %s, %v", name(v), err)
	}
}

// sessions is what Sessions tells.
func sessions() []clause {
	return []clause{
		{"Sessions tells the living sessions of the user", func(t *testing.T, store blacklist.Store) {
			one := login(t, store)
			two, reusedOne, out, unused := loginOf(t, store, one.user), loginOf(t, store, one.user), loginOf(t, store, one.user), loginOf(t, store, one.user)
			foreign := login(t, store)
			one.presents(accepted, one.presents(accepted, one.code()))
			two.presents(accepted, two.code(), confirming)
			code := reusedOne.code()
			reusedOne.presents(accepted, code)
			reusedOne.presents(reuseDetected, code)
			out.presents(accepted, out.code())
			out.revokes(blacklist.Revocation{UserID: out.user, SessionID: out.id, Why: loggedOut})
			unused.checks(accepted, unused.code())
			foreign.presents(accepted, foreign.code())
			living := one.living()
			_, hasOne := living[one.id]
			_, hasTwo := living[two.id]
			if len(living) != 2 || !hasOne || !hasTwo {
				t.Errorf("%d sessions, want 2", len(living))
			}
			if living := foreign.living(); len(living) != 1 {
				t.Errorf("%d sessions of the other user", len(living))
			}
			if living := login(t, store).living(); len(living) != 0 {
				t.Errorf("%d sessions of another user", len(living))
			}
		}},
		{"Sessions tells who, since when, until when and from where", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			began := time.Now().Add(-time.Minute)
			s.login = s.login.Add(-time.Minute)
			code := s.code()
			code.IssuedAt = s.now()
			first := s.presents(accepted, code, from("192.0.2.1", "old"))
			before := s.living()[s.id]
			pass()
			longest := s.next(first)
			expires := time.Now().Add(3 * time.Hour)
			longest.ExpiresAt = s.now().Add(3 * time.Hour)
			s.presentsFor(accepted, first, longest, from("192.0.2.2", "newer"))
			s.presents(accepted, longest, from("2001:db8::3", "newest "+strings.Repeat("x", 1000))) // lives shorter
			s.presents(replaced, first, rejectOnly, from("203.0.113.9", "thief"))
			got := s.living()[s.id]
			if got.ID != s.id || got.UserID != s.user || got.Address != "2001:db8::3" {
				t.Errorf("%+v", got)
			}
			if want := "newest " + strings.Repeat("x", 249); got.UserAgent != want {
				t.Errorf("user agent of %d bytes, want %d", len(got.UserAgent), len(want))
			}
			if d := got.Since.Sub(began).Abs(); d > leeway(store) {
				t.Errorf("since %v, %v off", got.Since, d)
			}
			if d := got.ExpiresAt.Sub(expires); d < -leeway(store) || d > time.Second+leeway(store) {
				t.Errorf("it expires at %v, %v off", got.ExpiresAt, d)
			}
			if !got.LastSeen.After(before.LastSeen) || got.LastSeen.Before(got.Since) {
				t.Errorf("last seen %v, and before %v", got.LastSeen, before.LastSeen)
			}
		}},
		{"Sessions reads nothing of those that have ended", func(t *testing.T, store blacklist.Store) {
			// Each log-in reads this list: who logs in and out again and again must not make it
			// ever slower.
			few := login(t, store)
			few.presents(accepted, few.code())
			want := few.reads(1)
			const many = 256
			for how, ends := range map[string]func(s *session, code blacklist.TokenRef){
				"log-out": func(s *session, _ blacklist.TokenRef) {
					s.revokes(blacklist.Revocation{UserID: s.user, SessionID: s.id, Why: loggedOut})
				},
				"reuse":                func(s *session, code blacklist.TokenRef) { s.presents(reuseDetected, code) },
				"revoking the user":    nil,
				"revoking all of them": nil,
			} {
				user := "user " + newID()
				all, codes := make([]*session, many), make([]blacklist.TokenRef, many)
				together(many, func(n int) {
					all[n] = loginOf(t, store, user)
					codes[n] = all[n].code()
					if v, err := verdict(store.Present(t.Context(), presentation(codes[n], all[n].next(codes[n])))); err != nil || v != accepted {
						t.Errorf("Present: %s, %v", name(v), err)
					}
				})
				for n := range all {
					if ends != nil {
						ends(all[n], codes[n])
					}
				}
				last := loginOf(t, store, user)
				switch how {
				case "revoking the user":
					last.login = last.revokes(blacklist.Revocation{UserID: user, Why: revoked}).At.Add(time.Millisecond)
				case "revoking all of them":
					last.login = last.revokes(blacklist.Revocation{All: true, Why: revoked}).At.Add(time.Millisecond)
				}
				last.presents(accepted, last.code())
				if got := last.reads(1); got > 4*want {
					t.Errorf("%d bytes to tell one session where %d have ended by %s, and %d where none has", got, many, how, want)
				}
			}
		}},
		{"Users are told apart whatever they are called", func(t *testing.T, store blacklist.Store) {
			names := []string{
				"ann", "anna", "Anna", "ann\x00a", "ann\x00", "ann a", "ann:a", "ann/a", "ann*", "änn", "\xff", "{ann}", "ann\n",
				strings.Repeat("n", 5000), strings.Repeat("n", 5000) + "a",
			}
			all, tokens := make([]*session, len(names)), make([]blacklist.TokenRef, len(names))
			for n, user := range names {
				all[n] = loginOf(t, store, user)
				tokens[n] = all[n].presents(accepted, all[n].code())
			}
			for n, s := range all {
				if living := s.living(); len(living) != 1 || living[s.id].UserID != s.user {
					t.Errorf("%.20q has %d sessions", s.user, len(living))
				}
				if c := s.revokes(blacklist.Revocation{UserID: s.user, Why: revoked}); c.Sessions != 1 {
					t.Errorf("revoking %.20q ended %d", s.user, c.Sessions)
				}
				s.ended(revoked, tokens[n])
				for m := n + 1; m < len(all); m++ {
					all[m].checks(accepted, tokens[m])
				}
			}
		}},
	}
}

// reads is how many bytes Sessions allocates to tell so many sessions.
func (s *session) reads(sessions int) (least uint64) {
	s.t.Helper()
	for n := range 25 { // the least, for other tests of the process allocate too
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		list, err := s.store.Sessions(s.t.Context(), s.user)
		runtime.ReadMemStats(&after)
		if err != nil || len(list) != sessions {
			s.t.Fatalf("%d sessions, %v, want %d", len(list), err, sessions)
		}
		if took := after.TotalAlloc - before.TotalAlloc; n == 0 || took < least {
			least = took
		}
	}
	return least
}
