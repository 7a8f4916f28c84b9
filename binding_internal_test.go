package socketauth

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Thumbprints of keys that nobody has.
var (
	testThumbprint  = base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	otherThumbprint = base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("o", 32)))
)

// boundCode mints a code that is bound to the key of a thumbprint.
func boundCode(t *testing.T, i *issuer, thumbprint string) *token {
	t.Helper()
	code, err := i.code(t.Context(), jwt.MapClaims{"sub": "anna", "amr": []string{"pwd"}}, time.Now(), thumbprint)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// TestBoundTokens guards that the key which a code is bound to is named by every token of its
// session, on each way that a token is minted and verified, and that the store is told.
func TestBoundTokens(t *testing.T) {
	keys := testKeys(t)
	for name, o := range map[string]Options[any]{
		"own signature": {Secret: testSecret},
		"golang-jwt":    {Keys: keys[len(keys)-1:]},
		"hooks":         {Secret: testSecret, Authorization: signingHook(nil), Refresh: signingHook(nil)},
	} {
		o.Issuer = "me"
		i := newIssuer(t, o)
		for _, thumbprint := range []string{testThumbprint, ""} {
			code := boundCode(t, i, thumbprint)
			for gen := range 3 {
				verified, err := i.verify(t.Context(), code.Text)
				if err != nil {
					t.Fatalf("%s, generation %d: %v", name, gen, err)
				}
				var cnf any
				if thumbprint != "" {
					cnf = map[string]any{"jkt": thumbprint}
				}
				if c := verified.claims(); verified.Thumbprint != thumbprint || verified.ref().Bound != (thumbprint != "") ||
					!reflect.DeepEqual(c["cnf"], cnf) || !reflect.DeepEqual(c["amr"], []any{"pwd"}) {
					t.Errorf("%s, generation %d of %q: %+v, %v", name, gen, thumbprint, verified, c)
				}
				proved := *verified
				if gen == 1 { // a step-up changes how the user has proved who they are, and not the key
					stepUp, err := i.stepUp(t.Context(), code.SessionID, jwt.MapClaims{"sub": "anna", "amr": []string{"pwd"}}, time.Now())
					if err != nil || stepUp.Thumbprint != "" {
						t.Fatalf("%+v, %v", stepUp, err)
					}
					proved.prove(stepUp)
				}
				code = mustSuccessor(t, i, &proved)
			}
		}
	}
}

// signingHook returns an Authorization or Refresh that changes the claims and signs them.
func signingHook(change func(jwt.MapClaims)) mintHook {
	return func(_ context.Context, c jwt.MapClaims) (string, error) {
		if change != nil {
			change(c)
		}
		return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(testSecret)
	}
}

// TestHooksKeepTheKey guards that an app which signs cannot bind a token to another key, nor to
// none.
func TestHooksKeepTheKey(t *testing.T) {
	for name, change := range map[string]func(jwt.MapClaims){
		"another key":    func(c jwt.MapClaims) { c["cnf"] = map[string]string{"jkt": otherThumbprint} },
		"no key":         func(c jwt.MapClaims) { delete(c, "cnf") },
		"null":           func(c jwt.MapClaims) { c["cnf"] = nil },
		"another member": func(c jwt.MapClaims) { c["cnf"] = map[string]string{"jkt": testThumbprint, "kid": "x"} },
	} {
		i := newIssuer(t, Options[any]{Authorization: signingHook(change), Refresh: signingHook(change)})
		if _, err := i.code(t.Context(), jwt.MapClaims{"sub": "anna"}, time.Now(), testThumbprint); err == nil {
			t.Errorf("Authorization returned a code with %s", name)
		}
		plain := newIssuer(t, Options[any]{})
		if _, err := i.successor(t.Context(), boundCode(t, plain, testThumbprint)); err == nil {
			t.Errorf("Refresh returned a token with %s", name)
		}
		if name == "another key" {
			if _, err := i.successor(t.Context(), boundCode(t, plain, "")); err == nil {
				t.Error("Refresh bound a token that was not")
			}
		}
	}
}

// TestUpdateClaimsKeepsTheKey guards that UpdateClaims sees the key and cannot change it.
func TestUpdateClaimsKeepsTheKey(t *testing.T) {
	i := newIssuer(t, Options[any]{})
	for name, change := range map[string]func(jwt.MapClaims){
		"another key": func(c jwt.MapClaims) { c["cnf"] = map[string]any{"jkt": otherThumbprint} },
		"null":        func(c jwt.MapClaims) { c["cnf"] = nil },
	} {
		for _, thumbprint := range []string{testThumbprint, ""} {
			bound := boundCode(t, i, thumbprint)
			old := bound.claims()
			updated := maps.Clone(old)
			change(updated)
			if name == "null" && thumbprint == "" {
				continue // as it was
			}
			if _, err := bound.withClaims(old, updated); !errors.Is(err, errReserved) {
				t.Errorf("%s instead of %q: %v", name, thumbprint, err)
			}
		}
	}
	bound := boundCode(t, i, testThumbprint)
	updated := bound.claims()
	updated["role"] = "admin"
	if app, err := bound.withClaims(bound.claims(), updated); err != nil || strings.Contains(string(app), "cnf") {
		t.Errorf("%s, %v", app, err)
	}
}

// TestMalformedThumbprints guards that a token whose claim "cnf" is not exactly the thumbprint of a
// key is invalid: it would be taken for one that is bound to nothing.
func TestMalformedThumbprints(t *testing.T) {
	i := newIssuer(t, Options[any]{})
	good := mustSuccessor(t, i, boundCode(t, i, testThumbprint))
	with := func(cnf string) string {
		payload := string(good.appendPayload(nil))
		changed := strings.Replace(payload, `"cnf":{"jkt":"`+testThumbprint+`"}`, cnf, 1)
		if changed == payload && !strings.Contains(cnf, testThumbprint) {
			t.Fatalf("%s has no cnf", payload)
		}
		return signedText(t, changed)
	}
	if _, err := i.verify(t.Context(), with(`"cnf":{"jkt":"`+testThumbprint+`"}`)); err != nil {
		t.Fatal(err)
	}
	if _, err := i.verify(t.Context(), with(`"cnf" : { "j\u006bt" : "`+testThumbprint+`" }`)); err != nil {
		t.Error(err)
	}
	for _, cnf := range []string{
		`"cnf":null`, `"cnf":""`, `"cnf":"` + testThumbprint + `"`, `"cnf":[]`, `"cnf":["` + testThumbprint + `"]`, `"cnf":{}`, `"cnf":0`, `"cnf":true`,
		`"cnf":{"jkt":""}`, `"cnf":{"jkt":null}`, `"cnf":{"jkt":5}`, `"cnf":{"jkt":["` + testThumbprint + `"]}`,
		`"cnf":{"jkt":"` + testThumbprint[1:] + `"}`, `"cnf":{"jkt":"` + testThumbprint + `="}`, `"cnf":{"jkt":"` + testThumbprint + `A"}`,
		`"cnf":{"jkt":"` + respell(testThumbprint) + `"}`, `"cnf":{"jkt":"` + testThumbprint[:42] + `\n"}`, `"cnf":{"jkt":"` + testThumbprint[:42] + `+"}`,
		`"cnf":{"JKT":"` + testThumbprint + `"}`, `"cnf":{"x5t#S256":"` + testThumbprint + `"}`,
		`"cnf":{"jkt":"` + testThumbprint + `","kid":"x"}`, `"cnf":{"jkt":"` + testThumbprint + `","jkt":"` + testThumbprint + `"}`,
		`"cnf":{"jkt":"` + testThumbprint + `"},"cnf":{"jkt":"` + testThumbprint + `"}`,
	} {
		if got, err := i.verify(t.Context(), with(cnf)); !errors.Is(err, errInvalid) {
			t.Errorf("%s: %+v, %v", cnf, got, err)
		}
	}
}

// TestTradeBinds guards that the first token of a session is bound to the key whose proof came with
// a code that names none, that the store is told which key that is, and that no other presentation
// of the code is given that token.
func TestTradeBinds(t *testing.T) {
	a, err := New(Options[any]{Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	unbound := boundCode(t, a.tokens, "")
	with := func(thumbprint string) *token { // what a socket or a request presents
		presented := *unbound
		presented.Thumbprint, presented.Binds = thumbprint, thumbprint != ""
		return &presented
	}
	for _, thumbprint := range []string{"", testThumbprint} {
		code := with(thumbprint)
		next, refused := a.successor(t.Context(), code, 0, nil)
		if refused != nil || next.Thumbprint != thumbprint || next.Binds || next.ref().Bind != "" || next.ref().Bound != (thumbprint != "") {
			t.Errorf("%+v of %+v, %v", next, code, refused)
		}
		if ref := code.ref(); ref.Bound || ref.Bind != thumbprint {
			t.Errorf("%+v of %+v", ref, code)
		}
		if verified, err := a.tokens.verify(t.Context(), next.Text); err != nil || verified.Thumbprint != thumbprint || verified.Binds {
			t.Errorf("%+v, %v", verified, err)
		}
		for _, other := range []string{"", testThumbprint, otherThumbprint} {
			r := renewal{token: with(other), offered: func() *token { return next }}
			if again := a.reuse(&r, 0); (again == next) != (other == thumbprint) {
				t.Errorf("with the key %q: %+v, and %+v was offered before", other, again, next)
			}
		}
	}
}
