package socketauth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

func TestRevokeSessionEndsItEverywhere(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		other, _ := w.in()
		a, token := w.stays(w.code())
		b, token := w.stays(token)
		a.next(`42["rotated"]`)
		waiting := w.dial("")
		branch := waiting.confirms(token).token
		sid := w.sessionOf(b)
		ended, err := w.Auth().RevokeSession(w.Context(), sid)
		if err != nil || ended != (socketauth.Ended{Sessions: 1, Sockets: 3}) {
			t.Errorf("%+v, %v", ended, err)
		}
		for _, c := range []*client{a, b, waiting} {
			if u := c.refusedAndGone("session_revoked"); !u.Terminal {
				t.Error("not terminal")
			}
		}
		for _, token := range []string{token, branch} {
			w.refuses(token, "session_revoked")
			if status, body, _ := w.get(token); status != 401 || !strings.Contains(body, "session_revoked") {
				t.Errorf("Middleware: %d %s", status, body)
			}
		}
		other.alive()
		if ended, err := w.Auth().RevokeSession(w.Context(), sid); err != nil || ended != (socketauth.Ended{}) {
			t.Errorf("again: %+v, %v", ended, err)
		}
		if _, err := w.Auth().RevokeSession(w.Context(), ""); err == nil {
			t.Error("no session is no session")
		}
	})
}

func TestRevokeUserEndsTheirSessionsAndTheLoginsOfBefore(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, tokenA := w.in()
		b, _ := w.stays(w.code())
		unused := w.code()
		bert, _ := w.inAs(claimsOf("bert"))
		time.Sleep(time.Microsecond)
		ended, err := w.Auth().RevokeUser(w.Context(), "anna")
		if err != nil || ended != (socketauth.Ended{Sessions: 2, Sockets: 2}) {
			t.Errorf("%+v, %v", ended, err)
		}
		a.refusedAndGone("session_revoked")
		b.refusedAndGone("session_revoked")
		w.refuses(tokenA, "session_revoked")
		w.refuses(unused, "session_revoked")
		bert.alive()
		time.Sleep(time.Microsecond) // in the same second
		c, token := w.in()
		c.alive()
		c.close()
		w.stays(token)
		if _, err := w.Auth().RevokeUser(w.Context(), ""); err == nil {
			t.Error("nobody is no user")
		}
	})
}

func TestRevokeOthersLeavesOneSessionAlone(t *testing.T) {
	// Guards: logging out session by session leaves the login with the old password that has not traded its code yet.
	inWorld(t, nil, func(w *world) {
		mine, _ := w.in()
		second := w.dial("")
		second.confirms(mine.current).confirm()
		second.alive()
		mine.next(`42["rotated"]`)
		other, token := w.in()
		bert, _ := w.inAs(claimsOf("bert"))
		untraded := w.code()
		time.Sleep(time.Millisecond)
		ended, err := w.Auth().RevokeOthers(w.Context(), "anna", w.sessionOf(mine))
		if err != nil || ended != (socketauth.Ended{Sessions: 1, Sockets: 1}) {
			t.Errorf("%+v, %v", ended, err)
		}
		other.refusedAndGone("session_revoked")
		w.refuses(token, "session_revoked")
		w.refuses(untraded, "session_revoked")
		for _, c := range []*client{mine, second, bert} {
			c.alive()
		}
		w.stays(second.current)
		if ended, err := w.Auth().RevokeOthers(w.Context(), "anna", w.sessionOf(bert)); err != nil || ended.Sessions != 1 {
			t.Errorf("an exception that is another user's: %+v, %v", ended, err)
		}
		mine.next(`42["rotated"]`)
		mine.refusedAndGone("session_revoked")
		bert.alive()
		for _, ids := range [][2]string{{"anna", ""}, {"", "x"}} {
			if _, err := w.Auth().RevokeOthers(w.Context(), ids[0], ids[1]); err == nil || errors.Is(err, socketauth.ErrUnavailable) {
				t.Errorf("%q: %v", ids, err)
			}
		}
	})
}

func TestRevokeAllEndsAll(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, token := w.in()
		bert, _ := w.inAs(claimsOf("bert"))
		unused := w.code()
		stranger := w.dial("")
		time.Sleep(time.Microsecond)
		ended, err := w.Auth().RevokeAll(w.Context())
		if err != nil || ended != (socketauth.Ended{Sessions: 2, Sockets: 2}) {
			t.Errorf("%+v, %v", ended, err)
		}
		a.refusedAndGone("session_revoked")
		bert.refusedAndGone("session_revoked")
		w.refuses(token, "session_revoked")
		w.refuses(unused, "session_revoked")
		time.Sleep(time.Microsecond)
		stranger.authenticate(w.code())
		stranger.token()
		stranger.alive()
	})
}

func TestLoginWhosePasswordWasCheckedBeforeTheRevocationIsDead(t *testing.T) {
	// Guards: auth_time is from before the look-up, so that a revocation during it wins.
	var at, goOn chan struct{}
	inWorld(t, func(o *socketauth.Options[string]) {
		at, goOn = make(chan struct{}), make(chan struct{})
		find := o.FindUserByCredentials
		o.FindUserByCredentials = func(ctx context.Context, c socketauth.Credentials) (string, error) {
			close(at)
			<-goOn
			return find(ctx, c)
		}
	}, func(w *world) {
		codes := make(chan string)
		go func() { codes <- w.login() }()
		<-at
		time.Sleep(time.Millisecond)
		if _, err := w.Auth().RevokeUser(w.Context(), "anna"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		close(goOn)
		w.refuses(<-codes, "session_revoked")
	})
}

func TestRevocationThatRacesAPresentationLeavesNoSurvivor(t *testing.T) {
	// Guards: a socket is registered before the store decides and looks again after it. Both orders are forced, by a store
	// that blocks before and after its decision, for each kind of presentation and of revocation.
	presentations := map[string]func(w *world) (start func() *client){
		"code": func(w *world) func() *client {
			code := w.code()
			return func() *client { c := w.dial(""); c.authenticate(code); return c }
		},
		"code, confirming": func(w *world) func() *client {
			code := w.code()
			return func() *client {
				c := w.dial("")
				c.emit("authenticate", map[string]any{"token": code, "confirm": true})
				return c
			}
		},
		"reconnect": func(w *world) func() *client {
			c, token := w.in()
			c.close()
			synctest.Wait()
			return func() *client { c := w.dial(""); c.authenticate(token); return c }
		},
		"on a live socket": func(w *world) func() *client {
			c, token := w.in()
			return func() *client { c.authenticate(token); return c }
		},
	}
	revocations := map[string]func(w *world, sid string) error{
		"session": func(w *world, sid string) error { _, err := w.Auth().RevokeSession(w.Context(), sid); return err },
		"user":    func(w *world, _ string) error { _, err := w.Auth().RevokeUser(w.Context(), "anna"); return err },
		"all":     func(w *world, _ string) error { _, err := w.Auth().RevokeAll(w.Context()); return err },
	}
	for name, present := range presentations {
		for kind, revoke := range revocations {
			for _, before := range []bool{true, false} {
				t.Run(fmt.Sprint(name, "/", kind, "/before=", before), func(t *testing.T) {
					store := new(faultyStore)
					inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
						start := present(w)
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
						if err := revoke(w, sid); err != nil {
							t.Fatal(err)
						}
						close(goOn)
						synctest.Wait()
						if n := len(socketauth.Registered(w.Server.Server)); n != 0 {
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
						if sessions, err := w.Auth().Sessions(w.Context(), "anna"); err != nil || len(sessions) > 0 {
							t.Errorf("%v, %v", sessions, err)
						}
					})
				})
			}
		}
	}
}

func TestRevocationDuringThePresentationIsFound(t *testing.T) {
	// Guards: a session that ends while the store decides must not let the socket in, nor leave it behind.
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
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
		if got := socketauth.Authenticated(w.Server.Server); len(got) != 0 {
			t.Errorf("%d sockets hear broadcasts", len(got))
		}
	})
}

func TestRevocationDuringOnAuthenticatedEndsTheSocket(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		entered := make(chan struct{})
		w.OnAuthenticated(func(ctx context.Context, s *socketauth.Socket) error {
			close(entered)
			<-ctx.Done()
			return nil
		})
		c := w.dial("")
		c.authenticate(w.code())
		<-entered
		time.Sleep(time.Microsecond)
		if ended, err := w.Auth().RevokeUser(w.Context(), "anna"); err != nil || ended.Sockets != 1 {
			t.Errorf("%+v, %v", ended, err)
		}
		c.refusedAndGone("session_revoked")
	})
}

func TestRevocationWhileTheStoreIsDown(t *testing.T) {
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		c, _ := w.in()
		store.fail(down, nil)
		if _, err := w.Auth().RevokeUser(w.Context(), "anna"); !errors.Is(err, socketauth.ErrUnavailable) || !errors.Is(err, errStoreDown) {
			t.Error(err)
		}
		if _, err := w.Auth().Sessions(w.Context(), "anna"); !errors.Is(err, socketauth.ErrUnavailable) || !errors.Is(err, errStoreDown) {
			t.Error(err)
		}
		c.alive()
		go func() { time.Sleep(time.Second); store.fail(nil, nil) }()
		if ended, err := w.Auth().RevokeUser(w.Context(), "anna"); err != nil || ended.Sockets != 1 { // it is asked again
			t.Errorf("%+v, %v", ended, err)
		}
		c.refusedAndGone("session_revoked")
	})
}

func TestRevocationsAtOnceCountEachSocketOnce(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c, _ := w.in()
		sid := w.sessionOf(c)
		var sockets, sessions atomic.Int32
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				ended, err := w.Auth().RevokeSession(w.Context(), sid)
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
