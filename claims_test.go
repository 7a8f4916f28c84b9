package socketauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// account is 2^53 + 1, which no float64 holds: rounded, it is another user's.
const account = "9007199254740993"

// exactClaims returns claims with numbers that float64 cannot hold, and with some that it can.
func exactClaims() jwt.MapClaims {
	return jwt.MapClaims{
		"sub": "anna", "account": int64(9007199254740993), "most": uint64(math.MaxUint64), "least": int64(math.MinInt64),
		"long": json.Number("0.1234567890123456789012345678901234567890"), "huge": json.Number("1e400"), "power": json.Number("1152921504606846976"),
		"list": []any{int64(9007199254740995), map[string]any{"deep": int64(-9007199254740993)}},
		"even": int64(9007199254740992), "half": 0.5, "tenth": 0.1, "plain": 5, "text": "<&\u2028é\x00", "no": nil, "yes": true,
	}
}

// wantExact checks claims that came from exactClaims.
func wantExact(t *testing.T, where string, got jwt.MapClaims) {
	t.Helper()
	want := map[string]any{
		"sub": "anna", "account": json.Number(account), "most": json.Number("18446744073709551615"), "least": json.Number("-9223372036854775808"),
		"long": json.Number("0.1234567890123456789012345678901234567890"), "huge": json.Number("1e400"), "power": json.Number("1152921504606846976"),
		"list": []any{json.Number("9007199254740995"), map[string]any{"deep": json.Number("-9007199254740993")}},
		"even": float64(9007199254740992), "half": 0.5, "tenth": 0.1, "plain": 5.0, "text": "<&\u2028é\x00", "no": nil, "yes": true,
	}
	for name, value := range want {
		if !reflect.DeepEqual(got[name], value) {
			t.Errorf("%s: claim %s is %v (%T), want %v (%T)", where, name, got[name], got[name], value, value)
		}
	}
	for _, name := range []string{"iat", "exp", "auth_time", "gen", "dur"} {
		if _, ok := got[name].(float64); !ok {
			t.Errorf("%s: claim %s is %v (%T), want a float64", where, name, got[name], got[name])
		}
	}
}

// TestClaimNumbersExact checks that a number past 2^53 in a claim, such as an account number, is
// exact in every token and for whoever reads it.
func TestClaimNumbersExact(t *testing.T) {
	sign := func(_ context.Context, c jwt.MapClaims) (string, error) {
		return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(testSecret)
	}
	for _, hooks := range []bool{false, true} {
		t.Run(fmt.Sprintf("hooks %v", hooks), func(t *testing.T) {
			withServer(t, func(o *socketauth.Options[string]) {
				o.TenantID = func(_ context.Context, c jwt.MapClaims) (string, error) {
					wantExact(t, "TenantID", c)
					return "a tenant", nil
				}
				if hooks {
					o.Authorization = sign
					o.Refresh = func(ctx context.Context, c jwt.MapClaims) (string, error) {
						wantExact(t, "Refresh", c)
						return sign(ctx, c)
					}
				}
			}, func(srv *testServer) {
				fromContext := func(ctx context.Context, where string) {
					claims, ok := socketauth.ClaimsFromContext(ctx)
					if wantExact(t, where, claims); !ok {
						t.Errorf("%s: no claims", where)
					}
				}
				srv.OnAuthenticated(func(ctx context.Context, s *socketauth.Socket) error { fromContext(ctx, "OnAuthenticated"); return nil })
				srv.OnDisconnect(func(ctx context.Context, _ *socketauth.Socket, _ string) { fromContext(ctx, "OnDisconnect") })
				srv.On("claims", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
					fromContext(ctx, "a handler")
					wantExact(t, "Claims", s.Claims())
					return s.Claims()["account"], nil
				})
				api := srv.Auth().Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { fromContext(r.Context(), "Middleware") }))

				code := srv.codeFor(exactClaims())
				first, c, token := payloadOf(t, code), srv.dial(""), code
				for range 5 {
					c.authenticate(token)
					token = c.expectToken()
					payload := payloadOf(t, token)
					for name := range exactClaims() {
						if !bytes.Equal(payload[name], first[name]) {
							t.Errorf("%s was %s, and is %s", name, first[name], payload[name])
						}
					}
				}
				if got := c.call("claims"); got != "["+account+"]" {
					t.Errorf("the handler says %s", got)
				}
				r := httptest.NewRequest(http.MethodGet, "/", nil)
				r.Header.Set("Authorization", "Bearer "+token)
				recorder := httptest.NewRecorder()
				if api.ServeHTTP(recorder, r); recorder.Code != http.StatusOK {
					t.Errorf("Middleware: %d %s", recorder.Code, recorder.Body)
				}
				c.close()
				synctest.Wait()
			})
		})
	}
}

// TestAuthorizationClaimTypes checks that Authorization gets the claims with the types that Claim
// returned, not with what JSON makes of them.
func TestAuthorizationClaimTypes(t *testing.T) {
	given := jwt.MapClaims{"sub": "anna", "account": int64(9007199254740993), "roles": []string{"admin"}, "at": time.Unix(1, 0).UTC()}
	a, err := socketauth.New(socketauth.Options[any]{Secret: testSecret, Authorization: func(_ context.Context, c jwt.MapClaims) (string, error) {
		for name, value := range given {
			if !reflect.DeepEqual(c[name], value) {
				t.Errorf("%s is %v (%T), want %v (%T)", name, c[name], c[name], value, value)
			}
		}
		return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(testSecret)
	}})
	if err != nil {
		t.Fatal(err)
	}
	code, err := a.IssueCode(t.Context(), given)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(payloadOf(t, code)["account"]); got != account {
		t.Errorf("signed %s", got)
	}
}
