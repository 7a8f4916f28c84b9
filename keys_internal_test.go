package socketauth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// testKeys returns one key of each kind.
func testKeys(t *testing.T) []Key {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return []Key{
		{"hs", jwt.SigningMethodHS256, testSecret, testSecret},
		{"rs", jwt.SigningMethodRS256, rsaKey, &rsaKey.PublicKey},
		{"ps", jwt.SigningMethodPS256, rsaKey, &rsaKey.PublicKey},
		{"es", jwt.SigningMethodES256, ecKey, &ecKey.PublicKey},
		{"ed", jwt.SigningMethodEdDSA, edKey, edPublic},
	}
}

func header(t *testing.T, text string) (h map[string]any) {
	t.Helper()
	head, _, _ := strings.Cut(text, ".")
	raw, err := base64.RawURLEncoding.DecodeString(head)
	if err == nil {
		err = json.Unmarshal(raw, &h)
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestAlgorithms checks that each algorithm signs and verifies, and that keys that only verify
// still do.
func TestAlgorithms(t *testing.T) {
	keys := testKeys(t)
	old := newIssuer(t, Options[any]{Keys: keys[:1]})
	oldToken := mustCode(t, old, jwt.MapClaims{"sub": "anna"})
	for n, key := range keys {
		t.Run(key.Method.Alg(), func(t *testing.T) {
			rotated := []Key{key}
			for m, k := range keys {
				if m != n {
					rotated = append(rotated, Key{ID: k.ID, Method: k.Method, Verify: k.Verify})
				}
			}
			i := newIssuer(t, Options[any]{Keys: rotated})
			next := mustSuccessor(t, i, mustCode(t, i, jwt.MapClaims{"sub": "anna"}))
			if got, err := i.verify(t.Context(), next.Text); err != nil || got.ID != next.ID {
				t.Errorf("own token: %v", err)
			}
			if head := header(t, next.Text); head["kid"] != key.ID || head["alg"] != key.Method.Alg() {
				t.Errorf("header %v", head)
			}
			if _, err := i.verify(t.Context(), oldToken.Text); err != nil {
				t.Errorf("token of a key that only verifies now: %v", err)
			}
			if _, err := newIssuer(t, Options[any]{Secret: []byte(strings.Repeat("x", 32))}).verify(t.Context(), next.Text); !errors.Is(err, errInvalid) {
				t.Errorf("token of a key that is not there: %v", err)
			}
		})
	}
}

// TestFirstKeyRotation checks that tokens without a key ID are still good after an app went from
// one unnamed key to named ones.
func TestFirstKeyRotation(t *testing.T) {
	named := Key{ID: "new", Method: jwt.SigningMethodHS256, Sign: []byte(strings.Repeat("n", 32)), Verify: []byte(strings.Repeat("n", 32))}
	for n, key := range testKeys(t) {
		old := Key{Method: key.Method, Sign: key.Sign, Verify: key.Verify}
		before := newIssuer(t, Options[any]{Keys: []Key{old}})
		if key.ID == "hs" {
			before = newIssuer(t, Options[any]{Secret: testSecret})
		}
		token := mustSuccessor(t, before, mustCode(t, before, jwt.MapClaims{"sub": "anna"}))
		if _, has := header(t, token.Text)["kid"]; has {
			t.Fatal("the token has a kid, and so proves nothing")
		}
		old.ID = "old"
		for name, keys := range map[string][]Key{
			"one named":            {old},
			"a new one first":      {named, old},
			"among many":           append([]Key{named, old}, slices.Delete(testKeys(t), n, n+1)...),
			"that verifies only":   {named, {ID: "old", Method: key.Method, Verify: key.Verify}},
			"behind its algorithm": {named, {ID: "other", Method: jwt.SigningMethodHS256, Verify: []byte(strings.Repeat("o", 32))}, old},
		} {
			after := newIssuer(t, Options[any]{Keys: keys})
			got, err := after.verify(t.Context(), token.Text)
			if err != nil {
				t.Errorf("%s, %s: %v", key.ID, name, err)
				continue
			}
			if head := header(t, mustSuccessor(t, after, got).Text); head["kid"] != keys[0].ID {
				t.Errorf("%s, %s: its successor has the header %v", key.ID, name, head)
			}
		}
		for name, keys := range map[string][]Key{
			"without its key":        {named},
			"with its name alone":    {named, {ID: "old", Method: jwt.SigningMethodHS256, Verify: []byte(strings.Repeat("o", 32))}},
			"by another algorithm's": slices.Delete(append([]Key{named}, testKeys(t)...), n+1, n+2),
		} {
			if _, err := newIssuer(t, Options[any]{Keys: keys}).verify(t.Context(), token.Text); !errors.Is(err, errInvalid) {
				t.Errorf("%s, %s: %v", key.ID, name, err)
			}
		}
	}
	two := newIssuer(t, Options[any]{Keys: []Key{named, {ID: "hs", Method: jwt.SigningMethodHS256, Verify: testSecret}}})
	claims := mustCode(t, two, jwt.MapClaims{"sub": "anna"}).claims()
	for _, kid := range []any{"gone", "new", 5, nil, true} { // a kid that is given must name the key
		if _, err := two.verify(t.Context(), signed(t, jwt.SigningMethodHS256, testSecret, claims, map[string]any{"kid": kid})); !errors.Is(err, errInvalid) {
			t.Errorf("kid %v: %v", kid, err)
		}
	}
	if _, err := two.verify(t.Context(), signed(t, jwt.SigningMethodHS256, testSecret, claims, map[string]any{"kid": ""})); err != nil {
		t.Errorf("an empty kid: %v", err)
	}
}

// TestPublicKeyAsHMACSecret checks that a token signed by HMAC with the public key, which everyone
// has, is refused.
func TestPublicKeyAsHMACSecret(t *testing.T) {
	keys := testKeys(t)
	public := keys[1].Verify.(*rsa.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	good := mustCode(t, newIssuer(t, Options[any]{Keys: keys[1:2]}), jwt.MapClaims{"sub": "anna"})
	forged := signed(t, jwt.SigningMethodHS256, der, good.claims(), map[string]any{"kid": "rs"})
	byFunc := func(context.Context, *jwt.Token) (Key, error) { return keys[1], nil }
	for name, i := range map[string]*issuer{
		"Keys":    newIssuer(t, Options[any]{Keys: keys[1:2]}),
		"KeyFunc": newIssuer(t, Options[any]{KeyFunc: byFunc}),
	} {
		if _, err := i.verify(t.Context(), forged); !errors.Is(err, errInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := i.verify(t.Context(), good.Text); err != nil {
			t.Errorf("%s, the good one: %v", name, err)
		}
	}
}

// TestKeyFunc checks that KeyFunc chooses keys by header and claims, and what its errors mean.
func TestKeyFunc(t *testing.T) {
	byTenant := map[string]Key{
		"a": {ID: "key-a", Method: jwt.SigningMethodHS256, Sign: []byte(strings.Repeat("a", 32)), Verify: []byte(strings.Repeat("a", 32))},
		"b": {ID: "key-b", Method: jwt.SigningMethodHS256, Sign: []byte(strings.Repeat("b", 32)), Verify: []byte(strings.Repeat("b", 32))},
	}
	down := errors.New("key server down")
	i := newIssuer(t, Options[any]{KeyFunc: func(_ context.Context, t *jwt.Token) (Key, error) {
		tenant, _ := t.Claims.(jwt.MapClaims)["tenant"].(string)
		if tenant == "down" {
			return Key{}, down
		}
		key, ok := byTenant[tenant]
		if kid, given := t.Header["kid"]; !ok || given && kid != key.ID {
			return Key{}, fmt.Errorf("tenant %q: %w", tenant, ErrUnknownKey)
		}
		return key, nil
	}})
	a := mustCode(t, i, jwt.MapClaims{"sub": "anna", "tenant": "a"})
	if _, err := i.verify(t.Context(), a.Text); err != nil {
		t.Error(err)
	}
	sign := func(tenant, key string) string {
		c := a.claims()
		c["tenant"] = tenant
		return signed(t, jwt.SigningMethodHS256, byTenant[key].Sign, c, map[string]any{"kid": byTenant[key].ID})
	}
	if _, err := i.verify(t.Context(), sign("b", "a")); !errors.Is(err, errInvalid) {
		t.Errorf("tenant a's key for tenant b: %v", err)
	}
	if _, err := i.verify(t.Context(), sign("c", "a")); !errors.Is(err, errInvalid) {
		t.Errorf("unknown key: %v", err)
	}
	if _, err := i.verify(t.Context(), sign("down", "a")); !errors.Is(err, down) || errors.Is(err, errInvalid) {
		t.Errorf("key server down: %v", err)
	}
	if _, err := i.code(t.Context(), jwt.MapClaims{"sub": "anna", "tenant": "c"}, time.Now(), ""); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("minting with no key: %v", err)
	}
}
