package socketauth_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/dpop/dpoptest"
)

// TestBoundLogin checks that a login or registration with a proof begins a session whose tokens are
// all bound to the key, by either algorithm, and that one without begins one that is not.
func TestBoundLogin(t *testing.T) {
	withTokens(t, nil, func(srv *testServer) {
		for _, key := range []*dpoptest.Key{dpoptest.NewKey(), dpoptest.NewEd25519()} {
			for _, path := range []string{"/login", "/register"} {
				d := &device{testServer: srv, key: key}
				proof := d.proof("POST", path, "")
				a := d.send("POST", path, "", credentialsJSON("anna", "secret"), proof)
				if a.status != 200 || boundTo(t, a.token) != key.Thumbprint {
					t.Fatalf("%s: %d %v", path, a.status, a.body)
				}
				// No proof of a login is remembered: the password came with it.
				if again := d.send("POST", path, "", credentialsJSON("anna", "secret"), proof); again.status != 200 {
					t.Errorf("%s with the same proof: %d %v", path, again.status, again.body)
				}
				token := d.rotate(d.rotate(a.token))
				if boundTo(t, token) != key.Thumbprint {
					t.Errorf("a later token is bound to %q", boundTo(t, token))
				}
				d.wants("GET", "/api", token, "", 200, "")
				d.wants("DELETE", "/token", token, "", 204, "")
				d.wants("GET", "/api", token, "", 401, "no_longer_valid")
			}
		}
		if token := srv.rotated(srv.loginCode()); boundTo(t, token) != "" {
			t.Error("a session without a proof is bound")
		}
	})
}

// TestUnboundCode checks that the first trade of a code which is bound to no key binds the session
// if there is a proof, by either scheme, and that the same key alone can repeat it.
func TestUnboundCode(t *testing.T) {
	const late = 3 * time.Second
	for _, scheme := range []string{"Bearer", "DPoP"} {
		t.Run(scheme, func(t *testing.T) {
			withTokens(t, nil, func(srv *testServer) {
				owner, thief := srv.device(), srv.device()
				trade := func(d *device, code string) tokenAnswer {
					t.Helper()
					return d.send("POST", "/token", scheme+" "+code, "", d.proof("POST", "/token", code))
				}
				code := srv.code()
				for _, bad := range owner.badProofs("POST", "/token", code) {
					if bad.name == "another key" || bad.name == "none" && scheme == "Bearer" {
						continue // these are good
					}
					owner.send("POST", "/token", scheme+" "+code, "", bad.proofs...).wants(t, 401, bad.code)
				}
				owner.nonce = ""
				first := trade(owner, code)
				if boundTo(t, first.token) != owner.key.Thumbprint {
					t.Fatalf("%d %v", first.status, first.body)
				}
				again := trade(owner, code) // the answer may have been lost
				if boundTo(t, again.token) != owner.key.Thumbprint {
					t.Fatalf("again: %d %v", again.status, again.body)
				}
				owner.rotate(again.token)
				if n := srv.Auth().Stats().Bound; n == 0 {
					t.Error("the bound session is not counted")
				}

				code = srv.code()
				stolen := trade(thief, code).token
				trade(owner, code).wants(t, 401, "token_reused")
				thief.wants("GET", "/api", stolen, "", 401, "token_reused")
				code = srv.code()
				stolen = trade(thief, code).token
				srv.exchange(code).wants(t, 401, "token_reused")
				thief.wants("GET", "/api", stolen, "", 401, "token_reused")

				// Whoever trades it first has it. Then the owner's trade tells of the theft.
				code = srv.code()
				stolen = trade(thief, code).token
				thief.wants("GET", "/api", stolen, "", 200, "")
				time.Sleep(late)
				trade(owner, code).wants(t, 401, "token_reused")
				thief.wants("GET", "/api", stolen, "", 401, "token_reused")

				code = srv.code()
				stolen = srv.rotated(code)
				time.Sleep(late)
				trade(owner, code).wants(t, 401, "token_reused")
				if status, _, _ := srv.get(stolen); status != 401 {
					t.Errorf("the thief is answered %d", status)
				}

				code = srv.code()
				owner.wants("GET", "/api", trade(owner, code).token, "", 200, "")
				time.Sleep(late)
				srv.exchange(code).wants(t, 401, "token_reused")
			})
		})
	}
}

// TestUnboundToken checks that the session of a token that is bound to no key stays unbound: proofs
// that come with the token are ignored, and the scheme DPoP is refused, without an end to anything.
func TestUnboundToken(t *testing.T) {
	withTokens(t, nil, func(srv *testServer) {
		d := srv.device()
		token := srv.rotated(srv.code())
		for _, at := range []struct{ method, path, body string }{
			{"GET", "/api", ""}, {"POST", "/token", ""}, {"POST", "/token", `{"confirm":true}`}, {"DELETE", "/token", ""},
			{"POST", "/login", stepUpBody("anna", "secret", "")},
		} {
			for _, proofs := range [][]string{nil, {"x"}, {d.proof(at.method, at.path, token)}} {
				a := d.send(at.method, at.path, "DPoP "+token, at.body, proofs...)
				challenge := a.header.Get("WWW-Authenticate")
				if a.wants(t, 401, "invalid_token"); !strings.HasPrefix(challenge, `DPoP error="invalid_token"`) {
					t.Errorf("challenge %q", challenge)
				}
			}
		}
		for _, proof := range []string{"x", d.proof("POST", "/token", token)} {
			a := d.send("POST", "/token", "Bearer "+token, "", proof)
			if a.status != 200 || boundTo(t, a.token) != "" {
				t.Fatalf("%d %v", a.status, a.body)
			}
			token = a.token
		}
		d.send("GET", "/api", "Bearer "+token, "", "x").wants(t, 200, "")
		d.send("POST", "/login", "Bearer "+token, stepUpBody("anna", "secret", ""), "x").wants(t, 200, "")
		if a := srv.end(token); a.status != 204 {
			t.Errorf("%d %v", a.status, a.body)
		}
	})
}

// TestBinding checks what Options.Binding refuses and ignores of requests.
func TestBinding(t *testing.T) {
	challenges := func(srv *testServer) string {
		_, _, header := srv.get("")
		return strings.Join(header.Values("WWW-Authenticate"), "; ")
	}
	t.Run("required", func(t *testing.T) {
		store := new(faultyStore)
		withTokens(t, func(o *socketauth.Options[string]) {
			store.use(o)
			o.Binding = socketauth.BindRequired
		}, func(srv *testServer) {
			optional := newTestServer(srv.T, func(o *socketauth.Options[string]) { o.Blacklist, o.TokenPath = store, "/token" })
			old := optional.rotated(optional.code())
			if status, body, _ := srv.get(old); status != 401 || !strings.Contains(body, `"invalid_token"`) {
				t.Errorf("an unbound token: %d %s", status, body)
			}
			d := srv.device()
			d.send("POST", "/token", "Bearer "+old, "").wants(t, 401, "invalid_token")
			d.send("POST", "/token", "Bearer "+old, "", d.proof("POST", "/token", old)).wants(t, 401, "invalid_token")
			d.send("DELETE", "/token", "Bearer "+old, "").wants(t, 401, "invalid_token")
			if status, _, _ := optional.get(old); status != 200 {
				t.Errorf("the session of the unbound token is over: %d", status)
			}
			code := srv.loginCode()
			d.send("POST", "/token", "Bearer "+code, "").wants(t, 401, "proof_required")
			a := d.send("POST", "/token", "Bearer "+code, "", d.proof("POST", "/token", code))
			if boundTo(t, a.token) != d.key.Thumbprint {
				t.Errorf("%d %v", a.status, a.body)
			}
			d.wants("GET", "/api", d.rotate(d.login()), "", 200, "")
			if c := challenges(srv); c != `Bearer; DPoP algs="ES256 EdDSA"` {
				t.Errorf("challenges %s", c)
			}
		})
	})
	t.Run("never", func(t *testing.T) {
		store := new(faultyStore)
		withTokens(t, func(o *socketauth.Options[string]) {
			store.use(o)
			o.Binding = socketauth.BindNever
		}, func(srv *testServer) {
			d := srv.device()
			for _, proof := range []string{d.proof("POST", "/login", ""), "x"} {
				a := d.send("POST", "/login", "", credentialsJSON("anna", "secret"), proof)
				if a.status != 200 || boundTo(t, a.token) != "" {
					t.Errorf("%d %v", a.status, a.body)
				}
			}
			for _, scheme := range []string{"Bearer ", "DPoP "} {
				for _, bad := range []bool{false, true} {
					code := srv.code()
					proof := "x"
					if !bad {
						proof = d.proof("POST", "/token", code)
					}
					a := d.send("POST", "/token", scheme+code, "", proof)
					if a.status != 200 || boundTo(t, a.token) != "" {
						t.Errorf("%s: %d %v", scheme, a.status, a.body)
					}
				}
			}
			if c := challenges(srv); c != "Bearer" {
				t.Errorf("challenges %s", c)
			}
			optional := &device{testServer: newTestServer(srv.T, func(o *socketauth.Options[string]) { o.Blacklist, o.TokenPath = store, "/token" }), key: d.key}
			bound := optional.rotate(optional.login())
			d.send("GET", "/api", "Bearer "+bound, "").wants(t, 401, "proof_required")
			d.wants("GET", "/api", bound, "", 200, "")
			if next := d.rotate(bound); boundTo(t, next) != d.key.Thumbprint {
				t.Errorf("bound to %q", boundTo(t, next))
			}
		})
	})
	t.Run("optional", func(t *testing.T) {
		withTokens(t, nil, func(srv *testServer) {
			if c := challenges(srv); c != `Bearer; DPoP algs="ES256 EdDSA"` {
				t.Errorf("challenges %s", c)
			}
		})
	})
}

// TestBoundHooks checks that an app which signs tokens itself has to sign "cnf" as it is.
func TestBoundHooks(t *testing.T) {
	drop := false
	withTokens(t, func(o *socketauth.Options[string]) {
		o.Refresh = func(_ context.Context, c jwt.MapClaims) (string, error) {
			if drop {
				delete(c, "cnf")
			}
			return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(testSecret)
		}
		o.Authorization = o.Refresh
	}, func(srv *testServer) {
		d := srv.device()
		token := d.rotate(d.login())
		if boundTo(t, token) != d.key.Thumbprint {
			t.Errorf("bound to %q", boundTo(t, token))
		}
		drop = true
		d.wants("POST", "/token", token, "", 500, "server_error")
		a := d.send("POST", "/login", "", credentialsJSON("anna", "secret"), d.proof("POST", "/login", ""))
		a.wants(t, 500, "SERVER_ERROR")
		drop = false
		d.rotate(token)
	})
}

// TestBoundStepUp checks that the step-up login of a bound session needs its proof for the login,
// and that the next token stays bound to the key.
func TestBoundStepUp(t *testing.T) {
	withStepUp(t, func(o *socketauth.Options[string]) { o.TokenPath = "/token" }, func(srv *testServer) {
		d := srv.device()
		a := d.send("POST", "/login", "", credentialsJSON("anna", "secret"), d.proof("POST", "/login", ""))
		token := d.rotate(a.token)
		time.Sleep(time.Second)
		code := d.wants("POST", "/login", token, stepUpBody("anna", "secret", ""), 200, "").token
		next := d.wants("POST", "/token", token, `{"step_up":"`+code+`"}`, 200, "").token
		if boundTo(t, next) != d.key.Thumbprint {
			t.Errorf("bound to %q", boundTo(t, next))
		}
		d.wants("GET", "/api", next, "", 200, "")
	})
}
