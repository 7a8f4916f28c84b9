package socketauth_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// expectFull checks that no further connection is accepted.
func (srv *testServer) expectFull() {
	srv.Helper()
	c, err := srv.dialEngine("4", "websocket", "")
	if err == nil {
		_ = c.Close()
		srv.Error("a connection past the limit was accepted")
		return
	}
	if !strings.Contains(err.Error(), "503") {
		srv.Error(err)
	}
}

// expectLimited checks how often a limit has refused something.
func (srv *testServer) expectLimited(name string, want uint64) {
	srv.Helper()
	if got := srv.Auth().Stats().Limited[name]; got != want {
		srv.Errorf("%s: %d were refused, want %d", name, got, want)
	}
}

// TestLimitSockets checks that Limits.Sockets refuses further connections, and that this is
// counted, and logged once a minute.
func TestLimitSockets(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.Limits.Sockets = 2 }, func(srv *testServer) {
		a, _ := srv.authenticated()
		b, _ := srv.authenticated()
		srv.expectFull()
		srv.expectFull()
		srv.expectLimited("sockets", 2)
		if n := strings.Count(srv.logs.String(), "limit=sockets"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		time.Sleep(time.Minute)
		srv.expectFull()
		srv.expectLogged("more_since_last=1")
		a.expectAuthenticated()
		b.close()
		synctest.Wait()
		srv.authenticated()
	})
}

// TestLimitUnauthenticated checks that at Limits.Unauthenticated the oldest unauthenticated
// connection is closed for a new one, so that nobody can keep others out, and that authenticated
// ones stay.
func TestLimitUnauthenticated(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.Limits.Unauthenticated = 2 }, func(srv *testServer) {
		code := srv.code()
		authenticated, _ := srv.authenticated()
		first := srv.dial("") // joined the namespace; the next two have not
		second := srv.connect()
		third := srv.connect()
		first.expectClosed() // without a packet, so that its client reconnects
		srv.dial("")
		second.expectClosed()
		srv.expectLimited("unauthenticated", 2)
		srv.expectLogged("limit=unauthenticated")
		if n := strings.Count(srv.logs.String(), "limit=unauthenticated"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		c := srv.dial("")
		third.expectClosed()
		c.authenticate(code)
		c.expectToken() // and is authenticated
		for range 3 {
			srv.connect()
		}
		c.expectAuthenticated()
		authenticated.expectAuthenticated()
	})
}

// TestLimitUnauthenticatedAfterLeaving checks that a connection whose socket has left counts as
// unauthenticated again.
func TestLimitUnauthenticatedAfterLeaving(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.Limits.Unauthenticated, o.Limits.SocketsPerUser = 2, 3 }, func(srv *testServer) {
		var left []*client
		for range 4 {
			c, _ := srv.authenticated()
			c.send("41")
			synctest.Wait()
			left = append(left, c)
		}
		left[0].expectClosed()
		left[1].expectClosed()
		srv.expectLimited("unauthenticated", 2)
		if n := srv.Auth().Stats().Sockets["4"]; n.Connecting != 2 || n.Authenticated != 0 {
			t.Errorf("%+v", n)
		}
		c := left[3]
		c.send("40") // the same client may join again
		c.expect("40")
		c.authenticate(srv.code())
		c.expectToken()
		synctest.Wait()
		if n := srv.Auth().Stats().Sockets["4"]; n.Connecting != 1 || n.Authenticated != 1 {
			t.Errorf("%+v", n)
		}
		srv.connect()
		srv.connect()
		left[2].expectClosed()
		c.expectAuthenticated()
	})
}

// TestLimitUnauthenticatedDuringPresentation checks that a connection is not closed for a new one
// while the store decides on its token: a client that does not confirm would lose its session with
// the answer.
func TestLimitUnauthenticatedDuringPresentation(t *testing.T) {
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) {
		store.Store = blacklist.NewMemory()
		o.Blacklist = store
		o.Limits.Unauthenticated = 1
	}, func(srv *testServer) {
		c := srv.dial("")
		at, goOn := make(chan struct{}), make(chan struct{})
		store.fail(func(call string) error {
			if call == "Present" {
				close(at)
				<-goOn
			}
			return nil
		}, nil)
		c.authenticate(srv.code())
		<-at
		store.fail(nil, nil)
		second := srv.connect() // which the limit has room for
		srv.connect()
		second.expectClosed()
		close(goOn)
		c.expectToken()
		c.expectAuthenticated()
	})
}

// TestUnauthenticatedDeadline checks that an unauthenticated connection cannot stay longer by
// joining late, by leaving and joining again, or by not fetching the last packets.
func TestUnauthenticatedDeadline(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		client := http.Client{Transport: &http.Transport{DialContext: srv.DialContext, DisableKeepAlives: true}}
		base := "http://server/socket.io/?EIO=4&transport=polling"
		res, err := client.Get(base)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		_, rest, _ := strings.Cut(string(body), `"sid":"`)
		sid, _, _ := strings.Cut(rest, `"`)
		polling := func(frame string) {
			if res, err := client.Post(base+"&sid="+sid, "text/plain", strings.NewReader(frame)); err == nil {
				_ = res.Body.Close()
			}
		}
		websocket := srv.connect()
		for _, frame := range []string{"40", "41", "40"} {
			time.Sleep(4700 * time.Millisecond)
			polling(frame)
			_ = websocket.Write(frame)
			synctest.Wait()
		}
		if got := srv.Auth().Stats().Sockets["4"].Connecting; got != 0 {
			t.Errorf("%d connections are left", got)
		}
	})
	for _, step := range []struct {
		frame  string
		within time.Duration
	}{{"", 5 * time.Second}, {"40", 7 * time.Second}, {"41", 5 * time.Second}} {
		withServer(t, nil, func(srv *testServer) {
			c := srv.connect()
			time.Sleep(4 * time.Second)
			if step.frame != "" {
				c.send("40")
			}
			if step.frame == "41" {
				c.send("41")
			}
			time.Sleep(step.within - 4*time.Second)
			synctest.Wait()
			if got := srv.Auth().Stats().Sockets["4"].Connecting; got != 0 {
				t.Errorf("%q: the connection is left", step.frame)
			}
		})
	}
}

// TestClientIPEmpty checks that a client for which ClientIP returns nothing counts by its peer's
// address.
func TestClientIPEmpty(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { byHeader(o); o.Limits.UnauthenticatedPerAddress = 1 }, func(srv *testServer) {
		first := srv.connect()
		srv.connect()
		first.expectClosed()
	})
}

// TestLimitSocketsPerUser checks that a user's sockets past the limit are refused for now, with
// nothing consumed, and that others' are not.
func TestLimitSocketsPerUser(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.Limits.SocketsPerUser = 2 }, func(srv *testServer) {
		a, token := srv.authenticated()
		bert, _ := srv.authenticatedAs(claimsOf("bert"))
		b, _ := srv.authenticated()
		c := srv.dial("")
		c.authenticate(token)
		if u := c.expectRefused("too_many_connections"); u.Terminal || u.RetryAfter == 0 {
			t.Errorf("%+v", u)
		}
		srv.expectLimited("sockets_per_user", 1)
		a.authenticate(token) // on a socket that is authenticated already
		token = a.expectToken()
		b.close()
		synctest.Wait()
		c = srv.dial("")
		c.authenticate(token) // nothing was consumed
		c.expectToken()
		bert.expectAuthenticated()
	})
}

// TestLimitSocketsPerUserAtOnce checks that the limit of a user's sockets holds for sockets that
// are authenticated at once.
func TestLimitSocketsPerUserAtOnce(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) {
		o.RefreshInterval = time.Hour
		o.Limits.SocketsPerUser = 5
	}, func(srv *testServer) {
		srv.OnAuthenticated(func(context.Context, *socketauth.Socket) error { time.Sleep(time.Second / 10); return nil })
		_, token := srv.authenticated()
		var all []*client
		for range 20 {
			all = append(all, srv.dial(""))
		}
		for _, c := range all {
			c.authenticate(token)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := srv.Auth().Stats().Sockets["4"]; n.Connecting != 0 || n.Authenticated != 5 {
			t.Errorf("%+v", n)
		}
		srv.expectLimited("sockets_per_user", 16)
	})
	withServer(t, func(o *socketauth.Options[string]) { o.Limits.SocketsPerUser = 2 }, func(srv *testServer) {
		var offers []offer
		for range 3 {
			offers = append(offers, srv.dial("").offerFor(srv.code()))
		}
		for _, o := range offers {
			o.confirm()
			synctest.Wait()
		}
		offers[2].c.expectRefused("too_many_connections")
		offers[0].c.close()
		synctest.Wait()
		srv.confirmed(offers[2].token) // which its client had stored
		offers[1].c.expectAuthenticated()
	})
}

// TestLimitSocketsPerUserThief checks that a thief's unconfirmed sockets do not count for the
// user's limit, and that reuse is found where the limit is reached.
func TestLimitSocketsPerUserThief(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.Limits.SocketsPerUser = 2 }, func(srv *testServer) {
		c, token := srv.confirmed(srv.code())
		c.close()
		synctest.Wait()
		for range 5 {
			srv.dial("").offerFor(token)
		}
		owner, token := srv.confirmed(token)
		owner.close()
		synctest.Wait()

		thief, stolen := srv.confirmed(token)
		second, _ := srv.confirmed(stolen)
		time.Sleep(time.Minute)
		srv.expectTokenRefused(token, "token_reused")
		thief.expect(`42["rotated"]`)
		thief.expectRefused("token_reused")
		second.expectRefused("token_reused")
	})
}

// TestLimitSessionsPerUser checks that a session past the limit ends the one that was presented
// least recently.
func TestLimitSessionsPerUser(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.Limits.SessionsPerUser = 2 }, func(srv *testServer) {
		a, token := srv.authenticated()
		time.Sleep(time.Second)
		b, _ := srv.authenticated()
		time.Sleep(time.Second)
		a.authenticate(token) // so b is the one presented least recently
		token = a.expectToken()
		bert, _ := srv.authenticatedAs(claimsOf("bert"))
		time.Sleep(time.Second)
		c, _ := srv.confirmed(srv.code())
		b.expectRefused("session_revoked")
		srv.expectLimited("sessions_per_user", 1)
		for _, c := range []*client{a, c, bert} {
			c.expectAuthenticated()
		}
		if sessions, err := srv.Auth().Sessions(srv.Context(), "anna"); err != nil || len(sessions) != 2 {
			t.Errorf("%d sessions, %v", len(sessions), err)
		}
		a.authenticate(token)
		a.expectToken()
	})
}

// TestNoLimit checks that NoLimit is no limit.
func TestNoLimit(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) {
		o.Limits = socketauth.Limits{Sockets: socketauth.NoLimit, Unauthenticated: socketauth.NoLimit, UnauthenticatedPerAddress: socketauth.NoLimit, SocketsPerUser: socketauth.NoLimit, SessionsPerUser: socketauth.NoLimit}
	}, func(srv *testServer) {
		for range 120 { // more than the defaults allow of one user
			srv.authenticated()
		}
		for range 120 {
			srv.dial("")
		}
		if n := len(srv.Auth().Stats().Limited); n != 0 {
			t.Errorf("%v", srv.Auth().Stats().Limited)
		}
	})
}

// TestLimitUnauthenticatedMessage checks that messages of unauthenticated clients have a lower
// bound than those of others.
func TestLimitUnauthenticatedMessage(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		heard := make(chan int, 1)
		srv.On("long", func(_ context.Context, _ *socketauth.Socket, args socketauth.Args) (any, error) {
			var s string
			err := args.Decode(&s)
			heard <- len(s)
			return nil, err
		})
		long := func(n int) string { return `42["long","` + strings.Repeat("x", n) + `"]` }
		c := srv.dial("")
		_ = c.Write(long(64 << 10))
		c.expectClosed()
		c, _ = srv.authenticated()
		c.send(long(1<<20 - 100))
		if n := <-heard; n != 1<<20-100 {
			t.Errorf("received %d bytes", n)
		}
		_ = c.Write(long(1 << 20))
		for range c.Packets() {
		}
	})
}

// TestLimitMessageBehindConfirmation checks that a long event right behind the confirmation is not
// held to the bound of unauthenticated clients.
func TestLimitMessageBehindConfirmation(t *testing.T) {
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		heard := make(chan int, 1)
		srv.On("long", func(_ context.Context, _ *socketauth.Socket, args socketauth.Args) (any, error) {
			var s string
			err := args.Decode(&s)
			heard <- len(s)
			return nil, err
		})
		at, held := make(chan struct{}), make(chan struct{})
		goOn := sync.OnceFunc(func() { close(held) })
		defer goOn()
		o := srv.dial("").offerFor(srv.code())
		store.fail(func(call string) error {
			if call == "Confirm" {
				close(at)
				<-held
			}
			return nil
		}, nil)
		o.confirm()
		<-at
		o.c.send(`42["long","` + strings.Repeat("x", 100_000) + `"]`)
		synctest.Wait()
		goOn()
		if n := <-heard; n != 100_000 {
			t.Errorf("received %d bytes", n)
		}
	})
}

// TestLimitsInvalid checks that limits that make no sense are faults that name them.
func TestLimitsInvalid(t *testing.T) {
	_, err := socketauth.New(socketauth.Options[any]{Secret: testSecret, Limits: socketauth.Limits{Message: 10, UnauthenticatedMessage: socketauth.NoLimit, Depth: 1, Sockets: -2}})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, name := range []string{"Limits.Message is 10", "Limits.UnauthenticatedMessage is -1", "Limits.Depth is 1", "Limits.Sockets is -2"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q is not in %v", name, err)
		}
	}
}
