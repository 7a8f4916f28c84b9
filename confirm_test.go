package socketauth_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// TestUnconfirmedClient checks that a confirming client is unauthenticated until it confirms: no
// events, no broadcasts, no OnAuthenticated.
func TestUnconfirmedClient(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		called := 0
		srv.OnAuthenticated(func(_ context.Context, s *socketauth.Socket) error {
			called++
			s.Join("room")
			return nil
		})
		c := srv.dial(fmt.Sprintf(`{"token":%q,"confirm":true}`, srv.code()))
		o := c.expectOffer()
		c.expectUnauthenticated()
		for _, err := range []error{srv.Emit("news"), srv.ToUser("anna").Emit("news"), srv.To("room").Emit("news")} {
			if err != nil {
				t.Fatal(err)
			}
		}
		c.expectNothing()
		if called != 0 {
			t.Error("OnAuthenticated was called before the confirmation")
		}
		o.confirm()
		c.expectAuthenticated()
		if called != 1 {
			t.Errorf("OnAuthenticated was called %d times", called)
		}
		if err := srv.To("room").Emit("news"); err != nil {
			t.Fatal(err)
		}
		c.expect(`42["news"]`)
	})
}

// TestConfirmationRefusedByHook checks that a confirmation that OnAuthenticated refuses leaves the
// offered token good.
func TestConfirmationRefusedByHook(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		refusing := true
		srv.OnAuthenticated(func(context.Context, *socketauth.Socket) error {
			if refusing {
				return &socketauth.PublicError{Code: "banned"}
			}
			return nil
		})
		c := srv.dial("")
		o := c.offerFor(srv.code())
		o.confirm()
		c.expectRefused("banned")
		refusing = false
		srv.confirmed(o.token)
	})
}

// TestConnectionBreaksWhileConfirming checks that a connection that breaks at any message costs a
// confirming client nothing, again and again.
func TestConnectionBreaksWhileConfirming(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		token := srv.code()
		for range 3 {
			// The answer never came: what was presented is still good.
			for range 3 {
				c := srv.dial("")
				c.emit("authenticate", map[string]any{"token": token, "confirm": true})
				c.close()
			}
			// It came and was stored, and the connection broke before the acknowledgement.
			c := srv.dial("")
			o := c.offerFor(token)
			c.close()
			token = o.token
			// The acknowledgement was sent, and nothing came back.
			c = srv.dial("")
			o = c.offerFor(token)
			o.confirm()
			c.close()
			token = o.token
		}
		c, _ := srv.confirmed(token)
		c.close()
		if s := srv.logs.String(); strings.Contains(s, "level=WARN") || strings.Contains(s, "level=ERROR") {
			t.Errorf("the log has warnings:\n%s", s)
		}
	})
}

// TestOneBranchSurvives checks that of the tokens offered for one token the first that is confirmed
// survives, and that the others end their sockets and are reuse later.
func TestOneBranchSurvives(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		code := srv.code()
		a, b, c := srv.dial(""), srv.dial(""), srv.dial("")
		lost, won := a.offerFor(code), b.offerFor(code)
		third := c.offerFor(code)
		if lost.token == won.token || won.token == third.token {
			t.Fatal("two sockets got one branch")
		}
		won.confirm()
		b.expectAuthenticated()
		for _, loser := range []*client{a, c} { // whose offered tokens lost
			if u := loser.expectRefused("no_longer_valid"); u.Terminal {
				t.Error("terminal, though its client may hold the other branch")
			}
		}
		if status, _, _ := srv.get(lost.token); status != 401 {
			t.Errorf("Middleware answers a lost branch %d", status)
		}
		if status, _, _ := srv.get(won.token); status != 200 {
			t.Errorf("Middleware answers the branch that won %d", status)
		}
		time.Sleep(10 * time.Second)
		srv.expectTokenRefused(third.token, "token_reused")
		b.expectRefused("token_reused")
	})
}

// TestPresentationConfirms checks that presenting an offered token confirms it.
func TestPresentationConfirms(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		code := srv.code()
		a := srv.dial("")
		o := a.offerFor(code)
		b := srv.dial("")
		next := b.offerFor(o.token) // the client has stored it, then its connection broke
		srv.expectTokenRefused(code, "no_longer_valid")
		next.confirm()
		b.expectAuthenticated()
	})
}

// TestOvertakenConfirmation guards that a tab gets in whose confirmation is overtaken by another tab,
// which presents the token that this one has stored and confirms the next: it was disconnected with
// no_longer_valid, as if its token had been another branch.
func TestOvertakenConfirmation(t *testing.T) {
	onEngines(t, nil, func(srv *testServer) {
		code := srv.code()
		a := srv.dial("")
		o := a.offerFor(code)
		b, newest := srv.confirmed(o.token)
		a.expectNothing()
		o.confirm()
		a.expect(`42["rotated"]`)
		a.expectAuthenticated()
		b.expectAuthenticated()

		// Another branch than the one that was presented still loses, to whichever token.
		c, d := srv.dial(""), srv.dial("")
		c.offerFor(newest)
		won := d.offerFor(newest)
		srv.confirmed(won.token)
		c.expectRefused("no_longer_valid")
		d.expectNothing()
	})
}

// TestConfirmationTimeout checks that a client that does not confirm is disconnected after Timeout,
// however often it presents its token.
func TestConfirmationTimeout(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		c := srv.dial("")
		time.Sleep(4 * time.Second)
		began := time.Now()
		o := c.offerFor(srv.code())
		for range 3 { // further events give no more time
			time.Sleep(time.Second)
			c.expectUnauthenticated()
		}
		if u := c.expectRefused("timeout"); u.Terminal {
			t.Error("terminal")
		}
		if d := time.Since(began); d != 5*time.Second {
			t.Errorf("after %v", d)
		}

		c, token := srv.confirmed(o.token) // an authenticated socket too
		began = time.Now()
		o = c.offerFor(token)
		time.Sleep(3 * time.Second)
		if again := c.offerFor(token); again.token != o.token {
			t.Error("the same token presented again on the same socket got another branch")
		}
		c.expectAuthenticated()
		c.expectRefused("timeout")
		if d := time.Since(began); d != 5*time.Second {
			t.Errorf("after %v", d)
		}
		srv.confirmed(token)
	})
}

// TestConfirmationTimeoutRestarts checks that each offer has the whole Timeout to be confirmed in.
func TestConfirmationTimeoutRestarts(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		c, token := srv.confirmed(srv.code())
		for range 4 {
			o := c.offerFor(token)
			time.Sleep(4 * time.Second)
			o.confirm()
			c.expectAuthenticated()
			token = o.token
		}
		for range 4 { // presenting it on the same socket confirms it too
			o := c.offerFor(token)
			time.Sleep(4 * time.Second)
			token = o.token
		}
		c.expectAuthenticated()
		time.Sleep(time.Hour - time.Minute) // only the last offer's time runs
		c.expectRefused("timeout")
	})
}

// TestLateConfirmationOfLostBranch checks that a socket that confirms a token after another offer
// was confirmed is disconnected, and not for good.
func TestLateConfirmationOfLostBranch(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		c, token := srv.confirmed(srv.code())
		mine := c.offerFor(token)
		d, _ := srv.confirmed(token)
		c.expect(`42["rotated"]`)
		c.expectAuthenticated() // it was not told yet that its offered token lost
		mine.confirm()
		if u := c.expectRefused("no_longer_valid"); u.Terminal {
			t.Error("terminal")
		}
		d.expectAuthenticated()
	})
}

// TestConfirmationOfOlderGeneration checks that a confirmation that comes after further rotations
// changes nothing.
func TestConfirmationOfOlderGeneration(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		c, token := srv.confirmed(srv.code())
		mine := c.offerFor(token)
		d, theirs := srv.confirmed(token)
		c.expect(`42["rotated"]`)
		d.offerFor(theirs).confirm()
		c.expect(`42["rotated"]`)
		mine.confirm()
		c.expectAuthenticated()
		time.Sleep(10 * time.Second)
		c.expectAuthenticated()
		d.expectAuthenticated()
	})
}

// TestPlainPresentationAfterOffer checks that a client that presents its token again without
// confirm gets the token that it was offered, and is authenticated.
func TestPlainPresentationAfterOffer(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		c := srv.dial("")
		code := srv.code()
		o := c.offerFor(code)
		c.authenticate(code) // again, without confirm
		if c.expectToken() != o.token {
			t.Error("another branch")
		}
		c.expectAuthenticated()
		o.confirm() // late, without effect
		time.Sleep(time.Minute)
		c.expectAuthenticated()
	})
}

// TestConfirmationStoreFailure checks that a confirmation that the store fails to take is tried
// again, and at last answered as unavailable with nothing lost.
func TestConfirmationStoreFailure(t *testing.T) {
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		broken := func(times int) func(string) error {
			return func(call string) error {
				if times--; call == "Confirm" && times >= 0 {
					return errStoreDown
				}
				return nil
			}
		}
		c := srv.dial("")
		o := c.offerFor(srv.code())
		store.fail(broken(3), nil) // the server retries
		o.confirm()
		c.expectAuthenticated()
		o = c.offerFor(o.token)
		store.fail(nil, broken(3)) // also where only the reply was lost
		o.confirm()
		c.expectAuthenticated()

		store.fail(broken(1000), nil)
		o = c.offerFor(o.token)
		o.confirm()
		if u := c.expectUnauthorized("unavailable"); u.Terminal || u.RetryAfter == 0 {
			t.Errorf("%+v", u)
		}
		c.expectAuthenticated() // still
		d := srv.dial("")
		o = d.offerFor(o.token)
		o.confirm()
		d.expectRefused("unavailable")
		store.fail(nil, nil)
		srv.confirmed(o.token)
	})
}

// TestConfirmationRacingRevocation checks that a revocation while the store decides on a
// confirmation, before or after its decision, ends the socket and both tokens.
func TestConfirmationRacingRevocation(t *testing.T) {
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		// The revocation comes before or after the decision of the store on the confirmation.
		for _, before := range []bool{true, false} {
			at, goOn := make(chan struct{}), make(chan struct{})
			block := func(call string) error {
				if call == "Confirm" {
					close(at)
					<-goOn
				}
				return nil
			}
			c := srv.dial("")
			o := c.offerFor(srv.code())
			if before {
				store.fail(block, nil)
			} else {
				store.fail(nil, block)
			}
			o.confirm()
			<-at
			store.fail(nil, nil)
			sessions, err := srv.Auth().Sessions(srv.Context(), "anna")
			if err != nil || len(sessions) != 1 {
				t.Fatalf("%v, %v", sessions, err)
			}
			if _, err := srv.Auth().RevokeSession(srv.Context(), "anna", sessions[0].ID); err != nil {
				t.Fatal(err)
			}
			c.expectRefused("session_revoked")
			close(goOn)
			synctest.Wait()
			if n := len(socketauth.Registered(srv.Server.Server)); n != 0 {
				t.Errorf("%d sockets survive", n)
			}
			srv.expectTokenRefused(o.token, "session_revoked")
		}
	})
}

// TestThiefWithholdsConfirmation checks that a thief who collects offered tokens without confirming
// them is never authenticated, and that those tokens are dead once the owner confirms.
func TestThiefWithholdsConfirmation(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		_, token := srv.confirmed(srv.code())
		stolen := token
		var hoard []string
		for range 5 {
			thief := srv.dial("")
			hoard = append(hoard, thief.offerFor(stolen).token)
			thief.expectUnauthenticated()
			thief.close()
		}
		owner, _ := srv.confirmed(token) // the owner's next confirmation
		time.Sleep(10 * time.Second)
		for n, token := range hoard {
			if status, _, _ := srv.get(token); status != 401 {
				t.Errorf("token %d of the hoard is answered %d", n, status)
			}
		}
		srv.expectTokenRefused(hoard[0], "token_reused")
		owner.expectRefused("token_reused")
	})
}

// TestManyEventsBehindConfirmation checks that many events right behind a confirmation wait for the
// store and for OnAuthenticated, rather than being counted by the limit of unauthenticated clients.
func TestManyEventsBehindConfirmation(t *testing.T) {
	const many = 500
	store := new(faultyStore)
	withServer(t, func(o *socketauth.Options[string]) {
		store.Store = blacklist.NewMemory()
		o.Blacklist = store
	}, func(srv *testServer) {
		store.fail(func(string) error { time.Sleep(20 * time.Millisecond); return nil }, nil)
		srv.OnAuthenticated(func(context.Context, *socketauth.Socket) error { time.Sleep(20 * time.Millisecond); return nil })
		srv.On("subscribe", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return "done", nil })
		c := srv.dial("")
		c.offerFor(srv.code()).confirm()
		for n := range many {
			c.send(fmt.Sprintf(`42%d["subscribe"]`, n))
		}
		for n := range many {
			c.expect(fmt.Sprintf(`43%d["done"]`, n))
		}
	})
}

// TestConfirmAsString checks that confirm may be the string "true", since clients for Java and
// Kotlin can send only strings in the handshake, and that any other type is logged.
func TestConfirmAsString(t *testing.T) {
	for field, want := range map[string]struct {
		confirms bool
		log      string // the type that is logged
	}{
		`true`:             {confirms: true},
		`"true"`:           {confirms: true},
		`"tru\u0065"`:      {confirms: true},
		`false`:            {},
		`"false"`:          {},
		`null`:             {},
		`"yes"`:            {log: "string"},
		`"True"`:           {log: "string"},
		`""`:               {log: "string"},
		`1`:                {log: "number"},
		`[true]`:           {log: "array"},
		`{"confirm":true}`: {log: "object"},
	} {
		t.Run(field, func(t *testing.T) {
			withServer(t, nil, func(srv *testServer) {
				present := map[string]func(token string) *client{
					"handshake": func(token string) *client { return srv.dial(fmt.Sprintf(`{"token":%q,"confirm":%s}`, token, field)) },
					"event": func(token string) *client {
						c := srv.dial("")
						c.send(fmt.Sprintf(`42["authenticate",{"token":%q,"confirm":%s}]`, token, field))
						return c
					},
				}
				for name, present := range present {
					code := srv.code()
					c := present(code)
					frame, _ := c.packetWithin(time.Second)
					c.close()
					if !strings.Contains(frame, `["authenticated",`) {
						t.Fatalf("%s: got %.100s", name, frame)
					}
					time.Sleep(time.Millisecond) // the next socket opens after the code was replaced
					c = srv.dial("")
					c.authenticate(code)
					if want.confirms { // its reply may have been lost
						c.expectToken()
					} else {
						c.expectRefused("token_reused")
					}
					c.close()
				}
				synctest.Wait()
				const message = "is neither true nor false"
				log := srv.logs.String()
				if n := strings.Count(log, message); n != min(len(want.log), 1) {
					t.Errorf("logged %d times within a minute", n)
				}
				if want.log != "" && !strings.Contains(log, " type="+want.log+" ") {
					t.Errorf("the type is not in the log:\n%s", log)
				}
			})
		})
	}
}
