package socketauth_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// TestExpiry checks that codes and session tokens are refused after their lifetimes.
func TestExpiry(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.TokenLifetime = time.Minute }, func(srv *testServer) {
		code := srv.code()
		c, token := srv.authenticated()
		time.Sleep(31 * time.Second)
		late := srv.dial("")
		late.authenticate(code)
		late.expectRefused("token_expired")
		c.close()
		time.Sleep(30 * time.Second)
		late = srv.dial("")
		late.authenticate(token)
		late.expectRefused("token_expired")
	})
}

// TestSilenceAfterExpiry checks that a socket whose token has expired is ended: its waiting events
// are not handled, and nothing is sent to it.
func TestSilenceAfterExpiry(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.TokenLifetime = time.Minute }, func(srv *testServer) {
		var handled, ended atomic.Int32
		srv.On("chat", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
			handled.Add(1)
			<-ctx.Done() // a handler outlives the token
			ended.Add(1)
			if err := s.Emit("late"); !errors.Is(err, socketauth.ErrClosed) {
				t.Errorf("emit after expiry: %v", err)
			}
			return nil, nil
		})
		c, _ := srv.authenticated()
		c.emit("chat")
		c.emit("chat") // waits behind the first, and is never handled
		time.Sleep(time.Minute + time.Second)
		c.expectRefused("token_expired")
		if err := srv.Emit("news"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if handled.Load() != 1 || ended.Load() != 1 {
			t.Errorf("%d handled, %d ended", handled.Load(), ended.Load())
		}
	})
}

// TestExpiryOfConfirmedToken checks that a socket lives as long as the last token that it
// confirmed, not as one that it was offered.
func TestExpiryOfConfirmedToken(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.TokenLifetime = time.Minute }, func(srv *testServer) {
		c, token := srv.confirmed(srv.code())
		time.Sleep(58 * time.Second)
		o := c.offerFor(token) // and says nothing
		c.expectRefused("token_expired")
		c, token = srv.confirmed(o.token)
		time.Sleep(58 * time.Second)
		c.offerFor(token).confirm()
		time.Sleep(58 * time.Second)
		c.expectAuthenticated()
	})
}

// TestExpiryOfPresentedToken checks that a socket that presents what another socket of its session
// was given lives as long as that token, though it has not confirmed the next.
func TestExpiryOfPresentedToken(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.TokenLifetime = 10 * time.Second }, func(srv *testServer) {
		c, token := srv.confirmed(srv.code())
		time.Sleep(6 * time.Second)
		_, token = srv.confirmed(token)
		c.expect(`42["rotated"]`)
		time.Sleep(3 * time.Second)
		o := c.offerFor(token)
		time.Sleep(2 * time.Second) // past the end of what it had first
		c.expectAuthenticated()
		o.confirm()
		c.expectAuthenticated()
	})
}

// TestExpiryDuringReauthentication checks that a token does not expire while the store is about to
// replace it, and that nothing is sent to the socket meanwhile.
func TestExpiryDuringReauthentication(t *testing.T) {
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) {
		store.Store = blacklist.NewMemory()
		o.Blacklist = store
		o.TokenLifetime = time.Minute
	}, func(srv *testServer) {
		c, token := srv.authenticated()
		time.Sleep(59 * time.Second)
		store.fail(func(string) error { time.Sleep(2 * time.Second); return nil }, nil)
		c.authenticate(token)
		synctest.Wait()
		time.Sleep(1500 * time.Millisecond) // expired, and not decided yet
		if err := srv.ToUser("anna").Emit("secret"); err != nil {
			t.Error(err)
		}
		token = c.expectToken() // without the secret before it
		c.expectAuthenticated()

		time.Sleep(57 * time.Second)
		store.fail(func(string) error { time.Sleep(2 * time.Second); return errStoreDown }, nil)
		c.authenticate(token)
		c.expectUnauthorized("unavailable")
		c.expectRefused("token_expired")
	})
}

// TestExpiryClockSetBack checks that a socket ends at its token's expiry though the wall clock was
// set back.
func TestExpiryClockSetBack(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.TokenLifetime = time.Hour }, func(srv *testServer) {
		c, _ := srv.authenticated()
		time.Sleep(time.Minute)
		for _, s := range socketauth.Authenticated(srv.Server.Server) {
			socketauth.OnDeadline(s, socketauth.ExpiresAt(s).Add(-time.Second))
			c.expectAuthenticated()
			socketauth.OnDeadline(s, socketauth.ExpiresAt(s)) // as the timer says, though the wall clock shows less
		}
		c.expectRefused("token_expired")
	})
}
