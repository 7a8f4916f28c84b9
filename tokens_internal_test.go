package socketauth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

var testSecret = []byte("0123456789abcdef0123456789abcdef")

// newIssuer returns the issuer of an Auth with these options.
func newIssuer(t *testing.T, o Options[any]) *issuer {
	t.Helper()
	if o.Secret == nil && o.Keys == nil && o.KeyFunc == nil {
		o.Secret = testSecret
	}
	c, err := o.config()
	if err != nil {
		t.Fatal(err)
	}
	return c.tokens
}

// mustCode returns a new code.
func mustCode(t *testing.T, i *issuer, claims jwt.MapClaims) *token {
	t.Helper()
	c, err := i.code(t.Context(), claims, time.Now(), "")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// mustSuccessor returns a successor of a token.
func mustSuccessor(t *testing.T, i *issuer, of *token) *token {
	t.Helper()
	next, err := i.successor(t.Context(), of)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// signed signs claims as they are, for tokens that the library would not mint.
func signed(t *testing.T, method jwt.SigningMethod, key any, claims jwt.MapClaims, header ...map[string]any) string {
	t.Helper()
	j := jwt.NewWithClaims(method, claims)
	for _, h := range header {
		maps.Copy(j.Header, h)
	}
	text, err := j.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// respell changes the last character of a token to one of which a lenient base64 decoder makes the
// same bytes.
func respell(text string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, text[len(text)-1])
	return text[:len(text)-1] + string(alphabet[last^1])
}

// TestTokenClaims checks the claims of codes and of session tokens.
func TestTokenClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t, Options[any]{Issuer: "me", Audience: "you"})
		start := time.Now()
		login := start.Add(-123456 * time.Microsecond)
		code, err := i.code(t.Context(), jwt.MapClaims{"sub": "anna", "roles": []string{"admin"}}, login, "")
		if err != nil {
			t.Fatal(err)
		}
		c, err := i.verify(t.Context(), code.Text)
		if err != nil {
			t.Fatal(err)
		}
		if c.Use != useCode || c.Generation != 0 || c.UserID != "anna" || !c.AuthTime.Equal(login) ||
			!c.ExpiresAt.Equal(start.Add(30*time.Second)) || c.Duration != 30 || !c.IssuedAt.Equal(start) {
			t.Errorf("code is %+v", c)
		}
		time.Sleep(1500 * time.Millisecond)
		s, err := i.verify(t.Context(), mustSuccessor(t, i, c).Text)
		if err != nil {
			t.Fatal(err)
		}
		if s.Use != useSession || s.Generation != 1 || s.UserID != "anna" || s.SessionID != c.SessionID || s.ID == c.ID ||
			!s.AuthTime.Equal(login) || !s.ExpiresAt.Equal(start.Add(24*time.Hour+1500*time.Millisecond)) || s.Duration != 86400 {
			t.Errorf("session token is %+v", s)
		}
		if s.claims()["iss"] != "me" || !reflect.DeepEqual(s.claims()["roles"], []any{"admin"}) {
			t.Errorf("claims are %v", s.claims())
		}
	})
}

// TestTokenLifetimes checks that codes, tokens and sessions end after their lifetimes, and no token
// after its session.
func TestTokenLifetimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t, Options[any]{CodeLifetime: time.Second, TokenLifetime: 10 * time.Second, SessionLifetime: 15 * time.Second})
		code := mustCode(t, i, jwt.MapClaims{"sub": "anna"})
		first := mustSuccessor(t, i, code)

		time.Sleep(999 * time.Millisecond)
		if _, err := i.verify(t.Context(), code.Text); err != nil {
			t.Errorf("code refused within its life: %v", err)
		}
		time.Sleep(2 * time.Millisecond)
		if _, err := i.verify(t.Context(), code.Text); !errors.Is(err, errExpired) {
			t.Errorf("code after its life: %v", err)
		}
		time.Sleep(8 * time.Second)
		last := mustSuccessor(t, i, first)
		if want := code.AuthTime.Add(15 * time.Second); !last.ExpiresAt.Equal(want) {
			t.Errorf("token lives until %v, past the session's end %v", last.ExpiresAt, want)
		}
		time.Sleep(7 * time.Second)
		if _, err := i.successor(t.Context(), last); !errors.Is(err, errExpired) {
			t.Errorf("successor after the session's end: %v", err)
		}
	})
}

// TestVerifyRefuses checks that tokens are refused of another algorithm, key, use, issuer, audience
// or spelling, or with claims missing or wrong.
func TestVerifyRefuses(t *testing.T) {
	i := newIssuer(t, Options[any]{Issuer: "me", Audience: "you"})
	good := mustSuccessor(t, i, mustCode(t, i, jwt.MapClaims{"sub": "anna"}))
	with := func(name string, value any) jwt.MapClaims {
		c := good.claims()
		if c[name] = value; value == nil {
			delete(c, name)
		}
		return c
	}
	sign := func(c jwt.MapClaims, h ...map[string]any) string {
		return signed(t, jwt.SigningMethodHS256, testSecret, c, h...)
	}
	parts := strings.Split(good.Text, ".")
	for name, text := range map[string]string{
		"nothing":                "",
		"no dots":                "abc",
		"truncated":              good.Text[:len(good.Text)-1],
		"longer":                 good.Text + "A",
		"another last character": respell(good.Text),
		"a line break":           good.Text[:40] + "\n" + good.Text[40:],
		"a carriage return":      good.Text + "\r",
		"padding":                good.Text + "=",
		"a space":                " " + good.Text,
		"no signature":           parts[0] + "." + parts[1] + ".",
		"another payload":        parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"root"}`)) + "." + parts[2],
		"alg none":               signed(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good.claims()),
		"HS512 for HS256":        signed(t, jwt.SigningMethodHS512, testSecret, good.claims()),
		"another key":            signed(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), good.claims()),
		"a key of its own": signed(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), good.claims(), map[string]any{
			"jwk": map[string]any{"kty": "oct", "k": base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("x", 32)))}, "jku": "https://evil.example", "x5u": "https://evil.example",
		}),
		"critical header":      sign(good.claims(), map[string]any{"crit": []string{"exp"}}),
		"megabytes":            strings.Repeat("a", 2<<20),
		"too long":             good.Text + strings.Repeat("A", maxTokenLength),
		"no exp":               sign(with("exp", nil)),
		"exp as text":          sign(with("exp", "2999-01-01")),
		"exp beyond sense":     sign(with("exp", 1e300)),
		"no sub":               sign(with("sub", nil)),
		"empty sub":            sign(with("sub", "")),
		"sub a number":         sign(with("sub", 5)),
		"no sid":               sign(with("sid", nil)),
		"short sid":            sign(with("sid", "abc")),
		"sid respelt":          sign(with("sid", good.SessionID[:21]+string(good.SessionID[21]+1))),
		"no jti":               sign(with("jti", nil)),
		"no gen":               sign(with("gen", nil)),
		"negative gen":         sign(with("gen", -1)),
		"half a gen":           sign(with("gen", 1.5)),
		"gen past 32 bits":     sign(with("gen", float64(1<<33))),
		"no iat":               sign(with("iat", nil)),
		"no auth_time":         sign(with("auth_time", nil)),
		"no dur":               sign(with("dur", nil)),
		"no token_use":         sign(with("token_use", nil)),
		"unknown token_use":    sign(with("token_use", "refresh")),
		"code of generation 1": sign(with("token_use", useCode)),
		"step-up generation 1": sign(with("token_use", useStepUp)),
		"began after the last": sign(with("began", good.claims()["auth_time"].(float64)+1)),
		"began as text":        sign(with("began", "1")),
		"negative mark":        sign(with("mark", -1)),
		"half a mark":          sign(with("mark", 1.5)),
		"mark as text":         sign(with("mark", "1")),
		"mark past 63 bits":    sign(with("mark", 1e19)),
		"session generation 0": sign(with("gen", 0)),
		"no iss":               sign(with("iss", nil)),
		"another iss":          sign(with("iss", "them")),
		"no aud":               sign(with("aud", nil)),
		"another aud":          sign(with("aud", "them")),
		"not yet":              sign(with("nbf", float64(time.Now().Add(time.Hour).Unix()))),
		"expired and another":  sign(func() jwt.MapClaims { c := with("iss", "them"); c["exp"] = 1.0; return c }()),
		"claims an array":      parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`[]`)) + "." + parts[2],
		"claims null":          parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`null`)) + "." + parts[2],
	} {
		if tok, err := i.verify(t.Context(), text); !errors.Is(err, errInvalid) {
			t.Errorf("%s: %v, %v", name, tok, err)
		}
	}
	if _, err := i.verify(t.Context(), sign(with("exp", 1.0))); !errors.Is(err, errExpired) {
		t.Errorf("expired: %v", err)
	}
	if _, err := i.verify(t.Context(), sign(good.claims())); err != nil {
		t.Errorf("the good claims, signed by the test: %v", err) // else the table above proves nothing
	}
}

// TestTokenOfTheFuture checks that a token issued in the future, as seen after the clock was set
// back, is replaced on use.
func TestTokenOfTheFuture(t *testing.T) {
	for _, interval := range []time.Duration{0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			i := newIssuer(t, Options[any]{RefreshInterval: interval})
			token := mustSuccessor(t, i, mustCode(t, i, jwt.MapClaims{"sub": "anna"}))
			if i.isFresh(token) != (interval > 0) {
				t.Errorf("interval %v: a token of this moment", interval)
			}
			for _, ahead := range []time.Duration{time.Microsecond, time.Second, 30 * 24 * time.Hour} {
				future := *token
				future.IssuedAt = token.IssuedAt.Add(ahead)
				if i.isFresh(&future) {
					t.Errorf("interval %v: a token of %v ahead is kept as it is", interval, ahead)
				}
			}
		})
	}
}

// TestMintingHookClaims checks that Authorization and Refresh may add claims and shorten the life,
// but not change the library's claims.
func TestMintingHookClaims(t *testing.T) {
	minting := func(change func(jwt.MapClaims)) func(context.Context, jwt.MapClaims) (string, error) {
		return func(_ context.Context, c jwt.MapClaims) (string, error) {
			change(c)
			return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(testSecret)
		}
	}
	for name, c := range map[string]struct {
		change func(jwt.MapClaims)
		ok     bool
	}{
		"nothing":       {func(jwt.MapClaims) {}, true},
		"the app's own": {func(c jwt.MapClaims) { c["role"] = "admin" }, true},
		"exp earlier":   {func(c jwt.MapClaims) { c["exp"] = c["exp"].(float64) - 5 }, true},
		"exp later":     {func(c jwt.MapClaims) { c["exp"] = c["exp"].(float64) + 5 }, false},
		"exp over":      {func(c jwt.MapClaims) { c["exp"] = 1.0 }, false},
		"no exp":        {func(c jwt.MapClaims) { delete(c, "exp") }, false},
		"sub":           {func(c jwt.MapClaims) { c["sub"] = "root" }, false},
		"sid":           {func(c jwt.MapClaims) { c["sid"] = newID() }, false},
		"jti":           {func(c jwt.MapClaims) { c["jti"] = newID() }, false},
		"gen":           {func(c jwt.MapClaims) { c["gen"] = c["gen"].(float64) + 1 }, false},
		"iat":           {func(c jwt.MapClaims) { c["iat"] = c["iat"].(float64) - 1 }, false},
		"auth_time":     {func(c jwt.MapClaims) { c["auth_time"] = c["auth_time"].(float64) + 1 }, false},
		"dur":           {func(c jwt.MapClaims) { c["dur"] = 5.0 }, false},
		"token_use":     {func(c jwt.MapClaims) { c["token_use"] = "other" }, false},
		"began":         {func(c jwt.MapClaims) { c["began"] = 1.0 }, false},
		"mark":          {func(c jwt.MapClaims) { c["mark"] = 5.0 }, false},
		"acr":           {func(c jwt.MapClaims) { c["acr"] = "3" }, false},
		"no amr":        {func(c jwt.MapClaims) { delete(c, "amr") }, false},
		"amr, respelt":  {func(c jwt.MapClaims) { c["amr"] = []string{"pwd"} }, true},
		"cnf":           {func(c jwt.MapClaims) { c["cnf"] = map[string]string{"jkt": "x"} }, false},
	} {
		i := newIssuer(t, Options[any]{Authorization: minting(c.change), Refresh: minting(c.change)})
		given := jwt.MapClaims{"sub": "anna", "amr": []any{"pwd"}}
		code, err := i.code(t.Context(), given, time.Now(), "")
		if (err == nil) != c.ok {
			t.Errorf("Authorization changed %s: %v", name, err)
		}
		if err != nil {
			code = mustCode(t, newIssuer(t, Options[any]{}), given)
		}
		if _, err := i.successor(t.Context(), code); (err == nil) != c.ok {
			t.Errorf("Refresh changed %s: %v", name, err)
		}
	}
	failing := errors.New("signer down")
	i := newIssuer(t, Options[any]{Authorization: func(context.Context, jwt.MapClaims) (string, error) { return "", failing }})
	if _, err := i.code(t.Context(), jwt.MapClaims{"sub": "anna"}, time.Now(), ""); !errors.Is(err, failing) {
		t.Errorf("failing hook: %v", err)
	}
	i = newIssuer(t, Options[any]{Authorization: func(context.Context, jwt.MapClaims) (string, error) { return "abc", nil }})
	if _, err := i.code(t.Context(), jwt.MapClaims{"sub": "anna"}, time.Now(), ""); err == nil {
		t.Error("a token that is none was taken from the hook")
	}
}

// TestStepUpCode checks what a step-up code says, and that no other code may be taken for one.
func TestStepUpCode(t *testing.T) {
	i, sid := newIssuer(t, Options[any]{}), newID()
	code, err := i.stepUp(t.Context(), sid, jwt.MapClaims{"sub": "anna", "role": "admin", "acr": "2", "amr": []string{"pwd", "otp"}}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if code, err = i.verify(t.Context(), code.Text); err != nil || code.Use != useStepUp || code.SessionID != sid || code.UserID != "anna" || code.Generation != 0 {
		t.Fatalf("%+v, %v", code, err)
	}
	c := code.claims()
	if _, given := c["role"]; given || c["acr"] != "2" || !reflect.DeepEqual(c["amr"], []any{"pwd", "otp"}) {
		t.Errorf("%v", c)
	}
	if _, err := i.stepUp(t.Context(), sid, jwt.MapClaims{"sub": ""}, time.Now()); err == nil {
		t.Error("nobody proved who they are")
	}
}

// TestStepUpKeepsBeginning: for the store, a session whose user has proved again who they are is as
// old as before. Guards: a session that is newer than a revocation survives it.
func TestStepUpKeepsBeginning(t *testing.T) {
	i, began := newIssuer(t, Options[any]{}), time.Now().Add(-time.Hour).Truncate(time.Microsecond)
	first, err := i.code(t.Context(), jwt.MapClaims{"sub": "anna"}, began, "")
	if err != nil {
		t.Fatal(err)
	}
	code, err := i.stepUp(t.Context(), first.SessionID, jwt.MapClaims{"sub": "anna"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	proved := *first
	proved.prove(code)
	next, err := i.successor(t.Context(), &proved)
	if err != nil {
		t.Fatal(err)
	}
	if !next.AuthTime.Equal(code.AuthTime) || !next.ref().AuthTime.Equal(began) {
		t.Errorf("auth_time %v, want %v; for the store %v, want %v", next.AuthTime, code.AuthTime, next.ref().AuthTime, began)
	}
}

// TestReservedClaims checks that Claim may not return the library's own claims, nor what makes no
// good token.
func TestReservedClaims(t *testing.T) {
	i := newIssuer(t, Options[any]{})
	for _, name := range ownClaims {
		code, err := i.code(t.Context(), jwt.MapClaims{"sub": "anna", name: "x"}, time.Now(), "")
		if slices.Contains(proofClaims[:], name) {
			if err != nil || code.claims()[name] != "x" {
				t.Errorf("%s: %v", name, err)
			}
		} else if !errors.Is(err, errReserved) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, claims := range []jwt.MapClaims{nil, {}, {"sub": ""}, {"sub": 5}, {"name": "anna"}, {"sub": "anna\xff"}, {"sub": "anna", "nbf": "soon"}} {
		if _, err := i.code(t.Context(), claims, time.Now(), ""); err == nil {
			t.Errorf("%v: accepted", claims)
		}
	}
	if _, err := i.code(t.Context(), jwt.MapClaims{"sub": "anna", "f": func() {}}, time.Now(), ""); err == nil {
		t.Error("a claim that JSON cannot hold was accepted")
	}
	if _, err := i.code(t.Context(), jwt.MapClaims{"sub": "anna", "big": strings.Repeat("x", maxTokenLength)}, time.Now(), ""); err == nil {
		t.Error("a token longer than any that is accepted was minted")
	}
}

// TestLongestCode checks that a code of the greatest length that is accepted authenticates, and
// that its session goes on, though later tokens are longer.
func TestLongestCode(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := newIssuer(t, Options[any]{})
	rotated := newIssuer(t, Options[any]{Keys: []Key{
		{ID: "2027", Method: jwt.SigningMethodRS256, Sign: rsaKey, Verify: &rsaKey.PublicKey},
		{ID: "2026", Method: jwt.SigningMethodHS256, Sign: testSecret, Verify: testSecret},
	}})
	var longest *token
	for n := range maxTokenLength {
		claims := jwt.MapClaims{"sub": "anna", "big": strings.Repeat("x", maxTokenLength*3/4-n)}
		if longest, err = i.code(t.Context(), claims, time.Now(), ""); err == nil {
			break
		}
	}
	last := *longest
	last.Use, last.Generation = useSession, math.MaxUint32-1
	for name, i := range map[string]*issuer{"the same key": i, "another key": rotated} {
		for _, of := range []*token{longest, &last} {
			if next, err := i.successor(t.Context(), of); err != nil {
				t.Errorf("%s, after generation %d: %v", name, of.Generation, err)
			} else if _, err := i.verify(t.Context(), next.Text); err != nil {
				t.Errorf("%s, after generation %d: %v", name, of.Generation, err)
			}
		}
	}
}

// FuzzVerify checks that no text but the token itself is verified.
func FuzzVerify(f *testing.F) {
	// Each process that fuzzes has a secret of its own: they share a corpus with each other's tokens.
	c, err := Options[any]{Secret: []byte(newID() + newID())}.config()
	if err != nil {
		f.Fatal(err)
	}
	good, err := c.tokens.code(context.Background(), jwt.MapClaims{"sub": "anna"}, time.Now(), "")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good.Text)
	f.Add("a.b.c")
	f.Add(respell(good.Text))
	f.Fuzz(func(t *testing.T, text string) {
		if text == good.Text {
			return
		}
		if _, err := c.tokens.verify(context.Background(), text); err == nil {
			t.Errorf("%q passes", text)
		}
	})
}

// FuzzClaims checks that claims signed with the right key are refused unless they are well formed.
func FuzzClaims(f *testing.F) {
	const id = "AAAAAAAAAAAAAAAAAAAAAA"
	const rest = `,"sid":"` + id + `","jti":"` + id + `","iat":1,"exp":32503680000,"auth_time":1,"dur":30`
	for _, seed := range []string{
		`{"sub":"anna","gen":0,"token_use":"code"` + rest + `}`, `{"sub":"anna","gen":3,"token_use":"session"` + rest + `}`, `{"sub":"anna","gen":4294967295,"token_use":"session"` + rest + `}`,
		`{"sub":"anna","gen":0.5,"token_use":"session"` + rest + `}`, `{"sub":"anna","gen":-1,"token_use":"session"` + rest + `}`, `{"sub":"anna","gen":0,"token_use":"session"` + rest + `}`,
		`{"sub":5,"gen":"1"}`, `{"sub":"anna","gen":3,"token_use":"session","mark":1700000000000000,"began":0.5,"acr":"2","amr":["pwd"],"cnf":{"jkt":"a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s"}` + rest + `}`,
		`{"sub":"anna","gen":0,"token_use":"step_up","acr":null` + rest + `}`, `{"sub":"anna","gen":1,"token_use":"session","began":2,"mark":0.5` + rest + `}`, `{"sub":"anna","exp":1e300}`, `[]`, `null`, ``, `{"sub":"anna","nbf":"x","aud":[1],"gen":1,"token_use":"session"` + rest + `}`,
	} {
		f.Add(seed)
	}
	c, err := Options[any]{Secret: testSecret, SessionLifetime: 200 * 365 * 24 * time.Hour}.config()
	if err != nil {
		f.Fatal(err)
	}
	ctx := context.Background()
	f.Fuzz(func(t *testing.T, claims string) {
		token, err := c.tokens.verify(ctx, signedText(t, claims))
		if err != nil {
			return
		}
		if token.UserID == "" || !isID(token.SessionID) || !isID(token.ID) || (token.Generation == 0) == (token.Use == useSession) || !token.ExpiresAt.After(time.Now()) {
			t.Errorf("%s is taken for %+v", claims, token)
		}
		if token.Mark < 0 || token.Began.After(token.AuthTime) {
			t.Errorf("%s is taken for %+v", claims, token)
		}
		if token.Use == useStepUp {
			return
		}
		next, err := c.tokens.successor(ctx, token)
		if err != nil {
			return
		}
		again, err := c.tokens.verify(ctx, next.Text)
		if err != nil || again.UserID != token.UserID || again.SessionID != token.SessionID || again.Generation != token.Generation+1 || again.Use != useSession ||
			again.Mark != token.Mark || !again.Began.Equal(token.Began) || !again.AuthTime.Equal(token.AuthTime) || !bytes.Equal(again.Proof, token.Proof) || again.Thumbprint != token.Thumbprint {
			t.Errorf("of %s came %+v, %v", claims, again, err)
		}
	})
}
