package socketauth_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

func TestCodeIsTradedForATokenAndTheTokenForItsSuccessor(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c := w.dial("")
		c.authenticate(w.code())
		first := c.token()
		c.alive()
		c.close()

		c = w.dial(fmt.Sprintf(`{"token":%q}`, first)) // by handshake auth this time
		second := c.token()
		c.alive()
		time.Sleep(time.Hour)
		c.authenticate(second) // and in place
		third := c.token()
		c.alive()
		if first == second || second == third {
			t.Error("a token came twice")
		}
		time.Sleep(24*time.Hour - time.Second) // past the second's expiry
		c.alive()
		time.Sleep(2 * time.Second)
		if u := c.refusedAndGone("token_expired"); !u.Terminal {
			t.Error("not terminal")
		}
	})
}

func TestTwentySocketsWithOneCode(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		code := w.code()
		clients := make([]*client, 20)
		for n := range clients {
			clients[n] = w.dial("")
		}
		var wg sync.WaitGroup
		for _, c := range clients {
			wg.Go(func() { c.authenticate(code) })
		}
		wg.Wait()
		synctest.Wait()
		var in []*client
		for _, c := range clients {
			if frame := <-c.Packets(); strings.HasPrefix(frame, `42["authenticated",`) {
				in = append(in, c)
			} else if !strings.Contains(frame, `"code":"no_longer_valid"`) || !strings.Contains(frame, `"terminal":false`) {
				t.Errorf("got %q", frame)
			} else {
				c.gone()
			}
		}
		if len(in) != 1 {
			t.Fatalf("%d are in", len(in))
		}
		time.Sleep(time.Minute)
		in[0].alive()
	})
}

func TestSilentSocketIsToldAndDisconnected(t *testing.T) {
	inWorld(t, func(o *socketauth.Options[string]) { o.Timeout = 3 * time.Second }, func(w *world) {
		start := time.Now()
		c := w.dial("")
		if u := c.refusedAndGone("timeout"); u.Terminal || time.Since(start) != 3*time.Second {
			t.Errorf("after %v: %+v", time.Since(start), u)
		}
	})
}

func TestRefusedSocketCannotLingerOrTryAgain(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c := w.dial("")
		c.send(`42["authenticate",{"token":"guess 1"}]`)
		c.refusedWith("invalid_token")
		_ = c.Write(`42["authenticate",{"token":"guess 2"}]`) // nobody reads it
		c.gone()
	})
}

func TestStrangerThatLeavesDoesNotJoinAgain(t *testing.T) {
	// Guards: a client that leaves the namespace and joins it again must not have its time, and its turn of the hooks,
	// again and again.
	inWorld(t, nil, func(w *world) {
		c := w.dial("")
		c.send("41")
		c.send("40")
		c.next(`40{"sid":`)
		c.gone()

		c, token := w.in() // one that has proved itself has its time anew
		c.send("41")
		c.send("40")
		c.next(`40{"sid":`)
		time.Sleep(4 * time.Second)
		c.authenticate(token)
		c.token()
	})
}

func TestBadInputToAuthenticate(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		bystander, _ := w.in()
		good := w.code()
		for name, frame := range map[string]string{
			"nothing":           `42["authenticate"]`,
			"null":              `42["authenticate",null]`,
			"number":            `42["authenticate",5]`,
			"string":            fmt.Sprintf(`42["authenticate",%q]`, good),
			"array":             fmt.Sprintf(`42["authenticate",[%q]]`, good),
			"empty object":      `42["authenticate",{}]`,
			"token null":        `42["authenticate",{"token":null}]`,
			"token a number":    `42["authenticate",{"token":5}]`,
			"token an object":   `42["authenticate",{"token":{"toString":1}}]`,
			"token an array":    fmt.Sprintf(`42["authenticate",{"token":[%q]}]`, good),
			"empty token":       `42["authenticate",{"token":""}]`,
			"kilobytes":         `42["authenticate",{"token":"` + strings.Repeat("x", 60_000) + `"}]`,
			"respelt":           fmt.Sprintf(`42["authenticate",{"token":%q}]`, respell(good)),
			"truncated":         fmt.Sprintf(`42["authenticate",{"token":%q}]`, good[:len(good)-3]),
			"nested":            `42["authenticate",` + strings.Repeat(`{"token":`, 100) + `1` + strings.Repeat(`}`, 100) + `]`,
			"handshake number":  `{"token":5}`,
			"handshake array":   `{"token":["x"]}`,
			"handshake garbage": `{"token":"x"}`,
		} {
			var c *client
			if strings.HasPrefix(frame, "{") {
				c = w.dial(frame)
			} else {
				c = w.dial("")
				c.send(frame)
			}
			if u := c.refusedAndGone("invalid_token"); !u.Terminal {
				t.Errorf("%s: not terminal", name)
			}
		}
		bystander.alive()
		c := w.dial(fmt.Sprintf(`{"token":%q}`, good)) // none of it consumed the good one
		c.token()
	})
}

func TestHandshakeWithoutATokenLeavesTimeToAuthenticate(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		for _, auth := range []string{"", `{}`, `{"token":null}`, `{"token":""}`, `{"room":"x"}`} {
			c := w.dial(auth)
			time.Sleep(time.Second)
			c.authenticate(w.code())
			c.token()
			c.close()
		}
	})
}

func TestReauthenticationKeepsTheIdentity(t *testing.T) {
	inWorld(t, func(o *socketauth.Options[string]) { o.TokenLifetime = time.Minute }, func(w *world) {
		anna, token := w.in()
		_, ottos := w.inAs(jwt.MapClaims{"sub": "otto"})
		_, annasOther := w.in()
		for _, foreign := range []string{ottos, annasOther, w.code()} {
			anna.authenticate(foreign)
			if u := anna.refusedWith("wrong_session"); u.Terminal {
				t.Error("terminal")
			}
			anna.alive() // told, not disconnected
		}
		time.Sleep(50 * time.Second)
		anna.authenticate(token)
		next := anna.token()
		time.Sleep(8 * time.Second)
		anna.alive()
		anna.authenticate(token)
		anna.refusedAndGone("token_reused") // long ago replaced, so no late frame
		anna = w.dial("")
		anna.authenticate(next)
		anna.refusedAndGone("token_reused")
	})
}

func TestInvalidTokenOnALiveSocketEndsIt(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c, token := w.in()
		c.authenticate("garbage")
		c.refusedAndGone("invalid_token")
		c = w.dial("")
		c.authenticate(token) // its session lives
		c.token()
	})
}

func TestEventsBehindAnAuthenticateWaitForIt(t *testing.T) {
	// Guards: a client that emits right behind its authenticate, as clients with a queue do, is served in order.
	inWorld(t, nil, func(w *world) {
		w.On("chat", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return "hello", nil })
		c := w.dial("")
		c.authenticate(w.code())
		c.send(`421["chat"]`)
		c.token()
		c.next(`431["hello"]`)
	})
}

func TestAcknowledgementsOfAuthenticateAndLogout(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c := w.dial("")
		c.send(fmt.Sprintf(`421["authenticate",{"token":%q}]`, w.code()))
		c.token()
		c.next("431[]")
		c.send(`422["logout"]`)
		c.next("432[]")
		c.next(`42["logged_out"]`)
		c.gone()
		c = w.dial("")
		c.send(`421["authenticate",{"token":"x"}]`)
		c.next(`431[{"error":{"code":"invalid_token"}}]`)
		c.refusedAndGone("invalid_token")
	})
}
