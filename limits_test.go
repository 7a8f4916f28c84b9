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

// full makes sure that no further connection is let in.
func (w *world) full() {
	w.Helper()
	c, err := w.begin("4", "websocket", "")
	if err == nil {
		_ = c.Close()
		w.Error("a connection past the limit was let in")
		return
	}
	if !strings.Contains(err.Error(), "503") {
		w.Error(err)
	}
}

func (w *world) limited(name string, want uint64) {
	w.Helper()
	if got := w.Auth().Stats().Limited[name]; got != want {
		w.Errorf("%s: %d were refused, want %d", name, got, want)
	}
}

func TestLimitOfSockets(t *testing.T) {
	inWorld(t, func(o *socketauth.Options[string]) { o.Limits.Sockets = 2 }, func(w *world) {
		a, _ := w.in()
		b, _ := w.in()
		w.full()
		w.full()
		w.limited("sockets", 2)
		if n := strings.Count(w.logs.String(), "limit=sockets"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		time.Sleep(time.Minute)
		w.full()
		w.logged("more_since_last=1")
		a.alive()
		b.close()
		synctest.Wait()
		w.in()
	})
}

func TestOldestStrangerMakesWay(t *testing.T) {
	// Guards: who fills the places of strangers must not keep honest clients out, who need one for a round trip or two.
	inWorld(t, func(o *socketauth.Options[string]) { o.Limits.Unauthenticated = 2 }, func(w *world) {
		code := w.code()
		friend, _ := w.in()
		first := w.dial("") // of Socket.IO, and
		second := w.open()
		third := w.open()
		first.lost() // as by a network that fails, so that it comes back by itself
		w.dial("")
		second.lost()
		w.limited("unauthenticated", 2)
		w.logged("limit=unauthenticated")
		if n := strings.Count(w.logs.String(), "limit=unauthenticated"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		c := w.dial("")
		third.lost()
		c.authenticate(code)
		c.token() // and is a stranger no more
		for range 3 {
			w.open()
		}
		c.alive()
		friend.alive()
	})
}

func TestWhoLeavesIsAStrangerAgain(t *testing.T) {
	// Guards: who entered and left kept the connection past every limit but that of all, with one account from one address.
	inWorld(t, func(o *socketauth.Options[string]) { o.Limits.Unauthenticated, o.Limits.SocketsPerUser = 2, 3 }, func(w *world) {
		var left []*client
		for range 4 {
			c, _ := w.in()
			c.send("41")
			synctest.Wait()
			left = append(left, c)
		}
		left[0].lost()
		left[1].lost()
		w.limited("unauthenticated", 2)
		if n := w.Auth().Stats().Sockets["4"]; n.Connecting != 2 || n.Authenticated != 0 {
			t.Errorf("%+v", n)
		}
		c := left[3]
		c.send("40") // as the same client may
		c.next("40")
		c.authenticate(w.code())
		c.token()
		synctest.Wait()
		if n := w.Auth().Stats().Sockets["4"]; n.Connecting != 1 || n.Authenticated != 1 {
			t.Errorf("%+v", n)
		}
		w.open()
		w.open()
		left[2].lost()
		c.alive()
	})
}

func TestStrangerThatTheStoreDecidesOnDoesNotMakeWay(t *testing.T) {
	// Guards: the answer to a presentation must not be lost for a place, since a client that does not confirm has its
	// session in it.
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) {
		store.Store = blacklist.NewMemory()
		o.Blacklist = store
		o.Limits.Unauthenticated = 1
	}, func(w *world) {
		c := w.dial("")
		at, goOn := make(chan struct{}), make(chan struct{})
		store.fail(func(call string) error {
			if call == "Present" {
				close(at)
				<-goOn
			}
			return nil
		}, nil)
		c.authenticate(w.code())
		<-at
		store.fail(nil, nil)
		second := w.open() // though there was room for one
		w.open()
		second.lost()
		close(goOn)
		c.token()
		c.alive()
	})
}

func TestStrangerKeepsItsPlaceNoLongerThanItsTime(t *testing.T) {
	// Guards: to join late, to leave and to join again, or not to fetch the last words, must not make the time longer.
	inWorld(t, nil, func(w *world) {
		client := http.Client{Transport: &http.Transport{DialContext: w.DialContext, DisableKeepAlives: true}}
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
		websocket := w.open()
		for _, frame := range []string{"40", "41", "40"} {
			time.Sleep(4700 * time.Millisecond)
			polling(frame)
			_ = websocket.Write(frame)
			synctest.Wait()
		}
		if got := w.Auth().Stats().Sockets["4"].Connecting; got != 0 {
			t.Errorf("%d have kept their places", got)
		}
	})
	for _, step := range []struct {
		frame  string
		within time.Duration
	}{{"", 5 * time.Second}, {"40", 7 * time.Second}, {"41", 5 * time.Second}} {
		inWorld(t, nil, func(w *world) {
			c := w.open()
			time.Sleep(4 * time.Second)
			if step.frame != "" {
				c.send("40")
			}
			if step.frame == "41" {
				c.send("41")
			}
			time.Sleep(step.within - 4*time.Second)
			synctest.Wait()
			if got := w.Auth().Stats().Sockets["4"].Connecting; got != 0 {
				t.Errorf("%q: it has kept its place", step.frame)
			}
		})
	}
}

func TestClientIPThatKnowsNoneIsThePeer(t *testing.T) {
	// Guards: who comes past the proxy, without its header, must not be exempt from limits.
	inWorld(t, func(o *socketauth.Options[string]) { byHeader(o); o.Limits.UnauthenticatedPerAddress = 1 }, func(w *world) {
		first := w.open()
		w.open()
		first.lost()
	})
}

func TestLimitOfSocketsOfAUser(t *testing.T) {
	inWorld(t, func(o *socketauth.Options[string]) { o.Limits.SocketsPerUser = 2 }, func(w *world) {
		a, token := w.in()
		bert, _ := w.inAs(claimsOf("bert"))
		b, _ := w.in()
		c := w.dial("")
		c.authenticate(token)
		if u := c.refusedAndGone("too_many_connections"); u.Terminal || u.RetryAfter == 0 {
			t.Errorf("%+v", u)
		}
		w.limited("sockets_per_user", 1)
		a.authenticate(token) // on a socket that is in already
		token = a.token()
		b.close()
		synctest.Wait()
		c = w.dial("")
		c.authenticate(token) // nothing was consumed
		c.token()
		bert.alive()
	})
}

func TestSocketsOfAUserThatComeAtOnceAreAsFewAsInARow(t *testing.T) {
	// Guards: to count first and to let in later would let as many in as can present meanwhile.
	inWorld(t, func(o *socketauth.Options[string]) {
		o.RefreshInterval = time.Hour
		o.Limits.SocketsPerUser = 5
	}, func(w *world) {
		w.OnAuthenticated(func(context.Context, *socketauth.Socket) error { time.Sleep(time.Second / 10); return nil })
		_, token := w.in()
		var all []*client
		for range 20 {
			all = append(all, w.dial(""))
		}
		for _, c := range all {
			c.authenticate(token)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := w.Auth().Stats().Sockets["4"]; n.Connecting != 0 || n.Authenticated != 5 {
			t.Errorf("%+v", n)
		}
		w.limited("sockets_per_user", 16)
	})
	inWorld(t, func(o *socketauth.Options[string]) { o.Limits.SocketsPerUser = 2 }, func(w *world) {
		var offers []offer
		for range 3 {
			offers = append(offers, w.dial("").confirms(w.code()))
		}
		for _, o := range offers {
			o.confirm()
			synctest.Wait()
		}
		offers[2].c.refusedAndGone("too_many_connections")
		offers[0].c.close()
		synctest.Wait()
		w.stays(offers[2].token) // which it had stored
		offers[1].c.alive()
	})
}

func TestThiefCannotTakeAUsersPlaces(t *testing.T) {
	// Guards: sockets that do not confirm must not keep the owner out, whose confirmation ends their tokens, and where the
	// places are taken a reuse is noticed all the same.
	inWorld(t, func(o *socketauth.Options[string]) { o.Limits.SocketsPerUser = 2 }, func(w *world) {
		c, token := w.stays(w.code())
		c.close()
		synctest.Wait()
		for range 5 {
			w.dial("").confirms(token)
		}
		owner, token := w.stays(token)
		owner.close()
		synctest.Wait()

		thief, stolen := w.stays(token)
		second, _ := w.stays(stolen)
		time.Sleep(time.Minute)
		w.refuses(token, "token_reused")
		thief.next(`42["rotated"]`)
		thief.refusedAndGone("token_reused")
		second.refusedAndGone("token_reused")
	})
}

func TestLimitOfSessionsOfAUser(t *testing.T) {
	inWorld(t, func(o *socketauth.Options[string]) { o.Limits.SessionsPerUser = 2 }, func(w *world) {
		a, token := w.in()
		time.Sleep(time.Second)
		b, _ := w.in()
		time.Sleep(time.Second)
		a.authenticate(token) // so b is the one presented least recently
		token = a.token()
		bert, _ := w.inAs(claimsOf("bert"))
		time.Sleep(time.Second)
		c, _ := w.stays(w.code())
		b.refusedAndGone("session_revoked")
		w.limited("sessions_per_user", 1)
		for _, c := range []*client{a, c, bert} {
			c.alive()
		}
		if sessions, err := w.Auth().Sessions(w.Context(), "anna"); err != nil || len(sessions) != 2 {
			t.Errorf("%d sessions, %v", len(sessions), err)
		}
		a.authenticate(token)
		a.token()
	})
}

func TestNoLimitIsNone(t *testing.T) {
	inWorld(t, func(o *socketauth.Options[string]) {
		o.Limits = socketauth.Limits{Sockets: socketauth.NoLimit, Unauthenticated: socketauth.NoLimit, UnauthenticatedPerAddress: socketauth.NoLimit, SocketsPerUser: socketauth.NoLimit, SessionsPerUser: socketauth.NoLimit}
	}, func(w *world) {
		for range 120 { // more than the defaults allow of one user
			w.in()
		}
		for range 120 {
			w.dial("")
		}
		if n := len(w.Auth().Stats().Limited); n != 0 {
			t.Errorf("%v", w.Auth().Stats().Limited)
		}
	})
}

func TestStrangersMaySayLess(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		heard := make(chan int, 1)
		w.On("long", func(_ context.Context, _ *socketauth.Socket, args socketauth.Args) (any, error) {
			var s string
			err := args.Decode(&s)
			heard <- len(s)
			return nil, err
		})
		long := func(n int) string { return `42["long","` + strings.Repeat("x", n) + `"]` }
		c := w.dial("")
		_ = c.Write(long(64 << 10))
		c.lost()
		c, _ = w.in()
		c.send(long(1<<20 - 100))
		if n := <-heard; n != 1<<20-100 {
			t.Errorf("heard %d bytes", n)
		}
		_ = c.Write(long(1 << 20))
		for range c.Packets() {
		}
	})
}

func TestClientMaySayMoreAsSoonAsItHasItsToken(t *testing.T) {
	// Guards: a long event right behind the confirmation, or the token, must not be taken for a stranger's.
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		heard := make(chan int, 1)
		w.On("long", func(_ context.Context, _ *socketauth.Socket, args socketauth.Args) (any, error) {
			var s string
			err := args.Decode(&s)
			heard <- len(s)
			return nil, err
		})
		at, held := make(chan struct{}), make(chan struct{})
		goOn := sync.OnceFunc(func() { close(held) })
		defer goOn()
		o := w.dial("").confirms(w.code())
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
			t.Errorf("heard %d bytes", n)
		}
	})
}

func TestLimitsThatMakeNoSense(t *testing.T) {
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
