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

// TestTokenSuccession checks that a code is exchanged for a session token, each token for its
// successor, and that the socket ends with the last one's expiry.
func TestTokenSuccession(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		c := srv.dial("")
		c.authenticate(srv.code())
		first := c.expectToken()
		c.expectAuthenticated()
		c.close()

		c = srv.dial(fmt.Sprintf(`{"token":%q}`, first)) // by the handshake's auth
		second := c.expectToken()
		c.expectAuthenticated()
		time.Sleep(time.Hour)
		c.authenticate(second) // on the same socket
		third := c.expectToken()
		c.expectAuthenticated()
		if first == second || second == third {
			t.Error("a token came twice")
		}
		time.Sleep(24*time.Hour - time.Second) // past the second's expiry
		c.expectAuthenticated()
		time.Sleep(2 * time.Second)
		if u := c.expectRefused("token_expired"); !u.Terminal {
			t.Error("not terminal")
		}
	})
}

// TestTwentySocketsWithOneCode checks that of twenty sockets that present one code at once, one is
// authenticated.
func TestTwentySocketsWithOneCode(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		code := srv.code()
		clients := make([]*client, 20)
		for n := range clients {
			clients[n] = srv.dial("")
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
				c.expectDisconnected()
			}
		}
		if len(in) != 1 {
			t.Fatalf("%d are authenticated", len(in))
		}
		time.Sleep(time.Minute)
		in[0].expectAuthenticated()
	})
}

// TestAuthenticationTimeout checks that a socket that does not authenticate is told so and
// disconnected after Timeout.
func TestAuthenticationTimeout(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.Timeout = 3 * time.Second }, func(srv *testServer) {
		start := time.Now()
		c := srv.dial("")
		if u := c.expectRefused("timeout"); u.Terminal || time.Since(start) != 3*time.Second {
			t.Errorf("after %v: %+v", time.Since(start), u)
		}
	})
}

// TestLateClients checks that a client that is disconnected after Timeout, and the log at each
// level, are told which deadline it was, and that the warning with the fix is limited.
func TestLateClients(t *testing.T) {
	var release chan struct{}
	withServer(t, func(o *socketauth.Options[string]) {
		release = make(chan struct{})
		o.TenantID = func(_ context.Context, c jwt.MapClaims) (string, error) {
			if c["sub"] == "slow" {
				<-release
			}
			return "tenant", nil
		}
	}, func(srv *testServer) {
		late := func(c *client, message, cause, fix string) {
			t.Helper()
			if u := c.expectRefused("timeout"); u.Message != message || u.Data.Message != message || u.Terminal {
				t.Errorf("%+v, want %q", u, message)
			}
			srv.expectLogged(cause)
			srv.expectLogged(fix)
		}
		const nothing = "No token was presented in time"
		late(srv.dial(""), nothing, "the client presented no token", "handshake's auth")
		late(srv.dial(`{"token":null}`), nothing, "the client presented no token", "handshake's auth")
		c := srv.dial("")
		o := c.offerFor(srv.code())
		late(c, "The token was not acknowledged in time", "did not acknowledge", "must call the acknowledgement")
		c, token := srv.confirmed(o.token)
		c.offerFor(token)
		late(c, "The token was not acknowledged in time", "did not acknowledge", "must call the acknowledgement")
		code, err := srv.Auth().IssueCode(context.Background(), jwt.MapClaims{"sub": "slow"})
		if err != nil {
			t.Fatal(err)
		}
		c = srv.dial(fmt.Sprintf(`{"token":%q}`, code))
		late(c, "The token was not accepted in time", "was not let in", "must return sooner")
		close(release)
		log := srv.logs.String()
		if n := strings.Count(log, "level=WARN msg=\"socketauth: a client did not authenticate in time\""); n != 3 {
			t.Errorf("%d warnings in half a minute, want one for each deadline:\n%s", n, log)
		}
		for line := range strings.Lines(log) {
			if strings.Contains(line, "socket refused") && !strings.Contains(line, "cause=") {
				t.Errorf("a refusal is logged without its cause: %s", line)
			}
		}
	})
}

// TestRefusedSocketIsClosed checks that a refused socket is disconnected and has no second attempt.
func TestRefusedSocketIsClosed(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		c := srv.dial("")
		c.send(`42["authenticate",{"token":"guess 1"}]`)
		c.expectUnauthorized("invalid_token")
		_ = c.Write(`42["authenticate",{"token":"guess 2"}]`) // nobody reads it
		c.expectDisconnected()
	})
}

// TestUnauthenticatedRejoin checks that a client that leaves the namespace and joins again without
// having authenticated gets no new time and no new turn at the hooks.
func TestUnauthenticatedRejoin(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		c := srv.dial("")
		c.send("41")
		c.send("40")
		c.expect(`40{"sid":`)
		c.expectDisconnected()

		c, token := srv.authenticated() // one that had authenticated gets the whole time
		c.send("41")
		c.send("40")
		c.expect(`40{"sid":`)
		time.Sleep(4 * time.Second)
		c.authenticate(token)
		c.expectToken()
	})
}

// TestAuthenticateBadInput checks that malformed arguments of authenticate and of the handshake are
// refused, end nobody else's socket and consume nothing.
func TestAuthenticateBadInput(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		bystander, _ := srv.authenticated()
		good := srv.code()
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
				c = srv.dial(frame)
			} else {
				c = srv.dial("")
				c.send(frame)
			}
			if u := c.expectRefused("invalid_token"); !u.Terminal {
				t.Errorf("%s: not terminal", name)
			}
		}
		bystander.expectAuthenticated()
		c := srv.dial(fmt.Sprintf(`{"token":%q}`, good)) // none of it consumed the good one
		c.expectToken()
	})
}

// TestHandshakeWithoutToken checks that a handshake without a token is followed by the time to
// authenticate by event.
func TestHandshakeWithoutToken(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		for _, auth := range []string{"", `{}`, `{"token":null}`, `{"token":""}`, `{"room":"x"}`} {
			c := srv.dial(auth)
			time.Sleep(time.Second)
			c.authenticate(srv.code())
			c.expectToken()
			c.close()
		}
	})
}

// TestReauthenticationIdentity checks that an authenticated socket takes no token of another
// session, and renews its expiry with one of its own.
func TestReauthenticationIdentity(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.TokenLifetime = time.Minute }, func(srv *testServer) {
		anna, token := srv.authenticated()
		_, ottos := srv.authenticatedAs(jwt.MapClaims{"sub": "otto"})
		_, annasOther := srv.authenticated()
		for _, foreign := range []string{ottos, annasOther, srv.code()} {
			anna.authenticate(foreign)
			if u := anna.expectUnauthorized("wrong_session"); u.Terminal {
				t.Error("terminal")
			}
			anna.expectAuthenticated() // told, not disconnected
		}
		time.Sleep(50 * time.Second)
		anna.authenticate(token)
		next := anna.expectToken()
		time.Sleep(8 * time.Second)
		anna.expectAuthenticated()
		anna.authenticate(token)
		anna.expectRefused("token_reused") // replaced too long ago for a late frame
		anna = srv.dial("")
		anna.authenticate(next)
		anna.expectRefused("token_reused")
	})
}

// TestInvalidTokenOnAuthenticatedSocket checks that an invalid token ends an authenticated socket,
// but not its session.
func TestInvalidTokenOnAuthenticatedSocket(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		c, token := srv.authenticated()
		c.authenticate("garbage")
		c.expectRefused("invalid_token")
		c = srv.dial("")
		c.authenticate(token) // its session goes on
		c.expectToken()
	})
}

// TestEventsDuringAuthentication checks that events sent right behind authenticate are handled
// after it, in order.
func TestEventsDuringAuthentication(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		srv.On("chat", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return "hello", nil })
		c := srv.dial("")
		c.authenticate(srv.code())
		c.send(`421["chat"]`)
		c.expectToken()
		c.expect(`431["hello"]`)
	})
}

// TestAuthenticateAcknowledgements checks that authenticate and logout are acknowledged where the
// client asks for it, with the error where they fail.
func TestAuthenticateAcknowledgements(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		c := srv.dial("")
		c.send(fmt.Sprintf(`421["authenticate",{"token":%q}]`, srv.code()))
		c.expectToken()
		c.expect("431[]")
		c.send(`422["logout"]`)
		c.expect("432[]")
		c.expect(`42["logged_out"]`)
		c.expectDisconnected()
		c = srv.dial("")
		c.send(`421["authenticate",{"token":"x"}]`)
		c.expect(`431[{"error":{"code":"invalid_token"}}]`)
		c.expectRefused("invalid_token")
	})
}
