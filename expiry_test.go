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

func TestCodeAndTokenExpire(t *testing.T) {
	inWorld(t, func(o *socketauth.Options[string]) { o.TokenLifetime = time.Minute }, func(w *world) {
		code := w.code()
		c, token := w.in()
		time.Sleep(31 * time.Second)
		late := w.dial("")
		late.authenticate(code)
		late.refusedAndGone("token_expired")
		c.close()
		time.Sleep(30 * time.Second)
		late = w.dial("")
		late.authenticate(token)
		late.refusedAndGone("token_expired")
	})
}

func TestNothingGoesInOrOutAfterExpiry(t *testing.T) {
	inWorld(t, func(o *socketauth.Options[string]) { o.TokenLifetime = time.Minute }, func(w *world) {
		var handled, ended atomic.Int32
		w.On("chat", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
			handled.Add(1)
			<-ctx.Done() // a handler outlives the token
			ended.Add(1)
			if err := s.Emit("late"); !errors.Is(err, socketauth.ErrClosed) {
				t.Errorf("emit after expiry: %v", err)
			}
			return nil, nil
		})
		c, _ := w.in()
		c.emit("chat")
		c.emit("chat") // waits behind the first, and is never handled
		time.Sleep(time.Minute + time.Second)
		c.refusedAndGone("token_expired")
		if err := w.Emit("news"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if handled.Load() != 1 || ended.Load() != 1 {
			t.Errorf("%d handled, %d ended", handled.Load(), ended.Load())
		}
	})
}

func TestExpiryIsThatOfWhatWasConfirmed(t *testing.T) {
	inWorld(t, func(o *socketauth.Options[string]) { o.TokenLifetime = time.Minute }, func(w *world) {
		c, token := w.stays(w.code())
		time.Sleep(58 * time.Second)
		o := c.confirms(token) // and says nothing
		c.refusedAndGone("token_expired")
		c, token = w.stays(o.token)
		time.Sleep(58 * time.Second)
		c.confirms(token).confirm()
		time.Sleep(58 * time.Second)
		c.alive()
	})
}

func TestSocketLivesOnTheTokenThatItHasPresented(t *testing.T) {
	// Guards: a socket that presents what another socket of its session was given lives as long as that, though it has not
	// confirmed the next.
	inWorld(t, func(o *socketauth.Options[string]) { o.TokenLifetime = 10 * time.Second }, func(w *world) {
		c, token := w.stays(w.code())
		time.Sleep(6 * time.Second)
		_, token = w.stays(token)
		c.next(`42["rotated"]`)
		time.Sleep(3 * time.Second)
		o := c.confirms(token)
		time.Sleep(2 * time.Second) // past the end of what it had first
		c.alive()
		o.confirm()
		c.alive()
	})
}

func TestReauthenticationThatBeganInTimeLivesOn(t *testing.T) {
	// Guards: the token must not expire under a store that is about to replace it.
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) {
		store.Store = blacklist.NewMemory()
		o.Blacklist = store
		o.TokenLifetime = time.Minute
	}, func(w *world) {
		c, token := w.in()
		time.Sleep(59 * time.Second)
		store.fail(func(string) error { time.Sleep(2 * time.Second); return nil }, nil)
		c.authenticate(token)
		synctest.Wait()
		time.Sleep(1500 * time.Millisecond) // expired, and not decided yet
		if err := w.ToUser("anna").Emit("secret"); err != nil {
			t.Error(err)
		}
		token = c.token() // without the secret before it
		c.alive()

		time.Sleep(57 * time.Second)
		store.fail(func(string) error { time.Sleep(2 * time.Second); return errStoreDown }, nil)
		c.authenticate(token)
		c.refusedWith("unavailable")
		c.refusedAndGone("token_expired")
	})
}

func TestClockSetBackAndExpiry(t *testing.T) {
	// Guards: a socket stayed past the expiry of its token for as long as the clock was set back by.
	inWorld(t, func(o *socketauth.Options[string]) { o.TokenLifetime = time.Hour }, func(w *world) {
		c, _ := w.in()
		time.Sleep(time.Minute)
		for _, s := range socketauth.Authenticated(w.Server.Server) {
			socketauth.OnDeadline(s, socketauth.ExpiresAt(s).Add(-time.Second))
			c.alive()
			socketauth.OnDeadline(s, socketauth.ExpiresAt(s)) // as the timer says, though the wall clock shows less
		}
		c.refusedAndGone("token_expired")
	})
}
