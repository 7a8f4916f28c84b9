package oidc

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"database/sql"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/examples/recipes/internal/kit"
	"github.com/z-open/socketauth/socketauthtest"
)

// app is an app with the recipe. Browsers reach it by TLS, at front.
type app struct {
	*socketauthtest.Server
	provider *provider
	login    *Login
	db       *sql.DB
	store    *failing
	front    *httptest.Server
}

// failing is a store that fails to revoke if it is told so.
type failing struct {
	blacklist.Store
	fails bool
}

func (f *failing) Revoke(ctx context.Context, r blacklist.Revocation) (blacklist.Change, error) {
	if f.fails {
		return blacklist.Change{}, errors.New("the store fails")
	}
	return f.Store.Revoke(ctx, r)
}

// answered serves what a handler of the recipe answers.
func answered(t *testing.T, h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			t.Logf("%s: %v", r.URL.Path, err)
			http.Error(w, "That did not work. Please try again.", http.StatusBadRequest)
		}
	}
}

func start(t *testing.T) *app {
	t.Helper()
	a := &app{provider: startProvider(t), db: kit.Database(t, "schema.sql"), store: &failing{Store: blacklist.NewMemory()}}
	a.Server = socketauthtest.NewServer(t, socketauth.Options[string]{Blacklist: a.store, Timeout: time.Second})
	a.front = httptest.NewTLSServer(a.Mux)
	t.Cleanup(a.front.Close)
	provider, err := oidc.NewProvider(t.Context(), a.provider.URL)
	if err != nil {
		t.Fatal(err)
	}
	a.login = &Login{
		Auth: a.Auth(),
		OAuth2: oauth2.Config{
			ClientID: clientID, ClientSecret: clientSecret, Endpoint: provider.Endpoint(),
			RedirectURL: a.front.URL + "/oidc/return", Scopes: []string{oidc.ScopeOpenID},
		},
		Verifier: provider.Verifier(&oidc.Config{ClientID: clientID}),
		DB:       a.db,
	}
	a.Mux.HandleFunc("GET /oidc/begin", a.login.Begin)
	a.Mux.HandleFunc("GET /oidc/return", answered(t, a.login.Return))
	a.Mux.HandleFunc("POST /oidc/logout", answered(t, a.login.Logout))
	a.Mux.HandleFunc("GET /{$}", func(http.ResponseWriter, *http.Request) {})
	return a
}

// browser returns a browser that follows redirects as far as stop says.
func (a *app) browser(t *testing.T, stop func(r *http.Request) bool) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: a.front.Client().Transport, Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if stop(r) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
}

func atReturn(r *http.Request) bool { return r.URL.Path == "/oidc/return" }
func never(*http.Request) bool      { return false }

// get has a browser go to a URL, and returns the answer at which it ends.
func get(t *testing.T, browser *http.Client, url string) *http.Response {
	t.Helper()
	answer, err := browser.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	return answer
}

// enter logs ada in with a browser of its own, and connects her.
func (a *app) enter(t *testing.T) *socketauthtest.Client {
	t.Helper()
	end := get(t, a.browser(t, never), a.front.URL+"/oidc/begin")
	code, ok := strings.CutPrefix(end.Request.URL.Fragment, "code=")
	if end.StatusCode != http.StatusOK || !ok {
		t.Fatalf("%s at %s", end.Status, end.Request.URL)
	}
	client := a.Connect()
	if err := client.Authenticate(code); err != nil {
		t.Fatal(err)
	}
	return client
}

// TestLogin guards that a user who comes from the provider is let in, as that user.
func TestLogin(t *testing.T) {
	a := start(t)
	a.On("who", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) { return s.UserID(), nil })
	reply, err := a.enter(t).Call("who")
	var who string
	if err == nil {
		err = reply.Decode(&who)
	}
	if who != "ada" || err != nil {
		t.Errorf("%q, %v", who, err)
	}
}

// TestCookie guards that what is kept in the browser is hidden from scripts and from other hosts,
// and that the provider sees only hashes of it.
func TestCookie(t *testing.T) {
	a := start(t)
	answer := get(t, a.browser(t, func(*http.Request) bool { return true }), a.front.URL+"/oidc/begin")
	cookies := answer.Cookies()
	if len(cookies) != 1 {
		t.Fatal(cookies)
	}
	c := cookies[0]
	if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" ||
		c.SameSite != http.SameSiteLaxMode || c.MaxAge != 600 || len(c.Value) < 43 {
		t.Errorf("%v", c)
	}
	location, err := answer.Location()
	if err != nil || strings.Contains(location.String(), c.Value) {
		t.Errorf("%v, %v", location, err)
	}
	q := location.Query()
	if state, nonce := q.Get("state"), q.Get("nonce"); state == nonce || state == q.Get("code_challenge") || nonce == q.Get("code_challenge") {
		t.Errorf("%v", q)
	}
}

// TestReturnRefused guards that a code lets in only the browser that has begun the login, and that
// no ID token other than of this login does.
func TestReturnRefused(t *testing.T) {
	a := start(t)
	refused := func(what string, answer *http.Response) {
		t.Helper()
		if answer.StatusCode != http.StatusBadRequest || answer.Header.Get("Location") != "" {
			t.Errorf("%s: %s, %s", what, answer.Status, answer.Request.URL)
		}
	}
	back := func(browser *http.Client) string {
		t.Helper()
		location, err := get(t, browser, a.front.URL+"/oidc/begin").Location()
		if err != nil {
			t.Fatal(err)
		}
		return location.String()
	}

	ada, eve := a.browser(t, atReturn), a.browser(t, atReturn)
	eves := back(eve)
	refused("another browser's code", get(t, a.browser(t, atReturn), eves))
	adas := back(ada)
	refused("another browser's code, in one that has begun a login", get(t, ada, eves))
	mixed, err := url.Parse(adas)
	if err != nil {
		t.Fatal(err)
	}
	q := mixed.Query()
	state := q.Get("state")
	q.Del("state")
	mixed.RawQuery = q.Encode()
	refused("no state", get(t, ada, mixed.String()))
	if n := a.provider.tried(); n != 0 {
		t.Errorf("%d codes of other browsers went to the provider", n)
	}
	stolen, err := url.Parse(eves)
	if err != nil {
		t.Fatal(err)
	}
	q.Set("state", state)
	q.Set("code", stolen.Query().Get("code"))
	mixed.RawQuery = q.Encode()
	refused("another browser's code with the right state", get(t, ada, mixed.String()))
	if answer := get(t, ada, adas); !strings.HasPrefix(answer.Request.URL.Fragment, "code=") {
		t.Errorf("the right browser: %s", answer.Status)
	}
	refused("a code for the second time", get(t, ada, adas))

	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := a.provider.key
	for what, spoil := range map[string]func(jwt.MapClaims){
		"another nonce":    func(c jwt.MapClaims) { c["nonce"] = "other" },
		"no nonce":         func(c jwt.MapClaims) { delete(c, "nonce") },
		"another app":      func(c jwt.MapClaims) { c["aud"] = "other" },
		"another provider": func(c jwt.MapClaims) { c["iss"] = "https://other.example" },
		"expired":          func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-time.Minute).Unix() },
		"nobody":           func(c jwt.MapClaims) { c["sub"] = "" },
		"another key":      func(jwt.MapClaims) { a.provider.key = key },
	} {
		a.provider.give(func(c jwt.MapClaims) { a.provider.key = good; spoil(c) })
		refused(what, get(t, a.browser(t, never), a.front.URL+"/oidc/begin"))
	}
	var n int
	if kit.Scan(t, a.db, &n, "SELECT count(*) FROM logins"); n != 1 {
		t.Errorf("%d logins", n)
	}
}

// logout posts a logout token as the provider does, and returns the status of the answer.
func (a *app) logout(t *testing.T, token string) int {
	t.Helper()
	answer, err := a.front.Client().PostForm(a.front.URL+"/oidc/logout", url.Values{"logout_token": {token}})
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if cache := answer.Header.Get("Cache-Control"); cache != "no-store" {
		t.Errorf("Cache-Control %q", cache)
	}
	return answer.StatusCode
}

// ended waits until a client is told that its session is over.
func ended(t *testing.T, client *socketauthtest.Client) {
	t.Helper()
	var refusal struct{ Code string }
	if err := client.Wait("unauthorized").Decode(&refusal); err != nil || refusal.Code != "session_revoked" {
		t.Errorf("%+v, %v", refusal, err)
	}
	client.WaitClosed()
}

// TestLogoutOfSession guards that the end of a session at the provider ends what was begun by that
// session here, on all its tabs, and nothing else.
func TestLogoutOfSession(t *testing.T) {
	for name, claims := range map[string]jwt.MapClaims{
		"sid":         {"sid": "browser-1"},
		"sid and sub": {"sid": "browser-1", "sub": "ada"},
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t)
			first, second := a.enter(t), a.enter(t)
			a.provider.give(func(c jwt.MapClaims) { c["sid"] = "browser-2" })
			other := a.enter(t)
			if status := a.logout(t, a.provider.logoutToken(claims)); status != http.StatusOK {
				t.Fatalf("status %d", status)
			}
			ended(t, first)
			ended(t, second)
			if events := other.Events(); len(events) != 0 {
				t.Errorf("the other browser is told %q", events)
			}
			if status := a.logout(t, a.provider.logoutToken(claims)); status != http.StatusOK {
				t.Errorf("logged out already: status %d", status)
			}
		})
	}
}

// TestLogoutOfUser guards that a logout token without a session ends all sessions of its user, also
// those of a provider that names none, and nobody else's.
func TestLogoutOfUser(t *testing.T) {
	a := start(t)
	first := a.enter(t)
	a.provider.give(func(c jwt.MapClaims) { delete(c, "sid") })
	second := a.enter(t)
	a.provider.give(func(c jwt.MapClaims) { c["sub"] = "bob"; delete(c, "sid") })
	bob := a.enter(t)
	if status := a.logout(t, a.provider.logoutToken(jwt.MapClaims{"sub": "ada"})); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	ended(t, first)
	ended(t, second)
	if events := bob.Events(); len(events) != 0 {
		t.Errorf("bob is told %q", events)
	}
}

// TestLogoutRefused guards each check of OpenID Connect Back-Channel Logout 1.0 section 2.6: what
// is not a logout token of the provider for this app, of now, ends nothing.
func TestLogoutRefused(t *testing.T) {
	a := start(t)
	client := a.enter(t)
	p := a.provider
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	sub := func(more jwt.MapClaims) jwt.MapClaims {
		all := jwt.MapClaims{"sub": "ada", "sid": "browser-1"}
		for name, value := range more {
			all[name] = value
		}
		return all
	}
	logout := p.claims(sub(jwt.MapClaims{"jti": "1", "events": map[string]any{logoutEvent: map[string]any{}}}))
	none, err := jwt.NewWithClaims(jwt.SigningMethodNone, logout).SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	symmetric, err := jwt.NewWithClaims(jwt.SigningMethodHS256, logout).SignedString([]byte(clientSecret))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for what, token := range map[string]string{
		"nothing":               "",
		"no JWT":                "logout",
		"signed by another key": p.sign(key, logout),
		"not signed":            none,
		"signed by a secret":    symmetric,
		"another provider":      p.logoutToken(sub(jwt.MapClaims{"iss": "https://other.example"})),
		"another app":           p.logoutToken(sub(jwt.MapClaims{"aud": "other"})),
		"no audience":           p.logoutToken(sub(jwt.MapClaims{"aud": nil})),
		"expired":               p.logoutToken(sub(jwt.MapClaims{"exp": now.Add(-time.Second).Unix()})),
		"no expiry":             p.logoutToken(sub(jwt.MapClaims{"exp": nil})),
		"issued long ago":       p.logoutToken(sub(jwt.MapClaims{"iat": now.Add(-6 * time.Minute).Unix()})),
		"no time of issue":      p.logoutToken(sub(jwt.MapClaims{"iat": nil})),
		"no user, no session":   p.logoutToken(nil),
		"no events":             p.logoutToken(sub(jwt.MapClaims{"events": nil})),
		"another event":         p.logoutToken(sub(jwt.MapClaims{"events": map[string]any{"http://schemas.openid.net/event/other": map[string]any{}}})),
		"a nonce":               p.logoutToken(sub(jwt.MapClaims{"nonce": "1"})),
		"an ID token":           p.sign(p.key, p.claims(sub(jwt.MapClaims{"nonce": "1"}))),
		"no jti":                p.logoutToken(sub(jwt.MapClaims{"jti": nil})),
	} {
		if status := a.logout(t, token); status != http.StatusBadRequest {
			t.Errorf("%s: status %d", what, status)
		}
	}
	for what, token := range map[string]string{
		"another user's":     p.logoutToken(sub(jwt.MapClaims{"sub": "bob"})),
		"an unknown session": p.logoutToken(sub(jwt.MapClaims{"sid": "browser-2"})),
	} {
		if status := a.logout(t, token); status != http.StatusOK {
			t.Errorf("%s: status %d", what, status)
		}
	}
	if events := client.Events(); len(events) != 0 {
		t.Errorf("the client is told %q", events)
	}
	if status := a.logout(t, p.logoutToken(sub(nil))); status != http.StatusOK {
		t.Errorf("a logout token: status %d", status)
	}
	ended(t, client)
}

// TestLogoutFails guards that the provider is told where the sessions could not be ended, so that
// it may try again.
func TestLogoutFails(t *testing.T) {
	a := start(t)
	client := a.enter(t)
	a.store.fails = true
	for _, claims := range []jwt.MapClaims{{"sub": "ada"}, {"sid": "browser-1"}} {
		if status := a.logout(t, a.provider.logoutToken(claims)); status != http.StatusBadRequest {
			t.Errorf("%v: status %d", claims, status)
		}
	}
	a.store.fails = false
	if status := a.logout(t, a.provider.logoutToken(jwt.MapClaims{"sid": "browser-1"})); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	ended(t, client)
}
