package blacklisttest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/z-open/socketauth/blacklist"
)

// patience is how long something may take that has to happen.
const patience = 20 * time.Second

// stragglers is how much later than a later change one may be heard.
const stragglers = 2 * time.Second

// watcher is one that watches.
type watcher struct {
	t      *testing.T
	store  blacklist.Store
	cancel context.CancelFunc
	ended  chan error

	mu    sync.Mutex
	heard []blacklist.Change
	news  chan struct{} // after each change heard
}

// watch starts one, and returns when it hears: what happened since then it has to tell. A Gap, with
// which a store begins that processes share, says that too.
func watch(t *testing.T, store blacklist.Store, also func(blacklist.Change)) *watcher {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watcher{t: t, store: store, cancel: cancel, ended: make(chan error, 1), news: make(chan struct{}, 1)}
	go func() {
		w.ended <- store.Watch(ctx, func(c blacklist.Change) {
			w.mu.Lock()
			w.heard = append(w.heard, c)
			w.mu.Unlock()
			select {
			case w.news <- struct{}{}:
			default:
			}
			if also != nil {
				also(c)
			}
		})
	}()
	t.Cleanup(func() { w.stop() })
	// Nothing tells when it has begun but that it hears something.
	deadline := time.After(patience)
	for probe := login(t, store); ; {
		probe.revokes(blacklist.Revocation{UserID: probe.user, SessionID: probe.id, Why: revoked})
		select {
		case <-w.news:
			return w
		case err := <-w.ended:
			w.ended <- err
			t.Fatalf("Watch ended: %v", err)
		case <-deadline:
			t.Fatal("Watch hears nothing")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (w *watcher) stop() {
	w.t.Helper()
	w.cancel()
	select {
	case err := <-w.ended:
		w.ended <- nil // for who stops it again
		if err != nil {
			w.t.Errorf("Watch ended by its context: %v", err)
		}
	case <-time.After(patience):
		w.t.Error("Watch goes on after the end of its context")
	}
}

// about is what was heard of the user or of all by the time that a change made now is heard, and
// for a while more if that is less than n.
func (w *watcher) about(user string, n int) (of []blacklist.Change) {
	w.t.Helper()
	marker := login(w.t, w.store)
	marker.revokes(blacklist.Revocation{UserID: marker.user, SessionID: marker.id, Why: revoked})
	deadline := time.After(patience)
	for marked := false; ; {
		of = of[:0]
		w.mu.Lock()
		for _, c := range w.heard {
			if c.UserID == user || c.All {
				of = append(of, c)
			}
			if c.SessionID == marker.id && !marked {
				marked, deadline = true, time.After(stragglers)
			}
		}
		w.mu.Unlock()
		if marked && len(of) >= n {
			return of
		}
		select {
		case <-w.news:
		case <-deadline:
			w.t.Errorf("%d changes heard, want %d; one made after them was heard: %v", len(of), n, marked)
			return of
		}
	}
}

// watching is what Watch tells.
func watching() []clause {
	return []clause{
		{"Every watcher hears each change once and nothing else", func(t *testing.T, store blacklist.Store) {
			watchers := []*watcher{watch(t, store, nil), watch(t, store, nil)}
			s := login(t, store)
			var want []blacklist.Change
			confirmed := func(token blacklist.TokenRef) {
				want = append(want, blacklist.Change{SessionID: token.SessionID, UserID: s.user, Verdict: accepted, TokenID: token.TokenID, Generation: token.Generation})
			}
			code := s.code()
			first := s.presents(accepted, code)
			confirmed(first)
			s.checks(accepted, first)
			s.presents(superseded, code, late)
			s.presents(replaced, code, rejectOnly)
			lost, second := s.presents(accepted, first, confirming), s.presents(accepted, first, confirming)
			s.confirms(accepted, second)
			confirmed(second)
			s.confirms(accepted, second)
			s.confirms(superseded, lost)
			third := s.presents(accepted, second, confirming)
			s.presents(accepted, third, keep)
			confirmed(third)
			fourth := s.presents(accepted, third, confirming)
			s.presents(accepted, fourth, confirming)
			confirmed(fourth)
			s.presents(unknown, s.next(s.next(s.next(fourth))))
			s.presents(reuseDetected, code)
			want = append(want, blacklist.Change{SessionID: s.id, UserID: s.user, Verdict: sessionCompromised})
			s.presents(sessionCompromised, code)

			all := s.raises(true)
			want = append(want, blacklist.Change{UserID: s.user, Verdict: stale, Mark: all.Mark})
			c := s.raises(false)
			want = append(want, blacklist.Change{UserID: s.user, SessionID: s.id, Verdict: stale, Mark: c.Mark})
			other := loginOf(t, store, "another "+s.user)
			s.revokes(blacklist.Revocation{UserID: other.user, SessionID: s.id, Why: revoked}) // not theirs

			two := loginOf(t, store, s.user)
			began := two.presents(accepted, two.code(), marked(all.Mark))
			confirmed(began)
			two.stale(all.Mark, began, marked(0))
			two.revokes(blacklist.Revocation{UserID: two.user, SessionID: two.id, Why: loggedOut})
			want = append(want, blacklist.Change{SessionID: two.id, UserID: s.user, Verdict: loggedOut})
			s.revokes(blacklist.Revocation{UserID: s.user, Why: revoked})
			want = append(want, blacklist.Change{UserID: s.user, Verdict: revoked})
			s.revokes(blacklist.Revocation{All: true, Why: revoked})
			want = append(want, blacklist.Change{All: true, Verdict: revoked})

			for _, w := range watchers {
				got := w.about(s.user, len(want))
				counts := make(map[blacklist.Change]int)
				for _, c := range got {
					if c.At.IsZero() {
						t.Errorf("%s heard of without a time", name(c.Verdict))
					}
					c.At, c.Sessions, c.Hint = time.Time{}, 0, false
					counts[c]++
				}
				for _, c := range want {
					if counts[c] != 1 {
						t.Errorf("heard %d times of %s in generation %d, session %v, user %v, all %v", counts[c], name(c.Verdict), c.Generation, c.SessionID != "", c.UserID != "", c.All)
					}
				}
				if len(got) != len(want) {
					t.Errorf("heard %d changes, want %d", len(got), len(want))
				}
			}
		}},
		{"A watcher hears until its context ends", func(t *testing.T, store blacklist.Store) {
			gone, stays := watch(t, store, nil), watch(t, store, nil)
			s := login(t, store)
			s.revokes(blacklist.Revocation{UserID: s.user, Why: revoked})
			if n := len(gone.about(s.user, 1)); n != 1 {
				t.Errorf("%d changes heard", n)
			}
			gone.stop()
			s.revokes(blacklist.Revocation{UserID: s.user, Why: revoked})
			s.revokes(blacklist.Revocation{All: true, Why: revoked})
			if n := len(stays.about(s.user, 3)); n != 3 {
				t.Errorf("%d changes heard by the one that stays", n)
			}
			gone.mu.Lock()
			defer gone.mu.Unlock()
			n := 0
			for _, c := range gone.heard {
				if c.UserID == s.user || c.All {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%d changes heard by the one that has gone", n)
			}
		}},
		{"A watcher may ask the store", func(t *testing.T, store blacklist.Store) {
			s := login(t, store)
			token := s.presents(accepted, s.code())
			var w *watcher
			verdicts := make(chan blacklist.Verdict, 100)
			w = watch(t, store, func(c blacklist.Change) {
				if c.UserID != s.user && !c.All {
					return
				}
				ctx, cancel := context.WithTimeout(context.Background(), patience/2)
				defer cancel()
				v, err := verdict(store.Check(ctx, token, 0, 0))
				if err == nil {
					_, err = store.Sessions(ctx, s.user)
				}
				if err == nil {
					_, err = store.Confirm(ctx, token)
				}
				if err != nil {
					t.Errorf("asked by a watcher: %v", err)
				}
				verdicts <- v
			})
			s.revokes(blacklist.Revocation{UserID: s.user, SessionID: s.id, Why: loggedOut})
			s.revokes(blacklist.Revocation{UserID: s.user, Why: loggedOut})
			s.revokes(blacklist.Revocation{All: true, Why: loggedOut})
			for range 3 {
				if v := <-verdicts; v != loggedOut {
					t.Errorf("it saw %s", name(v))
				}
			}
			w.stop()
		}},
	}
}
