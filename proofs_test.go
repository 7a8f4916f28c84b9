package socketauth_test

import (
	"context"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/dpop"
	"github.com/z-open/socketauth/internal/dpop/dpoptest"
)

// badProof is a proof that must be refused.
type badProof struct {
	name   string
	code   string // what a request with a token is told
	proofs []string
}

// badProofs returns proofs that are bad for a request with a token, or for a login if token is "".
func (d *device) badProofs(method, path, token string) []badProof {
	good := func(change ...func(map[string]any)) string { return d.proof(method, path, token, change...) }
	set := func(name string, value any) string {
		return good(func(c map[string]any) {
			if c[name] = value; value == nil {
				delete(c, name)
			}
		})
	}
	header := func(members map[string]any) string { return d.key.SignWith(members, d.claims(method, path, token)) }
	jwk := maps.Clone(d.key.Header["jwk"].(map[string]any))
	jwk["d"] = jwk["x"]
	valid := good()
	at := func(ahead time.Duration) string { return set("iat", time.Now().Add(ahead).Unix()) }
	socket := d.key.Socket("lv_VI97HAXpY6yYWAAAC", token)
	invalid := "invalid_proof"
	bad := []badProof{
		{"empty", invalid, []string{""}},
		{"not a JWS", invalid, []string{"proof"}},
		{"two", invalid, []string{good(), good()}},
		{"two that are the same", invalid, []string{valid, valid}},
		{"another method", invalid, []string{set("htm", "PUT")}},
		{"the method in small letters", invalid, []string{set("htm", strings.ToLower(method))}},
		{"no method", invalid, []string{set("htm", nil)}},
		{"another path", invalid, []string{set("htu", "http://server/other")}},
		{"another host", invalid, []string{set("htu", "http://other"+path)}},
		{"another port", invalid, []string{set("htu", "http://server:8443"+path)}},
		{"no URL", invalid, []string{set("htu", nil)}},
		{"no jti", invalid, []string{set("jti", nil)}},
		{"an empty jti", invalid, []string{set("jti", "")}},
		{"of a socket", invalid, []string{socket}},
		{"alg none", invalid, []string{header(map[string]any{"alg": "none"})}},
		{"alg HS256", invalid, []string{header(map[string]any{"alg": "HS256"})}},
		{"typ JWT", invalid, []string{header(map[string]any{"typ": "JWT"})}},
		{"crit", invalid, []string{header(map[string]any{"crit": []string{"x"}})}},
		{"a private key", invalid, []string{header(map[string]any{"jwk": jwk})}},
		{"another signature", invalid, []string{good()[:len(valid)-8] + "AAAAAAAA"}},
		{"too long", invalid, []string{set("x", strings.Repeat("x", dpop.MaxLength))}},
		{"too old", "use_dpop_nonce", []string{at(-62 * time.Second)}},
		{"a day old", "use_dpop_nonce", []string{at(-24 * time.Hour)}},
		{"from the future", "use_dpop_nonce", []string{at(62 * time.Second)}},
		{"from the far future", "use_dpop_nonce", []string{at(1e5 * time.Hour)}},
		{"no time", "use_dpop_nonce", []string{set("iat", nil)}},
		{"a time that is a text", "use_dpop_nonce", []string{set("iat", "now")}},
		{"a nonce that nobody has made", "use_dpop_nonce", []string{good(func(c map[string]any) { c["iat"], c["nonce"] = 0, "nonce" })}},
	}
	if token != "" {
		other := &device{testServer: d.testServer, key: dpoptest.NewKey()}
		bad = append(bad,
			badProof{"none", "proof_required", nil},
			badProof{"another key", invalid, []string{other.proof(method, path, token)}},
			badProof{"another token", invalid, []string{d.proof(method, path, token+"x")}},
			badProof{"no token", invalid, []string{set("ath", nil)}},
		)
	}
	return bad
}

// TestBadLoginProofs checks that a login or registration with a bad proof is refused before the app
// is asked, with a nonce if only the time is wrong, and that this is recorded.
func TestBadLoginProofs(t *testing.T) {
	asked := 0
	var refused []socketauth.AuditEvent
	withTokens(t, func(o *socketauth.Options[string]) {
		find := o.FindUserByCredentials
		o.FindUserByCredentials = func(ctx context.Context, c socketauth.Credentials) (string, error) {
			asked++
			return find(ctx, c)
		}
		o.Register = o.FindUserByCredentials
		o.Audit = func(_ context.Context, e socketauth.AuditEvent) {
			if e.Kind == socketauth.AuditLoginFailed {
				refused = append(refused, e)
			}
		}
	}, func(srv *testServer) {
		for _, path := range []string{"/login", "/register"} {
			for _, bad := range srv.device().badProofs("POST", path, "") {
				d := srv.device()
				a := d.send("POST", path, "", credentialsJSON("anna", "secret"), bad.proofs...)
				if a.status != 400 || a.code != strings.ToUpper(bad.code) || len(a.body) != 1 || (bad.code == "use_dpop_nonce") != (d.nonce != "") {
					t.Errorf("%s: %s: %d %v %v", path, bad.name, a.status, a.body, a.header)
				}
			}
		}
		if asked > 0 {
			t.Errorf("the app was asked %d times", asked)
		}
		if len(refused) != 1 || refused[0].Code != "INVALID_PROOF" || refused[0].Address == "" {
			t.Errorf("recorded: %+v", refused)
		}
		logins := srv.Auth().Stats().Logins
		if logins["INVALID_PROOF"] < 30 || logins["USE_DPOP_NONCE"] < 10 || len(logins) != 2 {
			t.Errorf("counted: %v", logins)
		}
		time.Sleep(time.Minute)
		late := srv.device()
		late.ahead = time.Hour
		late.send("POST", "/login", "", credentialsJSON("anna", "secret"), late.proof("POST", "/login", "")).wants(t, 400, "USE_DPOP_NONCE")
		if len(refused) != 1 {
			t.Errorf("a proof that needs a nonce is recorded as a failure: %+v", refused)
		}
		srv.device().send("POST", "/login", "", credentialsJSON("anna", "secret"), "x")
		if len(refused) != 2 {
			t.Errorf("recorded in the next minute: %+v", refused)
		}
	})
}

// TestBadRequestProofs checks that each request with a bound token and a bad proof is refused with
// the code and the challenge that RFC 9449 gives it, that nothing comes of it, and that the owner's
// session goes on.
func TestBadRequestProofs(t *testing.T) {
	var recorded []socketauth.AuditEvent
	withTokens(t, func(o *socketauth.Options[string]) {
		o.Audit = func(_ context.Context, e socketauth.AuditEvent) { recorded = append(recorded, e) }
	}, func(srv *testServer) {
		owner := srv.device()
		code := owner.login()
		token := owner.rotate(owner.login())
		recorded = nil
		attempts := 0
		for _, at := range []struct{ name, method, path, token, body string }{
			{"Middleware", "GET", "/api", token, ""},
			{"an exchange", "POST", "/token", token, ""},
			{"the trade of a code", "POST", "/token", code, ""},
			{"a confirmation", "POST", "/token", token, `{"confirm":true}`},
			{"the end", "DELETE", "/token", token, ""},
			{"a step-up", "POST", "/login", token, stepUpBody("anna", "secret", "")},
		} {
			refused := func(name, scheme, code, challenge string, proofs ...string) {
				t.Helper()
				attempts++
				thief := &device{testServer: srv, key: owner.key}
				a := thief.send(at.method, at.path, scheme+" "+at.token, at.body, proofs...)
				want := `DPoP error="` + challenge + `", error_description="`
				got := a.header.Values("WWW-Authenticate")
				if a.status != 401 || a.code != code || len(a.body) != 1 || len(got) != 1 || !strings.HasPrefix(got[0], want) ||
					!strings.HasSuffix(got[0], `", algs="ES256 EdDSA"`) || (code == "use_dpop_nonce") != (thief.nonce != "") {
					t.Errorf("%s: %s: %d %v %q", at.name, name, a.status, a.body, got)
				}
			}
			for _, bad := range owner.badProofs(at.method, at.path, at.token) {
				challenge := "invalid_dpop_proof"
				if bad.code == "use_dpop_nonce" {
					challenge = bad.code
				}
				refused(bad.name, "DPoP", bad.code, challenge, bad.proofs...)
			}
			refused("as Bearer", "Bearer", "proof_required", "invalid_dpop_proof")
			refused("as Bearer, with a good proof", "Bearer", "proof_required", "invalid_dpop_proof", owner.proof(at.method, at.path, at.token))
		}
		// Once a minute a session, though not what a nonce would mend.
		kinds := map[string]int{}
		for _, e := range recorded {
			if e.Kind == socketauth.AuditRefused && e.Code == "use_dpop_nonce" {
				continue
			}
			kinds[string(e.Kind)+" "+e.SessionID]++
			if e.UserID != "anna" || e.Address == "" {
				t.Errorf("%+v", e)
			}
		}
		if len(kinds) != 2 || kinds["proof_refused "+sessionID(t, token)] != 1 || kinds["proof_refused "+sessionID(t, code)] != 1 {
			t.Errorf("recorded: %v", kinds)
		}
		stats := srv.Auth().Stats()
		if n := stats.ProofsRefused + stats.Requests["use_dpop_nonce"]; n != uint64(attempts) || stats.Requests["proof_required"] != 18 {
			t.Errorf("%d of %d are counted: %v", n, attempts, stats.Requests)
		}
		if stats.Reuses > 0 {
			t.Error("a proof has ended a session")
		}
		owner.wants("GET", "/api", token, "", 200, "")
		owner.wants("POST", "/token", token, `{"confirm":true}`, 204, "")
		owner.rotate(owner.rotate(code))
		owner.wants("DELETE", "/token", owner.rotate(token), "", 204, "")
	})
}

// sessionID returns the ID of a token's session.
func sessionID(t *testing.T, token string) string {
	t.Helper()
	return strings.Trim(string(payloadOf(t, token)["sid"]), `"`)
}

// TestProofBeforeStore checks that a bound token without its proof never raises the alarm of reuse,
// whether it was replaced or has expired, and that with its proof it still does.
func TestProofBeforeStore(t *testing.T) {
	withTokens(t, func(o *socketauth.Options[string]) { o.TokenLifetime = time.Hour }, func(srv *testServer) {
		owner, thief := srv.device(), srv.device()
		old := owner.rotate(owner.login())
		steal := func() {
			t.Helper()
			for _, at := range []struct{ method, path, body string }{
				{"GET", "/api", ""}, {"POST", "/token", ""}, {"POST", "/token", `{"confirm":true}`}, {"DELETE", "/token", ""},
			} {
				thief.send(at.method, at.path, "Bearer "+old, at.body).wants(t, 401, "proof_required")
				thief.send(at.method, at.path, "DPoP "+old, at.body).wants(t, 401, "proof_required")
				thief.wants(at.method, at.path, old, at.body, 401, "invalid_proof")
			}
		}
		current := owner.rotate(owner.rotate(old))
		time.Sleep(time.Minute)
		steal()
		for range 3 { // until it has expired
			time.Sleep(25 * time.Minute)
			current = owner.rotate(current)
		}
		steal()
		owner.wants("GET", "/api", current, "", 200, "")
		owner.wants("GET", "/api", old, "", 401, "token_expired")
		owner.wants("POST", "/token", old, "", 401, "use_dpop_nonce") // the request may be a repeated one
		owner.wants("POST", "/token", old, "", 401, "token_reused")
		owner.wants("GET", "/api", current, "", 401, "token_reused")
	})
}

// TestRecentChallengeOfBoundToken checks that the challenge of RequireRecent has the scheme of the
// token that came.
func TestRecentChallengeOfBoundToken(t *testing.T) {
	withTokens(t, nil, func(srv *testServer) {
		srv.Mux.Handle("GET /recent", srv.Auth().Middleware(srv.Auth().RequireRecent(time.Minute)(http.NotFoundHandler())))
		d := srv.device()
		token := d.rotate(d.login())
		bearer := srv.rotated(srv.code())
		time.Sleep(2 * time.Minute)
		a := d.wants("GET", "/recent", token, "", 401, "reauthentication_required")
		if c := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(c, `DPoP error="insufficient_user_authentication"`) || !strings.HasSuffix(c, `, max_age="60", algs="ES256 EdDSA"`) {
			t.Errorf("challenge %q", c)
		}
		a = d.send("GET", "/recent", "Bearer "+bearer, "")
		if c := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(c, `Bearer error="insufficient_user_authentication"`) || strings.Contains(c, "algs") {
			t.Errorf("challenge %q", c)
		}
	})
}

// TestMiddlewareTwice checks that a request with a proof comes through Middleware within
// Middleware, as one without does, and that the proof is good once all the same.
func TestMiddlewareTwice(t *testing.T) {
	withTokens(t, nil, func(srv *testServer) {
		once := srv.Auth().Middleware
		srv.Mux.Handle("GET /twice", once(once(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if claims, _ := socketauth.ClaimsFromContext(r.Context()); claims["sub"] != "anna" {
				t.Errorf("claims %v", claims)
			}
		}))))
		d := srv.device()
		token := d.rotate(d.login())
		proof := d.proof("GET", "/twice", token)
		d.send("GET", "/twice", "DPoP "+token, "", proof).wants(t, 200, "")
		d.send("GET", "/twice", "DPoP "+token, "", proof).wants(t, 401, "invalid_proof")
	})
}

// TestProofsForOtherHosts checks that with Hosts set a proof that was made for another server,
// which sends it on with its own name as the Host, is refused, also by Middleware.
func TestProofsForOtherHosts(t *testing.T) {
	withTokens(t, func(o *socketauth.Options[string]) { o.Hosts = []string{"server"} }, func(srv *testServer) {
		d := srv.device()
		token := d.rotate(d.login())
		d.host = "server:8080"
		d.wants("GET", "/api", token, "", 200, "")
		d.host = "partner"
		d.wants("GET", "/api", token, "", 401, "invalid_proof")
		d.wants("POST", "/token", token, "", 403, "origin_not_allowed")
	})
}

// TestProofsAreNotLogged checks that no proof and no token is in the log.
func TestProofsAreNotLogged(t *testing.T) {
	withTokens(t, nil, func(srv *testServer) {
		d := srv.device()
		token := d.rotate(d.login())
		var proofs []string
		for _, bad := range d.badProofs("GET", "/api", token) {
			d.send("GET", "/api", "DPoP "+token, "", bad.proofs...)
			proofs = append(proofs, bad.proofs...)
		}
		synctest.Wait()
		logged := srv.logs.String()
		for _, text := range append(proofs, token) {
			if len(text) > 20 && strings.Contains(logged, text[len(text)-20:]) {
				t.Errorf("the log has %s", text)
			}
		}
	})
}
