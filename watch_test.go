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
		if _, err := store.Store.Revoke(srv.Context(), blacklist.Revocation{UserID: "anna", SessionID: sid, Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
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
		if _, err := faulty.Store.Revoke(srv.Context(), blacklist.Revocation{UserID: "anna", SessionID: srv.sessionOf(c), Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
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
		if _, err := store.Store.Revoke(srv.Context(), blacklist.Revocation{UserID: "anna", SessionID: srv.sessionOf(c), Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
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
				if _, err := faulty.Store.Revoke(srv.Context(), blacklist.Revocation{UserID: "anna", SessionID: sid, Why: blacklist.Revoked, Keep: time.Hour}); err != nil {
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
