package oidc

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
)

const (
	clientID     = "app"
	clientSecret = "app-secret"
	logoutEvent  = "http://schemas.openid.net/event/backchannel-logout"
)

// provider is a small OpenID provider at which the user "ada" is always signed in, in the session
// "browser-1". It keeps to RFC 6749, RFC 7636 and OpenID Connect Core 1.0 as far as a client sees
// it.
type provider struct {
	*httptest.Server
	t *testing.T

	mu     sync.Mutex
	key    *rsa.PrivateKey
	codes  map[string]url.Values       // the requests by which codes were issued
	trades int                         // how many codes somebody has tried to trade
	spoil  func(idToken jwt.MapClaims) // is called with mu locked
}

// give has spoil change the claims of the ID tokens from now on.
func (p *provider) give(spoil func(idToken jwt.MapClaims)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spoil = spoil
}

func startProvider(t *testing.T) *provider {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{t: t, key: key, codes: map[string]url.Values{}, spoil: func(jwt.MapClaims) {}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		p.answer(w, http.StatusOK, map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token",
			"jwks_uri": p.URL + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"},
			"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
			"backchannel_logout_supported": true, "backchannel_logout_session_supported": true,
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		encode := base64.RawURLEncoding.EncodeToString
		p.answer(w, http.StatusOK, map[string]any{"keys": []any{map[string]any{
			"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1",
			"n": encode(key.N.Bytes()), "e": encode(big.NewInt(int64(key.E)).Bytes()),
		}}})
	})
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func (p *provider) answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// authorize sends the browser back with a code.
func (p *provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	back, err := url.Parse(q.Get("redirect_uri"))
	if err != nil || q.Get("client_id") != clientID || q.Get("response_type") != "code" || q.Get("scope") != "openid" ||
		q.Get("code_challenge_method") != "S256" || q.Get("code_challenge") == "" || q.Get("state") == "" || q.Get("nonce") == "" {
		p.t.Errorf("authorize: %v", q)
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	code := rand.Text()
	p.mu.Lock()
	p.codes[code] = q
	p.mu.Unlock()
	back.RawQuery = url.Values{"code": {code}, "state": {q.Get("state")}}.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound)
}

// tried returns how many codes somebody has tried to trade.
func (p *provider) tried() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.trades
}

// token trades a code, once, for who presents the verifier of its challenge.
func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	id, secret, _ := r.BasicAuth()
	p.mu.Lock()
	p.trades++
	request := p.codes[r.FormValue("code")]
	delete(p.codes, r.FormValue("code"))
	p.mu.Unlock()
	if id != clientID || secret != clientSecret || request == nil || r.FormValue("redirect_uri") != request.Get("redirect_uri") ||
		oauth2.S256ChallengeFromVerifier(r.FormValue("code_verifier")) != request.Get("code_challenge") {
		p.answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
		return
	}
	claims := p.claims(jwt.MapClaims{"sub": "ada", "sid": "browser-1", "nonce": request.Get("nonce")})
	p.mu.Lock()
	p.spoil(claims)
	text := p.sign(p.key, claims)
	p.mu.Unlock()
	p.answer(w, http.StatusOK, map[string]any{
		"access_token": rand.Text(), "token_type": "Bearer", "expires_in": 60, "id_token": text,
	})
}

// claims adds what every token of the provider has. A claim that is nil is left out.
func (p *provider) claims(claims jwt.MapClaims) jwt.MapClaims {
	now := time.Now()
	all := jwt.MapClaims{"iss": p.URL, "aud": clientID, "iat": now.Unix(), "exp": now.Add(2 * time.Minute).Unix()}
	for name, value := range claims {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	return all
}

func (p *provider) sign(key *rsa.PrivateKey, claims jwt.MapClaims) string {
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	token.Header["kid"] = "1"
	text, err := token.SignedString(key)
	if err != nil {
		p.t.Error(err)
	}
	return text
}

// logoutToken returns a logout token with these claims, beside those that each has.
func (p *provider) logoutToken(claims jwt.MapClaims) string {
	all := p.claims(jwt.MapClaims{"jti": rand.Text(), "events": map[string]any{logoutEvent: map[string]any{}}})
	for name, value := range claims {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	return p.sign(p.key, all)
}
