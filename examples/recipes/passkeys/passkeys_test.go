package passkeys

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	webauthncdp "github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/examples/recipes/internal/kit"
	"github.com/z-open/socketauth/socketauthtest"
)

// table has the hooks of Passkeys with SQLite, as an app may have them.
type table struct{ db *sql.DB }

// user is a user with their passkeys. The ID is what passkeys keep, so it is not a name or address.
type user struct {
	id       string
	passkeys []webauthn.Credential
}

func (u user) WebAuthnID() []byte                         { return []byte(u.id) }
func (u user) WebAuthnName() string                       { return "user " + u.id }
func (u user) WebAuthnDisplayName() string                { return "User " + u.id }
func (u user) WebAuthnCredentials() []webauthn.Credential { return u.passkeys }

func (t table) User(ctx context.Context, id string) (webauthn.User, error) {
	u := user{id: id}
	var passkeys []byte
	const query = `SELECT (SELECT json_group_array(json(passkey)) FROM passkeys WHERE user = users.id) FROM users WHERE id = ?`
	err := t.db.QueryRowContext(ctx, query, id).Scan(&passkeys)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, socketauth.ErrInvalidCredentials
	} else if err != nil {
		return nil, err
	}
	return u, json.Unmarshal(passkeys, &u.passkeys)
}

func (t table) Added(ctx context.Context, id string, passkey *webauthn.Credential) error {
	text, err := json.Marshal(passkey)
	if err == nil {
		_, err = t.db.ExecContext(ctx, "INSERT INTO passkeys (id, user, passkey, used) VALUES (?, ?, ?, 0)", passkey.ID, id, string(text))
	}
	return err
}

func (t table) Used(ctx context.Context, passkey *webauthn.Credential, at int64) error {
	text, err := json.Marshal(passkey)
	if err != nil {
		return err
	}
	const update = `UPDATE passkeys SET passkey = ?, used = ? WHERE id = ? AND used < ? RETURNING used`
	err = t.db.QueryRowContext(ctx, update, string(text), at, passkey.ID, at).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		err = socketauth.ErrInvalidCredentials
	}
	return err
}

// app is an app with the recipe: two users, and a page in Chromium with an authenticator.
type app struct {
	*socketauthtest.Server
	passkeys      *Passkeys
	db            *sql.DB
	page          context.Context
	origin        string
	authenticator webauthncdp.AuthenticatorID
}

func start(t *testing.T) *app {
	t.Helper()
	a := &app{db: kit.Database(t, "schema.sql")}
	kit.Exec(t, a.db, "CREATE TABLE users (id TEXT PRIMARY KEY); INSERT INTO users (id) VALUES ('7'), ('8')")
	users := table{a.db}
	a.passkeys = &Passkeys{Key: []byte(strings.Repeat("k", 32)), User: users.User, Added: users.Added, Used: users.Used}
	a.Server = socketauthtest.NewServer(t, socketauth.Options[string]{
		FindUserByCredentials: a.passkeys.FindUser,
		Claim:                 func(id string) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": id}, nil },
		ClientPath:            "/socketauth/",
	})
	a.origin = strings.Replace(a.URL, "127.0.0.1", "localhost", 1) // a passkey is for a name, not an address
	var err error
	a.passkeys.RP, err = webauthn.New(&webauthn.Config{RPID: "localhost", RPDisplayName: "App", RPOrigins: []string{a.origin}})
	if err != nil {
		t.Fatal(err)
	}
	a.passkeys.Handle(a.Server.Server)
	a.On("who", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) { return s.UserID(), nil })
	a.Mux.HandleFunc("POST /passkey", a.passkeys.Challenge)
	a.Mux.HandleFunc("GET /page.js", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "page.js") })
	a.Mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `<!doctype html><script type="module">
			Object.assign(globalThis, await import("/page.js"));
			client.on("state", (state) => { document.title = state; });
			document.title = client.state;
		</script>`)
	})

	a.page = kit.Page(t)
	if _, err := chromedp.Call(a.page, webauthncdp.Enable, webauthncdp.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	added, err := chromedp.Call(a.page, webauthncdp.AddVirtualAuthenticator, webauthncdp.AddVirtualAuthenticatorParams{
		Options: &webauthncdp.VirtualAuthenticatorOptions{
			Protocol: webauthncdp.AuthenticatorProtocolCtap2, Transport: webauthncdp.AuthenticatorTransportInternal,
			HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	a.authenticator = added.AuthenticatorID
	return a
}

// do evaluates JavaScript in the page and returns the code of the error that it ends with, or "".
func (a *app) do(t *testing.T, script string) (code string) {
	t.Helper()
	code, err := chromedp.Run(a.page, chromedp.Evaluate[string](
		"("+script+").then(() => '', (error) => error.code ?? String(error))", chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// open opens the page as a user who has logged in otherwise.
func (a *app) open(t *testing.T, id string) {
	t.Helper()
	kit.Do(t, a.page, chromedp.Navigate("about:blank"), chromedp.Navigate(a.origin+"/#code="+a.Code(jwt.MapClaims{"sub": id})))
	kit.Await(t, a.page, "document.title === 'online'")
}

// enter opens the page as a user who has logged in otherwise, and has that user add a passkey.
func (a *app) enter(t *testing.T, id string) {
	t.Helper()
	a.open(t, id)
	if code := a.do(t, "addPasskey()"); code != "" {
		t.Fatalf("no passkey added: %s", code)
	}
	a.leave(t)
}

func (a *app) leave(t *testing.T) {
	t.Helper()
	if code := a.do(t, "client.logout()"); code != "" {
		t.Fatalf("not logged out: %s", code)
	}
	kit.Await(t, a.page, "document.title === 'signed-out'")
}

// TestLogin guards that a user who has added a passkey logs in with it, as often as they like.
func TestLogin(t *testing.T) {
	a := start(t)
	a.enter(t, "7")
	for range 2 {
		if code := a.do(t, "login()"); code != "" {
			t.Fatalf("refused: %s", code)
		}
		who, err := chromedp.Run(a.page, chromedp.Evaluate[string]("client.emitWithAck('who')", chromedp.EvalAwaitPromise))
		if err != nil || who != "7" {
			t.Fatalf("logged in as %q, %v", who, err)
		}
		a.leave(t)
	}
}

// signed has the page sign a challenge and returns what it would log in with.
func (a *app) signed(t *testing.T, challenge string) (passkey string) {
	t.Helper()
	return a.signedBy(t, challenge, "required")
}

// signedBy is signed where the page asks for that verification of the user.
func (a *app) signedBy(t *testing.T, challenge, userVerification string) (passkey string) {
	t.Helper()
	passkey, err := chromedp.Run(a.page, chromedp.Evaluate[string](`(async () => {
		const challenge = `+challenge+`;
		const publicKey = { challenge, userVerification: "`+userVerification+`" };
		return JSON.stringify(await navigator.credentials.get({ publicKey }));
	})()`, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	return passkey
}

const served = `await (await fetch("/passkey", { method: "POST" })).arrayBuffer()`

// login posts what a page has signed, and returns the status of the answer.
func (a *app) login(t *testing.T, passkey string) int {
	t.Helper()
	answer, err := a.HTTPClient().PostForm(a.URL+"/login", url.Values{"passkey": {passkey}})
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

// TestRefused guards what logs nobody in.
func TestRefused(t *testing.T) {
	a := start(t)
	a.enter(t, "7")
	refused := func(what, passkey string) {
		t.Helper()
		if status := a.login(t, passkey); status != http.StatusUnauthorized {
			t.Errorf("%s: status %d", what, status)
		}
	}

	first := a.signed(t, served)
	second := a.signed(t, served)
	if status := a.login(t, second); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	// Passkeys that are on several devices do not count their uses. What is refused then is not a
	// count that was seen before.
	forget := func(of string) { kit.Exec(t, a.db, "UPDATE passkeys SET "+of) }
	const count = "passkey = json_set(passkey, '$.authenticator.signCount', 0)"
	forget(count)
	refused("a second use", second)
	forget(count)
	refused("an older challenge than that of the last login", first)
	forget(count + ", used = 0")

	refused("nothing", "")
	refused("a challenge that the server has not made", a.signed(t, "new Uint8Array(40)"))
	refused("a challenge of three bytes", a.signed(t, "new Uint8Array(3)"))
	forged := &Passkeys{Key: []byte(strings.Repeat("f", 32))}
	refused("a challenge of another key", a.signed(t, bytesOf(forged.challenge(time.Now().UnixMicro()))))
	old := time.Now().Add(-5 * time.Minute)
	refused("an old challenge", a.signed(t, bytesOf(a.passkeys.challenge(old.UnixMicro()))))

	fresh := a.signed(t, served)
	var response map[string]any
	if err := json.Unmarshal([]byte(fresh), &response); err != nil {
		t.Fatal(err)
	}
	response["response"].(map[string]any)["userHandle"] = "OA" // 8
	other, err := json.Marshal(response)
	if err != nil {
		t.Fatal(err)
	}
	refused("as another user", string(other))

	if _, err := chromedp.Call(a.page, webauthncdp.SetUserVerified, webauthncdp.SetUserVerifiedParams{AuthenticatorID: a.authenticator}); err != nil {
		t.Fatal(err)
	}
	refused("a device that has not checked its user", a.signedBy(t, served, "discouraged"))
	forget("passkey = json_set(passkey, '$.authenticator.signCount', 1000)")
	refused("a copy of the passkey, whose count is behind", fresh)
	forget(count) // none of these has failed for another reason
	if status := a.login(t, fresh); status != http.StatusOK {
		t.Errorf("what is right: status %d", status)
	}
}

// bytesOf returns an expression of JavaScript for bytes.
func bytesOf(b []byte) string {
	ints := make([]int, len(b))
	for i := range b {
		ints[i] = int(b[i])
	}
	text, _ := json.Marshal(ints)
	return "new Uint8Array(" + string(text) + ")"
}

// TestOtherSite guards that a passkey signs for the app's own pages alone.
func TestOtherSite(t *testing.T) {
	a := start(t)
	a.enter(t, "7")
	a.passkeys.RP.Config.RPOrigins = []string{"http://other.localhost"}
	if status := a.login(t, a.signed(t, served)); status != http.StatusUnauthorized {
		t.Errorf("status %d", status)
	}
}

// TestAddRefused guards that nothing is added where the user does not want to, and no second
// passkey on a device that has one.
func TestAddRefused(t *testing.T) {
	a := start(t)
	a.open(t, "7")
	if code := a.do(t, "(navigator.credentials.create = () => Promise.reject(new DOMException('', 'NotAllowedError')), addPasskey())"); code != "bad_arguments" {
		t.Errorf("without the user: %q", code)
	}

	var n int
	if kit.Scan(t, a.db, &n, "SELECT count(*) FROM passkeys"); n != 0 {
		t.Errorf("%d passkeys", n)
	}
	a.enter(t, "7")
	a.open(t, "7")
	if code := a.do(t, "addPasskey()"); code != "bad_arguments" {
		t.Errorf("a second one: %q", code)
	}
	if kit.Scan(t, a.db, &n, "SELECT count(*) FROM passkeys"); n != 1 {
		t.Errorf("%d passkeys", n)
	}
}

// TestAddTakesALoginOfJustNow guards that who has a token only, such as a thief, cannot add a
// passkey of their own.
func TestAddTakesALoginOfJustNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := socketauthtest.NewServer(t, socketauth.Options[string]{})
		asked := 0
		passkeys := &Passkeys{User: func(context.Context, string) (webauthn.User, error) {
			asked++
			return nil, errors.New("there is no table")
		}}
		passkeys.Handle(srv.Server)
		client := srv.Dial(jwt.MapClaims{"sub": "7"})
		if _, err := client.Call("passkey:add"); err == nil || asked != 1 {
			t.Errorf("%v, asked %d times", err, asked)
		}
		time.Sleep(5*time.Minute + time.Second)
		_, err := client.Call("passkey:add")
		var refused *socketauth.PublicError
		if !errors.As(err, &refused) || refused.Code != "reauthentication_required" || asked != 1 {
			t.Errorf("%v, asked %d times", err, asked)
		}
	})
}

// TestStepUp guards that a user proves again who they are with a passkey.
func TestStepUp(t *testing.T) {
	a := start(t)
	a.enter(t, "7")
	if code := a.do(t, "login()"); code != "" {
		t.Fatalf("refused: %s", code)
	}
	proof := func() string {
		t.Helper()
		kit.Await(t, a.page, "client.token !== null")
		proof, err := chromedp.Run(a.page, chromedp.Evaluate[string](
			"String(JSON.parse(atob(client.token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/'))).auth_time)"))
		if err != nil {
			t.Fatal(err)
		}
		return proof
	}
	before := proof()
	if code := a.do(t, "reauthenticate()"); code != "" {
		t.Fatalf("refused: %s", code)
	}
	if after := proof(); after <= before {
		t.Errorf("auth_time is %s, and was %s", after, before)
	}
}
