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

// withStepUp is withServer for an app of anna and otto, both with the password "secret". The claims of
// their logins have acr "1", and acr "2" if a field "otp" was given.
func withStepUp(t *testing.T, change func(*socketauth.Options[string]), test func(srv *testServer)) {
	t.Helper()
	withServer(t, func(o *socketauth.Options[string]) {
		o.FindUserByCredentials = func(_ context.Context, c socketauth.Credentials) (string, error) {
			switch {
			case c.Get("username") == "banned":
				return "", &socketauth.PublicError{Code: "BANNED"}
			case c.Get("password") != "secret":
				return "", socketauth.ErrInvalidCredentials
			}
			return c.Get("username") + " " + c.Get("otp"), nil
		}
		o.Claim = func(user string) (jwt.MapClaims, error) {
			name, otp, _ := strings.Cut(user, " ")
			if otp != "" {
				return jwt.MapClaims{"sub": name, "role": "by otp", "acr": "2", "amr": []string{"pwd", "otp"}}, nil
			}
			return jwt.MapClaims{"sub": name, "role": "by password", "acr": "1"}, nil
		}
		if change != nil {
			change(o)
		}
	}, test)
}

// answered has the members of JSON answers.
type answered struct {
	Token, Code string
	MaxAge      any
}

// postAs posts JSON with a bearer token, unless that is "".
func (srv *testServer) postAs(path, bearer, body string) (int, answered, http.Header) {
	srv.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", jsonType)
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	w := httptest.NewRecorder()
	srv.Config.Handler.ServeHTTP(w, r)
	var a answered
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		srv.Errorf("%s: %s: %v", path, w.Body, err)
	}
	return w.Code, a, w.Header()
}

// stepUpBody returns the body of a login that asks for a step-up.
func stepUpBody(name, password, more string) string {
	return fmt.Sprintf(`{"username":%q,"password":%q,"step_up":true%s}`, name, password, more)
}

// stepUp returns the code with which anna has proved again who she is.
func (srv *testServer) stepUp(token string) string {
	srv.Helper()
	status, a, _ := srv.postAs("/login", token, stepUpBody("anna", "secret", `,"otp":"1"`))
	if status != 200 || a.Token == "" {
		srv.Fatalf("%d %+v\nlog: %s", status, a, srv.logs)
	}
	return a.Token
}

// login returns a client that anna has logged in to with her password, and its token.
func (srv *testServer) login() (*client, string) {
	srv.Helper()
	c := srv.dial(fmt.Sprintf(`{"token":%q}`, srv.loginCode()))
	token := c.expectToken()
	synctest.Wait()
	return c, token
}

// prove presents a token with a step-up code.
func (c *client) prove(token string, code any, confirm bool) {
	c.srv.Helper()
	c.emit("authenticate", map[string]any{"token": token, "step_up": code, "confirm": confirm})
}

// claims returns claims of a token, as JSON and separated by spaces.
func (srv *testServer) claims(token string, names ...string) string {
	srv.Helper()
	payload := payloadOf(srv.T, token)
	var values []string
	for _, name := range names {
		values = append(values, string(payload[name]))
	}
	return strings.Join(values, " ")
}

// authTime returns when the user of a token has proved last who they are.
func (srv *testServer) authTime(token string) time.Time {
	srv.Helper()
	var seconds float64
	if err := json.Unmarshal(payloadOf(srv.T, token)["auth_time"], &seconds); err != nil {
		srv.Fatal(err)
	}
	return time.UnixMicro(int64(seconds*1e6 + 0.5))
}

// TestStepUp: a login by name with the token of the session gives a code, which raises auth_time, acr and
// amr of the next token and of those after it, and nothing else of it: on a socket, at the handshake, with
// and without confirmation.
func TestStepUp(t *testing.T) {
	for name, present := range map[string]func(c *client, token, code string) (*client, string){
		"on the socket": func(c *client, token, code string) (*client, string) {
			c.prove(token, code, false)
			return c, c.expectToken()
		},
		"confirmed": func(c *client, token, code string) (*client, string) {
			c.prove(token, code, true)
			o := c.expectOffer()
			o.confirm()
			return c, o.token
		},
		"at the handshake": func(c *client, token, code string) (*client, string) {
			d := c.srv.dial(fmt.Sprintf(`{"token":%q,"step_up":%q}`, token, code))
			return d, d.expectToken()
		},
		"at TokenPath": func(c *client, token, code string) (*client, string) {
			status, a, _ := c.srv.postAs("/token", token, fmt.Sprintf(`{"step_up":%q}`, code))
			if status != 200 {
				c.srv.Errorf("%d %+v", status, a)
			}
			d := c.srv.dial(fmt.Sprintf(`{"token":%q}`, a.Token))
			d.expectToken()
			return d, d.current
		},
		"at the handshake, confirmed": func(c *client, token, code string) (*client, string) {
			d := c.srv.dial(fmt.Sprintf(`{"token":%q,"step_up":%q,"confirm":true}`, token, code))
			o := d.expectOffer()
			o.confirm()
			return d, o.token
		},
	} {
		t.Run(name, func(t *testing.T) {
			withStepUp(t, func(o *socketauth.Options[string]) { o.TokenPath = "/token" }, func(srv *testServer) {
				recent := socketauth.RequireRecent(time.Minute, "2")
				srv.On("transfer", recent(func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return "done", nil }))
				c, first := srv.login()
				began := srv.authTime(first)
				time.Sleep(time.Hour)
				if got := c.call("transfer"); got != `[{"error":{"acr":["2"],"code":"reauthentication_required","maxAge":60}}]` {
					t.Errorf("before: %s", got)
				}
				code, proved := srv.stepUp(first), time.Now()
				if got, want := srv.claims(code, "token_use", "gen", "sub", "sid", "role"), srv.claims(first, "x"); got != `"step_up" 0 "anna" `+srv.claims(first, "sid")+" "+want {
					t.Errorf("the code says %s", got)
				}
				time.Sleep(10 * time.Second)
				d, second := present(c, first, code)
				if got := srv.authTime(second); !got.Equal(proved) {
					t.Errorf("auth_time %v, want %v", got, proved)
				}
				if got, want := srv.claims(second, "began", "sid", "sub", "role"), srv.claims(first, "auth_time", "sid", "sub", "role"); got != want {
					t.Errorf("%s, want %s", got, want)
				}
				synctest.Wait()
				if got := d.call("transfer"); got != `["done"]` {
					t.Errorf("after: %s", got)
				}
				d.authenticate(second)
				third := d.expectToken()
				names := []string{"auth_time", "began", "acr", "amr"}
				if got, want := srv.claims(third, names...), srv.claims(second, names...); got != want || !strings.HasSuffix(got, ` "2" ["pwd","otp"]`) {
					t.Errorf("the token after it: %s, want %s", got, want)
				}
				sessions, err := srv.Auth().Sessions(t.Context(), "anna")
				if err != nil || len(sessions) != 1 || sessions[0].Since.Sub(began).Abs() > time.Millisecond {
					t.Errorf("%+v, %v", sessions, err)
				}
			})
		})
	}
}

// TestStepUpLoginRefused: a login that asks for a step-up is answered as Middleware does without a living
// session token, and USER_INVALID for another user. The session notices nothing.
func TestStepUpLoginRefused(t *testing.T) {
	withStepUp(t, nil, func(srv *testServer) {
		c, token := srv.login()
		dead, replaced := srv.dial(fmt.Sprintf(`{"token":%q}`, srv.loginCode())), ""
		replaced = dead.expectToken()
		synctest.Wait()
		dead.emit("logout")
		dead.expect(`42["logged_out"]`)
		const good = `{"username":"anna","password":"secret","step_up":true}`
		for name, row := range map[string]struct {
			bearer, body string
			status       int
			code         string
		}{
			"no token":          {"", good, 401, "invalid_token"},
			"garbage":           {"garbage", good, 401, "invalid_token"},
			"ended session":     {replaced, good, 401, "no_longer_valid"},
			"code of a login":   {srv.loginCode(), good, 401, "invalid_token"},
			"step-up code":      {srv.stepUp(token), good, 401, "invalid_token"},
			"unknown session":   {srv.foreignToken(), good, 401, "no_longer_valid"},
			"another user":      {token, stepUpBody("otto", "secret", ""), 401, "USER_INVALID"},
			"wrong password":    {token, stepUpBody("anna", "guess", ""), 401, "USER_INVALID"},
			"refused by a hook": {token, stepUpBody("banned", "", ""), 403, "BANNED"},
		} {
			status, a, header := srv.postAs("/login", row.bearer, row.body)
			if status != row.status || a.Code != row.code || a.Token != "" {
				t.Errorf("%s: %d %+v", name, status, a)
			}
			if challenged := strings.HasPrefix(header.Get("WWW-Authenticate"), "Bearer"); challenged != (row.code == strings.ToLower(row.code)) || header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: %v", name, header)
			}
		}
		c.authenticate(token)
		c.expectToken()
	})
}

// TestStepUpByName: a login asks for a step-up by "step_up" alone, also in a form: the token of a session
// does not turn a login into one.
func TestStepUpByName(t *testing.T) {
	withStepUp(t, nil, func(srv *testServer) {
		_, token := srv.login()
		uses := func(token string) string { return srv.claims(token, "token_use") }
		for body, use := range map[string]string{
			`{"username":"anna","password":"secret"}`:                   `"code"`,
			`{"username":"anna","password":"secret","step_up":false}`:   `"code"`,
			`{"username":"anna","password":"secret","step_up":null}`:    `"code"`,
			`{"username":"anna","password":"secret","step_up":true}`:    `"step_up"`,
			`{"username":"anna","password":"secret","step_up":"true"}`:  `"step_up"`,
			`{"username":"anna","password":"secret","step_up":"false"}`: `"code"`,
		} {
			if status, a, _ := srv.postAs("/login", token, body); status != 200 || uses(a.Token) != use {
				t.Errorf("%s: %d %+v", body, status, a)
			}
		}
		for _, body := range []string{`"step_up":1`, `"step_up":"yes"`, `"step_up":{}`} {
			status, a, _ := srv.postAs("/login", token, `{"username":"anna","password":"secret",`+body+`}`)
			if status != 400 || a.Code != "BODY_MALFORMED" {
				t.Errorf("%s: %d %+v", body, status, a)
			}
		}
		status, a, _ := post(srv.Config.Handler, "/login", "application/x-www-form-urlencoded", "username=anna&password=secret&step_up=true", "Authorization", "Bearer "+token)
		if status != 200 || uses(a["token"]) != `"step_up"` {
			t.Errorf("a form: %d %v", status, a)
		}
	})
}

// TestStepUpFailuresCount: a step-up by another user, or with a wrong password, counts as a failed
// attempt, and a good one as a success.
func TestStepUpFailuresCount(t *testing.T) {
	var events atomic.Pointer[[]socketauth.AuditEvent]
	withStepUp(t, func(o *socketauth.Options[string]) {
		events.Store(new([]socketauth.AuditEvent))
		o.Limits.FailuresPerAccount = 6 // 3 from one address
		o.Audit = func(_ context.Context, e socketauth.AuditEvent) {
			all := append(*events.Load(), e)
			events.Store(&all)
		}
	}, func(srv *testServer) {
		_, token := srv.login()
		for _, body := range []string{stepUpBody("otto", "secret", ""), stepUpBody("otto", "guess", ""), stepUpBody("otto", "secret", "")} {
			if status, a, _ := srv.postAs("/login", token, body); status != 401 || a.Code != "USER_INVALID" {
				t.Errorf("%d %+v", status, a)
			}
		}
		if status, a, _ := srv.postAs("/login", token, stepUpBody("otto", "secret", "")); status != 429 || a.Code != "TOO_MANY_ATTEMPTS" {
			t.Errorf("after three failures: %d %+v", status, a)
		}
		srv.stepUp(token) // of anna, whose attempts have not failed
		srv.expectLogged(`level=INFO msg="socketauth: step-up refused" cause="socketauth: invalid credentials: a step-up by another user than the session's" user=anna`)
		srv.expectLogged(`level=INFO msg="socketauth: step-up accepted" user=anna`)
		var failed, proved int
		for _, e := range *events.Load() {
			if e.UserID != "anna" || e.SessionID == "" || `"`+e.SessionID+`"` != srv.claims(token, "sid") {
				continue
			}
			switch e.Kind {
			case socketauth.AuditLoginFailed:
				failed++
			case socketauth.AuditStepUp:
				proved++
			}
		}
		if failed != 4 || proved != 1 {
			t.Errorf("%d failures and %d proofs of the session are audited", failed, proved)
		}
	})
}

// TestStepUpCodeIsNoToken: a step-up code begins no session, ends none, logs nobody out and counts as no
// reuse, however it is presented. It is good afterwards.
func TestStepUpCodeIsNoToken(t *testing.T) {
	withStepUp(t, nil, func(srv *testServer) {
		c, token := srv.login()
		time.Sleep(time.Second)
		code := srv.stepUp(token)
		srv.expectTokenRefused(code, "invalid_token")
		d := srv.dial(fmt.Sprintf(`{"token":%q}`, token))
		token = d.expectToken()
		d.authenticate(code)
		d.expectRefused("invalid_token")
		d = srv.dial("")
		d.emit("logout", code)
		d.expectRefused("invalid_token")
		if status, body, _ := srv.get(code); status != 401 || !strings.Contains(body, "invalid_token") {
			t.Errorf("Middleware: %d %s", status, body)
		}
		c.expect(`42["rotated"`)
		c.prove(token, code, false)
		next := c.expectToken()
		srv.expectTokenRefused(code, "invalid_token") // used
		time.Sleep(time.Hour)
		srv.expectTokenRefused(code, "invalid_token") // expired
		c.authenticate(next)
		c.expectToken()
		sessions, err := srv.Auth().Sessions(t.Context(), "anna")
		if err != nil || len(sessions) != 1 {
			t.Errorf("%+v, %v", sessions, err)
		}
	})
}

// TestStepUpRefused: a step-up code that is not a good one of the token's session is refused, and nothing
// is used up: neither the token, nor a good code.
func TestStepUpRefused(t *testing.T) {
	withStepUp(t, nil, func(srv *testServer) {
		c, token := srv.login()
		_, other := srv.login()
		otto := srv.dial(fmt.Sprintf(`{"token":%q}`, srv.codeFor(jwt.MapClaims{"sub": "otto"})))
		ottos := otto.expectToken()
		synctest.Wait()
		_, answer, _ := srv.postAs("/login", ottos, stepUpBody("otto", "secret", ""))
		expired := srv.stepUp(token)
		time.Sleep(time.Minute)
		newer, good := srv.stepUp(token), srv.stepUp(token)
		bad := map[string]any{
			"of another session": srv.stepUp(other),
			"of another user":    answer.Token,
			"expired":            expired,
			"garbage":            "garbage",
			"respelt":            respell(good),
			"the token itself":   token,
			"code of a login":    srv.loginCode(),
			"a number":           1,
			"an object":          map[string]any{},
			"true":               true,
		}
		for name, code := range bad {
			for _, confirm := range []bool{false, true} {
				c.prove(token, code, confirm)
				if u := c.expectUnauthorized("step_up_refused"); u.Terminal {
					t.Errorf("%s: %+v", name, u)
				}
			}
			c.expectAuthenticated()
		}
		d := srv.dial(fmt.Sprintf(`{"token":%q,"step_up":"garbage"}`, token))
		d.expectRefused("step_up_refused")
		d = srv.dial("") // a code begins a session, and proves nothing more
		begins := srv.code()
		d.prove(begins, good, false)
		d.expectRefused("step_up_refused")
		d = srv.dial(fmt.Sprintf(`{"token":%q}`, begins))
		d.expectToken()

		c.prove(token, good, false)
		token = c.expectToken()
		for name, code := range map[string]string{"used": good, "older than the last proof": newer} {
			c.prove(token, code, false)
			if u := c.expectUnauthorized("step_up_refused"); u.Terminal {
				t.Errorf("%s: %+v", name, u)
			}
		}
		for _, nothing := range []any{nil, ""} {
			c.prove(token, nothing, false)
			token = c.expectToken()
		}
	})
}

// TestStepUpRefusedAfterReuse guards that a bad step-up code does not keep the reuse of a token from being
// noticed.
func TestStepUpRefusedAfterReuse(t *testing.T) {
	withStepUp(t, func(o *socketauth.Options[string]) { o.TokenPath = "/token" }, func(srv *testServer) {
		for _, byRequest := range []bool{false, true} {
			c, stolen := srv.login()
			c.prove(stolen, nil, false)
			token := c.expectToken()
			time.Sleep(time.Minute)
			if byRequest {
				if status, answer, _ := srv.postAs("/token", stolen, `{"step_up":"garbage"}`); status != 401 || answer.Code != "token_reused" {
					t.Errorf("by request: %d %+v", status, answer)
				}
			} else {
				d := srv.dial("")
				d.prove(stolen, "garbage", false)
				d.expectRefused("token_reused")
			}
			srv.expectTokenRefused(token, "token_reused")
		}
	})
}

// TestStepUpAfterRevokeOthers: what was proved before RevokeOthers is refused in the session that it has
// excepted, and what is proved after it is not.
func TestStepUpAfterRevokeOthers(t *testing.T) {
	withStepUp(t, nil, func(srv *testServer) {
		c, token := srv.login()
		time.Sleep(time.Second)
		old := srv.stepUp(token)
		time.Sleep(time.Second)
		if _, err := srv.Auth().RevokeOthers(t.Context(), "anna", srv.sessionOf(c)); err != nil {
			t.Fatal(err)
		}
		c.prove(token, old, false)
		c.expectUnauthorized("step_up_refused")
		time.Sleep(time.Second)
		c.prove(token, srv.stepUp(token), false)
		c.authenticate(c.expectToken())
		c.expectToken()
	})
}

// TestStepUpLostReply: a client that has lost the reply presents the token and the code again. A branch
// that was given without the code is not raised, and neither is anything that comes after it.
func TestStepUpLostReply(t *testing.T) {
	withStepUp(t, nil, func(srv *testServer) {
		_, first := srv.login()
		before := srv.authTime(first)
		time.Sleep(time.Minute)
		code := srv.stepUp(first)
		presents := func(step string) string {
			d := srv.dial(fmt.Sprintf(`{"token":%q,"confirm":true%s}`, first, step))
			defer d.close()
			return d.expectOffer().token
		}
		with := fmt.Sprintf(`,"step_up":%q`, code)
		lost, again, plain := presents(with), presents(with), presents("")
		if a, b := srv.authTime(lost), srv.authTime(again); !a.Equal(b) || !a.After(before) {
			t.Errorf("auth_time %v, then %v", a, b)
		}
		if at := srv.authTime(plain); !at.Equal(before) || srv.claims(plain, "acr", "amr", "began") != srv.claims(first, "acr", "amr", "began") {
			t.Errorf("without the code: auth_time %v, want %v; %s", at, before, srv.claims(plain, "acr", "amr", "began"))
		}
		d, _ := srv.confirmed(plain)
		if at := srv.authTime(d.current); !at.Equal(before) {
			t.Errorf("after the branch without the code: auth_time %v, want %v", at, before)
		}
		d.prove(d.current, code, true) // a generation is held since
		d.expectUnauthorized("step_up_refused")
		srv.expectTokenRefused(lost, "no_longer_valid")
	})
}

// TestStepUpProlongsNothing: no token of a session lives longer because of a step-up, and RevokeUser ends
// the session as any other.
func TestStepUpProlongsNothing(t *testing.T) {
	withStepUp(t, func(o *socketauth.Options[string]) {
		o.TokenLifetime, o.SessionLifetime = time.Hour, 90*time.Minute
	}, func(srv *testServer) {
		login := time.Now()
		c, token := srv.login()
		time.Sleep(50 * time.Minute)
		c.prove(token, srv.stepUp(token), false)
		token = c.expectToken()
		var exp float64
		if err := json.Unmarshal(payloadOf(t, token)["exp"], &exp); err != nil || time.UnixMicro(int64(exp*1e6)).Sub(login) > 90*time.Minute {
			t.Errorf("expires at %v, the login was at %v, %v", exp, login, err)
		}
		time.Sleep(30 * time.Minute)
		c.prove(token, srv.stepUp(token), false)
		c.expectToken()
		time.Sleep(10 * time.Minute)
		if u := c.expectRefused("token_expired"); !u.Terminal {
			t.Errorf("%+v", u)
		}
		c, token = srv.login()
		time.Sleep(time.Second)
		c.prove(token, srv.stepUp(token), false)
		token = c.expectToken()
		synctest.Wait()
		if _, err := srv.Auth().RevokeUser(t.Context(), "anna"); err != nil {
			t.Fatal(err)
		}
		c.expectRefused("session_revoked")
		srv.expectTokenRefused(token, "session_revoked")
	})
}

// TestStepUpOfKeptToken: a token that is too young to be replaced is replaced by a step-up.
func TestStepUpOfKeptToken(t *testing.T) {
	withStepUp(t, func(o *socketauth.Options[string]) { o.RefreshInterval = time.Hour }, func(srv *testServer) {
		c, token := srv.login()
		c.authenticate(token)
		if kept := c.expectToken(); kept != token {
			t.Error("the token was replaced")
		}
		time.Sleep(time.Second)
		c.prove(token, srv.stepUp(token), false)
		if next := c.expectToken(); next == token || !srv.authTime(next).After(srv.authTime(token)) {
			t.Error("the token was kept")
		}
	})
}

// TestStepUpWithHooks: with UpdateClaims, AppURL and hooks that sign, a step-up is as without them. AppURL
// is not asked, UpdateClaims gives the claims but acr and amr, and hooks sign these unchanged.
func TestStepUpWithHooks(t *testing.T) {
	var gives atomic.Pointer[jwt.MapClaims] // what UpdateClaims adds
	var app atomic.Pointer[socketauth.Auth] // for hooks that refresh meanwhile
	sign := func(_ context.Context, c jwt.MapClaims) (string, error) {
		return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(testSecret)
	}
	withStepUp(t, func(o *socketauth.Options[string]) {
		o.Authorization, o.Refresh = sign, sign
		o.AppURL = func(string) string { panic("AppURL was asked about a step-up") }
		o.UpdateClaims = func(ctx context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
			old["role"] = "updated"
			if a := app.Swap(nil); a != nil {
				if _, err := a.RefreshUser(ctx, "anna"); err != nil {
					return nil, err
				}
			}
			if more := gives.Load(); more != nil {
				for name, value := range *more {
					old[name] = value
				}
			}
			return old, nil
		}
	}, func(srv *testServer) {
		c := srv.dial(fmt.Sprintf(`{"token":%q}`, srv.code()))
		token := c.expectToken()
		synctest.Wait()
		time.Sleep(time.Second)
		code := srv.stepUp(token)
		for _, claims := range []jwt.MapClaims{{"acr": "9"}, {"amr": []any{"face"}}, {"auth_time": 1.0}, {"began": 1.0}} {
			gives.Store(&claims)
			c.prove(token, code, false)
			c.expectUnauthorized("server_error")
			c.authenticate(token)
			c.expectUnauthorized("server_error")
		}
		gives.Store(nil)
		app.Store(srv.Auth()) // the store says once that the claims are out of date
		c.prove(token, code, false)
		c.expect(`42["refresh"]`)
		next := c.expectToken()
		if got := srv.claims(next, "role", "acr", "amr"); got != `"updated" "2" ["pwd","otp"]` || !srv.authTime(next).After(srv.authTime(token)) {
			t.Errorf("%s", got)
		}
	})
}

// TestStepUpOfOtherClock: a step-up code by a process whose clock is behind that of the login is refused,
// and nothing fails.
func TestStepUpOfOtherClock(t *testing.T) {
	withStepUp(t, nil, func(srv *testServer) {
		c, token := srv.login()
		claims := jwt.MapClaims{}
		for name, value := range payloadOf(t, srv.stepUp(token)) {
			claims[name] = value
		}
		claims["auth_time"] = float64(srv.authTime(token).Add(-time.Second).UnixMicro()) / 1e6
		code, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(testSecret)
		if err != nil {
			t.Fatal(err)
		}
		c.prove(token, code, false)
		c.expectUnauthorized("step_up_refused")
		c.authenticate(token)
		c.expectToken()
	})
}

// TestIssueStepUp: IssueStepUp gives a code for a living session of the user alone, with acr and amr of
// the claims, and its errors say what is wrong.
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

// TestRequireRecent: RequireRecent lets through what is recent and strong enough, as a handler and as a
// request, and refuses the rest as RFC 9470 says. What it cannot judge is refused.
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

// TestRequireRecentOutsideMiddleware guards the app that puts RequireRecent around Middleware: no step-up helps its
// users then, and the log says what to do.
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

// TestPublicErrorDetails: the details of a *PublicError are sent beside its code: in an acknowledgement,
// in "unauthorized" and in HTTP, where they take no place of the library's own. What JSON cannot hold is
// left out.
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

// TestStepUpOfLateRevocation: a revocation that another process made between the login and a step-up, and
// that this one hears of late, closes the socket.
func TestStepUpOfLateRevocation(t *testing.T) {
	store := &sharedStore{watch: func(ctx context.Context) error { <-ctx.Done(); return nil }}
	withStepUp(t, func(o *socketauth.Options[string]) { store.Store = blacklist.NewMemory(); o.Blacklist = store }, func(srv *testServer) {
		c, token := srv.login()
		time.Sleep(time.Second)
		revoked := time.Now()
		time.Sleep(time.Second)
		c.prove(token, srv.stepUp(token), false)
		c.expectToken()
		synctest.Wait()
		store.notify(blacklist.Change{UserID: "anna", Verdict: blacklist.Revoked, At: revoked})
		c.expectRefused("session_revoked")
	})
}

// TestStepUpDuringRevokeOthers: a proof counts from when its login began, so that RevokeOthers while the
// password is compared has it refused.
func TestStepUpDuringRevokeOthers(t *testing.T) {
	var during atomic.Pointer[func()]
	withStepUp(t, func(o *socketauth.Options[string]) {
		find := o.FindUserByCredentials
		o.FindUserByCredentials = func(ctx context.Context, c socketauth.Credentials) (string, error) {
			if f := during.Swap(nil); f != nil {
				(*f)()
			}
			return find(ctx, c)
		}
	}, func(srv *testServer) {
		c, token := srv.login()
		time.Sleep(time.Second)
		revoke := func() {
			time.Sleep(time.Second)
			if _, err := srv.Auth().RevokeOthers(t.Context(), "anna", srv.sessionOf(c)); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second)
		}
		during.Store(&revoke)
		c.prove(token, srv.stepUp(token), false)
		c.expectUnauthorized("step_up_refused")
		c.prove(token, srv.stepUp(token), false)
		c.expectToken()
	})
}
