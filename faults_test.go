package socketauth

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/blacklist"
)

func TestPanicsInHooksFailOneRequestAlone(t *testing.T) {
	var where atomic.Value
	where.Store("")
	maybe := func(hook string) {
		if where.Load() == hook {
			panic("a bug in " + hook)
		}
	}
	store := new(faultyStore)
	inWorld(t, func(o *Options[string]) {
		store.Store = blacklist.NewMemory()
		o.Blacklist = store
		o.Secret = nil
		key := Key{Method: jwt.SigningMethodHS256, Sign: testSecret, Verify: testSecret}
		o.KeyFunc = func(_ context.Context, t *jwt.Token) (Key, error) {
			if t.Raw != "" {
				maybe("KeyFunc")
			}
			return key, nil
		}
		o.TenantID = func(context.Context, jwt.MapClaims) (string, error) { maybe("TenantID"); return "t", nil }
		o.Refresh = func(_ context.Context, c jwt.MapClaims) (string, error) {
			maybe("Refresh")
			return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(testSecret)
		}
	}, func(w *world) {
		w.OnAuthenticated(func(context.Context, *Socket) error { maybe("OnAuthenticated"); return nil })
		w.OnDisconnect(func(context.Context, *Socket, string) { maybe("OnDisconnect") })
		w.On("boom", func(context.Context, *Socket, Args) (any, error) { maybe("handler of boom"); return "fine", nil })
		store.fail(func(string) error { maybe("Blacklist"); return nil }, nil)
		bystander, _ := w.in()
		for hook, code := range map[string]string{
			"KeyFunc": "server_error", "TenantID": "server_error", "Refresh": "server_error", "OnAuthenticated": "server_error", "Blacklist": "unavailable",
		} {
			token := w.code()
			where.Store(hook)
			c := w.dial("")
			c.authenticate(token)
			c.refusedAndGone(code)
			where.Store("")
			w.logged("a bug in " + hook)
			c = w.dial("")
			c.authenticate(token)
			c.token()
			c.close()
		}
		where.Store("handler of boom")
		if got := bystander.ask("boom"); got != `[{"error":{"code":"server_error"}}]` {
			t.Errorf("got %s", got)
		}
		where.Store("OnDisconnect")
		other, _ := w.in()
		other.close()
		synctest.Wait()
		w.logged("a bug in OnDisconnect")
		w.logged("goroutine ")
		where.Store("")
		if got := bystander.ask("boom"); got != `["fine"]` {
			t.Errorf("got %s", got)
		}
	})
}

func TestClientThatLeavesDuringItsPresentationLeavesNothingBehind(t *testing.T) {
	// Guards: a socket that joins its session's group after it has ended must leave it again.
	var minting, gone chan struct{}
	inWorld(t, func(o *Options[string]) {
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
		if !w.hub.Empty() {
			t.Error("the hub remembers it")
		}
	})
}

func TestNoSocketGetsInPastOnAuthenticated(t *testing.T) {
	// Guards: where the store cannot say beforehand whether the token is good, the socket is not let in unseen.
	store := new(faultyStore)
	inWorld(t, func(o *Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		var called, left atomic.Int32
		w.OnAuthenticated(func(context.Context, *Socket) error { called.Add(1); return nil })
		w.OnDisconnect(func(context.Context, *Socket, string) { left.Add(1) })
		failing := func(which string) func(string) error {
			return func(call string) error {
				if call == which {
					return errStoreDown
				}
				return nil
			}
		}
		store.fail(failing("Check"), nil)
		c := w.dial("")
		c.authenticate(w.code())
		c.refusedAndGone("unavailable")
		synctest.Wait()
		if called.Load() != 0 || left.Load() != 0 {
			t.Errorf("called %d times, left %d", called.Load(), left.Load())
		}
		store.fail(failing("Present"), nil)
		c = w.dial("")
		c.authenticate(w.code())
		c.refusedAndGone("unavailable")
		synctest.Wait()
		if called.Load() != 1 || left.Load() != 1 {
			t.Errorf("let in by the app, not by the store: called %d times, left %d", called.Load(), left.Load())
		}
	})
}

func TestSocketHearsNothingWhileTheStoreDecides(t *testing.T) {
	store := new(faultyStore)
	inWorld(t, func(o *Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		deciding, goOn := make(chan struct{}), make(chan struct{})
		store.fail(func(string) error { close(deciding); <-goOn; return nil }, nil)
		c := w.dial("")
		c.authenticate(w.code())
		<-deciding
		if n := len(w.hub.Members(user("anna"))); n != 1 {
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

func TestStoreOutage(t *testing.T) {
	store := new(faultyStore)
	inWorld(t, func(o *Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
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

func TestReuseIsNoticedThoughItsSocketHangsUp(t *testing.T) {
	// Guards: a thief that presents and hangs up at once must not keep the alarm from the owner's sockets.
	store := new(faultyStore)
	inWorld(t, func(o *Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		owner, token := w.in()
		owner.authenticate(token)
		owner.token()
		time.Sleep(time.Minute)
		thief := w.dial("")
		decided, gone := make(chan struct{}), make(chan struct{})
		var once sync.Once
		store.fail(nil, func(string) (err error) { // decided, but the reply is lost
			once.Do(func() { close(decided); <-gone; err = errStoreDown })
			return err
		})
		thief.authenticate(token)
		<-decided
		thief.close()
		synctest.Wait()
		close(gone)
		owner.refusedAndGone("token_reused")
		time.Sleep(time.Second)
		w.logged("two clients have had the token")
	})
}

func TestReuseIsNoticedThoughTheStoreFailedAndItsSocketHungUp(t *testing.T) {
	// Guards: nothing was decided by the call that failed, and the thief has gone, but its token was dead already.
	store := new(faultyStore)
	inWorld(t, func(o *Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		owner, token := w.stays(w.code())
		owner.confirms(token).confirm()
		owner.alive()
		time.Sleep(time.Minute)
		thief := w.dial("")
		decided, gone := make(chan struct{}), make(chan struct{})
		var once sync.Once
		store.fail(func(string) (err error) {
			once.Do(func() { close(decided); <-gone; err = errStoreDown })
			return err
		}, nil)
		thief.authenticate(token)
		<-decided
		thief.close()
		synctest.Wait()
		close(gone)
		owner.refusedAndGone("token_reused")
		time.Sleep(time.Second)
		w.logged("two clients have had the token")
	})
}

func TestNothingIsConsumedForAClientThatGaveUpOnAnOutage(t *testing.T) {
	// Guards: the step of a socket that has ended must not be taken once the store is back: its client comes back with
	// the very token.
	store := new(faultyStore)
	inWorld(t, func(o *Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
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

func TestReauthenticationThatBeganInTimeLivesOn(t *testing.T) {
	// Guards: the token must not expire under a store that is about to replace it.
	store := new(faultyStore)
	inWorld(t, func(o *Options[string]) {
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

func TestRevocationDuringThePresentationIsFound(t *testing.T) {
	// Guards: a session that ends while the store decides must not let the socket in, nor leave it behind.
	store := new(faultyStore)
	inWorld(t, func(o *Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		other, token := w.in()
		time.Sleep(time.Second)
		decided, goOn := make(chan struct{}), make(chan struct{})
		store.fail(nil, func(call string) error {
			if call == "Present" {
				close(decided)
				<-goOn
			}
			return nil
		})
		c := w.dial("")
		c.authenticate(token)
		<-decided
		store.fail(nil, nil)
		other.next(`42["rotated"]`)
		other.emit("logout")
		other.next(`42["logged_out"]`)
		c.next(`42["logged_out"]`)
		close(goOn)
		c.gone()
		synctest.Wait()
		if got := w.hub.Members(everyone); len(got) != 0 {
			t.Errorf("%d sockets hear broadcasts", len(got))
		}
	})
}

func TestDecisionThatHasBegunIsWaitedForPastTheDeadline(t *testing.T) {
	// Guards: once the store has the step, its outcome counts: a timeout would cost a plain client its session.
	store := new(faultyStore)
	inWorld(t, func(o *Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
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
		stranger, err := New(Options[any]{Secret: testSecret})
		if err != nil {
			t.Fatal(err)
		}
		code, err := stranger.tokens.code(w.Context(), jwt.MapClaims{"sub": "anna"}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		token, err := stranger.tokens.successor(w.Context(), code)
		if err != nil {
			t.Fatal(err)
		}
		c := w.dial("")
		c.authenticate(token.Text)
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
		inWorld(t, func(o *Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
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
