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

func TestConfirmingClientIsNobodyUntilItConfirms(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		introduced := 0
		w.OnAuthenticated(func(_ context.Context, s *socketauth.Socket) error {
			introduced++
			s.Join("room")
			return nil
		})
		c := w.dial(fmt.Sprintf(`{"token":%q,"confirm":true}`, w.code()))
		o := c.offered()
		c.nobody()
		for _, err := range []error{w.Emit("news"), w.ToUser("anna").Emit("news"), w.To("room").Emit("news")} {
			if err != nil {
				t.Fatal(err)
			}
		}
		c.silence()
		if introduced != 0 {
			t.Error("OnAuthenticated was called before the confirmation")
		}
		o.confirm()
		c.alive()
		if introduced != 1 {
			t.Errorf("OnAuthenticated was called %d times", introduced)
		}
		if err := w.To("room").Emit("news"); err != nil {
			t.Fatal(err)
		}
		c.next(`42["news"]`)
	})
}

func TestConfirmationThatOnAuthenticatedRefusesCostsNothing(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		refusing := true
		w.OnAuthenticated(func(context.Context, *socketauth.Socket) error {
			if refusing {
				return &socketauth.PublicError{Code: "banned"}
			}
			return nil
		})
		c := w.dial("")
		o := c.confirms(w.code())
		o.confirm()
		c.refusedAndGone("banned")
		refusing = false
		w.stays(o.token)
	})
}

func TestBreakAtAnyMessageCostsAConfirmingClientNothing(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		token := w.code()
		for range 3 {
			// The answer never came: what was presented is good still.
			for range 3 {
				c := w.dial("")
				c.emit("authenticate", map[string]any{"token": token, "confirm": true})
				c.close()
			}
			// It came and was stored, and the connection broke before the acknowledgement.
			c := w.dial("")
			o := c.confirms(token)
			c.close()
			token = o.token
			// The acknowledgement was sent, and nothing came back.
			c = w.dial("")
			o = c.confirms(token)
			o.confirm()
			c.close()
			token = o.token
		}
		c, _ := w.stays(token)
		c.close()
		if s := w.logs.String(); strings.Contains(s, "level=WARN") || strings.Contains(s, "level=ERROR") {
			t.Errorf("the log has warnings:\n%s", s)
		}
	})
}

func TestOneBranchSurvivesAConfirmation(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		code := w.code()
		a, b, c := w.dial(""), w.dial(""), w.dial("")
		lost, won := a.confirms(code), b.confirms(code)
		third := c.confirms(code)
		if lost.token == won.token || won.token == third.token {
			t.Fatal("two sockets got one branch")
		}
		won.confirm()
		b.alive()
		for _, loser := range []*client{a, c} { // that entered on branches that lost
			if u := loser.refusedAndGone("no_longer_valid"); u.Terminal {
				t.Error("terminal, though its client may hold the other branch")
			}
		}
		if status, _, _ := w.get(lost.token); status != 401 {
			t.Errorf("Middleware answers a lost branch %d", status)
		}
		if status, _, _ := w.get(won.token); status != 200 {
			t.Errorf("Middleware answers the branch that won %d", status)
		}
		time.Sleep(10 * time.Second)
		w.refuses(third.token, "token_reused")
		b.refusedAndGone("token_reused")
	})
}

func TestPresentingABranchConfirmsIt(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		code := w.code()
		a := w.dial("")
		o := a.confirms(code)
		b := w.dial("")
		next := b.confirms(o.token) // the client has stored it, then its connection broke
		w.refuses(code, "no_longer_valid")
		next.confirm()
		b.alive()
	})
}

func TestWithheldConfirmationIsATimeout(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c := w.dial("")
		time.Sleep(4 * time.Second)
		began := time.Now()
		o := c.confirms(w.code())
		for range 3 { // again and again buys no time
			time.Sleep(time.Second)
			c.nobody()
		}
		if u := c.refusedAndGone("timeout"); u.Terminal {
			t.Error("terminal")
		}
		if d := time.Since(began); d != 5*time.Second {
			t.Errorf("after %v", d)
		}

		c, token := w.stays(o.token) // a live socket too
		began = time.Now()
		o = c.confirms(token)
		time.Sleep(3 * time.Second)
		if again := c.confirms(token); again.token != o.token {
			t.Error("the same token presented again on the same socket got another branch")
		}
		c.alive()
		c.refusedAndGone("timeout")
		if d := time.Since(began); d != 5*time.Second {
			t.Errorf("after %v", d)
		}
		w.stays(token)
	})
}

func TestTimeToConfirmBeginsAnewWithAConfirmation(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c, token := w.stays(w.code())
		for range 4 {
			o := c.confirms(token)
			time.Sleep(4 * time.Second)
			o.confirm()
			c.alive()
			token = o.token
		}
		for range 4 { // presenting it on the same socket confirms it too
			o := c.confirms(token)
			time.Sleep(4 * time.Second)
			token = o.token
		}
		c.alive()
		time.Sleep(time.Hour - time.Minute) // nothing runs any more but the last one's time
		c.refusedAndGone("timeout")
	})
}

func TestConfirmationOfAnotherBranchClosesALiveSocketThatConfirmsTooLate(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c, token := w.stays(w.code())
		mine := c.confirms(token)
		d, _ := w.stays(token)
		c.next(`42["rotated"]`)
		c.alive() // nothing was said of the branch that lost yet
		mine.confirm()
		if u := c.refusedAndGone("no_longer_valid"); u.Terminal {
			t.Error("terminal")
		}
		d.alive()
	})
}

func TestConfirmationOfAnOlderGenerationChangesNothing(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c, token := w.stays(w.code())
		mine := c.confirms(token)
		d, theirs := w.stays(token)
		c.next(`42["rotated"]`)
		d.confirms(theirs).confirm()
		c.next(`42["rotated"]`)
		mine.confirm()
		c.alive()
		time.Sleep(10 * time.Second)
		c.alive()
		d.alive()
	})
}

func TestPlainPresentationOfWhatWasOfferedCounts(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c := w.dial("")
		code := w.code()
		o := c.confirms(code)
		c.authenticate(code) // again, and plainly
		if c.token() != o.token {
			t.Error("another branch")
		}
		c.alive()
		o.confirm() // late, and of no consequence
		time.Sleep(time.Minute)
		c.alive()
	})
}

func TestConfirmationThatTheStoreDoesNotTake(t *testing.T) {
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		broken := func(times int) func(string) error {
			return func(call string) error {
				if times--; call == "Confirm" && times >= 0 {
					return errStoreDown
				}
				return nil
			}
		}
		c := w.dial("")
		o := c.confirms(w.code())
		store.fail(broken(3), nil) // it is asked again
		o.confirm()
		c.alive()
		o = c.confirms(o.token)
		store.fail(nil, broken(3)) // where only the reply was lost too
		o.confirm()
		c.alive()

		store.fail(broken(1000), nil)
		o = c.confirms(o.token)
		o.confirm()
		if u := c.refusedWith("unavailable"); u.Terminal || u.RetryAfter == 0 {
			t.Errorf("%+v", u)
		}
		c.alive() // and stays what it was
		d := w.dial("")
		o = d.confirms(o.token)
		o.confirm()
		d.refusedAndGone("unavailable")
		store.fail(nil, nil)
		w.stays(o.token)
	})
}

func TestConfirmationAfterARevocationChangesNothing(t *testing.T) {
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(w *world) {
		// Both orders: the revocation comes while the store decides on the confirmation, before and after its decision.
		for _, before := range []bool{true, false} {
			at, goOn := make(chan struct{}), make(chan struct{})
			block := func(call string) error {
				if call == "Confirm" {
					close(at)
					<-goOn
				}
				return nil
			}
			c := w.dial("")
			o := c.confirms(w.code())
			if before {
				store.fail(block, nil)
			} else {
				store.fail(nil, block)
			}
			o.confirm()
			<-at
			store.fail(nil, nil)
			sessions, err := w.Auth().Sessions(w.Context(), "anna")
			if err != nil || len(sessions) != 1 {
				t.Fatalf("%v, %v", sessions, err)
			}
			if _, err := w.Auth().RevokeSession(w.Context(), sessions[0].ID); err != nil {
				t.Fatal(err)
			}
			c.refusedAndGone("session_revoked")
			close(goOn)
			synctest.Wait()
			if n := len(socketauth.Registered(w.Server.Server)); n != 0 {
				t.Errorf("%d sockets survive", n)
			}
			w.refuses(o.token, "session_revoked")
		}
	})
}

func TestThiefThatWithholdsIsNobodyAndItsTokensDie(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		_, token := w.stays(w.code())
		stolen := token
		var hoard []string
		for range 5 {
			thief := w.dial("")
			hoard = append(hoard, thief.confirms(stolen).token)
			thief.nobody()
			thief.close()
		}
		owner, _ := w.stays(token) // the owner's next confirmation
		time.Sleep(10 * time.Second)
		for n, token := range hoard {
			if status, _, _ := w.get(token); status != 401 {
				t.Errorf("token %d of the hoard is answered %d", n, status)
			}
		}
		w.refuses(hoard[0], "token_reused")
		owner.refusedAndGone("token_reused")
	})
}

func TestPageThatSaysMuchAsSoonAsItIsOnlineGetsIn(t *testing.T) {
	// Guards: what comes behind a confirmation waits for the store and for OnAuthenticated, and was counted as a stranger's.
	const many = 500
	store := new(faultyStore)
	inWorld(t, func(o *socketauth.Options[string]) {
		store.Store = blacklist.NewMemory()
		o.Blacklist = store
	}, func(w *world) {
		store.fail(func(string) error { time.Sleep(20 * time.Millisecond); return nil }, nil)
		w.OnAuthenticated(func(context.Context, *socketauth.Socket) error { time.Sleep(20 * time.Millisecond); return nil })
		w.On("subscribe", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return "done", nil })
		c := w.dial("")
		c.confirms(w.code()).confirm()
		for n := range many {
			c.send(fmt.Sprintf(`42%d["subscribe"]`, n))
		}
		for n := range many {
			c.next(fmt.Sprintf(`43%d["done"]`, n))
		}
	})
}

func TestConfirmInAString(t *testing.T) {
	// Guards: clients for Java and Kotlin can only send strings in the handshake's auth.
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
			inWorld(t, nil, func(w *world) {
				present := map[string]func(token string) *client{
					"handshake": func(token string) *client { return w.dial(fmt.Sprintf(`{"token":%q,"confirm":%s}`, token, field)) },
					"event": func(token string) *client {
						c := w.dial("")
						c.send(fmt.Sprintf(`42["authenticate",{"token":%q,"confirm":%s}]`, token, field))
						return c
					},
				}
				for name, present := range present {
					code := w.code()
					c := present(code)
					frame, _ := c.frameWithin(time.Second)
					c.close()
					if !strings.Contains(frame, `["authenticated",`) {
						t.Fatalf("%s: got %.100s", name, frame)
					}
					time.Sleep(time.Millisecond) // the next socket opens after the code was replaced
					c = w.dial("")
					c.authenticate(code)
					if want.confirms { // its reply may have been lost
						c.token()
					} else {
						c.refusedAndGone("token_reused")
					}
					c.close()
				}
				synctest.Wait()
				const message = "is neither true nor false"
				log := w.logs.String()
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
