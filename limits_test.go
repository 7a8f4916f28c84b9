package socketauth

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/admission"
	"github.com/z-open/socketauth/internal/throttle"
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
	inWorld(t, func(o *Options[string]) { o.Limits.Sockets = 2 }, func(w *world) {
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
	inWorld(t, func(o *Options[string]) { o.Limits.Unauthenticated = 2 }, func(w *world) {
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
	inWorld(t, func(o *Options[string]) { o.Limits.Unauthenticated, o.Limits.SocketsPerUser = 2, 3 }, func(w *world) {
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
	inWorld(t, func(o *Options[string]) {
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

func TestLimitOfStrangersFromOneNetwork(t *testing.T) {
	l := Limits{UnauthenticatedPerAddress: 2}.withDefaults()
	var pool admission.Pool
	here := make(map[string][]*admission.Member)
	come := func(address string) (limit admission.Limit, oldest *admission.Member) {
		network := throttle.Network(address)
		m := &admission.Member{Engine: "4", Network: network, Wide: throttle.Wide(network)}
		admitted, limit, oldest := pool.Admit(m, l.admission())
		if !admitted {
			t.Errorf("%s was refused", address)
		}
		here[address] = append(here[address], m)
		return limit, oldest
	}
	for _, step := range []struct{ address, makesWay string }{
		{"203.0.113.1", ""}, {"203.0.113.1", ""}, {"203.0.113.1", "203.0.113.1"}, {"::ffff:203.0.113.1", "203.0.113.1"}, {"203.0.113.2", ""},
		{"2001:db8::1", ""}, {"2001:db8::2", ""}, {"2001:db8::3", "2001:db8::1"}, {"2001:db8:0:1::3", ""}, {"", ""}, {"", ""}, {"", ""},
	} {
		limit, oldest := come(step.address)
		if step.makesWay == "" {
			if limit != admission.None || oldest != nil {
				t.Errorf("%s: limit %d", step.address, limit)
			}
			continue
		}
		if limit != admission.UnauthenticatedPerNetwork || oldest != here[step.makesWay][0] {
			t.Errorf("%s: limit %d, %+v made way", step.address, limit, oldest)
		}
		pool.Leave(oldest)
		here[step.makesWay] = here[step.makesWay][1:]
	}
	ended := 0
	for n := range 100 { // a /48 has as many places as 16 of its /64
		if _, oldest := come(fmt.Sprintf("2001:db8:1:%x::1", n)); oldest != nil {
			ended++
			if want := fmt.Sprintf("2001:db8:1:%x::1", ended-1); oldest != here[want][0] {
				t.Errorf("not the oldest of the /48 made way")
			}
			pool.Leave(oldest)
		}
	}
	if ended != 100-2*admission.Wide {
		t.Errorf("%d of 100 made way", ended)
	}
}

func TestPeersThatMayBeProxiesHaveNoLimitsOfTheirOwn(t *testing.T) {
	// Guards: behind a proxy that nobody told the library of, all clients have one address, and must not share its limits.
	logs := new(syncBuffer)
	o := apiOptions(logs)
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ peer, want string }{
		{"127.0.0.1:1", ""}, {"[::1]:1", ""}, {"10.1.2.3:1", ""}, {"192.168.1.1:1", ""}, {"172.16.0.1:1", ""}, {"[fd00::1]:1", ""}, {"[::ffff:10.0.0.1]:1", ""},
		{"169.254.1.1:1", ""}, {"[fe80::1%eth0]:1", ""}, {"100.64.0.1:1", ""}, {"100.127.255.255:1", ""}, {"[::ffff:100.64.0.1]:1", ""},
		{"@", ""}, {"", ""}, {"@app", ""}, {"/run/app.sock", ""},
		{"100.63.255.255:1", "100.63.255.255"}, {"100.128.0.1:1", "100.128.0.1"}, {"169.253.1.1:1", "169.253.1.1"}, {"[fec0::1]:1", "fec0::/64"},
		{"203.0.113.1:1", "203.0.113.1"}, {"[2001:db8::1]:1", "2001:db8::/64"}, {"172.32.0.1:1", "172.32.0.1"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = tt.peer
		r.Header.Set("X-Forwarded-For", "198.51.100.7") // which nobody believes
		for range 2 {
			if got := a.network(r, a.address(r)); got != tt.want {
				t.Errorf("%s: %q, want %q", tt.peer, got, tt.want)
			}
		}
	}
	if n := strings.Count(logs.String(), "Options.ClientIP"); n != 1 {
		t.Errorf("what to do was said %d times", n)
	}
}

func TestWhatClientIPGives(t *testing.T) {
	// Guards: a whole list, or an address in quotes or with a port, was a client of its own each time, which switched the
	// limits for each address off without a word.
	const peer = "10.1.2.3"
	long := strings.Repeat("203.0.113.9, ", 1000) // longer than what is kept of a header
	for _, tt := range []struct{ given, address, network, warns string }{
		{"203.0.113.1", "203.0.113.1", "203.0.113.1", ""},
		{"", peer, peer, ""},
		{" 203.0.113.1 ", "203.0.113.1", "203.0.113.1", ""},
		{"203.0.113.1:4711", "203.0.113.1", "203.0.113.1", ""},
		{`"203.0.113.1:4711"`, "203.0.113.1", "203.0.113.1", ""},
		{"::ffff:203.0.113.1", "203.0.113.1", "203.0.113.1", ""},
		{"2001:db8::1", "2001:db8::1", "2001:db8::/64", ""},
		{"[2001:db8::1]", "2001:db8::1", "2001:db8::/64", ""},
		{`"[2001:DB8::1]:4711"`, "2001:db8::1", "2001:db8::/64", ""},
		{"127.0.0.1", "127.0.0.1", "127.0.0.1", ""}, // which the app has said
		{"198.51.100.7, 203.0.113.1", "203.0.113.1", "203.0.113.1", "returned a list"},
		{`198.51.100.7,"[2001:db8::1]:4711"`, "2001:db8::1", "2001:db8::/64", "returned a list"},
		{long + "203.0.113.1", "203.0.113.1", "203.0.113.1", "returned a list"},
		{"203.0.113.1,", peer, peer, "returned no IP address"},
		{"unknown", peer, peer, "returned no IP address"},
		{"for=203.0.113.1;proto=https", peer, peer, "returned no IP address"},
		{`"203.0.113.1`, peer, peer, "returned no IP address"},
		{"203.0.113.1 198.51.100.7", peer, peer, "returned no IP address"},
		{strings.Repeat("1", 5000), peer, peer, "returned no IP address"},
	} {
		synctest.Test(t, func(t *testing.T) {
			logs := new(syncBuffer)
			o := apiOptions(logs)
			o.ClientIP = func(*http.Request) string { return tt.given }
			a, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = peer + ":1"
			ask := func() {
				address := a.address(r)
				if network := a.network(r, address); address != tt.address || network != tt.network {
					t.Errorf("%.60q: address %q, network %q, want %q, %q", tt.given, address, network, tt.address, tt.network)
				}
			}
			for range 3 {
				ask()
			}
			said := logs.String()
			if tt.warns == "" && said != "" || strings.Count(said, tt.warns) != 1 && tt.warns != "" || strings.Count(said, "fix=") > 1 || len(said) > 2000 {
				t.Errorf("%.60q: logged %s", tt.given, said)
			}
			time.Sleep(time.Minute)
			if ask(); tt.warns != "" && strings.Count(logs.String(), tt.warns) != 2 {
				t.Errorf("%.60q: a minute later it was not logged again", tt.given)
			}
		})
	}
}

func TestLimitOfSocketsOfAUser(t *testing.T) {
	inWorld(t, func(o *Options[string]) { o.Limits.SocketsPerUser = 2 }, func(w *world) {
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
	inWorld(t, func(o *Options[string]) {
		o.RefreshInterval = time.Hour
		o.Limits.SocketsPerUser = 5
	}, func(w *world) {
		w.OnAuthenticated(func(context.Context, *Socket) error { time.Sleep(time.Second / 10); return nil })
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
	inWorld(t, func(o *Options[string]) { o.Limits.SocketsPerUser = 2 }, func(w *world) {
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
	inWorld(t, func(o *Options[string]) { o.Limits.SocketsPerUser = 2 }, func(w *world) {
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
	inWorld(t, func(o *Options[string]) { o.Limits.SessionsPerUser = 2 }, func(w *world) {
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
	inWorld(t, func(o *Options[string]) {
		o.Limits = Limits{Sockets: NoLimit, Unauthenticated: NoLimit, UnauthenticatedPerAddress: NoLimit, SocketsPerUser: NoLimit, SessionsPerUser: NoLimit}
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
		w.On("long", func(_ context.Context, _ *Socket, args Args) (any, error) {
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

func TestLimitsThatMakeNoSense(t *testing.T) {
	_, err := New(Options[any]{Secret: testSecret, Limits: Limits{Message: 10, UnauthenticatedMessage: NoLimit, Depth: 1, Sockets: -2}})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, name := range []string{"Limits.Message is 10", "Limits.UnauthenticatedMessage is -1", "Limits.Depth is 1", "Limits.Sockets is -2"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q is not in %v", name, err)
		}
	}
}

func TestStatsHaveABoundOnNames(t *testing.T) {
	// Guards: codes of refusals come from the app, which may make them of what clients send.
	var c tally
	for n := range 10_000 {
		c.add(fmt.Sprint("code ", n))
	}
	c.add("code 0")
	all := c.all()
	if len(all) != maxNames+1 || all["code 0"] != 2 || all["other"] != 10_000-maxNames {
		t.Errorf("%d names, %d of the first, %d others", len(all), all["code 0"], all["other"])
	}
}

func TestBodyThatDripsIsCut(t *testing.T) {
	// Guards: net/http reads what is left of a body before it answers, so who answers without a look at it needs a time too.
	const polling = " /socket.io/?transport=polling&EIO="
	for name, head := range map[string]string{
		"login":                   "POST /login HTTP/1.1\r\nContent-Type: application/json",
		"login, media type":       "POST /login HTTP/1.1\r\nContent-Type: text/plain",
		"login, another origin":   "POST /login HTTP/1.1\r\nOrigin: https://evil.example",
		"login, OPTIONS":          "OPTIONS /login HTTP/1.1",
		"login, preflight":        "OPTIONS /login HTTP/1.1\r\nOrigin: http://server\r\nAccess-Control-Request-Method: POST",
		"sockets, another origin": "POST" + polling + "4 HTTP/1.1\r\nOrigin: https://evil.example",
		"sockets, preflight":      "OPTIONS" + polling + "4 HTTP/1.1\r\nOrigin: http://server\r\nAccess-Control-Request-Method: POST",
		"sockets, version":        "POST" + polling + "9 HTTP/1.1",
		"sockets, no session":     "POST" + polling + "4 HTTP/1.1",
		"the app's, no token":     "GET /api HTTP/1.1",
		"the app's, bad token":    "GET /api HTTP/1.1\r\nAuthorization: Bearer x",
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, nil, func(w *world) {
				conn, err := w.lis.dial(w.Context(), "", "")
				if err != nil {
					t.Fatal(err)
				}
				_ = conn.SetDeadline(time.Now().Add(time.Minute))
				var dripping sync.WaitGroup
				defer func() { _ = conn.Close(); dripping.Wait() }()
				dripping.Go(func() {
					_, _ = io.WriteString(conn, head+"\r\nHost: server\r\nContent-Length: 1000\r\n\r\n")
					for {
						if _, err := io.WriteString(conn, " "); err != nil {
							return
						}
						time.Sleep(time.Second)
					}
				}) // until the connection is closed
				began := time.Now()
				_, _ = io.Copy(io.Discard, conn)
				if d := time.Since(began); d > 15*time.Second {
					t.Errorf("after %v", d)
				}
			})
		})
	}
}

func TestStats(t *testing.T) {
	store := new(faultyStore)
	inWorld(t, func(o *Options[string]) {
		store.Store = blacklist.NewMemory()
		o.Blacklist = store
		o.TokenLifetime = time.Hour
	}, func(w *world) {
		w.login()
		w.post("/login", `{"username":"anna","password":"wrong"}`)
		stranger := w.dial("")
		c, token := w.in()
		c.authenticate(token)
		token = c.token()
		w.refuses("x", "invalid_token")
		w.get("x")
		d, _ := w.in()
		d.emit("logout")
		d.next(`42["logged_out"]`)
		store.fail(down, nil)
		e := w.dial("")
		e.authenticate(token)
		e.refusedAndGone("unavailable")
		store.fail(nil, nil)
		synctest.Wait()
		stranger.refusedAndGone("timeout")

		s := w.Auth().Stats()
		if got := s.Sockets["4"]; got.Connecting != 0 || got.Authenticated != 1 {
			t.Errorf("sockets %+v", s.Sockets)
		}
		for name, is := range map[string]bool{
			"logins":          fmt.Sprint(s.Logins) == "map[OK:1 USER_INVALID:1]",
			"authentications": fmt.Sprint(s.Authentications) == "map[invalid_token:1 ok:2 timeout:1 unavailable:1]",
			"requests":        fmt.Sprint(s.Requests) == "map[invalid_token:1]",
			"rotations":       s.Rotations == 1,
			"logouts":         s.Logouts == 1,
			"errors of store": s.Store.Errors > 1,
			"calls of store":  s.Store.Calls > s.Store.Errors+3,
			"buckets":         s.Store.Buckets[len(s.Store.Buckets)-1].Calls == s.Store.Calls,
		} {
			if !is {
				t.Errorf("%s: %+v", name, s)
			}
		}
		time.Sleep(time.Hour)
		c.refusedAndGone("token_expired")
		c, token = w.in()
		c.authenticate(token)
		c.token()
		time.Sleep(time.Minute)
		w.refuses(token, "token_reused")
		c.refusedAndGone("token_reused")
		synctest.Wait()
		if _, err := w.Auth().RevokeAll(w.Context()); err != nil {
			t.Fatal(err)
		}
		if s = w.Auth().Stats(); s.Expiries != 1 || s.Reuses != 1 || s.Revocations != 1 || s.Sockets["4"].Connecting != 0 || s.Sockets["4"].Authenticated != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// FuzzNetwork asks what limits count a peer as. Who is nobody's proxy is never without.
func FuzzNetwork(f *testing.F) {
	for _, s := range []string{"127.0.0.1:1", "[::ffff:10.0.0.1]:1", "203.0.113.1:1", "[2001:db8::1%eth0]:1", "", "@", "x", "[::1]"} {
		f.Add(s, "198.51.100.7")
	}
	a, err := New(apiOptions(io.Discard))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, peer, forwarded string) {
		r := &http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": {forwarded}}}
		got := a.network(r, a.address(r))
		ip, err := netip.ParseAddr(remoteIP(r))
		ip = ip.Unmap()
		exempt := err != nil || ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || ip.Is4() && ip.As4()[0] == 100 && ip.As4()[1]>>6 == 1
		if (got == "") != exempt {
			t.Errorf("%q is counted as %q", peer, got)
		}
	})
}

func TestStrangerKeepsItsPlaceNoLongerThanItsTime(t *testing.T) {
	// Guards: to join late, to leave and to join again, or not to fetch the last words, must not make the time longer.
	inWorld(t, nil, func(w *world) {
		client := http.Client{Transport: &http.Transport{DialContext: w.lis.dial, DisableKeepAlives: true}}
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

func TestClientMaySayMoreAsSoonAsItHasItsToken(t *testing.T) {
	// Guards: a long event right behind the confirmation, or the token, must not be taken for a stranger's.
	store := new(faultyStore)
	inWorld(t, func(o *Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		heard := make(chan int, 1)
		w.On("long", func(_ context.Context, _ *Socket, args Args) (any, error) {
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
