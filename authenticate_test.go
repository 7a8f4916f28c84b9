package socketauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
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

func TestDeadTokensAreRefusedUnderBothPolicies(t *testing.T) {
	for _, policy := range []ReusePolicy{EndSession, RejectOnly} {
		for _, kind := range []string{"replayed code", "replaced token", "logged-out token", "logged-out code"} {
			t.Run(fmt.Sprint(policy, " ", kind), func(t *testing.T) {
				inWorld(t, func(o *Options[string]) { o.ReusePolicy = policy }, func(w *world) {
					code := w.code()
					holder := w.dial("")
					holder.authenticate(code)
					first := holder.token()
					holder.authenticate(first)
					latest := holder.token()
					time.Sleep(time.Second)
					dead, loggedOut := map[string]string{
						"replayed code": code, "replaced token": first, "logged-out token": latest, "logged-out code": code,
					}[kind], strings.HasPrefix(kind, "logged-out")
					if loggedOut {
						holder.emit("logout", latest)
						holder.next(`42["logged_out"]`)
						holder.gone()
					}
					thief := w.dial("")
					thief.authenticate(dead)
					want := "no_longer_valid"
					if policy == EndSession && !loggedOut {
						want = "token_reused"
					}
					u := thief.refusedAndGone(want)
					if !u.Terminal || u.Message == "" || u.Type != "UnauthorizedError" || u.Data.Code != want || u.Data.Message != u.Message || u.Data.Type != u.Type {
						t.Errorf("unauthorized is %+v", u)
					}
					switch {
					case loggedOut:
					case policy == EndSession:
						holder.refusedAndGone("token_reused")
						w.logged("two clients have had the token")
						again := w.dial("")
						again.authenticate(latest)
						again.refusedAndGone("token_reused")
					default:
						holder.alive()
						again := w.dial("")
						again.authenticate(latest)
						again.token()
					}
				})
			})
		}
	}
}

func TestSilentSocketIsToldAndDisconnected(t *testing.T) {
	inWorld(t, func(o *Options[string]) { o.Timeout = 3 * time.Second }, func(w *world) {
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

func TestHookThatHangsDoesNotStopTheDeadline(t *testing.T) {
	// Guards: an attempt that fails or hangs must not stop the authentication deadline, and consumes nothing.
	var hang chan struct{}
	var hanging atomic.Bool
	inWorld(t, func(o *Options[string]) {
		hang = make(chan struct{})
		o.TenantID = func(ctx context.Context, _ jwt.MapClaims) (string, error) {
			if !hanging.Load() {
				return "t", nil
			}
			<-ctx.Done()
			<-hang
			return "", ctx.Err()
		}
	}, func(w *world) {
		hanging.Store(true)
		code := w.code()
		c := w.dial(fmt.Sprintf(`{"token":%q}`, code))
		c.refusedAndGone("timeout")
		close(hang)
		hanging.Store(false)
		c = w.dial(fmt.Sprintf(`{"token":%q}`, code))
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

func TestCodeAndTokenExpire(t *testing.T) {
	inWorld(t, func(o *Options[string]) { o.TokenLifetime = time.Minute }, func(w *world) {
		code := w.code()
		c, token := w.in()
		time.Sleep(31 * time.Second)
		late := w.dial("")
		late.authenticate(code)
		late.refusedAndGone("token_expired")
		c.close()
		time.Sleep(30 * time.Second)
		late = w.dial("")
		late.authenticate(token)
		late.refusedAndGone("token_expired")
	})
}

func TestNothingGoesInOrOutAfterExpiry(t *testing.T) {
	inWorld(t, func(o *Options[string]) { o.TokenLifetime = time.Minute }, func(w *world) {
		var handled, ended atomic.Int32
		w.On("chat", func(ctx context.Context, s *Socket, _ Args) (any, error) {
			handled.Add(1)
			<-ctx.Done() // a handler outlives the token
			ended.Add(1)
			if err := s.Emit("late"); !errors.Is(err, ErrClosed) {
				t.Errorf("emit after expiry: %v", err)
			}
			return nil, nil
		})
		c, _ := w.in()
		c.emit("chat")
		c.emit("chat") // waits behind the first, and is never handled
		time.Sleep(time.Minute + time.Second)
		c.refusedAndGone("token_expired")
		if err := w.Emit("news"); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if handled.Load() != 1 || ended.Load() != 1 {
			t.Errorf("%d handled, %d ended", handled.Load(), ended.Load())
		}
	})
}

func TestReauthenticationKeepsTheIdentity(t *testing.T) {
	inWorld(t, func(o *Options[string]) { o.TokenLifetime = time.Minute }, func(w *world) {
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

func TestLateFrameOnALiveSocketIsNoAlarm(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c, token := w.in()
		time.Sleep(time.Second)
		c.authenticate(token)
		c.authenticate(token) // the same again before the answer came
		next := c.token()
		if u := c.refusedWith("no_longer_valid"); u.Terminal {
			t.Error("terminal")
		}
		c.alive()
		c.authenticate(next)
		c.token()
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

func TestTenantsAndWhatTheyRefuse(t *testing.T) {
	inWorld(t, func(o *Options[string]) {
		o.TenantID = func(_ context.Context, c jwt.MapClaims) (string, error) {
			if c["tenant"] == "down" {
				return "", errors.New("directory down")
			}
			tenant, _ := c["tenant"].(string)
			return tenant, nil
		}
	}, func(w *world) {
		tenants := make(chan string, 1)
		w.OnAuthenticated(func(_ context.Context, s *Socket) error { tenants <- s.TenantID(); return nil })
		w.inAs(jwt.MapClaims{"sub": "anna", "tenant": "acme"})
		if got := <-tenants; got != "acme" {
			t.Errorf("tenant %q", got)
		}
		c := w.dial("")
		c.authenticate(w.code())
		c.refusedAndGone("invalid_tenant")
		c = w.dial("")
		c.authenticate(w.codeFor(jwt.MapClaims{"sub": "anna", "tenant": "down"}))
		if u := c.refusedAndGone("server_error"); u.Terminal || u.RetryAfter < 1 || strings.Contains(fmt.Sprint(u), "directory") {
			t.Errorf("%+v", u)
		}
		w.logged("directory down")
	})
}

func TestRefreshHookMintsAndItsFailureConsumesNothing(t *testing.T) {
	var fail atomic.Bool
	inWorld(t, func(o *Options[string]) {
		o.Refresh = func(_ context.Context, c jwt.MapClaims) (string, error) {
			if fail.Load() {
				return "", errors.New("signer down")
			}
			c["role"] = "admin"
			return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(testSecret)
		}
	}, func(w *world) {
		roles := make(chan any, 1)
		w.OnAuthenticated(func(_ context.Context, s *Socket) error { roles <- s.Claims()["role"]; return nil })
		code := w.code()
		fail.Store(true)
		c := w.dial("")
		c.authenticate(code)
		c.refusedAndGone("server_error")
		fail.Store(false)
		c = w.dial("")
		c.authenticate(code)
		token := c.token()
		if got := <-roles; got != "admin" {
			t.Errorf("role %v", got)
		}
		fail.Store(true)
		c.authenticate(token)
		if u := c.refusedWith("server_error"); u.Terminal || u.RetryAfter < 1 {
			t.Errorf("%+v", u)
		}
		c.alive() // its identity and expiry are as they were
	})
}

func TestOnAuthenticatedRefusesWithoutConsumingTheToken(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		var refuse error
		var left atomic.Int32
		w.OnAuthenticated(func(context.Context, *Socket) error { return refuse })
		w.OnDisconnect(func(context.Context, *Socket, string) { left.Add(1) })
		code := w.code()
		for _, c := range []struct {
			err  error
			code string
		}{
			{errors.New("database down"), "server_error"},
			{ErrUnavailable, "unavailable"},
			{ErrTooManyAttempts, "too_many_attempts"},
			{&PublicError{Code: "BANNED", Err: errors.New("for good")}, "BANNED"},
			{(*PublicError)(nil), "server_error"},
		} {
			refuse = c.err
			s := w.dial("")
			s.authenticate(code)
			s.refusedAndGone(c.code)
		}
		if left.Load() != 0 {
			t.Error("OnDisconnect was called for a socket that was never let in")
		}
		refuse = nil
		s := w.dial("")
		s.authenticate(code)
		s.token()
		s.close()
		synctest.Wait()
		if left.Load() != 1 {
			t.Errorf("OnDisconnect was called %d times", left.Load())
		}
	})
}

func TestOnDisconnectFollowsAnOnAuthenticatedThatCameTooLate(t *testing.T) {
	// Guards: an app that counts who is in must not count for ever one that left while it was let in.
	inWorld(t, nil, func(w *world) {
		asked, gone := make(chan struct{}), make(chan struct{})
		var left atomic.Int32
		w.OnAuthenticated(func(context.Context, *Socket) error { close(asked); <-gone; return nil })
		w.OnDisconnect(func(context.Context, *Socket, string) { left.Add(1) })
		c := w.dial("")
		c.authenticate(w.code())
		<-asked
		c.close()
		synctest.Wait()
		close(gone)
		synctest.Wait()
		if left.Load() != 1 {
			t.Errorf("OnDisconnect was called %d times", left.Load())
		}
	})
}

func TestNoSecretIsLogged(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		code := w.code()
		c := w.dial(fmt.Sprintf(`{"token":%q}`, code))
		first := c.token()
		c.authenticate(first)
		second := c.token()
		time.Sleep(time.Minute)
		c.authenticate(code)
		c.refusedAndGone("token_expired")
		c = w.dial("")
		c.authenticate(first)
		c.refusedAndGone("token_reused")
		c = w.dial("")
		c.authenticate(respell(second))
		c.refusedAndGone("invalid_token")
		log := w.logs.String()
		for _, token := range []string{code, first, second} {
			parts := strings.Split(token, ".")
			for _, secret := range []string{parts[1][:20], parts[2][:20]} {
				if strings.Contains(log, secret) {
					t.Errorf("the log has a part of a token:\n%s", log)
				}
			}
		}
		if log == "" {
			t.Error("nothing was logged, so nothing was tested")
		}
	})
}

func FuzzTokenIn(f *testing.F) {
	f.Add(`{"token":"x"}`)
	f.Add(`{"token":{"toString":1}}`)
	f.Add(`[]`)
	for _, seed := range []string{`null`, `5`, `"x"`, `{"token":5}`, `{"token":null}`, `{"token":""}`, `{"TOKEN":"x","confirm":true}`, `{"token":"x","confirm":"true"}`, `{"token":"\ud800"}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, auth string) {
		if !json.Valid([]byte(auth)) {
			return
		}
		p, given := presentedAs(json.RawMessage(auth), time.Now())
		if (p.token != "" || p.confirm) && !given {
			t.Errorf("%q: a token that was not given", auth)
		}
	})
}
