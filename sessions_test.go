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

// TestSessions checks the list of a user's sessions: when each began and was seen, its device, its
// sockets, and that it goes with log-out and expiry.
func TestSessions(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.TokenLifetime = time.Hour }, func(srv *testServer) {
		began := time.Now()
		a, _ := srv.authenticated()
		time.Sleep(time.Minute)
		b, token := srv.authenticated()
		b.authenticate(token)
		b.expectToken()
		time.Sleep(time.Minute)
		b2 := srv.dial("")
		b2.offerFor(b.current).confirm()
		b2.expectAuthenticated()
		b.expect(`42["rotated"]`)
		bert, _ := srv.authenticatedAs(claimsOf("bert"))

		sessions, err := srv.Auth().Sessions(srv.Context(), "anna")
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
		if sessions, _ = srv.Auth().Sessions(srv.Context(), "anna"); sessions[1].Sockets != 0 {
			t.Errorf("%d sockets after it has gone", sessions[1].Sockets)
		}
		b.emit("logout")
		b.expect(`42["logged_out"]`)
		if sessions, _ = srv.Auth().Sessions(srv.Context(), "anna"); len(sessions) != 1 || sessions[0].ID != first.ID {
			t.Errorf("after the log-out: %+v", sessions)
		}
		time.Sleep(time.Hour)
		if sessions, _ = srv.Auth().Sessions(srv.Context(), "anna"); len(sessions) != 0 {
			t.Errorf("after the last expiry: %+v", sessions)
		}
		bert.expectRefused("token_expired")
	})
}

// TestWatchChanges checks what a change that another process made to the store does to the sockets
// here, for each kind of change.
func TestWatchChanges(t *testing.T) {
	store := &sharedStore{watch: func(ctx context.Context) error { <-ctx.Done(); return nil }}
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		synctest.Wait()
		in := func() (*client, string) { c, _ := srv.authenticated(); return c, srv.sessionOf(c) }
		for verdict, code := range map[blacklist.Verdict]string{blacklist.SessionCompromised: "token_reused", blacklist.Revoked: "session_revoked"} {
			c, sid := in()
			store.notify(blacklist.Change{SessionID: sid, Verdict: verdict, At: time.Now()})
			c.expectRefused(code)
		}
		c, sid := in()
		store.notify(blacklist.Change{SessionID: sid, Verdict: blacklist.LoggedOut, At: time.Now()})
		c.expect(`42["logged_out"]`)
		c.expectDisconnected()

		c, sid = in()
		store.notify(blacklist.Change{SessionID: sid, Verdict: blacklist.Accepted, TokenID: id.New().String(), Generation: 9})
		c.expect(`42["rotated"]`)
		d := srv.dial("")
		d.offerFor(srv.code())
		store.notify(blacklist.Change{SessionID: socketauth.RegisteredSession(socketauth.Registered(srv.Server.Server)[0]), Verdict: blacklist.Accepted, TokenID: id.New().String(), Generation: 1})
		store.notify(blacklist.Change{UserID: "anna", Verdict: blacklist.Revoked, At: time.Now()})
		for _, c := range []*client{c, d} {
			for frame := range c.Packets() {
				if strings.Contains(frame, "unauthorized") && !strings.Contains(frame, "session_revoked") && !strings.Contains(frame, "no_longer_valid") {
					t.Error(frame)
				}
			}
		}

		// Later logins stay where the store says so too; after a gap the store is asked.
		c, sid = in()
		store.notify(blacklist.Change{UserID: "anna", Verdict: blacklist.Revoked, At: time.Now().Add(-time.Second)})
		store.notify(blacklist.Change{All: true, Verdict: blacklist.Revoked, At: time.Now().Add(-time.Second)})
		store.notify(blacklist.Change{Gap: true})
		c.expectNothing()
		if _, err := store.Store.Revoke(srv.Context(), blacklist.Revocation{SessionID: sid, Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
			t.Fatal(err)
		}
		c.expectAuthenticated()
		store.notify(blacklist.Change{Gap: true})
		c.expectRefused("session_revoked")
	})
}

// TestWatchRevocationByOtherClock checks that a revocation whose time, by another clock, is before
// a login ends it all the same where the store says so.
func TestWatchRevocationByOtherClock(t *testing.T) {
	store := &sharedStore{watch: func(ctx context.Context) error { <-ctx.Done(); return nil }}
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		for name, all := range map[string]bool{"anna": false, "": true} {
			c, _ := srv.authenticated()
			if _, err := store.Store.Revoke(srv.Context(), blacklist.Revocation{UserID: name, All: all, Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
				t.Fatal(err)
			}
			c.expectAuthenticated() // nobody has told the server
			store.notify(blacklist.Change{UserID: name, All: all, Verdict: blacklist.Revoked, At: time.Now().Add(-time.Minute)})
			c.expectRefused("session_revoked")
			time.Sleep(time.Second)
		}
	})
}

// TestWatchGapStoreOutage checks that after a gap the store is asked until it answers, and that
// many gaps at once are one look.
func TestWatchGapStoreOutage(t *testing.T) {
	faulty := new(faultyStore)
	store := &sharedStore{Store: faulty, watch: func(ctx context.Context) error { <-ctx.Done(); return nil }}
	withServer(t, func(o *socketauth.Options[string]) { faulty.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		c, _ := srv.authenticated()
		other, _ := srv.authenticatedAs(claimsOf("bert"))
		if _, err := faulty.Store.Revoke(srv.Context(), blacklist.Revocation{SessionID: srv.sessionOf(c), Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
			t.Fatal(err)
		}
		var checks atomic.Int32
		faulty.fail(func(call string) error { checks.Add(1); return errStoreDown }, nil)
		for range 1000 {
			store.notify(blacklist.Change{Gap: true})
		}
		time.Sleep(10 * time.Minute)
		c.expectAuthenticated()
		if n := checks.Load(); n > 100 {
			t.Errorf("asked %d times", n)
		}
		faulty.fail(nil, nil)
		c.expectRefused("session_revoked")
		other.expectAuthenticated()
	})
}

// TestWatchRestarts checks that a watch that fails is logged and begun again.
func TestWatchRestarts(t *testing.T) {
	var calls atomic.Int32
	store := &sharedStore{watch: func(ctx context.Context) error {
		if calls.Add(1) == 1 {
			return errStoreDown
		}
		<-ctx.Done()
		return nil
	}}
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		time.Sleep(time.Minute)
		if n := calls.Load(); n != 2 {
			t.Errorf("watched %d times", n)
		}
		srv.expectLogged("cannot watch the blacklist")
	})
}

// TestWatchGapBetweenWatches checks that what changed between a watch that failed and the next is
// looked up.
func TestWatchGapBetweenWatches(t *testing.T) {
	var calls atomic.Int32
	store := &sharedStore{watch: func(ctx context.Context) error {
		if calls.Add(1) == 1 {
			return errStoreDown
		}
		<-ctx.Done()
		return nil
	}}
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		c, _ := srv.authenticated()
		if _, err := store.Store.Revoke(srv.Context(), blacklist.Revocation{SessionID: srv.sessionOf(c), Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
			t.Fatal(err)
		}
		c.expectRefused("session_revoked")
	})
}

// TestWatchGapDuringPresentation checks that after a gap the sessions of sockets that are being
// authenticated are looked up too.
func TestWatchGapDuringPresentation(t *testing.T) {
	for _, how := range []string{"the reply is on its way", "OnAuthenticated runs after the confirmation"} {
		t.Run(how, func(t *testing.T) {
			faulty := new(faultyStore)
			store := &sharedStore{Store: faulty, watch: func(ctx context.Context) error { <-ctx.Done(); return nil }}
			withServer(t, func(o *socketauth.Options[string]) { faulty.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
				at, goOn := make(chan struct{}), make(chan struct{})
				var sid string
				faulty.seen = func(t blacklist.TokenRef) { sid = t.SessionID }
				c := srv.dial("")
				if how[0] == 't' {
					faulty.fail(nil, func(call string) error {
						if call == "Present" {
							close(at)
							<-goOn
						}
						return nil
					})
					c.authenticate(srv.code())
				} else {
					srv.OnAuthenticated(func(context.Context, *socketauth.Socket) error { close(at); <-goOn; return nil })
					c.offerFor(srv.code()).confirm()
				}
				<-at
				faulty.fail(nil, nil)
				if _, err := faulty.Store.Revoke(srv.Context(), blacklist.Revocation{SessionID: sid, Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
					t.Fatal(err)
				}
				store.notify(blacklist.Change{Gap: true})
				synctest.Wait()
				close(goOn)
				c.expectRefused("session_revoked")
			})
		})
	}
}
