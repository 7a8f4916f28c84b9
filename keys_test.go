package socketauth_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// weakRSA returns a key of 1024 bits, which crypto/rsa makes only with GODEBUG.
func weakRSA(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestKeyFaults checks that weak keys and keys that do not fit their algorithm or each other are
// refused.
func TestKeyFaults(t *testing.T) {
	keys := testKeys(t)
	weak := weakRSA(t)
	other, _, _ := ed25519.GenerateKey(rand.Reader)
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	for name, o := range map[string]socketauth.Options[any]{
		"no key":                 {},
		"two ways":               {Secret: testSecret, Keys: keys},
		"short secret":           {Secret: testSecret[:31]},
		"empty secret":           {Secret: []byte{}},
		"no keys":                {Keys: []socketauth.Key{}},
		"no method":              {Keys: []socketauth.Key{{ID: "x", Sign: testSecret, Verify: testSecret}}},
		"method none":            {Keys: []socketauth.Key{{ID: "x", Method: jwt.SigningMethodNone, Sign: jwt.UnsafeAllowNoneSignatureType, Verify: jwt.UnsafeAllowNoneSignatureType}}},
		"short for HS512":        {Keys: []socketauth.Key{{ID: "x", Method: jwt.SigningMethodHS512, Sign: testSecret, Verify: testSecret}}},
		"same ID":                {Keys: []socketauth.Key{keys[0], {ID: "hs", Method: jwt.SigningMethodRS256, Verify: keys[1].Verify}}},
		"no ID of several":       {Keys: []socketauth.Key{keys[0], {Method: jwt.SigningMethodRS256, Verify: keys[1].Verify}}},
		"weak RSA":               {Keys: []socketauth.Key{{ID: "x", Method: jwt.SigningMethodRS256, Sign: weak, Verify: &weak.PublicKey}}},
		"private for public":     {Keys: []socketauth.Key{{ID: "x", Method: jwt.SigningMethodRS256, Sign: keys[1].Sign, Verify: keys[1].Sign}}},
		"bytes for RSA":          {Keys: []socketauth.Key{{ID: "x", Method: jwt.SigningMethodRS256, Sign: keys[1].Sign, Verify: testSecret}}},
		"RSA for HMAC":           {Keys: []socketauth.Key{{ID: "x", Method: jwt.SigningMethodHS256, Sign: testSecret, Verify: keys[1].Verify}}},
		"another pair":           {Keys: []socketauth.Key{{ID: "x", Method: jwt.SigningMethodEdDSA, Sign: keys[4].Sign, Verify: other}}},
		"another curve":          {Keys: []socketauth.Key{{ID: "x", Method: jwt.SigningMethodES256, Sign: p384, Verify: &p384.PublicKey}}},
		"nil public key":         {Keys: []socketauth.Key{{ID: "x", Method: jwt.SigningMethodRS256, Sign: keys[1].Sign}}},
		"another HMAC to verify": {Keys: []socketauth.Key{{ID: "x", Method: jwt.SigningMethodHS256, Sign: testSecret, Verify: []byte(strings.Repeat("y", 32))}}},
	} {
		if _, err := socketauth.New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
