package socketauth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

func TestMiddlewareAcceptsLivingSessionTokensAlone(t *testing.T) {
	inWorld(t, func(o *socketauth.Options[string]) { o.TokenLifetime = time.Hour }, func(w *world) {
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
	inWorld(t, nil, func(w *world) {
		token := w.foreignToken()
		for range 3 {
			if status, body, _ := w.get(token); status != 401 || !strings.Contains(body, "no_longer_valid") {
				t.Errorf("%d %s", status, body)
			}
		}
		if n := strings.Count(w.logs.String(), "lost state"); n != 1 {
			t.Errorf("said %d times", n)
		}
	})
}

func TestMiddlewareReadsOneBearerHeaderAlone(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		_, token := w.in()
		h := w.Auth().Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			claims, ok := socketauth.ClaimsFromContext(r.Context())
			if claims["sub"] = "changed"; !ok {
				t.Error("no claims")
			}
			if again, _ := socketauth.ClaimsFromContext(r.Context()); again["sub"] != "anna" {
				t.Error("claims are shared")
			}
		}))
		for name, c := range map[string]struct {
			headers []string
			status  int
		}{
			"bearer":        {[]string{"Bearer " + token}, 200},
			"lower case":    {[]string{"bearer " + token}, 200},
			"two spaces":    {[]string{"Bearer  " + token}, 200},
			"none":          {nil, 401},
			"no scheme":     {[]string{token}, 401},
			"basic":         {[]string{"Basic " + token}, 401},
			"empty":         {[]string{"Bearer "}, 401},
			"two headers":   {[]string{"Bearer " + token, "Bearer " + token}, 401},
			"trailing junk": {[]string{"Bearer " + token + " x"}, 401},
		} {
			r := httptest.NewRequest(http.MethodGet, "/?token="+token, nil)
			r.Header["Authorization"] = c.headers
			r.AddCookie(&http.Cookie{Name: "token", Value: token})
			recorder := httptest.NewRecorder()
			h.ServeHTTP(recorder, r)
			if recorder.Code != c.status {
				t.Errorf("%s: %d", name, recorder.Code)
			}
		}
	})
}

func TestMiddlewareAsksForTheTenant(t *testing.T) {
	inWorld(t, func(o *socketauth.Options[string]) {
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
	ctx := socketauth.ContextWithClaims(t.Context(), jwt.MapClaims{"sub": "anna"})
	if claims, ok := socketauth.ClaimsFromContext(ctx); !ok || claims["sub"] != "anna" {
		t.Errorf("%v, %v", claims, ok)
	}
	if _, ok := socketauth.ClaimsFromContext(t.Context()); ok {
		t.Error("claims out of nothing")
	}
}

func TestMiddlewareAcceptsABranchForTimeoutAlone(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		_, token := w.stays(w.code())
		c := w.dial("")
		o := c.confirms(token)
		for _, token := range []string{token, o.token} {
			if status, _, _ := w.get(token); status != 200 {
				t.Errorf("%d", status)
			}
		}
		time.Sleep(5*time.Second + time.Millisecond)
		if status, _, _ := w.get(o.token); status != 401 {
			t.Errorf("a branch of %d after Timeout", status)
		}
		if status, _, _ := w.get(token); status != 200 {
			t.Errorf("%d for the token that still holds", status)
		}
	})
}
