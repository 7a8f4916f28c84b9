package socketauth_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/id"
)

func TestSessionsOfAUser(t *testing.T) {
	inWorld(t, func(o *socketauth.Options[string]) { o.TokenLifetime = time.Hour }, func(w *world) {
		began := time.Now()
		a, _ := w.in()
		time.Sleep(time.Minute)
		b, token := w.in()
		b.authenticate(token)
		b.token()
		time.Sleep(time.Minute)
		b2 := w.dial("")
		b2.confirms(b.current).confirm()
		b2.alive()
		b.next(`42["rotated"]`)
		bert, _ := w.inAs(claimsOf("bert"))

		sessions, err := w.Auth().Sessions(w.Context(), "anna")
		if err != nil || len(sessions) != 2 {
			t.Fatalf("%+v, %v", sessions, err)
		}
		last, first := sessions[0], sessions[1]
		if last.Sockets != 2 || first.Sockets != 1 {
			t.Errorf("%d and %d sockets", last.Sockets, first.Sockets)
		}
		if !first.Since.Equal(began) || !first.LastSeen.Equal(began) || !first.ExpiresAt.Equal(began.Add(time.Hour)) {
			t.Errorf("%+v", first)
		}
		if !last.Since.Equal(began.Add(time.Minute)) || !last.LastSeen.Equal(began.Add(2*time.Minute)) {
			t.Errorf("%+v", last)
		}
		if last.UserID != "anna" || last.Address != "pipe" || last.UserAgent != "Go-http-client/1.1" || last.ID == first.ID {
			t.Errorf("%+v", last)
		}
		a.close()
		synctest.Wait()
		if sessions, _ = w.Auth().Sessions(w.Context(), "anna"); sessions[1].Sockets != 0 {
			t.Errorf("%d sockets after it has gone", sessions[1].Sockets)
		}
		b.emit("logout")
		b.next(`42["logged_out"]`)
		if sessions, _ = w.Auth().Sessions(w.Context(), "anna"); len(sessions) != 1 || sessions[0].ID != first.ID {
			t.Errorf("after the log-out: %+v", sessions)
		}
		time.Sleep(time.Hour)
		if sessions, _ = w.Auth().Sessions(w.Context(), "anna"); len(sessions) != 0 {
			t.Errorf("after the last expiry: %+v", sessions)
		}
		bert.refusedAndGone("token_expired")
	})
}

func TestChangesOfOtherProcessesAreHeard(t *testing.T) {
	store := &otherProcess{watch: func(ctx context.Context) error { <-ctx.Done(); return nil }}
	inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		synctest.Wait()
		in := func() (*client, string) { c, _ := w.in(); return c, w.sessionOf(c) }
		for verdict, code := range map[blacklist.Verdict]string{blacklist.SessionCompromised: "token_reused", blacklist.Revoked: "session_revoked"} {
			c, sid := in()
			store.heard(blacklist.Change{SessionID: sid, Verdict: verdict, At: time.Now()})
			c.refusedAndGone(code)
		}
		c, sid := in()
		store.heard(blacklist.Change{SessionID: sid, Verdict: blacklist.LoggedOut, At: time.Now()})
		c.next(`42["logged_out"]`)
		c.gone()

		c, sid = in()
		store.heard(blacklist.Change{SessionID: sid, Verdict: blacklist.Accepted, TokenID: id.New().String(), Generation: 9})
		c.next(`42["rotated"]`)
		d := w.dial("")
		d.confirms(w.code())
		store.heard(blacklist.Change{SessionID: socketauth.RegisteredSession(socketauth.Registered(w.Server.Server)[0]), Verdict: blacklist.Accepted, TokenID: id.New().String(), Generation: 1})
		store.heard(blacklist.Change{UserID: "anna", Verdict: blacklist.Revoked, At: time.Now()})
		for _, c := range []*client{c, d} {
			for frame := range c.Packets() {
				if strings.Contains(frame, "unauthorized") && !strings.Contains(frame, "session_revoked") && !strings.Contains(frame, "no_longer_valid") {
					t.Error(frame)
				}
			}
		}

		// Logins of after it stay, if the store says so too; and what was missed is looked up.
		c, sid = in()
		store.heard(blacklist.Change{UserID: "anna", Verdict: blacklist.Revoked, At: time.Now().Add(-time.Second)})
		store.heard(blacklist.Change{All: true, Verdict: blacklist.Revoked, At: time.Now().Add(-time.Second)})
		store.heard(blacklist.Change{Gap: true})
		c.silence()
		if _, err := store.Store.Revoke(w.Context(), blacklist.Revocation{SessionID: sid, Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
			t.Fatal(err)
		}
		c.alive()
		store.heard(blacklist.Change{Gap: true})
		c.refusedAndGone("session_revoked")
	})
}

func TestRevocationByAnotherClockEndsALoginThatSeemsLater(t *testing.T) {
	// Guards: the time of a revocation is by the clock of the store or of another process. Where that says that a login came
	// later, the store knows better, and its answer ends the socket.
	store := &otherProcess{watch: func(ctx context.Context) error { <-ctx.Done(); return nil }}
	inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		for name, all := range map[string]bool{"anna": false, "": true} {
			c, _ := w.in()
			if _, err := store.Store.Revoke(w.Context(), blacklist.Revocation{UserID: name, All: all, Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
				t.Fatal(err)
			}
			c.alive() // nobody has told the server
			store.heard(blacklist.Change{UserID: name, All: all, Verdict: blacklist.Revoked, At: time.Now().Add(-time.Minute)})
			c.refusedAndGone("session_revoked")
			time.Sleep(time.Second)
		}
	})
}

func TestWhatWasMissedIsAskedForUntilTheStoreAnswers(t *testing.T) {
	// Guards: the store is likely to be out of reach just when changes were missed; and many such moments are one look.
	faulty := new(faultyStore)
	store := &otherProcess{Store: faulty, watch: func(ctx context.Context) error { <-ctx.Done(); return nil }}
	inWorld(t, func(o *socketauth.Options[string]) { faulty.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		c, _ := w.in()
		other, _ := w.inAs(claimsOf("bert"))
		if _, err := faulty.Store.Revoke(w.Context(), blacklist.Revocation{SessionID: w.sessionOf(c), Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
			t.Fatal(err)
		}
		var checks atomic.Int32
		faulty.fail(func(call string) error { checks.Add(1); return errStoreDown }, nil)
		for range 1000 {
			store.heard(blacklist.Change{Gap: true})
		}
		time.Sleep(10 * time.Minute)
		c.alive()
		if n := checks.Load(); n > 100 {
			t.Errorf("asked %d times", n)
		}
		faulty.fail(nil, nil)
		c.refusedAndGone("session_revoked")
		other.alive()
	})
}

func TestWatchThatFailsIsBegunAnew(t *testing.T) {
	var calls atomic.Int32
	store := &otherProcess{watch: func(ctx context.Context) error {
		if calls.Add(1) == 1 {
			return errStoreDown
		}
		<-ctx.Done()
		return nil
	}}
	inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		time.Sleep(time.Minute)
		if n := calls.Load(); n != 2 {
			t.Errorf("watched %d times", n)
		}
		w.logged("cannot watch the blacklist")
	})
}

func TestWhatHappensBetweenTwoWatchesIsLookedUp(t *testing.T) {
	// Guards: a store that fails to watch, and then watches from then on, must not leave sockets of dead sessions.
	var calls atomic.Int32
	store := &otherProcess{watch: func(ctx context.Context) error {
		if calls.Add(1) == 1 {
			return errStoreDown
		}
		<-ctx.Done()
		return nil
	}}
	inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		c, _ := w.in()
		if _, err := store.Store.Revoke(w.Context(), blacklist.Revocation{SessionID: w.sessionOf(c), Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
			t.Fatal(err)
		}
		c.refusedAndGone("session_revoked")
	})
}

func TestSocketThatIsEnteringIsLookedAtToo(t *testing.T) {
	// Guards: what another process has revoked, and nobody has told, is found out also for a socket on its way in.
	for _, how := range []string{"the reply is on its way", "OnAuthenticated runs after the confirmation"} {
		t.Run(how, func(t *testing.T) {
			faulty := new(faultyStore)
			store := &otherProcess{Store: faulty, watch: func(ctx context.Context) error { <-ctx.Done(); return nil }}
			inWorld(t, func(o *socketauth.Options[string]) { faulty.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
				at, goOn := make(chan struct{}), make(chan struct{})
				var sid string
				faulty.seen = func(t blacklist.TokenRef) { sid = t.SessionID }
				c := w.dial("")
				if how[0] == 't' {
					faulty.fail(nil, func(call string) error {
						if call == "Present" {
							close(at)
							<-goOn
						}
						return nil
					})
					c.authenticate(w.code())
				} else {
					w.OnAuthenticated(func(context.Context, *socketauth.Socket) error { close(at); <-goOn; return nil })
					c.confirms(w.code()).confirm()
				}
				<-at
				faulty.fail(nil, nil)
				if _, err := faulty.Store.Revoke(w.Context(), blacklist.Revocation{SessionID: sid, Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
					t.Fatal(err)
				}
				store.heard(blacklist.Change{Gap: true})
				synctest.Wait()
				close(goOn)
				c.refusedAndGone("session_revoked")
			})
		})
	}
}
