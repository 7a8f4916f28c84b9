package magiclink

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/examples/recipes/internal/kit"
	"github.com/z-open/socketauth/socketauthtest"
)

// app is an app with the recipe: one user, ada.
type app struct {
	*socketauthtest.Server
	links *Links
	db    *sql.DB
	mails *kit.Mails
}

func start(t *testing.T) *app {
	t.Helper()
	a := &app{db: kit.Database(t, "schema.sql"), mails: kit.NewMails(t)}
	kit.Exec(t, a.db, "INSERT INTO users (id, email, verified) VALUES ('1', 'ada@app.example', TRUE), ('2', 'eve@app.example', FALSE)")
	a.links = &Links{DB: a.db, Purpose: "login", Verified: true, Mail: a.mails.Send, Asked: make(chan string, 2)}
	a.Server = socketauthtest.NewServer(t, socketauth.Options[string]{
		FindUserByCredentials: a.links.FindUser,
		Claim:                 func(id string) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": id}, nil },
		ClientPath:            "/socketauth/",
	})
	a.links.Page = strings.Replace(a.URL, "127.0.0.1", "localhost", 1) + "/link"
	a.Mux.HandleFunc("POST /link", a.links.Ask)
	a.Mux.HandleFunc("GET /link", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "page.html") })
	a.Mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `<!doctype html><script type="module">
			import { connect } from "/socketauth/socketauth.js";
			globalThis.client = connect();
		</script>`)
	})
	return a
}

// run runs the links until the end of the test.
func (a *app) run(t *testing.T) {
	t.Helper()
	ended := make(chan struct{})
	go func() { defer close(ended); a.links.Run(context.WithoutCancel(t.Context())) }()
	t.Cleanup(func() { close(a.links.Asked); <-ended })
}

// login logs in as the page does, and returns the status of the answer.
func (a *app) login(t *testing.T, link string) int {
	t.Helper()
	answer, err := a.HTTPClient().PostForm(a.URL+"/login", url.Values{"login": {kit.Secret(link)}})
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

// TestPage guards that a link logs its user in, in a real browser, and that neither a scanner that
// fetches it nor one that also runs the scripts of the page uses it up.
func TestPage(t *testing.T) {
	a := start(t)
	a.run(t)
	asked, err := a.HTTPClient().PostForm(a.URL+"/link", url.Values{"email": {"Ada@App.example"}})
	if err != nil || asked.StatusCode != http.StatusAccepted {
		t.Fatalf("asked: %v, %v", asked, err)
	}
	_ = asked.Body.Close()
	link := a.mails.Await("ada@app.example")
	for range 3 {
		answer, err := http.Get(link)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
	}
	scanner := kit.Page(t)
	kit.Do(t, scanner, chromedp.Navigate(link))
	kit.Await(t, scanner, "document.readyState === 'complete' && location.hash === ''")

	page := kit.Page(t)
	kit.Do(t, page, chromedp.Navigate(link))
	kit.Await(t, page, "location.hash === ''") // the page has read the link
	kit.Do(t, page, chromedp.Click(chromedp.CSS("button")))
	kit.Await(t, page, "globalThis.client?.state === 'online'")
	sessions, err := a.Auth().Sessions(t.Context(), "1")
	if err != nil || len(sessions) != 1 {
		t.Fatalf("%d sessions, %v", len(sessions), err)
	}

	again := kit.Page(t)
	kit.Do(t, again, chromedp.Navigate(link))
	kit.Await(t, again, "location.hash === ''")
	kit.Do(t, again, chromedp.Click(chromedp.CSS("button")))
	kit.Await(t, again, "document.querySelector('output').value === 'LINK_INVALID'")
}

// TestOnce guards that of many uses of a link at the same time one logs in.
func TestOnce(t *testing.T) {
	a := start(t)
	if err := a.links.Send(t.Context(), "ada@app.example"); err != nil {
		t.Fatal(err)
	}
	secret := kit.Secret(a.mails.Await("ada@app.example"))
	var mu sync.Mutex
	var wg sync.WaitGroup
	accepted := 0
	for range 20 {
		wg.Go(func() {
			user, _, err := a.links.Take(t.Context(), secret)
			var refused *socketauth.PublicError
			mu.Lock()
			defer mu.Unlock()
			if err == nil && user == "1" {
				accepted++
			} else if !errors.As(err, &refused) || refused.Code != "LINK_INVALID" {
				t.Errorf("%q, %v", user, err)
			}
		})
	}
	wg.Wait()
	if accepted != 1 {
		t.Errorf("accepted %d times", accepted)
	}
}

// TestRefused guards which links log nobody in: expired, replaced by a newer one, of another
// purpose, sent to an address that the user does not have any more, or made up.
func TestRefused(t *testing.T) {
	for name, spoil := range map[string]func(a *app){
		"expired":         func(a *app) { kit.Exec(t, a.db, "UPDATE links SET expires = ?", time.Now().Unix()) },
		"other purpose":   func(a *app) { kit.Exec(t, a.db, "UPDATE links SET purpose = 'reset'") },
		"address changed": func(a *app) { kit.Exec(t, a.db, "UPDATE users SET email = 'lovelace@app.example' WHERE id = '1'") },
		"newer": func(a *app) {
			kit.Exec(t, a.db, "UPDATE links SET expires = expires - 60")
			_ = a.links.Send(t.Context(), "ada@app.example")
			a.mails.Await("ada@app.example")
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t)
			if err := a.links.Send(t.Context(), "ada@app.example"); err != nil {
				t.Fatal(err)
			}
			link := a.mails.Await("ada@app.example")
			spoil(a)
			if status := a.login(t, link); status != http.StatusForbidden {
				t.Errorf("status %d", status)
			}
		})
	}
	a := start(t)
	for _, secret := range []string{"", "made up"} {
		if status := a.login(t, "="+secret); status != http.StatusForbidden {
			t.Errorf("%q: status %d", secret, status)
		}
	}
}

// TestLinkSurvivesAlmostItsLifetime guards that the refusals of TestRefused are not those of any
// link: one that is about to expire still logs in.
func TestLinkSurvivesAlmostItsLifetime(t *testing.T) {
	a := start(t)
	if err := a.links.Send(t.Context(), "ada@app.example"); err != nil {
		t.Fatal(err)
	}
	link := a.mails.Await("ada@app.example")
	var expires int64
	kit.Scan(t, a.db, &expires, "SELECT expires FROM links")
	if left := time.Until(time.Unix(expires, 0)); left > lifetime || left < lifetime-time.Minute {
		t.Errorf("expires in %v", left)
	}
	kit.Exec(t, a.db, "UPDATE links SET expires = expires - 780") // two minutes are left
	if status := a.login(t, link); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
}

// TestHashed guards that the database does not have what logs a user in.
func TestHashed(t *testing.T) {
	a := start(t)
	if err := a.links.Send(t.Context(), "ada@app.example"); err != nil {
		t.Fatal(err)
	}
	secret := kit.Secret(a.mails.Await("ada@app.example"))
	var row string
	kit.Scan(t, a.db, &row, "SELECT purpose || user || email || hash FROM links")
	if len(secret) < 26 || strings.Contains(row, secret) {
		t.Errorf("secret of %d characters, row %q", len(secret), row)
	}
	if user, _, err := a.links.Take(t.Context(), row[len(row)-64:]); err == nil {
		t.Errorf("the hash logs %q in", user)
	}
}

// TestNobodyLearnsWhoHasAnAccount guards that the answer to who asks for a link is given before
// anybody looks whether there is a user, and is the same for all.
func TestNobodyLearnsWhoHasAnAccount(t *testing.T) {
	links := &Links{Asked: make(chan string, 2)} // who looks now finds no database
	for i, email := range []string{"ada@app.example", "nobody@app.example", "ada@app.example"} {
		form := strings.NewReader(url.Values{"email": {email}}.Encode())
		r := httptest.NewRequest(http.MethodPost, "/link", form)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		answer := httptest.NewRecorder()
		links.Ask(answer, r)
		want := http.StatusAccepted
		if i == 2 { // nobody works, and no more may wait
			want = http.StatusServiceUnavailable
		}
		if answer.Code != want || i < 2 && (answer.Body.Len() != 0 || len(answer.Result().Header) != 0) {
			t.Errorf("%s: %d %v %q", email, answer.Code, answer.Result().Header, answer.Body)
		}
	}
	if a, b := <-links.Asked, <-links.Asked; a != "ada@app.example" || b != "nobody@app.example" {
		t.Errorf("%s and %s wait", a, b)
	}
}

// TestMails guards who is sent a mail: users with a verified address, one mail a minute.
func TestMails(t *testing.T) {
	a := start(t)
	for _, email := range []string{"nobody@app.example", "eve@app.example", "", "%", "ada@app.example", "ada@app.example"} {
		if err := a.links.Send(t.Context(), email); err != nil {
			t.Errorf("%s: %v", email, err)
		}
	}
	a.mails.Await("ada@app.example")
	if n := a.mails.Len(); n != 0 {
		t.Errorf("%d more mails", n)
	}
	kit.Exec(t, a.db, "UPDATE links SET expires = expires - 60") // a minute later
	if err := a.links.Send(t.Context(), "ada@app.example"); err != nil {
		t.Fatal(err)
	}
	a.mails.Await("ada@app.example")
	var rows int
	if kit.Scan(t, a.db, &rows, "SELECT count(*) FROM links"); rows != 1 {
		t.Errorf("%d rows", rows)
	}
}
