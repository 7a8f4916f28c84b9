package socketauth

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// payloadOf returns the claims of a token as they stand in it.
func payloadOf(t *testing.T, text string) (claims map[string]json.RawMessage) {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[1])
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	return claims
}

// TestClaimsAreCopies checks that each reader of claims gets a copy.
func TestClaimsAreCopies(t *testing.T) {
	i := newIssuer(t, Options[any]{})
	token := mustCode(t, i, jwt.MapClaims{"sub": "anna", "list": []any{map[string]any{"a": 1}}})
	var wg sync.WaitGroup
	for range 4 { // the race detector would find a map that is shared
		wg.Go(func() {
			for range 2 {
				c, _ := ClaimsFromContext(contextWithToken(context.Background(), token))
				deep := c["list"].([]any)[0].(map[string]any)
				if deep["a"] != 1.0 || c["sub"] != "anna" {
					t.Errorf("%v", c)
				}
				deep["a"], c["sub"] = 2, "otto"
			}
		})
	}
	wg.Wait()
}

// TestDuplicateClaims checks that a token is refused that has one of the library's claims twice, of
// which another reader could take the other.
func TestDuplicateClaims(t *testing.T) {
	i := newIssuer(t, Options[any]{})
	good := string(mustSuccessor(t, i, mustCode(t, i, jwt.MapClaims{"sub": "anna", "a": 1})).appendPayload(nil))
	for name, c := range map[string]struct {
		claims string
		ok     bool
	}{
		"good":           {good, true},
		"spaces":         {strings.NewReplacer(",", "\n,\t", ":", " : ", "{", "{ ", "}", "\r}").Replace(good), true},
		"app's own":      {`{"a":2,` + good[1:], true},
		"escaped":        {strings.Replace(good, `"sub"`, `"s\u0075b"`, 1), true},
		"sub":            {`{"sub":"otto",` + good[1:], false},
		"sub escaped":    {`{"s\u0075b":"otto",` + good[1:], false},
		"sub later":      {good[:len(good)-1] + `,"sub":"otto"}`, false},
		"exp":            {`{"exp":32503680000,` + good[1:], false},
		"gen":            {`{"gen":7,` + good[1:], false},
		"jti, the same":  {good[:len(good)-1] + good[strings.Index(good, `,"jti"`):strings.Index(good, `,"iat"`)] + "}", false},
		"iss":            {`{"iss":"a","iss":"b",` + good[1:], false},
		"in a value":     {`{"b":{"sub":"otto","sub":"x"},` + good[1:], true},
		"deep and empty": {`{"b":[[[{}]],{"c":[]},"]}{[\"," ],"d":{},"e":[],` + good[1:], true},
	} {
		got, err := i.verify(t.Context(), signedText(t, c.claims))
		if (err == nil) != c.ok || err != nil && !errors.Is(err, errInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (got.UserID != "anna" || got.claims()["sub"] != "anna") {
			t.Errorf("%s: of %s", name, got.UserID)
		}
	}
}

// signedText signs claims as they stand, with testSecret.
func signedText(t *testing.T, claims string) string {
	t.Helper()
	text := base64.RawURLEncoding.EncodeToString([]byte(ownHeader)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	signature, err := jwt.SigningMethodHS256.Sign(text, testSecret)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// TestExactNumbers checks which numbers become a float64 and which stay text, and that none
// changes.
func TestExactNumbers(t *testing.T) {
	for number, isFloat := range map[string]bool{
		"0": true, "-0": true, "0.0e5": true, "1": true, "-1": true, "1.0": true, "1e2": true, "100E-2": true, "0.1": true, "1e+2": true, "123.456": true,
		"9007199254740991": true, "9007199254740992": true, "9007199254740993": false, "9007199254740994": true, "-9007199254740993": false,
		"9007199254740992.5": false, "0.1000000000000000055511151231257827": false, "1e21": true, "1e23": true, "123456789012345678901234567890": false,
		"18446744073709551615": false, "18446744073709551616": false, "1.7976931348623157e308": true, "1e308": true, "1e309": false, "-1e400": false,
		"5e-324": true, "1e-400": false, "0e999999999999999999999": false, "1e-9999999999999999999": false, "1.50000": true, "0.00000015": true,
	} {
		got := exactNumbers(json.Number(number))
		if _, is := got.(float64); is != isFloat {
			t.Errorf("%s is %v (%T)", number, got, got)
		}
		again, err := json.Marshal(got)
		if err != nil || !equalNumbers(number, string(again)) {
			t.Errorf("%s is written as %s, %v", number, again, err)
		}
	}
}

// equalNumbers compares numbers by other means than the code under test.
func equalNumbers(a, b string) bool {
	if a == b {
		return true
	}
	x, okX := new(big.Rat).SetString(a)
	y, okY := new(big.Rat).SetString(b)
	return okX && okY && x.Cmp(y) == 0
}

// equalJSON compares two decoded values, numbers digit for digit.
func equalJSON(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		n, ok := b.(json.Number)
		return ok && equalNumbers(string(a), string(n))
	case map[string]any:
		other, ok := b.(map[string]any)
		if !ok || len(a) != len(other) {
			return false
		}
		for name, item := range a {
			if another, there := other[name]; !there || !equalJSON(item, another) {
				return false
			}
		}
		return true
	case []any:
		other, ok := b.([]any)
		if !ok || len(a) != len(other) {
			return false
		}
		for n := range a {
			if !equalJSON(a[n], other[n]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a, b)
}

// exactly decodes JSON without rounding.
func exactly(t *testing.T, text []byte) (v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// FuzzAppClaims checks that claims of an app, however they are written, are the same two tokens
// later: byte for byte where the library signs, and in meaning where a hook does. It also checks
// that they are what encoding/json decodes.
func FuzzAppClaims(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"account":9007199254740993}`, `{"a":1e400,"b":-0.0,"c":[1E+2,0.1000000000000000055],"d":{"e":18446744073709551615}}`,
		`{ "a" : "\u003c\ud83d\ude00\\\"" , "\u0061" : null }`, `{"":[[],{},""],"a":{"sub":1,"gen":2}}`, `{"nbf":1,"a":"]}{[,"}`, "{\"\xff\":\"\xfe\"}", `{"a":1,"a":2.50}`,
		`{"t":true,"f":false,"n":null,"s":"x","u":"ü","e":"\n","o":{"a":[1,-2,0.5]},"l":[],"i":999999999999999,"j":9999999999999999,"m":-0,"k":-5,"a":{"x":1},"a":{"y":2}}`,
	} {
		f.Add(seed)
	}
	c, err := Options[any]{Secret: testSecret}.config()
	if err != nil {
		f.Fatal(err)
	}
	hooked, err := Options[any]{Secret: testSecret, Refresh: func(_ context.Context, c jwt.MapClaims) (string, error) {
		return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(testSecret)
	}}.config()
	if err != nil {
		f.Fatal(err)
	}
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, app string) {
		var members map[string]json.RawMessage
		if json.Unmarshal([]byte(app), &members) != nil || members == nil || len(app) > 4000 {
			return
		}
		trimmed := strings.TrimSpace(app)
		now := float64(time.Now().Unix())
		own := fmt.Sprintf(`"sub":"anna","sid":%q,"jti":%q,"iat":%f,"exp":%f,"auth_time":%f,"dur":3600,"gen":1,"token_use":"session"`, newID(), newID(), now, now+3600, now)
		text := "{" + own + "}"
		if len(members) > 0 {
			text = "{" + own + "," + trimmed[1:]
		}
		token, err := c.tokens.verify(ctx, signedText(t, text))
		if err != nil {
			return // one of the library's own, twice, or not valid yet
		}
		if all := exactNumbers(exactly(t, token.appendPayload(nil))); !reflect.DeepEqual(map[string]any(token.claims()), all) {
			t.Errorf("the claims of %s are %v and not %v", text, token.claims(), all)
		}
		for name, i := range map[string]*issuer{"library": c.tokens, "hook": hooked.tokens} {
			next, err := i.successor(ctx, token)
			if err == nil {
				next, err = i.successor(ctx, next)
			}
			if err != nil {
				if name == "hook" { // other bytes may make it too long, and numbers out of range are golang-jwt's to refuse
					continue
				}
				t.Fatalf("%s: %v", name, err)
			}
			got := payloadOf(t, next.Text)
			if len(got) != len(payloadOf(t, signedText(t, text))) {
				t.Fatalf("%s: of %s came %s", name, text, next.appendPayload(nil))
			}
			for claim, value := range members {
				if name == "library" && !bytes.Equal(got[claim], value) {
					t.Errorf("claim %q was %s, and is %s", claim, value, got[claim])
				}
				if !equalJSON(exactly(t, got[claim]), exactly(t, value)) {
					t.Errorf("by the %s claim %q was %s, and is %s", name, claim, value, got[claim])
				}
			}
		}
	})
}
