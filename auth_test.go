package socketauth_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// TestWholeFlow checks the way of a user from the login through the socket and the middleware to
// the log-out.
func TestWholeFlow(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		srv.On("whoami", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) { return s.UserID(), nil })

		_, body, _ := post(srv.Config.Handler, "/login", jsonType, credentialsJSON("anna", "secret"))
		c := srv.dial("")
		c.authenticate(body["token"])
		token := c.expectToken()
		if got := c.call("whoami"); got != `["anna"]` {
			t.Errorf("got %s", got)
		}
		if status, body, _ := srv.get(token); status != 200 || body != "anna" {
			t.Errorf("middleware: %d %s", status, body)
		}
		c.close() // the connection is lost

		c = srv.dial(fmt.Sprintf(`{"token":%q}`, token))
		next := c.expectToken()
		c.emit("logout", next)
		c.expect(`42["logged_out"]`)
		c.expectDisconnected()
		if status, body, _ := srv.get(next); status != 401 || !strings.Contains(body, "no_longer_valid") {
			t.Errorf("middleware: %d %s", status, body)
		}
	})
}

// TestTwoLoginsInOneSecond checks that two logins of one user in one second are two sessions.
func TestTwoLoginsInOneSecond(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		a, b := srv.code(), srv.code()
		one, two := srv.dial(""), srv.dial("")
		one.authenticate(a)
		two.authenticate(b)
		one.expectToken()
		two.expectToken()
		one.expectAuthenticated()
		two.expectAuthenticated()
	})
}

// TestSharedAuth checks that login and sockets can share an Auth, and that a process may serve
// sockets alone.
func TestSharedAuth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := http.NewServeMux()
		o := testOptions(io.Discard)
		a, err := socketauth.New(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.APIServe(mux); err != nil {
			t.Fatal(err)
		}
		s, err := a.SocketServe(nil, mux)
		if err != nil || s.Auth() != a {
			t.Fatal(err)
		}
		sockets, err := socketauth.SocketServe(nil, http.NewServeMux(), socketauth.Options[any]{Secret: testSecret})
		if err != nil {
			t.Fatalf("a process that only serves sockets: %v", err)
		}
		for _, s := range []*socketauth.Server{s, sockets} {
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestIssueCodeHookPanic checks that a panic of Authorization is an error of IssueCode.
func TestIssueCodeHookPanic(t *testing.T) {
	a, err := socketauth.New(socketauth.Options[any]{Secret: testSecret, Logger: slog.New(slog.DiscardHandler), Authorization: func(context.Context, jwt.MapClaims) (string, error) { panic("a bug") }})
	if err != nil {
		t.Fatal(err)
	}
	if code, err := a.IssueCode(t.Context(), jwt.MapClaims{"sub": "anna"}); err == nil {
		t.Errorf("code %q", code)
	}
}

// TestSecretsNotLogged checks that no part of a code or token is in the log, even at debug level.
func TestSecretsNotLogged(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		code := srv.code()
		c := srv.dial(fmt.Sprintf(`{"token":%q}`, code))
		first := c.expectToken()
		c.authenticate(first)
		second := c.expectToken()
		time.Sleep(time.Minute)
		c.authenticate(code)
		c.expectRefused("token_expired")
		c = srv.dial("")
		c.authenticate(first)
		c.expectRefused("token_reused")
		c = srv.dial("")
		c.authenticate(respell(second))
		c.expectRefused("invalid_token")
		log := srv.logs.String()
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

// TestCodesDiffer checks that two logins at one moment differ in code, token and session.
func TestCodesDiffer(t *testing.T) {
	withServer(t, nil, func(srv *testServer) { // where time stands still
		a, b := srv.code(), srv.code()
		if a == b {
			t.Error("two logins share a code")
		}
		one, two := payloadOf(t, a), payloadOf(t, b)
		for _, name := range []string{"jti", "sid"} {
			if string(one[name]) == string(two[name]) || len(one[name]) == 0 {
				t.Errorf("two logins share %s %s", name, one[name])
			}
		}
	})
}

// TestMintingKeepsAppClaims checks that minting does not write to the app's map.
func TestMintingKeepsAppClaims(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		var wg sync.WaitGroup
		mine := jwt.MapClaims{"sub": "anna"}
		for range 4 { // an app may return one map for all; the race detector would find a write
			wg.Go(func() {
				if _, err := srv.Auth().IssueCode(srv.Context(), mine); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(mine) != 1 {
			t.Errorf("the app's map is now %v", mine)
		}
	})
}
