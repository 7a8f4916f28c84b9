package blacklisttest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// edges is contexts that have ended and ids that are none.
func edges() []clause {
	return []clause{
		{"A context that has ended is an error, and nothing is recorded", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			one := s.presents(accepted, code, confirming)
			unused := loginOf(t, store, s.user)
			cancelled, cancel := context.WithCancel(t.Context())
			cancel()
			expired, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
			defer cancel()
			for want, ctx := range map[error]context.Context{context.Canceled: cancelled, context.DeadlineExceeded: expired} {
				wants := func(method string, v blacklist.Verdict, err error) {
					if !errors.Is(err, want) || v == accepted {
						t.Errorf("%s: %s, %v", method, name(v), err)
					}
				}
				v, err := verdict(store.Present(ctx, presentation(one, s.next(one))))
				wants("Present", v, err)
				v, err = verdict(store.Present(ctx, presentation(unused.code(), s.next(code))))
				wants("Present of a code", v, err)
				v, err = verdict(store.Confirm(ctx, one))
				wants("Confirm", v, err)
				v, err = verdict(store.Check(ctx, one, 0, 0))
				wants("Check", v, err)
				for _, r := range []blacklist.Revocation{
					{UserID: s.user, SessionID: s.id, Why: revoked}, {UserID: s.user, Why: revoked}, {All: true, Why: revoked},
				} {
					r.Keep = time.Hour
					c, err := store.Revoke(ctx, r)
					wants("Revoke", c.Verdict, err)
				}
				_, err = store.Sessions(ctx, s.user)
				wants("Sessions", 0, err)
				ended := make(chan error, 1)
				go func() { ended <- store.Watch(ctx, func(blacklist.Change) {}) }()
				select {
				case err := <-ended:
					if err != nil {
						t.Errorf("Watch: %v", err)
					}
				case <-time.After(patience):
					t.Fatal("Watch goes on")
				}
			}
			two := s.presents(accepted, code, confirming) // nobody holds its generation yet
			s.confirms(accepted, two)
			if n := len(s.living()); n != 1 {
				t.Errorf("%d sessions, want 1", n)
			}
			unused.presents(accepted, unused.code())
		}},
		{"Ids that are none are unknown, and burn nothing", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			code := s.code()
			first := s.presents(accepted, code)
			good := newID()
			for _, bad := range []string{
				"", "abc", good[:21], good + "A", good + "==", "!!!!!!!!!!!!!!!!!!!!!!", good[:21] + "B", "\x00" + good[1:],
				strings.Repeat("A", 5000), "é" + good[2:],
			} {
				token, session, unused := first, first, s.code()
				token.TokenID, session.SessionID, unused.SessionID = bad, bad, bad
				for _, t := range []blacklist.TokenRef{token, session, unused} {
					s.presents(unknown, t)
					s.checksWithin(unknown, t, time.Hour, time.Hour)
					s.confirms(unknown, t)
				}
				if bad != "" {
					s.presentsFor(unknown, first, blacklist.TokenRef{TokenID: bad})
					s.presentsFor(unknown, first, blacklist.TokenRef{TokenID: bad}, confirming)
					s.revokes(blacklist.Revocation{UserID: s.user, SessionID: bad, Why: revoked})
				}
			}
			if n := len(s.living()); n != 1 {
				t.Errorf("%d sessions, want 1", n)
			}
			s.presents(accepted, first)
		}},
	}
}
