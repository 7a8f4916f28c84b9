package socketauth_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/dpop/dpoptest"
)

// TestBindRequired guards that with BindRequired a code needs a proof and is not used up without
// one, and that a session which is not bound is over for its client, without an alarm and without
// counting as a guess.
func TestBindRequired(t *testing.T) {
	key := dpoptest.NewKey()
	onBothEngines(t, func(t *testing.T, version string) {
		store := new(faultyStore)
		withServer(t, func(o *socketauth.Options[string]) { store.use(o) }, func(before *testServer) {
			address := func(*http.Request) string { return "203.0.113.1" } // which has a limit of guesses
			old := before.dialAs(version)
			old.authenticate(before.code())
			replaced := old.expectToken()
			old.authenticate(replaced)
			unbound := old.expectToken()
			srv := newTestServer(before.T, func(o *socketauth.Options[string]) {
				o.Blacklist, o.Binding, o.ClientIP = store, socketauth.BindRequired, address
			})
			time.Sleep(time.Minute)
			for n := range 100 {
				token := unbound
				if n%2 == 1 {
					token = replaced
				}
				c := srv.dialAs(version)
				srv.expectUntouched(func() {
					c.emit("authenticate", map[string]any{"token": token, "proof": key.Socket(c.engineID, token)})
					if u := c.expectRefused("invalid_token"); !u.Terminal {
						t.Errorf("%+v", u)
					}
				})
			}
			c := srv.dialAs(version)
			srv.expectUntouched(func() {
				c.emit("logout", unbound)
				c.expectRefused("invalid_token")
			})

			code := srv.code()
			c = srv.dialAs(version)
			srv.expectUntouched(func() {
				c.authenticate(code)
				if u := c.expectRefused("proof_required"); u.Terminal {
					t.Errorf("%+v", u)
				}
			})
			c = srv.dialAs(version)
			c.presentBound(key, code)
			token := c.expectToken()
			srv.expectBoundTo(key, token)
			c.presentBound(key, token)
			c.expectToken()
			old.expectAuthenticated() // at the process that does not require it
		})
	})
}

// TestBindNever guards that with BindNever proofs that come with codes are not even looked at, and
// that a token which is bound still needs its proof.
func TestBindNever(t *testing.T) {
	key := dpoptest.NewKey()
	onBothEngines(t, func(t *testing.T, version string) {
		store := new(faultyStore)
		withServer(t, func(o *socketauth.Options[string]) { store.use(o) }, func(before *testServer) {
			_, token := before.bound(version, key)
			srv := newTestServer(before.T, func(o *socketauth.Options[string]) {
				o.Blacklist, o.Binding = store, socketauth.BindNever
			})
			for _, proof := range []any{"no proof", 5} {
				c := srv.dialAs(version)
				c.emit("authenticate", map[string]any{"token": srv.code(), "proof": proof})
				srv.expectBoundTo(nil, c.expectToken())
			}
			c := srv.dialAs(version)
			c.presentBound(key, srv.code())
			srv.expectBoundTo(nil, c.expectToken())

			thief := srv.dialAs(version)
			srv.expectUntouched(func() {
				thief.authenticate(token)
				thief.expectRefused("proof_required")
			})
			owner := srv.dialAs(version)
			owner.presentBound(key, token)
			srv.expectBoundTo(key, owner.expectToken())
		})
	})
}

// TestRefusedProofsAreAudited guards that refused proofs are audited once a minute for each
// session, with who and where, and are all counted; and that the log has neither tokens nor proofs.
func TestRefusedProofsAreAudited(t *testing.T) {
	key := dpoptest.NewKey()
	onBothEngines(t, func(t *testing.T, version string) {
		seen := new(eventLog)
		withServer(t, func(o *socketauth.Options[string]) { o.Audit = seen.hook }, func(srv *testServer) {
			c, token := srv.bound(version, key)
			other := dpoptest.NewKey()
			d, others := srv.bound(version, other)
			seen.take()
			var proof string
			steal := func(token string) (sid string) {
				thief := srv.dialAs(version)
				thief.authenticate(token)
				thief.expectRefused("proof_required")
				synctest.Wait() // it is recorded after the client is told
				thief = srv.dialAs(version)
				proof = dpoptest.NewKey().Socket(thief.engineID, token)
				thief.emit("authenticate", map[string]any{"token": token, "proof": proof})
				thief.expectRefused("invalid_proof")
				return thief.sid
			}
			for range 50 {
				steal(token)
			}
			events := seen.take()
			if len(events) != 1 || events[0].Kind != socketauth.AuditProofRefused || events[0].Code != "proof_required" || events[0].UserID != "anna" ||
				events[0].SessionID != srv.sessionOf(c) || events[0].Address != "pipe" || events[0].SocketID == "" {
				t.Errorf("%+v", events)
			}
			steal(others)
			if events = seen.take(); len(events) != 1 || events[0].SessionID != srv.sessionOf(d) {
				t.Errorf("of another session: %+v", events)
			}
			time.Sleep(time.Minute)
			steal(token)
			if events = seen.take(); len(events) != 1 {
				t.Errorf("a minute later: %+v", events)
			}
			s := srv.Auth().Stats()
			if s.ProofsRefused != 104 || s.Authentications["proof_required"] != 52 || s.Authentications["invalid_proof"] != 52 || s.Bound != 2 || s.Limited["refusals_recorded"] != 0 {
				t.Errorf("%+v", s)
			}
			srv.expectLogged("level=WARN")
			for _, secret := range []string{token, others, proof, key.Socket("x", "y")[:40]} {
				if strings.Contains(srv.logs.String(), secret) {
					t.Errorf("the log has %s", secret)
				}
			}
		})
	})
}

// TestFloodHidesNoTheft guards that bad proofs at the login, which anyone can send from any number
// of addresses, keep none of a session's from being audited, and that a network of IPv6 counts as
// one of them.
func TestFloodHidesNoTheft(t *testing.T) {
	seen := new(eventLog)
	withServer(t, func(o *socketauth.Options[string]) {
		o.Audit = seen.hook
		o.ClientIP = func(r *http.Request) string { return r.Header.Get("X-Client") }
	}, func(srv *testServer) {
		_, token := srv.bound("4", dpoptest.NewKey())
		seen.take()
		flood := func(n int, format string) (recorded int) {
			for i := range n {
				r := httptest.NewRequest("POST", "/login", strings.NewReader(credentialsJSON("anna", "secret")))
				r.Header.Set("Content-Type", jsonType)
				r.Header.Set("X-Client", fmt.Sprintf(format, i/250, i%250))
				r.Header.Set("DPoP", "x")
				srv.Mux.ServeHTTP(httptest.NewRecorder(), r)
			}
			return len(seen.take())
		}
		if n := flood(1000, "2001:db8:1:2:%x::%x"); n != 1 {
			t.Errorf("%d recorded of one network", n)
		}
		if n := flood(2000, "192.0.%d.%d"); n < 1000 || n > 1100 {
			t.Errorf("%d recorded of 2,000 addresses", n)
		}
		thief := srv.dialAs("4")
		thief.authenticate(token)
		thief.expectRefused("proof_required")
		if events := seen.take(); len(events) != 1 || events[0].Kind != socketauth.AuditProofRefused {
			t.Errorf("%+v", events)
		}
	})
}

// TestEachRefusedProofHasItsReasonInTheLog guards that who writes a client finds at debug level why
// each proof was refused, as Options.Logger promises, though one a minute is a warning; and that
// not all are logged of many.
func TestEachRefusedProofHasItsReasonInTheLog(t *testing.T) {
	key := dpoptest.NewKey()
	withServer(t, nil, func(srv *testServer) {
		_, token := srv.bound("4", key)
		present := func(proof string) {
			c := srv.dialAs("4")
			c.emit("authenticate", map[string]any{"token": token, "proof": proof})
			c.expectRefused("invalid_proof")
			synctest.Wait() // it is logged after the client is told
		}
		before := srv.logs.String()
		present("no proof at all")
		present(key.Socket("another connection", token))
		present(key.Socket("another connection", token))
		lines := strings.TrimPrefix(srv.logs.String(), before)
		if n := strings.Count(lines, "level=WARN"); n != 1 {
			t.Errorf("%d warnings: %s", n, lines)
		}
		if n := strings.Count(lines, "level=DEBUG msg=\"socketauth: socket refused\" cause="); n != 2 {
			t.Errorf("%d lines at debug level: %s", n, lines)
		}
		for range 100 {
			present("no proof at all")
		}
		if n := strings.Count(srv.logs.String(), "socket refused"); n < 50 || n > 70 {
			t.Errorf("%d lines of 103 refusals", n)
		}
	})
}

// TestRefreshOfBound guards that claims which are brought up to date keep the key, with hooks too.
func TestRefreshOfBound(t *testing.T) {
	key := dpoptest.NewKey()
	onBothEngines(t, func(t *testing.T, version string) {
		role := "reader"
		withServer(t, func(o *socketauth.Options[string]) {
			o.UpdateClaims = func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
				if cnf, _ := old["cnf"].(map[string]any); cnf["jkt"] != key.Thumbprint {
					return nil, fmt.Errorf("the claims have the cnf %v", old["cnf"])
				}
				old["role"] = role
				return old, nil
			}
			o.Refresh = func(_ context.Context, c jwt.MapClaims) (string, error) {
				return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(testSecret)
			}
		}, func(srv *testServer) {
			c, token := srv.bound(version, key)
			role = "admin"
			if _, err := srv.Auth().RefreshUser(srv.Context(), "anna"); err != nil {
				t.Fatal(err)
			}
			c.expect(`42["refresh"]`)
			c.authenticate(token)
			c.expectUnauthorized("proof_required")
			c.presentBound(key, token)
			token = c.expectToken()
			srv.expectBoundTo(key, token)
			if got := string(payloadOf(t, token)["role"]); got != `"admin"` {
				t.Errorf("the role is %s", got)
			}
			c.expectAuthenticated()
		})
	})
}

// TestStepUpOfBound guards that a step-up needs the proof of the token that it comes with, and that
// the session stays bound.
func TestStepUpOfBound(t *testing.T) {
	key := dpoptest.NewKey()
	onBothEngines(t, func(t *testing.T, version string) {
		withServer(t, nil, func(srv *testServer) {
			c, token := srv.bound(version, key)
			time.Sleep(time.Minute)
			code, err := srv.Auth().IssueStepUp(srv.Context(), srv.sessionOf(c), jwt.MapClaims{"sub": "anna", "acr": "2"})
			if err != nil {
				t.Fatal(err)
			}
			thief := srv.dialAs(version)
			srv.expectUntouched(func() {
				thief.emit("authenticate", map[string]string{"token": token, "step_up": code})
				thief.expectRefused("proof_required")
			})
			c.emit("authenticate", map[string]string{"token": token, "step_up": code, "proof": key.Socket(c.engineID, token)})
			token = c.expectToken()
			srv.expectBoundTo(key, token)
			if got := string(payloadOf(t, token)["acr"]); got != `"2"` {
				t.Errorf("acr %s", got)
			}
		})
	})
}
