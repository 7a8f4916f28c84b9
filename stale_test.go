package socketauth_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/sharedtest"
	"github.com/z-open/socketauth/internal/siotest"
)

func maxStale(o *socketauth.Options[string]) { o.Cluster.MaxStale = 4 * time.Second }

// wantStale checks what Stats says of the store.
func (srv *testServer) wantStale(disconnected uint64, silence time.Duration) {
	srv.Helper()
	s := srv.Auth().Stats()
	if s.Stale != disconnected || (s.Store.Silence-silence).Abs() > 2*sharedtest.Poll {
		srv.Errorf("Stats: %d sockets disconnected, want %d; silence %v, want about %v", s.Stale, disconnected, s.Store.Silence, silence)
	}
}

// TestMaxStale checks that a process that cannot hear the store disconnects its sockets in time,
// and in such a way that clients of each engine reconnect by themselves; that nobody can
// authenticate meanwhile, of which nobody's token is consumed; and that all goes on once the store
// is heard again.
func TestMaxStale(t *testing.T) {
	for _, version := range []string{"3", "4"} {
		for _, transport := range siotest.Transports {
			t.Run(version+" "+transport, func(t *testing.T) {
				reasons := make(chan string, 10)
				withShared(t, 0, maxStale, func(srv *testServer, store *sharedtest.Store) {
					srv.OnDisconnect(func(_ context.Context, _ *socketauth.Socket, reason string) { reasons <- reason })
					c, token := srv.authenticated()
					other := srv.dial("")
					waiting := other.offerFor(srv.code())
					time.Sleep(time.Minute)
					other.expectRefused("timeout") // it had its time, and the store was heard for all of it
					raw := srv.rawAuthenticated(version, transport, "anna")
					other = srv.dial("")
					waiting = other.offerFor(waiting.token)
					c.expectAuthenticated()
					srv.wantStale(0, 0)

					store.Mute.Store(true)
					time.Sleep(3500 * time.Millisecond)
					c.expectAuthenticated()
					srv.wantStale(0, 3500*time.Millisecond)
					time.Sleep(1200 * time.Millisecond)
					c.expectClosed() // without a packet that says that the server has disconnected it
					other.expectClosed()
					for { // until it is polled no more, or the websocket is closed
						frame, err := raw.Read()
						if err != nil {
							break
						}
						if strings.HasPrefix(frame, "4") {
							t.Fatalf("%q before the end", frame)
						}
					}
					if reason := <-reasons + " " + <-reasons; reason != "stale stale" {
						t.Errorf("OnDisconnect: %s", reason)
					}
					srv.wantStale(3, 4700*time.Millisecond)
					srv.expectLogged("was not heard for longer than Cluster.MaxStale")

					u := srv.expectTokenRefused(token, "unavailable")
					if u.Terminal || u.RetryAfter == 0 {
						t.Errorf("%+v", u)
					}
					srv.expectTokenRefused(waiting.token, "unavailable")
					srv.expectTokenRefused(srv.code(), "unavailable")
					if status, _, _ := srv.get(token); status != 200 {
						t.Errorf("Middleware, which asks the store, answered %d", status)
					}

					store.Mute.Store(false)
					time.Sleep(time.Second)
					c = srv.dial("")
					c.authenticate(token)
					c.expectToken()
					c.expectAuthenticated()
					srv.confirmed(waiting.token)
					srv.wantStale(3, 0)
					srv.expectLogged("clients can authenticate again")
				})
			})
		}
	}
}

// TestMaxStaleBeforeHandlers checks that no event goes in or out from the moment at which the store
// was not heard for MaxStale, also if no timer has noticed that yet, as after a SIGSTOP.
func TestMaxStaleBeforeHandlers(t *testing.T) {
	var handled atomic.Int32
	withShared(t, 0, maxStale, func(srv *testServer, store *sharedtest.Store) {
		srv.On("event", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) {
			handled.Add(1)
			return nil, nil
		})
		c, s := srv.authenticatedSocket(claimsOf("anna"))
		time.Sleep(time.Minute)
		store.Mute.Store(true)
		silence := func() time.Duration { return srv.Auth().Stats().Store.Silence }
		time.Sleep(4*time.Second - silence())
		c.call("event")
		if n := handled.Load(); n != 1 || !socketauth.Live(s) {
			t.Fatalf("called %d times until the store is stale; live: %v", n, socketauth.Live(s))
		}
		time.Sleep(time.Millisecond)
		if err := s.Emit("late"); !errors.Is(err, socketauth.ErrClosed) {
			t.Errorf("Emit: %v", err)
		}
		if err := srv.Emit("late"); err != nil {
			t.Error(err)
		}
		c.send(`421["event"]`)
		c.expectClosed()
		if n := handled.Load(); n != 1 {
			t.Errorf("the handler was called %d times", n)
		}
	})
}

// TestMaxStaleQueuedHandler checks that events that wait for a handler are not handled once the
// store is stale.
func TestMaxStaleQueuedHandler(t *testing.T) {
	var handled atomic.Int32
	withShared(t, 0, maxStale, func(srv *testServer, store *sharedtest.Store) {
		goOn := make(chan struct{})
		srv.On("event", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) {
			handled.Add(1)
			<-goOn
			return nil, nil
		})
		c, _ := srv.authenticated()
		c.emit("event")
		c.send(`421["event"]`) // an answer would come before the end
		synctest.Wait()
		store.Mute.Store(true)
		time.Sleep(4*time.Second + time.Millisecond)
		close(goOn)
		c.expectClosed()
		if n := handled.Load(); n != 1 {
			t.Errorf("the handler was called %d times", n)
		}
	})
}

// TestMaxStaleGap checks that a gap counts as silence until each session was looked up, however
// alive the subscription is, and no longer.
func TestMaxStaleGap(t *testing.T) {
	withShared(t, 0, maxStale, func(srv *testServer, store *sharedtest.Store) {
		c, _ := srv.authenticated()
		time.Sleep(time.Minute)
		store.Down.Store(true)
		store.Mute.Store(true)
		time.Sleep(time.Second)
		store.Mute.Store(false) // which is a Gap, of which nothing can be looked up
		time.Sleep(2 * time.Second)
		c.expectAuthenticated()
		srv.wantStale(0, 3*time.Second)
		time.Sleep(2 * time.Second)
		c.expectClosed()
		store.Down.Store(false)
		time.Sleep(5 * time.Second)
		srv.wantStale(1, 0)

		c, _ = srv.authenticated()
		time.Sleep(time.Minute)
		store.Mute.Store(true)
		time.Sleep(3 * time.Second)
		store.Mute.Store(false)
		time.Sleep(time.Minute)
		c.expectAuthenticated()
		srv.wantStale(1, 0)
	})
}

// TestMaxStaleRacingPresentation checks that nobody is let in whose presentation was under way when
// the sockets were disconnected.
func TestMaxStaleRacingPresentation(t *testing.T) {
	var at, goOn chan struct{}
	var hold atomic.Bool
	withShared(t, 0, func(o *socketauth.Options[string]) {
		maxStale(o)
		at, goOn = make(chan struct{}), make(chan struct{})
		o.TenantID = func(context.Context, jwt.MapClaims) (string, error) {
			if hold.Swap(false) {
				close(at)
				<-goOn
			}
			return "tenant", nil
		}
	}, func(srv *testServer, store *sharedtest.Store) {
		_, token := srv.authenticated()
		store.Mute.Store(true)
		time.Sleep(3 * time.Second)
		hold.Store(true)
		c := srv.dial(fmt.Sprintf(`{"token":%q}`, token))
		<-at
		time.Sleep(1500 * time.Millisecond)
		close(goOn)
		c.expectRefused("unavailable")
		store.Mute.Store(false)
		time.Sleep(time.Second)
		srv.dial(fmt.Sprintf(`{"token":%q}`, token)).expectToken()
	})
}

// TestMaxStaleNeverHeard checks that a store that processes share has to be heard from the start.
func TestMaxStaleNeverHeard(t *testing.T) {
	withShared(t, 0, func(o *socketauth.Options[string]) {
		maxStale(o)
		o.Blacklist.(*sharedtest.Store).Mute.Store(true)
	}, func(srv *testServer, _ *sharedtest.Store) {
		c, _ := srv.authenticated()
		time.Sleep(5 * time.Second)
		c.expectClosed()
		srv.expectTokenRefused(srv.code(), "unavailable")
		srv.wantStale(1, 5*time.Second)
	})
}

// TestSharedStoreWithoutClock checks that a store is logged, once, that processes seem to share and
// that has no clock, as one that was wrapped carelessly.
func TestSharedStoreWithoutClock(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) {
		o.Blacklist = struct{ blacklist.Store }{sharedtest.New(0).Open(0)}
	}, func(srv *testServer) {
		time.Sleep(time.Hour)
		srv.expectLogged("is no blacklist.Clock")
		if n := strings.Count(srv.logs.String(), "is no blacklist.Clock"); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
	withShared(t, 0, nil, func(srv *testServer, _ *sharedtest.Store) {
		time.Sleep(time.Hour)
		if strings.Contains(srv.logs.String(), "is no blacklist.Clock") {
			t.Error("a store that has a clock is logged")
		}
	})
}

// TestMaxStaleWithoutShares checks that MaxStale does nothing with a store of one process, which
// has nothing to tell, and that without MaxStale nobody is disconnected by a shared one.
func TestMaxStaleWithoutShares(t *testing.T) {
	withServer(t, maxStale, func(srv *testServer) {
		c, _ := srv.authenticated()
		time.Sleep(time.Hour)
		c.expectAuthenticated()
		srv.wantStale(0, 0)
	})
	// A store of one process whose Watch fails once is still one.
	var calls atomic.Int32
	store := &sharedStore{watch: func(ctx context.Context) error {
		if calls.Add(1) == 1 {
			return errStoreDown
		}
		<-ctx.Done()
		return nil
	}}
	withServer(t, func(o *socketauth.Options[string]) {
		maxStale(o)
		store.Store = blacklist.NewMemory()
		o.Blacklist = store
	}, func(srv *testServer) {
		c, _ := srv.authenticated()
		time.Sleep(time.Hour)
		c.expectAuthenticated()
		srv.wantStale(0, 0)
	})
	withShared(t, 0, nil, func(srv *testServer, store *sharedtest.Store) {
		store.Mute.Store(true)
		c, _ := srv.authenticated()
		time.Sleep(time.Hour)
		c.expectAuthenticated()
		srv.wantStale(0, time.Hour)
	})
}

// TestSilenceLogged checks that a process that does not hear the store says so, with the store's
// reason if it has one, also without MaxStale, and that it says when it hears it again.
func TestSilenceLogged(t *testing.T) {
	for cause, down := range map[string]bool{"the store is down": true, "it answers, but does not say": false} {
		t.Run(cause, func(t *testing.T) {
			withShared(t, 0, nil, func(srv *testServer, store *sharedtest.Store) {
				time.Sleep(time.Minute)
				store.Mute.Store(true)
				store.Down.Store(down)
				time.Sleep(2500 * time.Millisecond)
				srv.expectNotLogged("the blacklist is")
				time.Sleep(1500 * time.Millisecond)
				srv.expectLogged("the blacklist is not heard")
				srv.expectLogged(cause)
				srv.expectNotLogged("heard again")
				store.Mute.Store(false)
				store.Down.Store(false)
				time.Sleep(2 * time.Second)
				srv.expectLogged("the blacklist is heard again")
			})
		})
	}
}

// expectNotLogged checks that the log does not contain part once all goroutines wait.
func (srv *testServer) expectNotLogged(part string) {
	srv.Helper()
	synctest.Wait()
	if text := srv.logs.String(); strings.Contains(text, part) {
		srv.Errorf("the log says %q:\n%s", part, text)
	}
}
