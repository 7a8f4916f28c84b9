package socketauth_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// TestTokenPath checks that a client without a socket trades its code, has its token replaced again
// and again, and that each is good for Middleware and for a socket, and the one before is not.
func TestTokenPath(t *testing.T) {
	seen := new(auditLog)
	withTokens(t, func(o *socketauth.Options[string]) { o.Audit = seen.hook }, func(srv *testServer) {
		token := srv.rotated(srv.loginCode())
		for range 5 {
			next := srv.rotated(token)
			time.Sleep(11 * time.Second)
			if status, _, _ := srv.get(token); status != 401 {
				t.Errorf("Middleware answers what was replaced %d", status)
			}
			if status, body, _ := srv.get(next); status != 200 || body != "anna" {
				t.Errorf("Middleware answers the current token %d %s", status, body)
			}
			token = next
		}
		if n := seen.count("rotated "); n != 5 {
			t.Errorf("%d rotations were recorded", n)
		}
		c, token := srv.confirmed(token)
		c.close()
		synctest.Wait() // until the server knows
		token = srv.rotated(token)
		sessions, err := srv.Auth().Sessions(srv.Context(), "anna")
		if err != nil || len(sessions) != 1 || sessions[0].Sockets != 0 {
			t.Errorf("sessions: %+v, %v", sessions, err)
		}
		srv.end(token).wants(t, 204, "")
		if status, body, _ := srv.get(token); status != 401 || !strings.Contains(body, "no_longer_valid") {
			t.Errorf("after the end: %d %s", status, body)
		}
	})
}

// TestTokenPathNotServed checks that without the option there is no route.
func TestTokenPathNotServed(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		if status, _, _ := post(srv.Config.Handler, "/token", jsonType, "{}", "Authorization", "Bearer "+srv.code()); status != 404 {
			t.Errorf("%d", status)
		}
	})
}

// TestTokenPathBodies checks that bodies, media types, tokens and methods are refused as a login
// refuses them, in lower case, and that nothing is used up by that.
func TestTokenPathBodies(t *testing.T) {
	withTokens(t, nil, func(srv *testServer) {
		code := srv.code()
		session := srv.rotated(srv.code())
		for name, c := range map[string]struct {
			bearer, media, body string
			status              int
			code                string
		}{
			"no token":             {"", "", "", 401, "invalid_token"},
			"garbage":              {"garbage", "", "", 401, "invalid_token"},
			"respelt":              {respell(code), "", "", 401, "invalid_token"},
			"confirms a code":      {code, jsonType, `{"confirm":true}`, 401, "invalid_token"},
			"an unknown session":   {srv.foreignToken(), "", "", 401, "no_longer_valid"},
			"no media type":        {code, "", "{}", 415, "media_type_not_supported"},
			"a form":               {code, "application/x-www-form-urlencoded", "confirm=true", 415, "media_type_not_supported"},
			"half a body":          {code, jsonType, `{"confirm":`, 400, "body_malformed"},
			"two bodies":           {code, jsonType, `{}{}`, 400, "body_malformed"},
			"an array":             {code, jsonType, `[]`, 400, "body_malformed"},
			"null":                 {code, jsonType, `null`, 400, "body_malformed"},
			"not UTF-8":            {code, jsonType, "{\"step_up\":\"\xff\"}", 400, "body_malformed"},
			"confirm is no bool":   {code, jsonType, `{"confirm":1}`, 400, "body_malformed"},
			"confirm is a string":  {session, jsonType, `{"confirm":"true"}`, 400, "body_malformed"},
			"step_up is no string": {session, jsonType, `{"step_up":true}`, 400, "body_malformed"},
			"both":                 {session, jsonType, `{"confirm":true,"step_up":"x"}`, 400, "body_malformed"},
			"too large":            {code, jsonType, `{"a":"` + strings.Repeat("x", 64<<10) + `"}`, 413, "body_too_large"},
			"too large, no type":   {code, "", strings.Repeat("x", 64<<10+1), 413, "body_too_large"},
			"no step-up code":      {session, jsonType, `{"step_up":"x"}`, 401, "step_up_refused"},
			"a step-up of a code":  {code, jsonType, fmt.Sprintf(`{"step_up":%q}`, session), 401, "step_up_refused"},
		} {
			a := srv.tokens(http.MethodPost, c.bearer, c.media, c.body)
			if a.status != c.status || a.code != c.code || a.token != "" {
				t.Errorf("%s: %d %v, want %d %s", name, a.status, a.body, c.status, c.code)
			}
		}
		for name, c := range map[string][2]string{
			"empty": {"", ""}, "an empty object": {jsonType, "{}"}, "charset": {jsonType + "; charset=utf-8", "{}"},
			"false": {jsonType, `{"confirm":false,"step_up":null}`}, "unknown members": {jsonType, `{"Confirm":true}`},
		} {
			a := srv.tokens(http.MethodPost, session, c[0], c[1])
			if a.status != 200 || a.token == "" {
				srv.Fatalf("%s: %d %v", name, a.status, a.body)
			}
			session = a.token
		}
		srv.rotated(code)
		if a := srv.tokens(http.MethodOptions, "", "", ""); a.status != 204 || a.header.Get("Allow") != "DELETE, OPTIONS, POST" {
			t.Errorf("OPTIONS: %d %v", a.status, a.header)
		}
		if strings.Contains(srv.logs.String(), "eyJhbGciOi") {
			t.Errorf("the log has a token:\n%s", srv.logs)
		}
		time.Sleep(time.Second) // net/http keeps a connection for a moment if its body was too large
	})
}

// TestTokenPathOrigins checks that other origins are refused, and that pages of allowed ones may
// send the token, to TokenPath and to a login, and may end their session.
func TestTokenPathOrigins(t *testing.T) {
	withTokens(t, nil, func(srv *testServer) {
		token := srv.rotated(srv.code())
		for _, headers := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}} {
			for _, method := range []string{http.MethodPost, http.MethodDelete, http.MethodOptions} {
				srv.tokens(method, token, "", "", headers...).wants(t, 403, "origin_not_allowed")
			}
		}
		a := srv.tokens(http.MethodPost, token, "", "", "Origin", "https://app.example")
		if a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != "https://app.example" || !strings.Contains(strings.Join(a.header.Values("Vary"), ","), "Origin") {
			t.Errorf("an allowed origin: %d %v", a.status, a.header)
		}
		for path, method := range map[string]string{"/token": http.MethodPost, "/token ": http.MethodDelete, "/login": http.MethodPost} {
			r, _ := http.NewRequest(http.MethodOptions, "http://server"+strings.TrimSpace(path), nil)
			r.Header.Set("Origin", "https://app.example")
			r.Header.Set("Access-Control-Request-Method", method)
			r.Header.Set("Access-Control-Request-Headers", "authorization,content-type")
			client := http.Client{Transport: &http.Transport{DialContext: srv.DialContext, DisableKeepAlives: true}}
			res, err := client.Do(r)
			if err != nil {
				srv.Fatal(err)
			}
			res.Body.Close()
			allowed := strings.ToLower(res.Header.Get("Access-Control-Allow-Headers"))
			if res.Header.Get("Access-Control-Allow-Methods") != method || !strings.Contains(allowed, "authorization") || !strings.Contains(allowed, "content-type") {
				t.Errorf("preflight of %s %s: %v", method, path, res.Header)
			}
		}
		srv.end(a.token).wants(t, 204, "")
	})
}

// TestTokenPathConfirmation checks that until the next token is confirmed, by a call or by its
// first use, the one before stays good, and not longer than that.
func TestTokenPathConfirmation(t *testing.T) {
	for name, confirm := range map[string]func(srv *testServer, token string){
		"by a call":     func(srv *testServer, token string) { srv.confirmToken(token).wants(srv.T, 204, "") },
		"by TokenPath":  func(srv *testServer, token string) { srv.exchanged(token) },
		"on a socket":   func(srv *testServer, token string) { srv.dial("").offerFor(token) },
		"by Middleware": func(srv *testServer, token string) { srv.get(token) },
		"by a login for a step-up": func(srv *testServer, token string) {
			status, _, _ := post(srv.Config.Handler, "/login", jsonType, `{"username":"anna","password":"secret","step_up":true}`, "Authorization", "Bearer "+token)
			if status != 200 {
				srv.Errorf("step-up: %d", status)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			withTokens(t, nil, func(srv *testServer) {
				old := srv.rotated(srv.code())
				next := srv.exchanged(old)
				time.Sleep(time.Hour) // there is no limit
				if status, _, _ := srv.get(old); status != 200 {
					t.Errorf("Middleware answers the old token %d before the confirmation", status)
				}
				confirm(srv, next)
				time.Sleep(11 * time.Second)
				if status, _, _ := srv.get(old); status != 401 {
					t.Errorf("Middleware answers the old token %d after the confirmation", status)
				}
				srv.exchange(old).wants(t, 401, "token_reused")
				srv.exchange(next).wants(t, 401, "token_reused")
			})
		})
	}
}

// TestTokenPathTellsSockets checks that the sockets of the session hear of a token that was
// confirmed by a request.
func TestTokenPathTellsSockets(t *testing.T) {
	withTokens(t, nil, func(srv *testServer) {
		c, token := srv.confirmed(srv.code())
		next := srv.exchanged(token)
		c.expectNothing()
		srv.confirmToken(next)
		c.expect(`42["rotated"]`)
		c.expectAuthenticated()
		srv.end(next).wants(t, 204, "")
		c.expect(`42["logged_out"]`)
		c.expectDisconnected()
	})
}

// TestTokenPathEndsSockets checks that the sockets of a session that a request has ended are closed
// before that is answered, also if its store tells of the change later.
func TestTokenPathEndsSockets(t *testing.T) {
	store := new(sharedStore)
	withTokens(t, func(o *socketauth.Options[string]) {
		store.Store = blacklist.NewMemory()
		store.watch = func(ctx context.Context) error { <-ctx.Done(); return nil }
		o.Blacklist = store
	}, func(srv *testServer) {
		for name, end := range map[string]func(old, current string){
			"logged_out": func(_, current string) { srv.end(current).wants(t, 204, "") },
			"token_reused": func(old, _ string) {
				time.Sleep(time.Minute)
				srv.exchange(old).wants(t, 401, "token_reused")
			},
		} {
			old := srv.rotated(srv.code())
			c, current := srv.confirmed(old)
			end(old, current)
			synctest.Wait()
			select {
			case frame := <-c.Packets():
				if !strings.Contains(frame, name) {
					t.Errorf("%s: %s", name, frame)
				}
			default:
				t.Errorf("%s: the socket lives", name)
			}
		}
	})
}

// TestTokenPathKept checks that a token that is young enough is answered as it is.
func TestTokenPathKept(t *testing.T) {
	withTokens(t, func(o *socketauth.Options[string]) { o.RefreshInterval = time.Minute }, func(srv *testServer) {
		token := srv.exchanged(srv.code())
		if again := srv.exchanged(token); again != token {
			t.Error("it was replaced")
		}
		srv.confirmToken(token).wants(t, 204, "")
		time.Sleep(2 * time.Minute)
		if next := srv.exchanged(token); next == token {
			t.Error("it was not replaced")
		}
	})
}

// TestTokenPathClaims checks that claims are brought up to date by a request, that Middleware
// refuses the older ones with stale_token, and that such a token can also end its session.
func TestTokenPathClaims(t *testing.T) {
	role, gone := "admin", false
	withTokens(t, func(o *socketauth.Options[string]) {
		o.UpdateClaims = func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
			if gone {
				return nil, socketauth.ErrInvalidCredentials
			}
			if role == "banned" {
				return nil, &socketauth.PublicError{Code: "banned", Details: map[string]any{"until": "May", "terminal": true, "retryAfter": 5}}
			}
			old["role"] = role
			return old, nil
		}
	}, func(srv *testServer) {
		roleOf := func(token string) string { return strings.Trim(string(payloadOf(t, token)["role"]), `"`) }
		refresh := func() {
			if _, err := srv.Auth().RefreshUser(srv.Context(), "anna"); err != nil {
				srv.Fatal(err)
			}
		}
		token := srv.rotated(srv.code())
		pending := srv.exchanged(token)
		role = "guest"
		refresh()
		for _, stale := range []string{token, pending} {
			if status, body, _ := srv.get(stale); status != 401 || strings.TrimSpace(body) != `{"code":"stale_token"}` {
				t.Errorf("%d %s", status, body)
			}
		}
		srv.confirmToken(pending).wants(t, 401, "stale_token")
		token = srv.exchanged(pending)
		if status, _, _ := srv.get(token); status != 200 || roleOf(token) != "guest" {
			t.Errorf("%d for a %s", status, roleOf(token))
		}

		role = "banned"
		a := srv.exchange(token)
		a.wants(t, 401, "banned")
		if a.body["until"] != "May" || len(a.body) != 2 {
			t.Errorf("%v", a.body)
		}
		refresh()
		srv.end(token).wants(t, 204, "") // stale or not
		role = "guest"
		token = srv.rotated(srv.code())
		gone = true
		srv.exchange(token).wants(t, 401, "session_revoked")
		gone = false
		srv.exchange(token).wants(t, 401, "session_revoked")
	})
}

// TestTokenPathStepUp checks that a step-up code is taken with the session's current token, and
// that the next token has the new time.
func TestTokenPathStepUp(t *testing.T) {
	withTokens(t, nil, func(srv *testServer) {
		token := srv.rotated(srv.code())
		time.Sleep(time.Hour)
		status, answer, _ := post(srv.Config.Handler, "/login", jsonType, `{"username":"anna","password":"secret","step_up":true}`, "Authorization", "Bearer "+token)
		if status != 200 {
			srv.Fatalf("%d %v", status, answer)
		}
		body := fmt.Sprintf(`{"step_up":%q}`, answer["token"])
		srv.tokens(http.MethodPost, answer["token"], "", "").wants(t, 401, "invalid_token")
		srv.end(answer["token"]).wants(t, 401, "invalid_token")
		other := srv.rotated(srv.code())
		srv.tokens(http.MethodPost, other, jsonType, body).wants(t, 401, "step_up_refused")
		for range 2 { // the first answer is lost
			a := srv.tokens(http.MethodPost, token, jsonType, body)
			if a.status != 200 {
				srv.Fatalf("%d %v", a.status, a.body)
			}
			if string(payloadOf(t, a.token)["auth_time"]) <= string(payloadOf(t, token)["auth_time"]) {
				t.Error("auth_time is not later")
			}
			defer srv.confirmToken(a.token)
		}
		next := srv.rotated(srv.exchanged(token)) // without it
		srv.tokens(http.MethodPost, next, jsonType, body).wants(t, 401, "step_up_refused")
		srv.rotated(next)
	})
}

// TestTokenPathTrims checks that a session that begins by a request counts for SessionsPerUser.
func TestTokenPathTrims(t *testing.T) {
	withTokens(t, func(o *socketauth.Options[string]) { o.Limits.SessionsPerUser = 2 }, func(srv *testServer) {
		var tokens []string
		for range 3 {
			tokens = append(tokens, srv.rotated(srv.code()))
			time.Sleep(time.Second)
		}
		srv.exchange(tokens[0]).wants(t, 401, "session_revoked")
		srv.rotated(tokens[1])
	})
}

// TestTokenPathAlone guards that an app whose users log in elsewhere needs no hooks of a login for
// TokenPath: it takes the codes of IssueCode, and there is no login.
func TestTokenPathAlone(t *testing.T) {
	for name, change := range map[string]func(*socketauth.Options[string]){
		"served": func(*socketauth.Options[string]) {},
		"register": func(o *socketauth.Options[string]) {
			o.Register = func(context.Context, socketauth.Credentials) (string, error) { return "", nil }
		},
		"claim":   func(o *socketauth.Options[string]) { o.Claim = func(string) (jwt.MapClaims, error) { return nil, nil } },
		"no path": func(o *socketauth.Options[string]) { o.TokenPath = "" },
	} {
		t.Run(name, func(t *testing.T) {
			mux, o := http.NewServeMux(), socketauth.Options[string]{Secret: testSecret, TokenPath: "/token"}
			change(&o)
			a, err := socketauth.APIServe(mux, o)
			if name != "served" {
				if err == nil || !strings.Contains(err.Error(), "is missing") {
					t.Errorf("an app without its hooks is served: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			code, err := a.IssueCode(t.Context(), jwt.MapClaims{"sub": "anna"})
			if err != nil {
				t.Fatal(err)
			}
			if status, body, _ := post(mux, "/token", jsonType, "", "Authorization", "Bearer "+code); status != http.StatusOK || body["token"] == "" {
				t.Errorf("%d %v", status, body)
			}
			if status, _, _ := post(mux, "/login", jsonType, credentialsJSON("anna", "secret")); status != http.StatusNotFound {
				t.Errorf("a login is answered with %d", status)
			}
		})
	}
}
