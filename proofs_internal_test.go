package socketauth

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/dpop"
	"github.com/z-open/socketauth/internal/dpop/dpoptest"
)

// TestTooManyProofs checks that a key which has used as many proofs as are remembered is told when
// to come back, that this is recorded as a limit, and that other keys are served meanwhile.
func TestTooManyProofs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := New(Options[any]{Secret: TestSecret})
		if err != nil {
			t.Fatal(err)
		}
		h := a.Middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
		get := func(key *dpoptest.Key, token string) *httptest.ResponseRecorder {
			r := httptest.NewRequest("GET", "http://server/api", nil)
			r.Header.Set("Authorization", "DPoP "+token)
			r.Header.Set("DPoP", key.Request("GET", "http://server/api", token))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w
		}
		busy, other := dpoptest.NewKey(), dpoptest.NewKey()
		busyToken, otherToken := boundToken(t, a, busy), boundToken(t, a, other)
		for n := range dpop.MaxProofs - 1 { // as the check does, which would take longer
			if seen, wait := a.requestProofs.used.Use(busy.Thumbprint, strconv.Itoa(n), 70*time.Second); seen || wait > 0 {
				t.Fatal(seen, wait)
			}
		}
		if w := get(busy, busyToken); w.Code != 204 {
			t.Fatalf("the last one: %d %s", w.Code, w.Body)
		}
		for range 3 {
			w := get(busy, busyToken)
			var body map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 429 || body["code"] != "too_many_attempts" ||
				w.Header().Get("Retry-After") != "70" || w.Header().Get("WWW-Authenticate") != "" {
				t.Errorf("one too many: %d %v %v", w.Code, body, w.Header())
			}
		}
		if w := get(other, otherToken); w.Code != 204 {
			t.Errorf("another key: %d %s", w.Code, w.Body)
		}
		if n := a.Stats().Limited["proofs"]; n != 3 {
			t.Errorf("%d refusals by the limit are counted", n)
		}
		time.Sleep(70 * time.Second)
		if w := get(busy, busyToken); w.Code != 204 {
			t.Errorf("later: %d %s", w.Code, w.Body)
		}
	})
}

// boundToken returns the first token of a session that is bound to a key.
func boundToken(t *testing.T, a *Auth, key *dpoptest.Key) string {
	t.Helper()
	code, err := a.tokens.code(t.Context(), jwt.MapClaims{"sub": "anna"}, time.Now(), key.Thumbprint)
	if err != nil {
		t.Fatal(err)
	}
	next, err := a.tokens.successor(t.Context(), code)
	if err != nil {
		t.Fatal(err)
	}
	result, err := a.blacklist.Present(context.Background(), blacklist.Presentation{
		Token: code.ref(), SuccessorID: next.ID, SuccessorExpiresAt: next.ExpiresAt,
	})
	if err != nil || result.Verdict != blacklist.Accepted {
		t.Fatal(result, err)
	}
	return next.Text
}

// TestNonceKeys checks that nonces are good in all processes that share a secret or a cluster's
// key, in no others, and that their key is used for nothing else.
func TestNonceKeys(t *testing.T) {
	proofs := func(secret, clusterKey string) *requestProofs {
		var c clusterConfig
		if clusterKey != "" {
			c.key = []byte(clusterKey)
		}
		return newRequestProofs(BindOptional, nil, nil, []byte(secret), c)
	}
	nonce := proofs("secret", "").nonces.New()
	shared := proofs("", "cluster").nonces.New()
	for name, c := range map[string]struct {
		p     *requestProofs
		nonce string
		want  bool
	}{
		"the same secret":              {proofs("secret", ""), nonce, true},
		"the same secret in a cluster": {proofs("secret", "cluster"), nonce, true},
		"another secret":               {proofs("another", ""), nonce, false},
		"no secret":                    {proofs("", ""), nonce, false},
		"the same cluster":             {proofs("", "cluster"), shared, true},
		"another cluster":              {proofs("", "another"), shared, false},
	} {
		if _, got := c.p.nonces.Age(c.nonce); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for secret, c := range map[string]clusterConfig{"secret": {}, "": {key: []byte("cluster")}} {
		nonces := purposeKey([]byte(secret), c, "socketauth DPoP nonce")
		if bytes.Equal(nonces, purposeKey([]byte(secret), c, "socketauth device cookie")) || bytes.Equal(nonces, []byte(secret)) {
			t.Error("the key of nonces is used for something else")
		}
	}
}
