package socketauth_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// closed reports whether a receipt of an app of one process has these numbers.
func closed(r socketauth.Receipt, sessions, sockets int) bool {
	return reflect.DeepEqual(r, socketauth.Receipt{Sessions: sessions, Sockets: sockets, Nodes: 1})
}

// TestRevokeSession checks that revoking a session ends its sockets, those waiting for a
// confirmation included, and its tokens, and no other session.
func TestRevokeSession(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		other, _ := srv.authenticated()
		a, token := srv.confirmed(srv.code())
		b, token := srv.confirmed(token)
		a.expect(`42["rotated"]`)
		waiting := srv.dial("")
		branch := waiting.offerFor(token).token
		sid := srv.sessionOf(b)
		ended, err := srv.Auth().RevokeSession(srv.Context(), "anna", sid)
		if err != nil || !closed(ended, 1, 3) {
			t.Errorf("%+v, %v", ended, err)
		}
		for _, c := range []*client{a, b, waiting} {
			if u := c.expectRefused("session_revoked"); !u.Terminal {
				t.Error("not terminal")
			}
		}
		for _, token := range []string{token, branch} {
			srv.expectTokenRefused(token, "session_revoked")
			if status, body, _ := srv.get(token); status != 401 || !strings.Contains(body, "session_revoked") {
				t.Errorf("Middleware: %d %s", status, body)
			}
		}
		other.expectAuthenticated()
		if ended, err := srv.Auth().RevokeSession(srv.Context(), "anna", sid); err != nil || !closed(ended, 0, 0) {
			t.Errorf("again: %+v, %v", ended, err)
		}
		for _, none := range [][2]string{{"anna", ""}, {"", sid}} {
			if _, err := srv.Auth().RevokeSession(srv.Context(), none[0], none[1]); err == nil {
				t.Errorf("user %q and session %q were accepted", none[0], none[1])
			}
		}
	})
}

// TestRevokeUser checks that revoking a user ends all their sessions and the codes of before, and
// no login after it.
func TestRevokeUser(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		a, tokenA := srv.authenticated()
		b, _ := srv.confirmed(srv.code())
		unused := srv.code()
		bert, _ := srv.authenticatedAs(claimsOf("bert"))
		time.Sleep(time.Microsecond)
		ended, err := srv.Auth().RevokeUser(srv.Context(), "anna")
		if err != nil || !closed(ended, 2, 2) {
			t.Errorf("%+v, %v", ended, err)
		}
		a.expectRefused("session_revoked")
		b.expectRefused("session_revoked")
		srv.expectTokenRefused(tokenA, "session_revoked")
		srv.expectTokenRefused(unused, "session_revoked")
		bert.expectAuthenticated()
		time.Sleep(time.Microsecond) // in the same second
		c, token := srv.authenticated()
		c.expectAuthenticated()
		c.close()
		srv.confirmed(token)
		if _, err := srv.Auth().RevokeUser(srv.Context(), ""); err == nil {
			t.Error("an empty user ID was accepted")
		}
	})
}

// TestRevokeOthers checks that RevokeOthers leaves one session and ends the user's others, unused
// codes of before included: those may be of a login with the old password.
func TestRevokeOthers(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		mine, _ := srv.authenticated()
		second := srv.dial("")
		second.offerFor(mine.current).confirm()
		second.expectAuthenticated()
		mine.expect(`42["rotated"]`)
		other, token := srv.authenticated()
		bert, _ := srv.authenticatedAs(claimsOf("bert"))
		untraded := srv.code()
		time.Sleep(time.Millisecond)
		ended, err := srv.Auth().RevokeOthers(srv.Context(), "anna", srv.sessionOf(mine))
		if err != nil || !closed(ended, 1, 1) {
			t.Errorf("%+v, %v", ended, err)
		}
		other.expectRefused("session_revoked")
		srv.expectTokenRefused(token, "session_revoked")
		srv.expectTokenRefused(untraded, "session_revoked")
		for _, c := range []*client{mine, second, bert} {
			c.expectAuthenticated()
		}
		srv.confirmed(second.current)
		if ended, err := srv.Auth().RevokeOthers(srv.Context(), "anna", srv.sessionOf(bert)); err != nil || ended.Sessions != 1 {
			t.Errorf("an exception that is another user's: %+v, %v", ended, err)
		}
		mine.expect(`42["rotated"]`)
		mine.expectRefused("session_revoked")
		bert.expectAuthenticated()
		for _, ids := range [][2]string{{"anna", ""}, {"", "x"}} {
			if _, err := srv.Auth().RevokeOthers(srv.Context(), ids[0], ids[1]); err == nil || errors.Is(err, socketauth.ErrUnavailable) {
				t.Errorf("%q: %v", ids, err)
			}
		}
	})
}

// TestRevokeAll checks that RevokeAll ends all sessions and the codes of before, and no login after
// it.
func TestRevokeAll(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		a, token := srv.authenticated()
		bert, _ := srv.authenticatedAs(claimsOf("bert"))
		unused := srv.code()
		unauthenticated := srv.dial("")
		time.Sleep(time.Microsecond)
		ended, err := srv.Auth().RevokeAll(srv.Context())
		if err != nil || !closed(ended, 2, 2) {
			t.Errorf("%+v, %v", ended, err)
		}
		a.expectRefused("session_revoked")
		bert.expectRefused("session_revoked")
		srv.expectTokenRefused(token, "session_revoked")
		srv.expectTokenRefused(unused, "session_revoked")
		time.Sleep(time.Microsecond)
		unauthenticated.authenticate(srv.code())
		unauthenticated.expectToken()
		unauthenticated.expectAuthenticated()
	})
}

// TestRevocationDuringPasswordCheck checks that a revocation while a password is looked at beats
// that login.
func TestRevocationDuringPasswordCheck(t *testing.T) {
	var at, goOn chan struct{}
	withServer(t, func(o *socketauth.Options[string]) {
		at, goOn = make(chan struct{}), make(chan struct{})
		find := o.FindUserByCredentials
		o.FindUserByCredentials = func(ctx context.Context, c socketauth.Credentials) (string, error) {
			close(at)
			<-goOn
			return find(ctx, c)
		}
	}, func(srv *testServer) {
		codes := make(chan string)
		go func() { codes <- srv.loginCode() }()
		<-at
		time.Sleep(time.Millisecond)
		if _, err := srv.Auth().RevokeUser(srv.Context(), "anna"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		close(goOn)
		srv.expectTokenRefused(<-codes, "session_revoked")
	})
}

// TestRevocationRacingPresentation checks that no socket survives a revocation that comes while the
// store decides, before or after its decision, for each kind of presentation and of revocation.
func TestRevocationRacingPresentation(t *testing.T) {
	presentations := map[string]func(srv *testServer) (start func() *client){
		"code": func(srv *testServer) func() *client {
			code := srv.code()
			return func() *client { c := srv.dial(""); c.authenticate(code); return c }
		},
		"code, confirming": func(srv *testServer) func() *client {
			code := srv.code()
			return func() *client {
				c := srv.dial("")
				c.emit("authenticate", map[string]any{"token": code, "confirm": true})
				return c
			}
		},
		"reconnect": func(srv *testServer) func() *client {
			c, token := srv.authenticated()
			c.close()
			synctest.Wait()
			return func() *client { c := srv.dial(""); c.authenticate(token); return c }
		},
		"on a live socket": func(srv *testServer) func() *client {
			c, token := srv.authenticated()
			return func() *client { c.authenticate(token); return c }
		},
	}
	revocations := map[string]func(srv *testServer, sid string) error{
		"session": func(srv *testServer, sid string) error {
			_, err := srv.Auth().RevokeSession(srv.Context(), "anna", sid)
			return err
		},
		"user": func(srv *testServer, _ string) error {
			_, err := srv.Auth().RevokeUser(srv.Context(), "anna")
			return err
		},
		"all": func(srv *testServer, _ string) error { _, err := srv.Auth().RevokeAll(srv.Context()); return err },
	}
	for name, present := range presentations {
		for kind, revoke := range revocations {
			for _, before := range []bool{true, false} {
				t.Run(fmt.Sprint(name, "/", kind, "/before=", before), func(t *testing.T) {
					store := new(faultyStore)
					withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
						start := present(srv)
						time.Sleep(time.Microsecond)
						at, goOn := make(chan struct{}), make(chan struct{})
						var sid string
						store.fail(nil, nil)
						store.seen = func(t blacklist.TokenRef) { sid = t.SessionID }
						block := func(call string) error {
							if call == "Present" {
								close(at)
								<-goOn
							}
							return nil
						}
						if before {
							store.fail(block, nil)
						} else {
							store.fail(nil, block)
						}
						c := start()
						<-at
						store.fail(nil, nil)
						if err := revoke(srv, sid); err != nil {
							t.Fatal(err)
						}
						close(goOn)
						synctest.Wait()
						if n := len(socketauth.Registered(srv.Server.Server)); n != 0 {
							t.Errorf("%d sockets survive", n)
						}
						var last string
						for frame := range c.Packets() {
							if strings.HasPrefix(frame, `42["unauthorized"`) {
								last = frame
							}
						}
						if !strings.Contains(last, "session_revoked") {
							t.Errorf("the last word was %q", last)
						}
						if sessions, err := srv.Auth().Sessions(srv.Context(), "anna"); err != nil || len(sessions) > 0 {
							t.Errorf("%v, %v", sessions, err)
						}
					})
				})
			}
		}
	}
}

// TestRevocationDuringPresentation checks that a session that ends while the store decides lets no
// socket in and leaves none behind.
func TestRevocationDuringPresentation(t *testing.T) {
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		other, token := srv.authenticated()
		time.Sleep(time.Second)
		decided, goOn := make(chan struct{}), make(chan struct{})
		store.fail(nil, func(call string) error {
			if call == "Present" {
				close(decided)
				<-goOn
			}
			return nil
		})
		c := srv.dial("")
		c.authenticate(token)
		<-decided
		store.fail(nil, nil)
		other.expect(`42["rotated"]`)
		other.emit("logout")
		other.expect(`42["logged_out"]`)
		c.expect(`42["logged_out"]`)
		close(goOn)
		c.expectDisconnected()
		synctest.Wait()
		if got := socketauth.Authenticated(srv.Server.Server); len(got) != 0 {
			t.Errorf("%d sockets hear broadcasts", len(got))
		}
	})
}

// TestRevocationDuringOnAuthenticated checks that a revocation ends a socket whose OnAuthenticated
// still runs.
func TestRevocationDuringOnAuthenticated(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		entered := make(chan struct{})
		srv.OnAuthenticated(func(ctx context.Context, s *socketauth.Socket) error {
			close(entered)
			<-ctx.Done()
			return nil
		})
		c := srv.dial("")
		c.authenticate(srv.code())
		<-entered
		time.Sleep(time.Microsecond)
		if ended, err := srv.Auth().RevokeUser(srv.Context(), "anna"); err != nil || ended.Sockets != 1 {
			t.Errorf("%+v, %v", ended, err)
		}
		c.expectRefused("session_revoked")
	})
}

// TestRevocationStoreOutage checks that revoking and listing fail with ErrUnavailable and the cause
// while the store is down, end nothing, and are tried again after a short outage.
func TestRevocationStoreOutage(t *testing.T) {
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		c, _ := srv.authenticated()
		store.fail(storeDown, nil)
		if _, err := srv.Auth().RevokeUser(srv.Context(), "anna"); !errors.Is(err, socketauth.ErrUnavailable) || !errors.Is(err, errStoreDown) {
			t.Error(err)
		}
		if _, err := srv.Auth().Sessions(srv.Context(), "anna"); !errors.Is(err, socketauth.ErrUnavailable) || !errors.Is(err, errStoreDown) {
			t.Error(err)
		}
		c.expectAuthenticated()
		go func() { time.Sleep(time.Second); store.fail(nil, nil) }()
		if ended, err := srv.Auth().RevokeUser(srv.Context(), "anna"); err != nil || ended.Sockets != 1 { // the server retries
			t.Errorf("%+v, %v", ended, err)
		}
		c.expectRefused("session_revoked")
	})
}

// TestRevokeSessionOfAnotherUser checks that who names another user's session ends nothing, is told
// so by the receipt, and is not counted.
func TestRevokeSessionOfAnotherUser(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		c, _ := srv.authenticated()
		sid := srv.sessionOf(c)
		receipt, err := srv.Auth().RevokeSession(srv.Context(), "bob", sid)
		if err != nil || !reflect.DeepEqual(receipt, socketauth.Receipt{}) {
			t.Errorf("%+v, %v", receipt, err)
		}
		if n := srv.Auth().Stats().Revocations; n != 0 {
			t.Errorf("%d revocations are counted", n)
		}
		c.expectAuthenticated()
		if receipt, err := srv.Auth().RevokeSession(srv.Context(), "anna", sid); err != nil || !closed(receipt, 1, 1) {
			t.Errorf("its own: %+v, %v", receipt, err)
		}
	})
}

// TestRevocationsAtOnce checks that of revocations of one session at once each socket is counted by
// one.
func TestRevocationsAtOnce(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		c, _ := srv.authenticated()
		sid := srv.sessionOf(c)
		var sockets, sessions atomic.Int32
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				ended, err := srv.Auth().RevokeSession(srv.Context(), "anna", sid)
				if err != nil {
					t.Error(err)
				}
				sockets.Add(int32(ended.Sockets))
				sessions.Add(int32(ended.Sessions))
			})
		}
		wg.Wait()
		if sockets.Load() != 1 || sessions.Load() != 1 {
			t.Errorf("%d sockets, %d sessions", sockets.Load(), sessions.Load())
		}
	})
}
