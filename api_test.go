package socketauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

// apiOptions are those of an app in which anna's password is "secret", and the name decides what the hooks do.
func apiOptions(logs io.Writer) Options[string] {
	find := func(_ context.Context, c Credentials) (string, error) {
		switch name := c.Get("username"); name {
		case "anna":
			if c.Get("password") != "secret" {
				return "", ErrInvalidCredentials
			}
			return name, nil
		case "wrapped":
			return "", errors.Join(errors.New("not in the directory"), ErrInvalidCredentials)
		case "banned":
			return "", &PublicError{Code: "BANNED", Err: errors.New("by the moderator")}
		case "empty code":
			return "", &PublicError{Err: errors.New("a bug")}
		case "down":
			return "", errors.New("database down: dsn=postgres://app:topsecret@db")
		case "busy":
			return "", ErrUnavailable
		case "typed nil":
			var none *PublicError
			return "", none
		case "long":
			return "", fmt.Errorf("registering: %w", ErrPasswordTooLong)
		case "guessing":
			return "", ErrTooManyAttempts
		case "panic":
			panic("a bug in the app")
		case "nobody":
			return "nobody", nil
		default:
			return "", ErrInvalidCredentials
		}
	}
	return Options[string]{
		Secret:                testSecret,
		FindUserByCredentials: find,
		Register:              find,
		Claim: func(name string) (jwt.MapClaims, error) {
			if name == "nobody" {
				return jwt.MapClaims{}, nil
			}
			return jwt.MapClaims{"sub": name}, nil
		},
		AllowedOrigins: []string{"https://app.example"},
		Logger:         slog.New(slog.NewTextHandler(logs, nil)),
	}
}

func serveAPI(t *testing.T, o Options[string]) (*Auth, http.Handler) {
	t.Helper()
	mux := http.NewServeMux()
	a, err := APIServe(mux, o)
	if err != nil {
		t.Fatal(err)
	}
	return a, mux
}

const jsonType = "application/json"

// post sends one request and gives status, decoded body and headers.
func post(h http.Handler, path, media, body string, headers ...string) (int, map[string]string, http.Header) {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", media)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var decoded map[string]string
	_ = json.Unmarshal(w.Body.Bytes(), &decoded)
	return w.Code, decoded, w.Header()
}

func credentialsJSON(name, password string) string {
	b, _ := json.Marshal(map[string]string{"username": name, "password": password})
	return string(b)
}

func TestLoginAnswersEveryRowOfTheTable(t *testing.T) {
	var logs syncBuffer
	a, h := serveAPI(t, apiOptions(&logs))
	form := url.Values{"username": {"anna"}, "password": {"secret"}}.Encode()
	const formType = "application/x-www-form-urlencoded"
	for name, c := range map[string]struct {
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
		"too large":              {"/login", jsonType, `{"a":"` + strings.Repeat("x", maxBody) + `"}`, 413, "BODY_TOO_LARGE"},
	} {
		status, body, header := post(h, c.path, c.media, c.body)
		if status != c.status || body["code"] != c.code {
			t.Errorf("%s: %d %v", name, status, body)
		}
		if c.code == "" {
			if code, refused := a.verify(t.Context(), body["token"]); refused != nil || code.Use != useCode || code.UserID != "anna" {
				t.Errorf("%s: no code of anna's: %v", name, body)
			}
		}
		if header.Get("Cache-Control") != "no-store" || header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: headers %v", name, header)
		}
		if (status == 503 || status == 429) != (header.Get("Retry-After") != "") {
			t.Errorf("%s: Retry-After %q", name, header.Get("Retry-After"))
		}
	}
	for _, secret := range []string{"guess", "secret\"", "eyJ"} {
		if strings.Contains(logs.String(), secret) {
			t.Errorf("the log has %q:\n%s", secret, logs.String())
		}
	}
	for _, cause := range []string{"database down", "by the moderator", "a bug in the app", "goroutine", "not in the directory"} {
		if !strings.Contains(logs.String(), cause) {
			t.Errorf("the log does not say %q:\n%s", cause, logs.String())
		}
	}
}

func TestOtherOriginsAreRefusedAtLogin(t *testing.T) {
	_, h := serveAPI(t, apiOptions(io.Discard))
	for origin, status := range map[string]int{
		"https://app.example": 200, "http://example.com": 200, "https://evil.example": 403, "null": 403,
	} {
		got, body, header := post(h, "/login", jsonType, credentialsJSON("anna", "secret"), "Origin", origin)
		if got != status || (status == 403) != (body["code"] == "ORIGIN_NOT_ALLOWED") {
			t.Errorf("%s: %d %v", origin, got, body)
		}
		if allowed := header.Get("Access-Control-Allow-Origin"); status == 200 && allowed != origin || status != 200 && allowed != "" {
			t.Errorf("%s: Access-Control-Allow-Origin %q", origin, allowed)
		}
	}
	preflight := func(origin string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodOptions, "/login", nil)
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "content-type")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	if w := preflight("https://app.example"); w.Code/100 != 2 || w.Header().Get("Access-Control-Allow-Headers") != "content-type" {
		t.Errorf("preflight: %d %v", w.Code, w.Header())
	}
	if w := preflight("https://evil.example"); w.Code != 403 {
		t.Errorf("preflight of another origin: %d", w.Code)
	}
}

func TestAppURLCarriesTheCode(t *testing.T) {
	o := apiOptions(io.Discard)
	o.AppURL = func(code string) string { return "https://app.example/#code=" + code }
	a, h := serveAPI(t, o)
	_, body, _ := post(h, "/login", jsonType, credentialsJSON("anna", "secret"))
	_, code, _ := strings.Cut(body["url"], "#code=")
	if _, refused := a.verify(t.Context(), code); refused != nil || body["token"] != "" {
		t.Errorf("answer %v", body)
	}
}

func TestAuthorizationHookMintsTheCode(t *testing.T) {
	o := apiOptions(io.Discard)
	o.Authorization = func(_ context.Context, c jwt.MapClaims) (string, error) {
		c["minted"] = "by the app"
		return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(testSecret)
	}
	a, h := serveAPI(t, o)
	_, body, _ := post(h, "/login", jsonType, credentialsJSON("anna", "secret"))
	if code, refused := a.verify(t.Context(), body["token"]); refused != nil || code.claims()["minted"] != "by the app" {
		t.Errorf("answer %v", body)
	}
}

func TestAuthTimeIsTakenBeforeTheHookIsCalled(t *testing.T) {
	// Guards: a revocation while the password is checked must beat the login, so auth_time is older than it.
	var inHook time.Time
	o := apiOptions(io.Discard)
	find := o.FindUserByCredentials
	o.FindUserByCredentials = func(ctx context.Context, c Credentials) (string, error) {
		inHook = time.Now()
		return find(ctx, c)
	}
	a, h := serveAPI(t, o)
	_, body, _ := post(h, "/login", jsonType, credentialsJSON("anna", "secret"))
	if code, refused := a.verify(t.Context(), body["token"]); refused != nil || code.AuthTime.After(inHook) {
		t.Errorf("auth_time %v, hook called %v", code, inHook)
	}
}

func TestHooksOfALoginHaveADeadline(t *testing.T) {
	o := apiOptions(io.Discard)
	var has bool
	find := o.FindUserByCredentials
	o.FindUserByCredentials = func(ctx context.Context, c Credentials) (string, error) {
		_, has = ctx.Deadline()
		return find(ctx, c)
	}
	_, h := serveAPI(t, o)
	post(h, "/login", jsonType, credentialsJSON("anna", "secret"))
	if !has {
		t.Error("none")
	}
}

func TestRoutesStandWhereTheyAreAskedToAndLeaveTheRestAlone(t *testing.T) {
	o := apiOptions(io.Discard)
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
	if _, err := Infrastructure(nil, mux, apiOptions(io.Discard)); err != nil {
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

func TestConflictOnTheMuxIsAnErrorThatNamesBoth(t *testing.T) {
	for _, taken := range []string{"POST /login", "POST /register", "GET /socket.io/"} {
		mux := http.NewServeMux()
		mux.Handle(taken, http.NotFoundHandler())
		_, err := Infrastructure(nil, mux, apiOptions(io.Discard))
		if err == nil || strings.Count(err.Error(), taken) < 2 {
			t.Errorf("%s: %v", taken, err)
		}
	}
}

func TestMuxFuncTakesPatternsApart(t *testing.T) {
	var got []string
	_, err := Infrastructure(nil, MuxFunc(func(method, path string, _ http.Handler) { got = append(got, method+"|"+path) }), apiOptions(io.Discard))
	want := "POST|/login OPTIONS|/login POST|/register OPTIONS|/register" +
		" GET|/socket.io POST|/socket.io OPTIONS|/socket.io GET|/socket.io/ POST|/socket.io/ OPTIONS|/socket.io/"
	if err != nil || strings.Join(got, " ") != want {
		t.Errorf("%v, %v", got, err)
	}
}

func FuzzReadCredentials(f *testing.F) {
	f.Add(jsonType, `{"username":"anna","password":"secret"}`)
	f.Add("application/x-www-form-urlencoded", "username=anna&password=secret")
	f.Add("application/x-www-form-urlencoded", "username=%ff&%zz=1;a")
	f.Add(jsonType+"; charset=utf-8", `{"username":{"toString":1},"a":"\ud800","a":1e999}`)
	f.Add("text/plain", `{}`)
	f.Add(jsonType, `null`)
	f.Add(jsonType, strings.Repeat("[", 20_000))
	f.Fuzz(func(t *testing.T, media, body string) {
		r := httptest.NewRequest(http.MethodPost, "/login", strings.NewReader(body))
		r.Header.Set("Content-Type", media)
		c, fault := readCredentials(httptest.NewRecorder(), r)
		if (c == nil) == (fault == nil) {
			t.Errorf("%v, %v", c, fault)
		}
		for name := range c {
			if !utf8.ValidString(name) || !utf8.ValidString(c.Get(name)) {
				t.Errorf("%q: %q", name, c.Get(name))
			}
		}
		(&config{}).accountsOf(c)
	})
}

// FuzzBearer reads what may be the only header that names a token.
func FuzzBearer(f *testing.F) {
	for _, s := range []string{"Bearer x", "bearer  x y", "Bearer", "Bearer ", "Basic x", "", "Bearer\tx"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		r := &http.Request{Header: http.Header{"Authorization": {header}}}
		text, ok := bearer(r)
		if ok && (text == "" || text[0] == ' ' || !strings.HasSuffix(header, text) || !strings.EqualFold(header[:7], "Bearer ")) {
			t.Errorf("%q names %q", header, text)
		}
		r.Header.Add("Authorization", header)
		if _, ok := bearer(r); ok {
			t.Errorf("%q is taken twice", header)
		}
	})
}

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
