package socketauth_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

func TestStoreOutage(t *testing.T) {
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		live, token := w.in()
		code := w.code()

		store.fail(down, nil)
		start := time.Now()
		c := w.dial(fmt.Sprintf(`{"token":%q}`, code))
		if u := c.refusedAndGone("unavailable"); u.Terminal || u.RetryAfter < 1 || time.Since(start) > 6*time.Second {
			t.Errorf("after %v: %+v", time.Since(start), u)
		}
		live.authenticate(token)
		live.refusedWith("unavailable")
		live.emit("logout")
		live.refusedWith("unavailable")
		live.alive() // live sockets run on
		if status, body, header := w.get(token); status != 503 || !strings.Contains(body, "unavailable") || header.Get("Retry-After") == "" {
			t.Errorf("middleware: %d %s", status, body)
		}

		failures := 0
		store.fail(func(string) error { // back after a moment: the server has tried again meanwhile
			if failures++; failures < 5 {
				return errStoreDown
			}
			return nil
		}, nil)
		live.authenticate(token)
		token = live.token()

		replies := 0
		store.fail(nil, func(string) error { // the step is done, the reply lost
			if replies++; replies < 3 {
				return errStoreDown
			}
			return nil
		})
		live.authenticate(token)
		token = live.token()
		store.fail(nil, nil)
		live.authenticate(token)
		live.token()
	})
}

func TestSocketHearsNothingWhileTheStoreDecides(t *testing.T) {
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		deciding, goOn := make(chan struct{}), make(chan struct{})
		store.fail(func(string) error { close(deciding); <-goOn; return nil }, nil)
		c := w.dial("")
		c.authenticate(w.code())
		<-deciding
		if n := len(socketauth.Members(w.ToUser("anna"))); n != 1 {
			t.Errorf("%d sockets would be found by a revocation", n)
		}
		if err := w.ToUser("anna").Emit("secret"); err != nil {
			t.Error(err)
		}
		c.silence()
		close(goOn)
		c.token()
	})
}

func TestDecisionThatHasBegunIsWaitedForPastTheDeadline(t *testing.T) {
	// Guards: once the store has the step, its outcome counts: a timeout would cost a plain client its session.
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		c := w.dial("")
		store.fail(func(string) error { time.Sleep(2 * time.Second); return nil }, nil)
		time.Sleep(4 * time.Second)
		c.authenticate(w.code()) // decided a second after the deadline
		c.token()
		c.alive()
	})
}

func TestStoreThatHasLostStateIsLoggedAndNoAlarm(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c := w.dial("")
		c.authenticate(w.foreignToken())
		if u := c.refusedAndGone("no_longer_valid"); !u.Terminal {
			t.Error("not terminal")
		}
		w.logged("lost state")
	})
}

func TestStoreThatIgnoresItsContextKeepsNoSocketConnecting(t *testing.T) {
	// Guards: a call that never comes back must not keep a stranger's place for ever, nor leave its client without a word.
	for _, call := range []string{"Present", "Confirm", "Revoke"} {
		store := new(faultyStore)
		inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
			friend, token := w.in()
			c := w.dial("")
			goOn := make(chan struct{})
			store.fail(func(name string) error {
				if name == call {
					<-goOn
					return errStoreDown
				}
				return nil
			}, nil)
			began := time.Now()
			switch call {
			case "Present":
				c.authenticate(token)
			case "Confirm":
				c.confirms(token).confirm()
			case "Revoke":
				c.emit("logout", token)
			}
			if u := c.refusedAndGone("unavailable"); u.Terminal || u.RetryAfter == 0 {
				t.Errorf("%s: %+v", call, u)
			}
			if d := time.Since(began); d > 11*time.Second {
				t.Errorf("%s: after %v", call, d)
			}
			synctest.Wait()
			if n := w.Auth().Stats().Sockets["4"]; n.Connecting != 0 || n.Authenticated != 1 {
				t.Errorf("%s: %+v", call, n)
			}
			friend.alive()
			store.fail(nil, nil)
			close(goOn)
		})
	}
}

func TestNothingIsConsumedForAClientThatGaveUpOnAnOutage(t *testing.T) {
	// Guards: the step of a socket that has ended must not be taken once the store is back: its client comes back with
	// the very token.
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		c, token := w.in()
		c.close()
		store.fail(down, nil)
		c = w.dial("")
		c.authenticate(token)
		time.Sleep(time.Second)
		c.close()
		time.Sleep(time.Second)
		store.fail(nil, nil)
		time.Sleep(time.Second)
		c = w.dial("")
		c.authenticate(token)
		c.token()
	})
}

func TestClientThatLeavesDuringItsPresentationLeavesNothingBehind(t *testing.T) {
	// Guards: a socket that joins its session's group after it has ended must leave it again.
	var minting, gone chan struct{}
	inWorld(t, func(o *socketauth.Options[string]) {
		minting, gone = make(chan struct{}, 1), make(chan struct{}) // in the bubble, as all that is waited for
		o.Refresh = func(_ context.Context, c jwt.MapClaims) (string, error) {
			minting <- struct{}{}
			<-gone
			return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(testSecret)
		}
	}, func(w *world) {
		c := w.dial("")
		c.authenticate(w.code())
		<-minting
		c.close()
		synctest.Wait()
		close(gone)
		synctest.Wait()
		if !socketauth.HubEmpty(w.Server.Server) {
			t.Error("the hub remembers it")
		}
	})
}
