package reset

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/examples/recipes/internal/kit"
	"github.com/z-open/socketauth/examples/recipes/magiclink"
	"github.com/z-open/socketauth/socketauthtest"
)

// app is an app with the recipe and two users, ada and eve, who log in with their address and the
// password "open sesame". Neither address is verified.
type app struct {
	*socketauthtest.Server
	accounts      *Accounts
	db            *sql.DB
	verify, reset *kit.Mails
	origin        string
	store         *failing
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

func start(t *testing.T) *app {
	t.Helper()
	a := &app{
		db: kit.Database(t, "../magiclink/schema.sql"), verify: kit.NewMails(t), reset: kit.NewMails(t),
		store: &failing{Store: blacklist.NewMemory()},
	}
	passwords := &socketauth.Passwords{Cost: 4}
	hash, err := passwords.Hash(t.Context(), "open sesame")
	if err != nil {
		t.Fatal(err)
	}
	const insert = "INSERT INTO users (id, email, password) VALUES ('1', 'ada@app.example', ?), ('2', 'eve@app.example', ?)"
	kit.Exec(t, a.db, insert, hash, hash)
	lookup := func(ctx context.Context, name string) (id, hash string, err error) {
		err = a.db.QueryRowContext(ctx, "SELECT id, password FROM users WHERE email = ?", name).Scan(&id, &hash)
		if errors.Is(err, sql.ErrNoRows) {
			err = socketauth.ErrInvalidCredentials
		}
		return id, hash, err
	}
	a.Server = socketauthtest.NewServer(t, socketauth.Options[string]{
		FindUserByCredentials: socketauth.PasswordLogin(passwords, lookup),
		Claim:                 func(id string) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": id}, nil },
		ClientPath:            "/socketauth/",
		Blacklist:             a.store,
		Timeout:               time.Second,
	})
	a.origin = strings.Replace(a.URL, "127.0.0.1", "localhost", 1)
	a.accounts = &Accounts{
		Auth: a.Auth(), Passwords: passwords,
		Verify: &magiclink.Links{DB: a.db, Purpose: "verify", Page: a.origin + "/verify", Mail: a.verify.Send},
		Reset: &magiclink.Links{DB: a.db, Purpose: "reset", Verified: true, Page: a.origin + "/reset", Mail: a.reset.Send,
			Asked: make(chan string, 10)},
	}
	ended := make(chan struct{})
	go func() { defer close(ended); a.accounts.Reset.Run(context.WithoutCancel(t.Context())) }()
	t.Cleanup(func() { close(a.accounts.Reset.Asked); <-ended })
	a.On("email:ask", a.accounts.AskVerify)
	a.On("email:verify", a.accounts.VerifyEmail)
	a.Mux.HandleFunc("POST /forgotten", a.accounts.Reset.Ask)
	a.Mux.HandleFunc("POST /password", a.accounts.SetPassword)
	a.Mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `<!doctype html><script type="module">
			import { connect } from "/socketauth/socketauth.js";
			globalThis.client = connect();
		</script>`)
	})
	for _, page := range []string{"reset", "verify"} {
		a.Mux.HandleFunc("GET /"+page, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, page+".html") })
	}
	return a
}

// post posts a form, and returns the status and the body of the answer.
func (a *app) post(t *testing.T, path string, form url.Values) (int, string) {
	t.Helper()
	answer, err := a.HTTPClient().PostForm(a.URL+path, form)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, strings.TrimSpace(string(body))
}

func (a *app) login(t *testing.T, email, password string) int {
	t.Helper()
	status, _ := a.post(t, "/login", url.Values{"username": {email}, "password": {password}})
	return status
}

// set sets a password with a link, and returns the status and the body of the answer.
func (a *app) set(t *testing.T, link, password string) (int, string) {
	t.Helper()
	return a.post(t, "/password", url.Values{"reset": {kit.Secret(link)}, "password": {password}})
}

// link returns a link to set ada's password. Her address is verified.
func (a *app) link(t *testing.T) string {
	t.Helper()
	kit.Exec(t, a.db, "UPDATE users SET verified = TRUE WHERE id = '1'")
	if status, _ := a.post(t, "/forgotten", url.Values{"email": {"ada@app.example"}}); status != http.StatusAccepted {
		t.Fatalf("status %d", status)
	}
	return a.reset.Await("ada@app.example")
}

// TestReset guards the whole way in a real browser: a user verifies their address, forgets their
// password, sets another one, and logs in with it.
func TestReset(t *testing.T) {
	a := start(t)
	page := kit.Page(t)
	kit.Do(t, page, chromedp.Navigate(a.origin+"/#code="+a.Code(jwt.MapClaims{"sub": "1"})))
	kit.Await(t, page, "globalThis.client?.state === 'online'")
	ada := a.Dial(jwt.MapClaims{"sub": "1"})
	if _, err := ada.Call("email:ask"); err != nil {
		t.Fatal(err)
	}
	kit.Do(t, page, chromedp.Navigate(a.verify.Await("ada@app.example")))
	kit.Await(t, page, "document.querySelector('output').value === 'Your address is verified.'")

	if status, _ := a.post(t, "/forgotten", url.Values{"email": {"Ada@app.example"}}); status != http.StatusAccepted {
		t.Fatalf("status %d", status)
	}
	link := a.reset.Await("ada@app.example")
	kit.Do(t, page, chromedp.Navigate(link))
	kit.Await(t, page, "location.hash === ''")
	kit.Do(t, page, chromedp.SendKeys(chromedp.CSS("input"), "correct horse"), chromedp.Click(chromedp.CSS("button")))
	kit.Await(t, page, "document.querySelector('output').value === 'Log in with the new password.'")
	if old, now := a.login(t, "ada@app.example", "open sesame"), a.login(t, "ada@app.example", "correct horse"); old != 401 || now != 200 {
		t.Errorf("the old password: %d, the new one: %d", old, now)
	}
	if status := a.login(t, "eve@app.example", "open sesame"); status != http.StatusOK {
		t.Errorf("another user's password: %d", status)
	}
}

// TestSessionsEnd guards that a new password ends all sessions of its user and nobody else's, and
// all their other links.
func TestSessionsEnd(t *testing.T) {
	a := start(t)
	thief, eve := a.Dial(jwt.MapClaims{"sub": "1"}), a.Dial(jwt.MapClaims{"sub": "2"})
	code := a.Code(jwt.MapClaims{"sub": "1"}) // a login of before
	login := &magiclink.Links{DB: a.db, Purpose: "login", Verified: true, Mail: a.verify.Send}
	link := a.link(t)
	if err := login.Send(t.Context(), "ada@app.example"); err != nil {
		t.Fatal(err)
	}
	if status, body := a.set(t, link, "correct horse"); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	var refusal struct{ Code string }
	if err := thief.Wait("unauthorized").Decode(&refusal); err != nil || refusal.Code != "session_revoked" {
		t.Errorf("%+v, %v", refusal, err)
	}
	thief.WaitClosed()
	if events := eve.Events(); len(events) != 0 {
		t.Errorf("another user is told %q", events)
	}
	if err := a.Connect().Authenticate(code); err == nil {
		t.Error("a login of before is let in")
	}
	if user, _, err := login.Take(t.Context(), kit.Secret(a.verify.Await("ada@app.example"))); err == nil {
		t.Errorf("a link of before logs %s in", user)
	}
	if err := a.Connect().Authenticate(a.Code(jwt.MapClaims{"sub": "1"})); err != nil {
		t.Errorf("a login of after: %v", err)
	}
}

// TestRefused guards what sets no password, and that a password that is refused does not use the
// link up.
func TestRefused(t *testing.T) {
	a := start(t)
	link := a.link(t)
	for _, password := range []string{"", "1234567", strings.Repeat("x", 73), strings.Repeat("ä", 37)} {
		if status, body := a.set(t, link, password); status != http.StatusForbidden || body != "PASSWORD_LENGTH" {
			t.Errorf("%q: %d %s", password, status, body)
		}
	}
	for what, wrong := range map[string]string{"nothing": "", "made up": "reset=XYZ"} {
		if status, body := a.set(t, wrong, "correct horse"); status != http.StatusForbidden || body != "LINK_INVALID" {
			t.Errorf("%s: %d %s", what, status, body)
		}
	}
	if status := a.login(t, "ada@app.example", "open sesame"); status != http.StatusOK {
		t.Errorf("the password does not work any more: %d", status)
	}
	if status, body := a.set(t, link, "ööööööööö"); status != http.StatusOK {
		t.Errorf("the link: %d %s", status, body)
	}
	if status, body := a.set(t, link, "correct horse"); status != http.StatusForbidden || body != "LINK_INVALID" {
		t.Errorf("the link again: %d %s", status, body)
	}
}

// TestOnce guards that of many uses of a link at the same time one sets the password.
func TestOnce(t *testing.T) {
	a := start(t)
	link := a.link(t)
	var mu sync.Mutex
	var wg sync.WaitGroup
	accepted := 0
	for range 10 {
		wg.Go(func() {
			answer, err := a.HTTPClient().PostForm(a.URL+"/password", url.Values{"reset": {kit.Secret(link)}, "password": {"correct horse"}})
			if err != nil {
				t.Error(err)
				return
			}
			_ = answer.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			if answer.StatusCode == http.StatusOK {
				accepted++
			} else if answer.StatusCode != http.StatusForbidden {
				t.Errorf("status %d", answer.StatusCode)
			}
		})
	}
	wg.Wait()
	if accepted != 1 {
		t.Errorf("accepted %d times", accepted)
	}
}

// TestBrowserLeaves guards that a password that is set ends the sessions also if the browser does
// not wait for the answer.
func TestBrowserLeaves(t *testing.T) {
	a := start(t)
	thief := a.Dial(jwt.MapClaims{"sub": "1"})
	form := url.Values{"reset": {kit.Secret(a.link(t))}, "password": {"correct horse"}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "/password", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	a.Mux.ServeHTTP(&discarded{}, r)
	thief.Wait("unauthorized")
	thief.WaitClosed()
}

// discarded is the answer to who has left.
type discarded struct{ header http.Header }

func (d *discarded) Header() http.Header {
	if d.header == nil {
		d.header = http.Header{}
	}
	return d.header
}
func (d *discarded) Write(p []byte) (int, error) { return len(p), nil }
func (d *discarded) WriteHeader(int)             {}

// TestStoreFails guards that nobody is told that all is well while others may still be logged in.
func TestStoreFails(t *testing.T) {
	a := start(t)
	link := a.link(t)
	a.store.fails = true
	if status, body := a.set(t, link, "correct horse"); status != http.StatusServiceUnavailable || body != "UNAVAILABLE" {
		t.Errorf("%d %s", status, body)
	}
}

// TestUnverified guards that no link for a password is sent to an address that its user has not
// verified, or that does not exist, and that the answers do not tell these from others.
func TestUnverified(t *testing.T) {
	a := start(t)
	a.link(t) // ada's, who is verified
	for _, email := range []string{"eve@app.example", "nobody@app.example"} {
		if status, body := a.post(t, "/forgotten", url.Values{"email": {email}}); status != http.StatusAccepted || body != "" {
			t.Errorf("%s: %d %s", email, status, body)
		}
	}
	kit.Exec(t, a.db, "UPDATE links SET expires = expires - 60")
	a.link(t) // its mail comes after those of the others, if there were any
	if n := a.reset.Len(); n != 0 {
		t.Errorf("%d more mails", n)
	}
}

// TestVerifyRefused guards that an address is verified by its user alone, with the link that was
// sent to it: not by its owner opening a link that a stranger's account has sent there, nor by a
// link that was sent to the address before.
func TestVerifyRefused(t *testing.T) {
	a := start(t)
	ada, eve := a.Dial(jwt.MapClaims{"sub": "1"}), a.Dial(jwt.MapClaims{"sub": "2"})
	ask := func() (secret string) {
		t.Helper()
		kit.Exec(t, a.db, "DELETE FROM links")
		if _, err := ada.Call("email:ask"); err != nil {
			t.Fatal(err)
		}
		return kit.Secret(a.verify.Await("ada@app.example"))
	}
	refused := func(what string, c *socketauthtest.Client, secret string) {
		t.Helper()
		var refusal *socketauth.PublicError
		if _, err := c.Call("email:verify", secret); !errors.As(err, &refusal) || refusal.Code != "LINK_INVALID" {
			t.Errorf("%s: %v", what, err)
		}
		var verified int
		if kit.Scan(t, a.db, &verified, "SELECT count(*) FROM users WHERE verified"); verified != 0 {
			t.Errorf("%s: %d users are verified", what, verified)
		}
	}
	refused("made up", ada, "XYZ")
	refused("by another user", eve, ask())
	secret := ask()
	kit.Exec(t, a.db, "UPDATE users SET email = 'lovelace@app.example' WHERE id = '1'")
	refused("of the address before", ada, secret)
	kit.Exec(t, a.db, "UPDATE users SET email = 'ada@app.example' WHERE id = '1'")
	secret = ask()
	if status, body := a.set(t, secret, "correct horse"); status != http.StatusForbidden || body != "LINK_INVALID" {
		t.Errorf("a link of this kind sets a password: %d %s", status, body)
	}
	if _, err := ada.Call("email:verify", secret); err != nil {
		t.Errorf("the right link: %v", err)
	}
}
