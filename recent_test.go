package socketauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// TestIssueStepUp: IssueStepUp gives a code for a living session of the user alone, with acr and
// amr of the claims, and its errors say what is wrong.
func TestIssueStepUp(t *testing.T) {
	store := &faultyStore{}
	withStepUp(t, func(o *socketauth.Options[string]) {
		store.Store = blacklist.NewMemory()
		o.Blacklist = store
	}, func(srv *testServer) {
		c, token := srv.login()
		sid := srv.sessionOf(c)
		otto := srv.dial(fmt.Sprintf(`{"token":%q}`, srv.codeFor(jwt.MapClaims{"sub": "otto"})))
		otto.expectToken()
		gone, _ := srv.login()
		gone.emit("logout")
		gone.expect(`42["logged_out"]`)
		synctest.Wait()
		issue := func(sid string, claims jwt.MapClaims) (string, error) {
			return srv.Auth().IssueStepUp(t.Context(), sid, claims)
		}
		for name, sid := range map[string]string{
			"another user's": srv.sessionOf(otto), "unknown": strings.Repeat("A", 22), "none": "", "ended": srv.sessionOf(gone),
		} {
			if code, err := issue(sid, jwt.MapClaims{"sub": "anna"}); !errors.Is(err, socketauth.ErrWrongSession) || code != "" {
				t.Errorf("%s: %q, %v", name, code, err)
			}
		}
		for _, claims := range []jwt.MapClaims{nil, {}, {"sub": 5}, {"sub": ""}, {"sub": "anna", "sid": sid}, {"sub": "anna", "cnf": "x"}} {
			if code, err := issue(sid, claims); err == nil || errors.Is(err, socketauth.ErrUnavailable) || code != "" {
				t.Errorf("%v: %q, %v", claims, code, err)
			}
		}
		store.fail(storeDown, nil)
		if _, err := issue(sid, jwt.MapClaims{"sub": "anna"}); !errors.Is(err, socketauth.ErrUnavailable) {
			t.Errorf("store down: %v", err)
		}
		store.fail(nil, nil)

		time.Sleep(time.Second)
		code, err := issue(sid, jwt.MapClaims{"sub": "anna", "role": "admin", "acr": "phr", "amr": []string{"hwk"}})
		if err != nil {
			t.Fatal(err)
		}
		c.prove(token, code, false)
		next := c.expectToken()
		if got := srv.claims(next, "role", "acr", "amr"); got != `"by password" "phr" ["hwk"]` || !srv.authTime(next).Equal(time.Now()) {
			t.Errorf("%s, auth_time %v", got, srv.authTime(next))
		}
		c.prove(next, func() any { time.Sleep(time.Second); code, _ := issue(sid, jwt.MapClaims{"sub": "anna"}); return code }(), false)
		if got := srv.claims(c.expectToken(), "acr", "amr"); got != " " { // the last proof counts, not the best
			t.Errorf("%s", got)
		}
	})
	verifies, err := socketauth.New(socketauth.Options[any]{Keys: []socketauth.Key{{Method: jwt.SigningMethodHS256, Verify: testSecret}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verifies.IssueStepUp(t.Context(), "x", jwt.MapClaims{"sub": "anna"}); err == nil {
		t.Error("a process that cannot sign has signed")
	}
}

// TestRequireRecent: RequireRecent lets through what is recent and strong enough, as a handler and
// as a request, and refuses the rest as RFC 9470 says. What it cannot judge is refused.
func TestRequireRecent(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		now := float64(time.Now().Unix())
		day := func(acr ...string) (func(socketauth.Handler) socketauth.Handler, func(http.Handler) http.Handler) {
			return socketauth.RequireRecent(24*time.Hour, acr...), srv.Auth().RequireRecent(24*time.Hour, acr...)
		}
		for name, row := range map[string]struct {
			claims jwt.MapClaims
			acr    []string // that are required
			passes bool
		}{
			"now":                      {jwt.MapClaims{"auth_time": now}, nil, true},
			"as old as allowed":        {jwt.MapClaims{"auth_time": now - 86400}, nil, true},
			"too old":                  {jwt.MapClaims{"auth_time": now - 86401}, nil, false},
			"a clock ahead":            {jwt.MapClaims{"auth_time": now + 60}, nil, true},
			"the future":               {jwt.MapClaims{"auth_time": now + 61}, nil, false},
			"a whole number":           {jwt.MapClaims{"auth_time": int64(now)}, nil, true},
			"a number of JSON":         {jwt.MapClaims{"auth_time": json.Number(fmt.Sprint(int64(now)))}, nil, true},
			"no auth_time":             {jwt.MapClaims{"iat": now}, nil, false},
			"no number":                {jwt.MapClaims{"auth_time": fmt.Sprint(int64(now))}, nil, false},
			"no claims":                {nil, nil, false},
			"one of the acr":           {jwt.MapClaims{"auth_time": now, "acr": "b"}, []string{"a", "b"}, true},
			"another acr":              {jwt.MapClaims{"auth_time": now, "acr": "c"}, []string{"a", "b"}, false},
			"no acr":                   {jwt.MapClaims{"auth_time": now}, []string{"a"}, false},
			"no acr and none asked":    {jwt.MapClaims{"auth_time": now}, []string{""}, false},
			"an acr that is no text":   {jwt.MapClaims{"auth_time": now, "acr": []any{"a"}}, []string{"a"}, false},
			"an acr, but too long ago": {jwt.MapClaims{"auth_time": now - 86401, "acr": "a"}, []string{"a"}, false},
		} {
			ctx := t.Context()
			if row.claims != nil {
				ctx = socketauth.ContextWithClaims(ctx, row.claims)
			}
			events, requests := day(row.acr...)
			reply, err := events(func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return "passed", nil })(ctx, nil, socketauth.Args{})
			if passed := err == nil && reply == "passed"; passed != row.passes {
				t.Errorf("%s: event: %v, %v", name, reply, err)
			}
			w := httptest.NewRecorder()
			requests(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("passed")) })).
				ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx))
			if passed := w.Code == 200 && w.Body.String() == "passed"; passed != row.passes {
				t.Errorf("%s: request: %d %s", name, w.Code, w.Body)
			}
			if row.passes {
				continue
			}
			var public *socketauth.PublicError
			if !errors.As(err, &public) || public.Code != "reauthentication_required" || public.Details["maxAge"] != 86400 {
				t.Errorf("%s: %v", name, err)
			}
			acr, challenged := "", ""
			if len(row.acr) > 0 {
				list, _ := json.Marshal(row.acr)
				acr, challenged = `"acr":`+string(list)+",", fmt.Sprintf(", acr_values=%q", strings.Join(row.acr, " "))
			}
			want := `Bearer error="insufficient_user_authentication", error_description="A more recent or a stronger authentication is required", max_age="86400"` + challenged
			if got := w.Header().Get("WWW-Authenticate"); w.Code != 401 || got != want || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %d %v", name, w.Code, w.Header())
			}
			if got, want := strings.TrimSpace(w.Body.String()), `{`+acr+`"code":"reauthentication_required","maxAge":86400}`; got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
	})
}

// TestRequireRecentBehindMiddleware: a request goes by the token that it brought.
func TestRequireRecentBehindMiddleware(t *testing.T) {
	withStepUp(t, nil, func(srv *testServer) {
		done := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"code":"done"}`)) })
		srv.Mux.Handle("POST /transfer", srv.Auth().Middleware(srv.Auth().RequireRecent(time.Minute)(done)))
		c, first := srv.login()
		time.Sleep(time.Hour)
		if status, a, _ := srv.postAs("/transfer", first, "{}"); status != 401 || a.Code != "reauthentication_required" || a.MaxAge != 60.0 {
			t.Errorf("before: %d %+v", status, a)
		}
		c.prove(first, srv.stepUp(first), false)
		second := c.expectToken()
		if status, a, _ := srv.postAs("/transfer", second, "{}"); status != 200 || a.Code != "done" {
			t.Errorf("after: %d %+v", status, a)
		}
		if status, a, _ := srv.postAs("/transfer", first, "{}"); status != 401 || a.Code != "reauthentication_required" {
			t.Errorf("with the token before it: %d %+v", status, a) // which Middleware accepts for a moment
		}
	})
}

// TestRequireRecentOutsideMiddleware guards the app that puts RequireRecent around Middleware: no
// step-up helps its users then, and the log says what to do.
func TestRequireRecentOutsideMiddleware(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		a := srv.Auth()
		done := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
		srv.Mux.Handle("GET /inside", a.Middleware(a.RequireRecent(0)(done)))
		srv.Mux.Handle("GET /outside", a.RequireRecent(time.Minute)(a.Middleware(done)))
		_, token := srv.authenticated()
		time.Sleep(time.Second)
		ask := func(path string) int {
			r, w := httptest.NewRequest(http.MethodGet, path, nil), httptest.NewRecorder()
			r.Header.Set("Authorization", "Bearer "+token)
			srv.Mux.ServeHTTP(w, r)
			return w.Code
		}
		if status := ask("/inside"); status != http.StatusUnauthorized {
			t.Errorf("inside, too old: %d", status)
		}
		srv.expectNotLogged("RequireRecent")
		if status := ask("/outside"); status != http.StatusUnauthorized {
			t.Errorf("outside: %d", status)
		}
		srv.expectLogged(`path=/outside more_since_last=0 fix="put RequireRecent inside of Middleware`)
	})
}

// TestPublicErrorDetails: the details of a *PublicError are sent beside its code: in an
// acknowledgement, in "unauthorized" and in HTTP, where they take no place of the library's own.
// What JSON cannot hold is left out.
func TestPublicErrorDetails(t *testing.T) {
	var refuses atomic.Bool
	details := map[string]any{"why": "late", "code": "x", "message": "x", "terminal": true, "data": "x"}
	refusal := &socketauth.PublicError{Code: "CLOSED", Details: details}
	withServer(t, func(o *socketauth.Options[string]) {
		find := o.FindUserByCredentials
		o.FindUserByCredentials = func(ctx context.Context, c socketauth.Credentials) (string, error) {
			if c.Get("username") == "closed" {
				return "", fmt.Errorf("wrapped: %w", refusal)
			}
			return find(ctx, c)
		}
		o.TenantID = func(context.Context, jwt.MapClaims) (string, error) {
			if refuses.Load() {
				return "", refusal
			}
			return "acme", nil
		}
	}, func(srv *testServer) {
		srv.On("enter", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return nil, refusal })
		srv.On("bug", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) {
			return nil, &socketauth.PublicError{Code: "BUG", Details: map[string]any{"f": func() {}}}
		})
		c, token := srv.authenticated()
		if got := c.call("enter"); got != `[{"error":{"code":"CLOSED","data":"x","message":"x","terminal":true,"why":"late"}}]` {
			t.Errorf("acknowledgement: %s", got)
		}
		if got := c.call("bug"); got != `[{"error":{"code":"BUG"}}]` {
			t.Errorf("acknowledgement without them: %s", got)
		}
		status, body, _ := srv.postAs("/login", "", credentialsJSON("closed", ""))
		if status != 403 || body.Code != "CLOSED" {
			t.Errorf("login: %d %+v", status, body)
		}
		if got := srv.post("/login", credentialsJSON("closed", "")); !strings.Contains(got, `"code":"CLOSED"`) || !strings.Contains(got, `"why":"late"`) {
			t.Errorf("login: %s", got)
		}
		refuses.Store(true)
		c.authenticate(token)
		got := c.expect(`42["unauthorized",`)
		if want := `{"code":"CLOSED","data":{"message":"CLOSED","code":"CLOSED","type":"UnauthorizedError"},"message":"CLOSED","terminal":false,"type":"UnauthorizedError","why":"late"}]`; !sameJSON(t, strings.TrimSuffix(got, "]"), strings.TrimSuffix(want, "]")) {
			t.Errorf("unauthorized: %s", got)
		}
	})
}

// sameJSON reports whether two texts are the same JSON.
func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if err := errors.Join(json.Unmarshal([]byte(a), &x), json.Unmarshal([]byte(b), &y)); err != nil {
		t.Error(err)
	}
	return fmt.Sprint(x) == fmt.Sprint(y)
}
