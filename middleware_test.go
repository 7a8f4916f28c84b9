package socketauth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// TestMiddlewareTokens checks that Middleware accepts the current session token and, for a moment,
// its predecessor, and refuses codes and all that is replaced, expired or forged.
func TestMiddlewareTokens(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.TokenLifetime = time.Hour }, func(srv *testServer) {
		refused := func(name, token, code string) {
			t.Helper()
			status, body, header := srv.get(token)
			if status != 401 || strings.TrimSpace(body) != fmt.Sprintf(`{"code":%q}`, code) || !strings.HasPrefix(header.Get("WWW-Authenticate"), "Bearer") || header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %s %v", name, status, body, header)
			}
		}
		accepted := func(name, token string) {
			t.Helper()
			if status, body, _ := srv.get(token); status != 200 || body != "anna" {
				t.Errorf("%s: %d %s", name, status, body)
			}
		}
		unused := srv.code()
		c, first := srv.authenticated()
		accepted("current", first)
		accepted("current again", first) // Middleware uses nothing up
		c.authenticate(first)
		second := c.expectToken()
		accepted("just replaced", first) // as in a request that was under way
		accepted("its successor", second)
		time.Sleep(10 * time.Second)
		refused("replaced", first, "no_longer_valid")
		c.expectAuthenticated() // it was no reuse
		accepted("current", second)

		refused("none", "", "invalid_token")
		refused("garbage", "garbage", "invalid_token")
		refused("code", unused, "invalid_token")
		refused("respelt", respell(second), "invalid_token")
		d := srv.dial("")
		d.authenticate(unused) // it was not used up
		d.expectToken()
		time.Sleep(time.Hour)
		refused("expired", second, "token_expired")
	})
}

// TestMiddlewareUnknownSession checks that a good token of a session that the store does not know
// is refused, and that this is logged once.
func TestMiddlewareUnknownSession(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		token := srv.foreignToken()
		for range 3 {
			if status, body, _ := srv.get(token); status != 401 || !strings.Contains(body, "no_longer_valid") {
				t.Errorf("%d %s", status, body)
			}
		}
		if n := strings.Count(srv.logs.String(), "lost state"); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
}

// TestMiddlewareBearerHeader checks that the token is read from one well-formed Authorization
// header, not from the query, a cookie or several headers, and that handlers get copies of the
// claims.
func TestMiddlewareBearerHeader(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		_, token := srv.authenticated()
		h := srv.Auth().Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
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

// TestMiddlewareTenant checks that Middleware refuses a token whose tenant TenantID refuses.
func TestMiddlewareTenant(t *testing.T) {
	var closed atomic.Bool
	withServer(t, func(o *socketauth.Options[string]) {
		closed.Store(false)
		o.TenantID = func(_ context.Context, c jwt.MapClaims) (string, error) {
			if closed.Load() {
				return "", nil
			}
			return "acme", nil
		}
	}, func(srv *testServer) {
		_, token := srv.authenticated()
		if status, _, _ := srv.get(token); status != 200 {
			t.Errorf("good tenant: %d", status)
		}
		closed.Store(true)
		if status, body, _ := srv.get(token); status != 401 || !strings.Contains(body, "invalid_tenant") {
			t.Errorf("no tenant: %d %s", status, body)
		}
	})
}

// TestContextWithClaims checks that ClaimsFromContext finds what ContextWithClaims stored, and
// nothing in another context.
func TestContextWithClaims(t *testing.T) {
	ctx := socketauth.ContextWithClaims(t.Context(), jwt.MapClaims{"sub": "anna"})
	if claims, ok := socketauth.ClaimsFromContext(ctx); !ok || claims["sub"] != "anna" {
		t.Errorf("%v, %v", claims, ok)
	}
	if _, ok := socketauth.ClaimsFromContext(t.Context()); ok {
		t.Error("claims out of nothing")
	}
}

// TestMiddlewareUnconfirmedToken checks that Middleware accepts a token that was offered and not
// confirmed, however long ago that was, and that this confirms it: the one before is replaced, and
// other offers have lost.
func TestMiddlewareUnconfirmedToken(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		_, token := srv.confirmed(srv.code())
		lost, o := srv.dial("").offerFor(token), srv.dial("").offerFor(token)
		expect := func(want int, token string) {
			t.Helper()
			if status, body, _ := srv.get(token); status != want {
				t.Errorf("%d %s, want %d", status, body, want)
			}
		}
		time.Sleep(time.Hour)
		expect(200, token)
		expect(200, o.token)
		expect(200, token) // for a moment
		expect(401, lost.token)
		time.Sleep(10 * time.Second)
		expect(401, token)
		expect(200, o.token)
	})
}
