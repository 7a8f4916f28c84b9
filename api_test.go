package socketauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// serveAPI serves login and registration alone.
func serveAPI(t *testing.T, o socketauth.Options[string]) (*socketauth.Auth, http.Handler) {
	t.Helper()
	mux := http.NewServeMux()
	a, err := socketauth.APIServe(mux, o)
	if err != nil {
		t.Fatal(err)
	}
	return a, mux
}

// TestLoginAnswers checks the status, code and headers of every kind of answer of login and
// registration, that the code of a good one authenticates, and that the log has the causes and no
// secret.
func TestLoginAnswers(t *testing.T) {
	form := url.Values{"username": {"anna"}, "password": {"secret"}}.Encode()
	const formType = "application/x-www-form-urlencoded"
	rows := map[string]struct {
		path, media, body string
		status            int
		code              string // "" where a token is due
	}{
		"accepted":               {"/login", jsonType, credentialsJSON("anna", "secret"), 200, ""},
		"accepted, form":         {"/login", formType, form, 200, ""},
		"accepted, charset":      {"/login", jsonType + "; charset=utf-8", credentialsJSON("anna", "secret"), 200, ""},
		"registered":             {"/register", jsonType, credentialsJSON("anna", "secret"), 200, ""},
		"wrong password":         {"/login", jsonType, credentialsJSON("anna", "guess"), 401, "USER_INVALID"},
		"unknown user":           {"/login", jsonType, credentialsJSON("otto", "guess"), 401, "USER_INVALID"},
		"wrapped":                {"/login", jsonType, credentialsJSON("wrapped", ""), 401, "USER_INVALID"},
		"login refused":          {"/login", jsonType, credentialsJSON("banned", ""), 403, "BANNED"},
		"registration refused":   {"/register", jsonType, credentialsJSON("banned", ""), 400, "BANNED"},
		"public without code":    {"/login", jsonType, credentialsJSON("empty code", ""), 500, "SERVER_ERROR"},
		"typed nil":              {"/login", jsonType, credentialsJSON("typed nil", ""), 500, "SERVER_ERROR"},
		"password too long":      {"/register", jsonType, credentialsJSON("long", ""), 400, "PASSWORD_TOO_LONG"},
		"not UTF-8":              {"/login", jsonType, "{\"username\":\"anna\xff\"}", 400, "BODY_MALFORMED"},
		"not UTF-8, form":        {"/login", formType, "username=anna%ff", 400, "BODY_MALFORMED"},
		"database down":          {"/login", jsonType, credentialsJSON("down", ""), 500, "SERVER_ERROR"},
		"database down, form":    {"/register", formType, "username=down", 500, "SERVER_ERROR"},
		"hook panics":            {"/login", jsonType, credentialsJSON("panic", ""), 500, "SERVER_ERROR"},
		"claims without sub":     {"/login", jsonType, credentialsJSON("nobody", ""), 500, "SERVER_ERROR"},
		"busy":                   {"/login", jsonType, credentialsJSON("busy", ""), 503, "UNAVAILABLE"},
		"too many attempts":      {"/login", jsonType, credentialsJSON("guessing", ""), 429, "TOO_MANY_ATTEMPTS"},
		"no body":                {"/login", jsonType, "", 400, "BODY_MALFORMED"},
		"half a body":            {"/login", jsonType, `{"username":`, 400, "BODY_MALFORMED"},
		"two bodies":             {"/login", jsonType, `{}{}`, 400, "BODY_MALFORMED"},
		"an array":               {"/login", jsonType, `[1]`, 400, "BODY_MALFORMED"},
		"null":                   {"/login", jsonType, `null`, 400, "BODY_MALFORMED"},
		"a string":               {"/login", jsonType, `"anna"`, 400, "BODY_MALFORMED"},
		"deep":                   {"/login", jsonType, strings.Repeat(`{"a":`, 12000), 400, "BODY_MALFORMED"},
		"numbers for names":      {"/login", jsonType, `{"username":5,"password":["secret"]}`, 401, "USER_INVALID"},
		"a form that is none":    {"/login", formType, "a=%zz", 400, "BODY_MALFORMED"},
		"no media type":          {"/login", "", credentialsJSON("anna", "secret"), 415, "MEDIA_TYPE_NOT_SUPPORTED"},
		"text":                   {"/login", "text/plain", credentialsJSON("anna", "secret"), 415, "MEDIA_TYPE_NOT_SUPPORTED"},
		"a media type of no use": {"/login", "application/json;;=", "{}", 415, "MEDIA_TYPE_NOT_SUPPORTED"},
		"too large":              {"/login", jsonType, `{"a":"` + strings.Repeat("x", 64<<10) + `"}`, 413, "BODY_TOO_LARGE"},
	}
	withServer(t, nil, func(srv *testServer) {
		for name, c := range rows {
			status, body, header := post(srv.Config.Handler, c.path, c.media, c.body)
			if status != c.status || body["code"] != c.code {
				t.Errorf("%s: %d %v", name, status, body)
			}
			if c.code == "" {
				client := srv.dial(fmt.Sprintf(`{"token":%q}`, body["token"]))
				client.expectToken()
				synctest.Wait()
				if id := srv.socketOf(client).UserID(); id != "anna" {
					t.Errorf("%s: the code of %s", name, id)
				}
			}
			if header.Get("Cache-Control") != "no-store" || header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: headers %v", name, header)
			}
			if (status == 503 || status == 429) != (header.Get("Retry-After") != "") {
				t.Errorf("%s: Retry-After %q", name, header.Get("Retry-After"))
			}
		}
		for _, secret := range []string{"guess", "secret\"", "eyJhbGciOi"} {
			if strings.Contains(srv.logs.String(), secret) {
				t.Errorf("the log has %q:\n%s", secret, srv.logs)
			}
		}
		for _, cause := range []string{"database down", "by the moderator", "a bug in the app", "goroutine", "not in the directory"} {
			srv.expectLogged(cause)
		}
	})
}

// TestLookupErrorsSayWhatToDo checks that a look-up that reports an unknown user by an error of its
// own is logged with what to return instead, and that other failures are not.
func TestLookupErrorsSayWhatToDo(t *testing.T) {
	const fix = `fix="if the user does not exist, return ErrInvalidCredentials"`
	withServer(t, nil, func(srv *testServer) {
		srv.post("/login", credentialsJSON("anna", "wrong"))
		srv.post("/login", credentialsJSON("nobody", "")) // Claim fails
		if strings.Contains(srv.logs.String(), fix) {
			t.Errorf("what to do about another failure:\n%s", srv.logs)
		}
	})
	withServer(t, func(o *socketauth.Options[string]) {
		o.FindUserByCredentials = func(context.Context, socketauth.Credentials) (string, error) {
			return "", errors.New("no rows in result set")
		}
		o.Register = o.FindUserByCredentials
	}, func(srv *testServer) {
		srv.post("/register", credentialsJSON("anna", "secret"))
		if strings.Contains(srv.logs.String(), fix) {
			t.Errorf("what to do about a registration:\n%s", srv.logs)
		}
		srv.post("/login", credentialsJSON("anna", "secret"))
		srv.expectLogged(`level=ERROR msg="socketauth: login refused" cause="no rows in result set" ` + fix)
	})
}

// TestAppURL checks that with AppURL the answer is a URL with a code that authenticates.
func TestAppURL(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) {
		o.AppURL = func(code string) string { return "https://app.example/#code=" + code }
	}, func(srv *testServer) {
		_, body, _ := post(srv.Config.Handler, "/login", jsonType, credentialsJSON("anna", "secret"))
		_, code, _ := strings.Cut(body["url"], "#code=")
		if body["token"] != "" {
			t.Errorf("answer %v", body)
		}
		srv.dial(fmt.Sprintf(`{"token":%q}`, code)).expectToken()
	})
}

// TestAuthorizationHook checks that the code is the one that Authorization returned.
func TestAuthorizationHook(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) {
		o.Authorization = func(_ context.Context, c jwt.MapClaims) (string, error) {
			c["minted"] = "by the app"
			return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(testSecret)
		}
	}, func(srv *testServer) {
		c := srv.dial(fmt.Sprintf(`{"token":%q}`, srv.loginCode()))
		c.expectToken()
		synctest.Wait()
		if claims := srv.socketOf(c).Claims(); claims["minted"] != "by the app" {
			t.Errorf("claims %v", claims)
		}
	})
}

// TestAuthTimePrecedesHook checks that auth_time is from before the password is looked at, so that
// a revocation meanwhile beats the login.
func TestAuthTimePrecedesHook(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) {
		find := o.FindUserByCredentials
		o.FindUserByCredentials = func(ctx context.Context, c socketauth.Credentials) (string, error) {
			time.Sleep(time.Second)
			return find(ctx, c)
		}
	}, func(srv *testServer) {
		began := time.Now()
		var at float64
		if err := json.Unmarshal(payloadOf(t, srv.loginCode())["auth_time"], &at); err != nil || !time.UnixMicro(int64(at*1e6)).Equal(began) {
			t.Errorf("auth_time %f, %v, want %v", at, err, began)
		}
	})
}

// TestLoginHookDeadline checks that the context of a login's hooks has a deadline.
func TestLoginHookDeadline(t *testing.T) {
	o := testOptions(io.Discard)
	var has bool
	find := o.FindUserByCredentials
	o.FindUserByCredentials = func(ctx context.Context, c socketauth.Credentials) (string, error) {
		_, has = ctx.Deadline()
		return find(ctx, c)
	}
	_, h := serveAPI(t, o)
	post(h, "/login", jsonType, credentialsJSON("anna", "secret"))
	if !has {
		t.Error("none")
	}
}

// TestLoginRoutes checks that login and registration are served at the configured paths, by POST
// alone, and that no other route of the mux is taken.
func TestLoginRoutes(t *testing.T) {
	o := testOptions(io.Discard)
	o.LoginPath, o.RegisterPath = "/auth/in", "/auth/new"
	_, h := serveAPI(t, o)
	for path, want := range map[string]int{"/auth/in": 200, "/auth/new": 200, "/login": 404, "/register": 404} {
		if got, _, _ := post(h, path, jsonType, credentialsJSON("anna", "secret")); got != want {
			t.Errorf("%s: %d", path, got)
		}
	}
	o.Register = nil
	_, h = serveAPI(t, o)
	if got, _, _ := post(h, "/auth/new", jsonType, credentialsJSON("anna", "secret")); got != 404 {
		t.Errorf("registration without a hook: %d", got)
	}

	mux := http.NewServeMux()
	page := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
	}
	mux.Handle("GET /", page("home"))
	mux.Handle("GET /login", page("form"))
	if _, err := socketauth.Infrastructure(nil, mux, testOptions(io.Discard)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/": "home", "/login": "form"} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Body.String() != want {
			t.Errorf("GET %s: %q", path, w.Body)
		}
	}
}

// TestMuxConflict checks that a route that is taken is an error that names both patterns, not a
// panic.
func TestMuxConflict(t *testing.T) {
	for _, taken := range []string{"POST /login", "POST /register", "GET /socket.io/"} {
		mux := http.NewServeMux()
		mux.Handle(taken, http.NotFoundHandler())
		_, err := socketauth.Infrastructure(nil, mux, testOptions(io.Discard))
		if err == nil || strings.Count(err.Error(), taken) < 2 {
			t.Errorf("%s: %v", taken, err)
		}
	}
}

// TestNilMux checks that a mux that is nil, or a nil pointer, is an error that says so.
func TestNilMux(t *testing.T) {
	for want, mux := range map[string]socketauth.Mux{
		"the mux is nil":                  nil,
		"the mux is a nil *http.ServeMux": (*http.ServeMux)(nil),
	} {
		_, err := socketauth.Infrastructure(nil, mux, testOptions(io.Discard))
		if err == nil || err.Error() != "socketauth: "+want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestMuxFunc checks that a router other than ServeMux gets the method and the path of each route.
func TestMuxFunc(t *testing.T) {
	var got []string
	_, err := socketauth.Infrastructure(nil, socketauth.MuxFunc(func(method, path string, _ http.Handler) { got = append(got, method+"|"+path) }), testOptions(io.Discard))
	want := "POST|/login OPTIONS|/login POST|/register OPTIONS|/register" +
		" GET|/socket.io POST|/socket.io OPTIONS|/socket.io GET|/socket.io/ POST|/socket.io/ OPTIONS|/socket.io/"
	if err != nil || strings.Join(got, " ") != want {
		t.Errorf("%v, %v", got, err)
	}
}
