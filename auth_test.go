package socketauth_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

func TestTheWholeFlow(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.On("whoami", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) { return s.UserID(), nil })

		_, body, _ := post(w.Config.Handler, "/login", jsonType, credentialsJSON("anna", "secret"))
		c := w.dial("")
		c.authenticate(body["token"])
		token := c.token()
		if got := c.ask("whoami"); got != `["anna"]` {
			t.Errorf("got %s", got)
		}
		if status, body, _ := w.get(token); status != 200 || body != "anna" {
			t.Errorf("middleware: %d %s", status, body)
		}
		c.close() // the connection is lost

		c = w.dial(fmt.Sprintf(`{"token":%q}`, token))
		next := c.token()
		c.emit("logout", next)
		c.next(`42["logged_out"]`)
		c.gone()
		if status, body, _ := w.get(next); status != 401 || !strings.Contains(body, "no_longer_valid") {
			t.Errorf("middleware: %d %s", status, body)
		}
	})
}

func TestTwoLoginsOfOneUserInOneSecondBothWork(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		a, b := w.code(), w.code()
		one, two := w.dial(""), w.dial("")
		one.authenticate(a)
		two.authenticate(b)
		one.token()
		two.token()
		one.alive()
		two.alive()
	})
}

func TestLoginAndSocketsShareACoreOrAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mux := http.NewServeMux()
		o := apiOptions(io.Discard)
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

func TestIssueCodeContainsThePanicsOfHooks(t *testing.T) {
	a, err := socketauth.New(socketauth.Options[any]{Secret: testSecret, Logger: slog.New(slog.DiscardHandler), Authorization: func(context.Context, jwt.MapClaims) (string, error) { panic("a bug") }})
	if err != nil {
		t.Fatal(err)
	}
	if code, err := a.IssueCode(t.Context(), jwt.MapClaims{"sub": "anna"}); err == nil {
		t.Errorf("code %q", code)
	}
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
