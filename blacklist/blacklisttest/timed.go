package blacklisttest

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// timed is what needs time to pass, or a single process.
func timed() []clause {
	return []clause{
		{"SupersededWithin is a bound", func(t *testing.T, store blacklist.Store) {
			within := func(p *blacklist.Presentation) { p.SupersededWithin = 5 * time.Second }
			for n, over := range []time.Duration{0, time.Millisecond} {
				s := login(t, store)
				code := s.code()
				first := s.presents(accepted, code)
				time.Sleep(5*time.Second + over)
				s.presents([]blacklist.Verdict{superseded, reuseDetected}[n], code, late, within)
				s.checks([]blacklist.Verdict{accepted, sessionCompromised}[n], first)
			}
		}},
		{"A socket opened before its token was replaced, not after, may be late", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			at := func(opened time.Time) with {
				return func(p *blacklist.Presentation) { p.SocketOpenedAt = opened }
			}
			early := at(time.Now())
			time.Sleep(time.Second)
			first := s.presents(accepted, code)
			time.Sleep(time.Second)
			s.presents(superseded, code, early)
			second := s.presents(accepted, first)
			between := at(time.Now().Add(-time.Second / 2))
			s.presents(superseded, first, between)
			s.presents(reuseDetected, code, between) // another's rotation is no excuse
			s.presents(sessionCompromised, second)
		}},
		{"Nothing is forgotten while a token lives", func(t *testing.T, store blacklist.Store) {
			s, out, early := login(t, store), login(t, store), login(t, store)
			code := s.code()
			first := s.presents(accepted, code)
			longest := s.next(first)
			longest.ExpiresAt = time.Now().Add(3 * time.Hour)
			s.presentsFor(accepted, first, longest)
			second := s.presents(accepted, longest, confirming) // lives an hour
			branch := s.presents(accepted, longest, confirming)
			out.revokes(blacklist.Revocation{UserID: out.user, SessionID: out.id, Why: loggedOut, Keep: time.Minute})
			out.revokes(blacklist.Revocation{UserID: out.user, SessionID: out.id, Why: loggedOut, Keep: 3 * time.Hour})
			out.revokes(blacklist.Revocation{UserID: out.user, SessionID: out.id, Why: loggedOut, Keep: time.Minute})
			time.Sleep(time.Second)
			early.revokes(blacklist.Revocation{UserID: early.user, Why: revoked, Keep: 3 * time.Hour})
			early.revokes(blacklist.Revocation{UserID: early.user, Why: revoked, Keep: time.Minute})
			for range 2 {
				time.Sleep(time.Hour)
				stir(t, store)
			}
			for _, at := range []time.Duration{-time.Second, 30 * time.Second} { // clocks differ by up to a minute
				time.Sleep(time.Until(longest.ExpiresAt.Add(at)))
				stir(t, store)
				s.checks(accepted, longest)
				s.checks(accepted, second)
				s.presents(replaced, code, rejectOnly)
				s.presents(replaced, first, rejectOnly)
				out.ended(loggedOut, out.code())
				if at < 0 {
					early.ended(revoked, early.code())
				}
			}
			s.confirms(accepted, branch)
			s.checks(replaced, second)
		}},
		{"A user's mark is kept as long as a code of before can live", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)

			first := s.raises(true)
			r := blacklist.Revocation{UserID: s.user, Why: stale, Keep: 3 * time.Hour}
			s.revokes(r)
			r.Keep = time.Minute
			last := s.revokes(r)
			for range 2 {
				time.Sleep(89 * time.Minute)
				stir(t, store)
			}
			s.login = time.Now()
			if last.Mark <= first.Mark {
				t.Errorf("mark %d after %d", last.Mark, first.Mark)
			}
			s.stale(last.Mark, s.code())
			s.presents(accepted, s.code(), marked(last.Mark))
		}},
		{"What is ended stays so while its tokens live, however short Keep is", func(t *testing.T, store blacklist.Store) {
			var first, second [3]blacklist.TokenRef
			var s [3]*session
			for n := range s {
				s[n] = login(t, store)
				first[n] = s[n].presents(accepted, s[n].code()) // an hour
				second[n] = s[n].presents(accepted, first[n], confirming)
			}
			time.Sleep(time.Second)
			s[0].revokes(blacklist.Revocation{UserID: s[0].user, SessionID: s[0].id, Why: loggedOut, Keep: time.Second})
			s[1].revokes(blacklist.Revocation{UserID: s[1].user, Why: revoked, Keep: time.Second})
			again := loginOf(t, store, s[1].user)
			time.Sleep(time.Second)
			again.login = time.Now()
			token := again.presents(accepted, again.code())
			s[2].revokes(blacklist.Revocation{All: true, Why: revoked, Keep: time.Second})
			for range 3 {
				time.Sleep(19 * time.Minute)
				stir(t, store)
			}
			s[0].ended(loggedOut, first[0], second[0])
			for n := range 2 {
				s[n+1].ended(revoked, first[n+1], second[n+1])
			}
			again.ended(revoked, token)
		}},
		{"A session lives until the latest expiry of its tokens", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			first := s.presents(accepted, s.code()) // an hour
			longest := s.next(first)
			longest.ExpiresAt = time.Now().Add(2 * time.Hour)
			s.presentsFor(accepted, first, longest)
			s.presents(accepted, longest) // an hour
			other := loginOf(t, store, s.user)
			other.presents(accepted, other.code()) // an hour
			if n := len(s.living()); n != 2 {
				t.Errorf("%d sessions, want 2", n)
			}
			time.Sleep(2*time.Hour - time.Second)
			if _, lives := s.living()[s.id]; !lives || len(s.living()) != 1 {
				t.Errorf("%d sessions a second before its end", len(s.living()))
			}
			time.Sleep(2 * time.Second)
			if n := len(s.living()); n != 0 {
				t.Errorf("%d sessions after the end", n)
			}
			if c := s.revokes(blacklist.Revocation{UserID: s.user, Why: revoked}); c.Sessions != 0 {
				t.Errorf("%d that were over are said to be ended", c.Sessions)
			}
			if c := s.revokes(blacklist.Revocation{All: true, Why: revoked}); c.Sessions != 0 {
				t.Errorf("%d that were over are said to be ended", c.Sessions)
			}
		}},
		{"Watchers hear of a change before its method returns", func(t *testing.T, store blacklist.Store) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			heard := make(chan blacklist.Change, 10)
			ended := make(chan error)
			go func() { ended <- store.Watch(ctx, func(c blacklist.Change) { heard <- c }) }()
			synctest.Wait()
			wants := func(want blacklist.Verdict) {
				t.Helper()
				select {
				case c := <-heard:
					if c.Verdict != want {
						t.Errorf("%s, want %s", name(c.Verdict), name(want))
					}
				default:
					t.Errorf("nothing, want %s", name(want))
				}
			}
			s := login(t, store)
			code := s.code()
			first := s.presents(accepted, code)
			wants(accepted)
			second := s.presents(accepted, first, confirming)
			s.confirms(accepted, second)
			wants(accepted)
			s.raises(true)
			wants(stale)
			s.presents(reuseDetected, code)
			wants(sessionCompromised)
			s.revokes(blacklist.Revocation{UserID: s.user, SessionID: s.id, Why: loggedOut})
			wants(loggedOut)
			s.revokes(blacklist.Revocation{UserID: s.user, Why: revoked})
			wants(revoked)
			s.revokes(blacklist.Revocation{All: true, Why: revoked})
			wants(revoked)
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}},
	}
}

// stir makes many calls, in which a store may clear away what is over.
func stir(t *testing.T, store blacklist.Store) {
	for range 300 {
		s := login(t, store)
		s.presents(accepted, s.code())
		s.checks(unknown, s.next(s.next(s.code())))
	}
}
