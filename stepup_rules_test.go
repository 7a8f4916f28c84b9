package socketauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
)

// TestStepUpRefused: a step-up code that is not a good one of the token's session is refused, and
// nothing is used up: neither the token, nor a good code.
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

// TestStepUpRefusedAfterReuse guards that a bad step-up code does not keep the reuse of a token
// from being noticed.
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

// TestStepUpAfterRevokeOthers: what was proved before RevokeOthers is refused in the session that
// it has excepted, and what is proved after it is not.
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

// TestStepUpLostReply: a client that has lost the reply presents the token and the code again. A
// branch that was given without the code is not raised, and neither is anything that comes after
// it.
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

// TestStepUpProlongsNothing: no token of a session lives longer because of a step-up, and
// RevokeUser ends the session as any other.
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

// TestStepUpWithHooks: with UpdateClaims, AppURL and hooks that sign, a step-up is as without them.
// AppURL is not asked, UpdateClaims gives the claims but acr and amr, and hooks sign these
// unchanged.
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

// TestStepUpOfOtherClock: a step-up code by a process whose clock is behind that of the login is
// refused, and nothing fails.
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

// TestStepUpOfLateRevocation: a revocation that another process made between the login and a
// step-up, and that this one hears of late, closes the socket.
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

// TestStepUpDuringRevokeOthers: a proof counts from when its login began, so that RevokeOthers
// while the password is compared has it refused.
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
