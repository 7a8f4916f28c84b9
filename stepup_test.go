package socketauth_test

import (
	"context"
	"encoding/json"
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
)

// withStepUp is withServer for an app of anna and otto, both with the password "secret". The claims
// of their logins have acr "1", and acr "2" if a field "otp" was given.
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

// TestStepUp: a login by name with the token of the session gives a code, which raises auth_time,
// acr and amr of the next token and of those after it, and nothing else of it: on a socket, at the
// handshake, with and without confirmation.
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

// TestStepUpLoginRefused: a login that asks for a step-up is answered as Middleware does without a
// living session token, and USER_INVALID for another user. The session notices nothing.
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

// TestStepUpByName: a login asks for a step-up by "step_up" alone, also in a form: the token of a
// session does not turn a login into one.
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

// TestStepUpCodeIsNoToken: a step-up code begins no session, ends none, logs nobody out and counts
// as no reuse, however it is presented. It is good afterwards.
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
