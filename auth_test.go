package socketauth

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/blacklist"
)

func TestTheWholeFlow(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		w.On("whoami", func(_ context.Context, s *Socket, _ Args) (any, error) { return s.UserID(), nil })

		_, body, _ := post(w.http.Handler, "/login", jsonType, credentialsJSON("anna", "secret"))
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

func TestMiddlewareAcceptsLivingSessionTokensAlone(t *testing.T) {
	inWorld(t, func(o *Options[string]) { o.TokenLifetime = time.Hour }, func(w *world) {
		refused := func(name, token, code string) {
			t.Helper()
			status, body, header := w.get(token)
			if status != 401 || strings.TrimSpace(body) != fmt.Sprintf(`{"code":%q}`, code) || !strings.HasPrefix(header.Get("WWW-Authenticate"), "Bearer") || header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %s %v", name, status, body, header)
			}
		}
		accepted := func(name, token string) {
			t.Helper()
			if status, body, _ := w.get(token); status != 200 || body != "anna" {
				t.Errorf("%s: %d %s", name, status, body)
			}
		}
		unused := w.code()
		c, first := w.in()
		accepted("current", first)
		accepted("current again", first) // it only reads
		c.authenticate(first)
		second := c.token()
		accepted("just replaced", first) // a request that was on its way
		accepted("its successor", second)
		time.Sleep(10 * time.Second)
		refused("replaced", first, "no_longer_valid")
		c.alive() // no alarm
		accepted("current", second)

		refused("none", "", "invalid_token")
		refused("garbage", "garbage", "invalid_token")
		refused("code", unused, "invalid_token")
		refused("respelt", respell(second), "invalid_token")
		d := w.dial("")
		d.authenticate(unused) // the middleware has not used it up
		d.token()
		time.Sleep(time.Hour)
		refused("expired", second, "token_expired")
	})
}

func TestMiddlewareSaysThatItsBlacklistKnowsNothing(t *testing.T) {
	var logs syncBuffer
	a, err := New(Options[any]{Secret: testSecret, Logger: slog.New(slog.NewTextHandler(&logs, nil))})
	if err != nil {
		t.Fatal(err)
	}
	token := mustSuccessor(t, a.tokens, mustCode(t, a.tokens, jwt.MapClaims{"sub": "anna"}))
	for range 3 {
		if _, refused := a.check(t.Context(), token.Text); refused == nil || refused.code != "no_longer_valid" {
			t.Errorf("refused %v", refused)
		}
	}
	if n := strings.Count(logs.String(), "lost state"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

func TestMiddlewareReadsOneBearerHeaderAlone(t *testing.T) {
	a, err := New(Options[any]{Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	code := mustCode(t, a.tokens, jwt.MapClaims{"sub": "anna"})
	token := mustSuccessor(t, a.tokens, code)
	if v, err := a.blacklist.Present(t.Context(), blacklist.Presentation{Token: code.ref(), SuccessorID: token.ID, SuccessorExpiresAt: token.ExpiresAt}); v != blacklist.Accepted {
		t.Fatal(v, err)
	}
	h := a.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, ok := ClaimsFromContext(r.Context())
		if claims["sub"] = "changed"; !ok {
			t.Error("no claims")
		}
		if again, _ := ClaimsFromContext(r.Context()); again["sub"] != "anna" {
			t.Error("claims are shared")
		}
	}))
	for name, c := range map[string]struct {
		headers []string
		status  int
	}{
		"bearer":        {[]string{"Bearer " + token.Text}, 200},
		"lower case":    {[]string{"bearer " + token.Text}, 200},
		"two spaces":    {[]string{"Bearer  " + token.Text}, 200},
		"none":          {nil, 401},
		"no scheme":     {[]string{token.Text}, 401},
		"basic":         {[]string{"Basic " + token.Text}, 401},
		"empty":         {[]string{"Bearer "}, 401},
		"two headers":   {[]string{"Bearer " + token.Text, "Bearer " + token.Text}, 401},
		"trailing junk": {[]string{"Bearer " + token.Text + " x"}, 401},
	} {
		r := httptest.NewRequest(http.MethodGet, "/?token="+token.Text, nil)
		r.Header["Authorization"] = c.headers
		r.AddCookie(&http.Cookie{Name: "token", Value: token.Text})
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
}

func TestMiddlewareAsksForTheTenant(t *testing.T) {
	inWorld(t, func(o *Options[string]) {
		o.TenantID = func(_ context.Context, c jwt.MapClaims) (string, error) {
			switch c["gen"] {
			case 1.0:
				return "acme", nil
			case 2.0:
				return "", nil
			case 0.0:
				return "acme", nil
			}
			panic("a bug")
		}
	}, func(w *world) {
		c, first := w.in()
		if status, _, _ := w.get(first); status != 200 {
			t.Errorf("good tenant: %d", status)
		}
		c.authenticate(first)
		second := c.token()
		if status, body, _ := w.get(second); status != 401 || !strings.Contains(body, "invalid_tenant") {
			t.Errorf("no tenant: %d %s", status, body)
		}
	})
}

func TestContextWithClaimsIsWhatMiddlewareGives(t *testing.T) {
	ctx := ContextWithClaims(t.Context(), jwt.MapClaims{"sub": "anna"})
	if claims, ok := ClaimsFromContext(ctx); !ok || claims["sub"] != "anna" {
		t.Errorf("%v, %v", claims, ok)
	}
	if _, ok := ClaimsFromContext(t.Context()); ok {
		t.Error("claims out of nothing")
	}
}

func TestEveryCodeHasItsRowInTheTable(t *testing.T) {
	// Guards: the table in which a client reads whether to throw its token away.
	for code, want := range map[string]struct{ terminal, retry bool }{
		"invalid_token": {true, false}, "token_expired": {true, false}, "invalid_tenant": {true, false}, "no_longer_valid": {true, false},
		"token_reused": {true, false}, "session_revoked": {true, false}, "wrong_session": {}, "timeout": {},
		"too_many_attempts": {false, true}, "unavailable": {false, true}, "server_error": {false, true},
	} {
		row, ok := codes[code]
		if !ok || row.terminal != want.terminal || row.retryAfter > 0 != want.retry || row.message == "" {
			t.Errorf("%s: %+v, %v", code, row, ok)
		}
	}
	if codes["no_longer_valid"].message != "Token is no longer valid" {
		t.Error("the message that the original's clients look for has changed")
	}
	for v := range blacklist.Verdict(20) {
		r := refuseVerdict(v)
		if _, known := codes[r.code]; !known {
			t.Errorf("verdict %d is refused with %q", v, r.code)
		}
	}
}

func BenchmarkPresentation(b *testing.B) {
	// To be held against BenchmarkParseAndSign: it may cost 1.3 times as much.
	a, err := New(Options[any]{Secret: testSecret})
	if err != nil {
		b.Fatal(err)
	}
	t, err := a.tokens.code(b.Context(), jwt.MapClaims{"sub": "anna"}, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		t, err = a.tokens.verify(b.Context(), t.Text)
		if err != nil {
			b.Fatal(err)
		}
		next, err := a.tokens.successor(b.Context(), t)
		if err != nil {
			b.Fatal(err)
		}
		if v, err := a.blacklist.Present(b.Context(), blacklist.Presentation{Token: t.ref(), SuccessorID: next.ID, SuccessorExpiresAt: next.ExpiresAt}); v != blacklist.Accepted {
			b.Fatal(v, err)
		}
		t = next
	}
}

func BenchmarkParseAndSign(b *testing.B) {
	a, err := New(Options[any]{Secret: testSecret})
	if err != nil {
		b.Fatal(err)
	}
	t, err := a.tokens.code(b.Context(), jwt.MapClaims{"sub": "anna"}, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		parsed, err := jwt.Parse(t.Text, func(*jwt.Token) (any, error) { return testSecret, nil })
		if err != nil {
			b.Fatal(err)
		}
		if _, err := jwt.NewWithClaims(jwt.SigningMethodHS256, parsed.Claims).SignedString(testSecret); err != nil {
			b.Fatal(err)
		}
	}
}

func TestIssueCodeContainsThePanicsOfHooks(t *testing.T) {
	a, err := New(Options[any]{Secret: testSecret, Logger: slog.New(slog.DiscardHandler), Authorization: func(context.Context, jwt.MapClaims) (string, error) { panic("a bug") }})
	if err != nil {
		t.Fatal(err)
	}
	if code, err := a.IssueCode(t.Context(), jwt.MapClaims{"sub": "anna"}); err == nil {
		t.Errorf("code %q", code)
	}
}
