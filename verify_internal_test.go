package socketauth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// ownHeader is the header of tokens that are signed with Options.Secret.
const ownHeader = `{"alg":"HS256","typ":"JWT"}`

// issuers returns issuers of one secret with different options.
func issuers(t testing.TB) map[string]*issuer {
	t.Helper()
	key := func(id string) Key {
		return Key{ID: id, Method: jwt.SigningMethodHS256, Sign: testSecret, Verify: testSecret}
	}
	all := make(map[string]*issuer)
	for name, o := range map[string]Options[any]{
		"plain":     {Secret: testSecret},
		"for you":   {Secret: testSecret, Issuer: "me", Audience: "you"},
		"by me":     {Secret: testSecret, Issuer: "me"},
		"not UTF-8": {Secret: testSecret, Issuer: "m\xff", Audience: "y\xff"},
		"named":     {Keys: []Key{key("new"), key("old")}},
		"hooked": {Secret: testSecret, Refresh: func(_ context.Context, c jwt.MapClaims) (string, error) {
			return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(testSecret)
		}},
	} {
		c, err := o.config()
		if err != nil {
			t.Fatal(err)
		}
		all[name] = c.tokens
	}
	return all
}

// compare checks that verifyOwn accepts nothing that golang-jwt refuses, and reads what it accepts
// alike. It returns the token of golang-jwt, and whether verifyOwn accepted it.
func compare(t *testing.T, i *issuer, text string) (theirs *token, own bool) {
	t.Helper()
	got := i.verifyOwn(text)
	theirs, expired, err := i.parse(t.Context(), text)
	switch {
	case got == nil:
	case err != nil || expired:
		t.Errorf("%q is refused by golang-jwt: %v, expired %v", text, err, expired)
	case !reflect.DeepEqual(got, theirs):
		t.Errorf("%q is read as %+v, by golang-jwt as %+v", text, got, theirs)
	}
	if err != nil || expired {
		return nil, got != nil
	}
	return theirs, got != nil
}

// TestVerifyOwn checks that tokens that the library mints are verified without golang-jwt, with the
// same result, and that nothing else passes on that way which golang-jwt refuses.
func TestVerifyOwn(t *testing.T) {
	for name, i := range issuers(t) {
		if name == "not UTF-8" {
			continue // tested by TestCodeIsValid
		}
		first := mustCode(t, i, jwt.MapClaims{"sub": "ännä \"\\", "roles": []string{"a", "<b>"}, "a\nb": nil})
		if verified, own := compare(t, i, first.Text); !own || !reflect.DeepEqual(verified, first) {
			t.Errorf("%s: its code %+v is verified as %+v, without golang-jwt: %v", name, first, verified, own)
		}
		next := mustSuccessor(t, i, first)
		if verified, own := compare(t, i, next.Text); !own {
			t.Errorf("%s: its token %+v is verified as %+v, and by golang-jwt", name, next, verified)
		}
		if next, err := i.verify(t.Context(), respell(next.Text)); err == nil {
			t.Errorf("%s: another text is verified as %+v", name, next)
		}
	}
}

// TestVerifyOwnRefuses checks that of tokens with the right header and signature those are not
// accepted that golang-jwt refuses, or has to judge.
func TestVerifyOwnRefuses(t *testing.T) {
	all := issuers(t)
	good := func(name string) string {
		return string(mustSuccessor(t, all[name], mustCode(t, all[name], jwt.MapClaims{"sub": "anna"})).appendPayload(nil))
	}
	now := time.Now().Unix()
	plain, forYou := good("plain"), good("for you")
	for _, c := range []struct {
		name, issuer, claims string
		want                 error
	}{
		{"good", "plain", plain, nil},
		{"good for you", "for you", forYou, nil},
		{"for you, where it does not matter", "plain", forYou, nil},
		{"escaped", "for you", strings.Replace(forYou, `"me"`, `"\u006de"`, 1), nil},
		{"two audiences", "for you", strings.Replace(forYou, `"you"`, `["them","you"]`, 1), nil},
		{"spaces", "plain", " " + strings.ReplaceAll(plain, ",", " ,\n") + " ", nil},
		{"a past nbf", "plain", fmt.Sprintf(`{"nbf":%d,`, now-60) + plain[1:], nil},
		{"a future nbf", "plain", fmt.Sprintf(`{"nbf":%d,`, now+60) + plain[1:], errInvalid},
		{"an nbf not a number", "plain", `{"nbf":"x",` + plain[1:], errInvalid},
		{"no issuer", "for you", plain, errInvalid},
		{"another issuer", "for you", strings.Replace(forYou, `"me"`, `"them"`, 1), errInvalid},
		{"an issuer not a string", "for you", strings.Replace(forYou, `"me"`, `5`, 1), errInvalid},
		{"another audience", "for you", strings.Replace(forYou, `"you"`, `"them"`, 1), errInvalid},
		{"no audience", "for you", strings.Replace(forYou, `"aud":"you",`, ``, 1), errInvalid},
		{"bytes replaced", "not UTF-8", strings.NewReplacer(`"me"`, `"m\ufffd"`, `"you"`, `"y\ufffd"`).Replace(forYou), errInvalid},
		{"expired", "plain", strings.Replace(plain, `"exp":`, `"exp":1,"x":`, 1), errExpired},
		{"a claim twice", "plain", plain[:len(plain)-1] + `,"gen":1}`, errInvalid},
		{"a claim missing", "plain", strings.Replace(plain, `"gen"`, `"x"`, 1), errInvalid},
		{"more after it", "plain", plain + `{}`, errInvalid},
		{"cut off", "plain", plain[:len(plain)-1], errInvalid},
		{"a missing comma", "plain", strings.Replace(plain, ",", " ", 1), errInvalid},
		{"two commas", "plain", strings.Replace(plain, ",", ",,", 1), errInvalid},
		{"not JSON", "plain", strings.Replace(plain, `{`, `{"x":[}],`, 1), errInvalid},
		{"a control character", "plain", strings.Replace(plain, "anna", "an\x00na", 1), errInvalid},
		{"deep", "plain", `{"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `,` + plain[1:], nil},
		{"long", "plain", `{"x":"` + strings.Repeat("x", 11_500) + `",` + plain[1:], nil},
		{"too long", "plain", `{"x":"` + strings.Repeat("x", 12_100) + `",` + plain[1:], errInvalid},
		{"an array", "plain", `[` + plain + `]`, errInvalid},
		{"null", "plain", `null`, errInvalid},
		{"nothing", "plain", ``, errInvalid},
		{"a number", "plain", `5`, errInvalid},
	} {
		text := signedText(t, c.claims)
		compare(t, all[c.issuer], text)
		if _, err := all[c.issuer].verify(t.Context(), text); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	head, _, _ := strings.Cut(signedText(t, plain), ".")
	encode := base64.RawURLEncoding.EncodeToString
	body := encode([]byte(plain + strings.Repeat(" ", 2-len(plain)%3))) // whose last character has bits to spare
	for name, segments := range map[string]string{
		"a line break":      head + "." + body[:40] + "\n" + body[40:],
		"a carriage return": head + "." + body + "\r",
		"respelt":           head + "." + respell(body),
	} {
		signature, err := jwt.SigningMethodHS256.Sign(segments, testSecret)
		if err != nil {
			t.Fatal(err)
		}
		text := segments + "." + encode(signature)
		if _, err := all["plain"].verify(t.Context(), text); !errors.Is(err, errInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestVerifyOwnExpires checks that a token is good until the very moment that it expires.
func TestVerifyOwnExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newIssuer(t, Options[any]{})
		text := mustCode(t, i, jwt.MapClaims{"sub": "anna"}).Text
		time.Sleep(30*time.Second - time.Nanosecond)
		if _, own := compare(t, i, text); !own {
			t.Error("refused before it expires")
		}
		time.Sleep(time.Nanosecond)
		if _, err := i.verify(t.Context(), text); i.verifyOwn(text) != nil || !errors.Is(err, errExpired) {
			t.Errorf("after it expired: %v", err)
		}
	})
}

// TestCodeIsValid checks that a code is valid when it is minted, or not minted.
func TestCodeIsValid(t *testing.T) {
	all := issuers(t)
	now := time.Now().Unix()
	for _, c := range []struct {
		issuer string
		claims jwt.MapClaims
		ok     bool
	}{
		{"plain", jwt.MapClaims{}, true},
		{"for you", jwt.MapClaims{}, true},
		{"not UTF-8", jwt.MapClaims{}, false},
		{"plain", jwt.MapClaims{"nbf": now - 60}, true},
		{"plain", jwt.MapClaims{"nbf": now + 60}, false},
		{"plain", jwt.MapClaims{"nbf": "soon"}, false},
	} {
		c.claims["sub"] = "anna"
		code, err := all[c.issuer].code(t.Context(), c.claims, time.Now(), "")
		if (err == nil) != c.ok {
			t.Errorf("%s, %v: %v", c.issuer, c.claims, err)
		}
		if err != nil {
			continue
		}
		if verified, err := all[c.issuer].verify(t.Context(), code.Text); err != nil || !reflect.DeepEqual(code, verified) {
			t.Errorf("%s, %v: %+v is verified as %+v, %v", c.issuer, c.claims, code, verified, err)
		}
	}
}

// TestKeyThatOnlyVerifies checks that nothing is signed with a key whose Sign is nil.
func TestKeyThatOnlyVerifies(t *testing.T) {
	i := newIssuer(t, Options[any]{Keys: []Key{
		{ID: "a", Method: jwt.SigningMethodHS256, Verify: testSecret},
		{ID: "b", Method: jwt.SigningMethodHS256, Sign: testSecret, Verify: testSecret},
	}})
	if code, err := i.code(t.Context(), jwt.MapClaims{"sub": "anna"}, time.Now(), ""); err == nil {
		t.Errorf("minted %+v", code)
	}
}

// TestTokenKeepsNoBuffer checks that a token does not change with the bytes that it was read from,
// which the next token is read into.
func TestTokenKeepsNoBuffer(t *testing.T) {
	i := issuers(t)["for you"]
	read, want := new(token), new(token)
	data := mustCode(t, i, jwt.MapClaims{"sub": "an\"na", "nbf": 1, "role": "admin"}).appendPayload(nil)
	if err := errors.Join(read.UnmarshalJSON(data), want.UnmarshalJSON(slices.Clone(data))); err != nil {
		t.Fatal(err)
	}
	for n := range data {
		data[n] = 'x'
	}
	if !reflect.DeepEqual(read, want) {
		t.Errorf("%+v was %+v", read, want)
	}
}

// FuzzVerifyOwn checks that with and without golang-jwt the same tokens are read alike, and that
// where the header and claims are plain golang-jwt is not needed.
func FuzzVerifyOwn(f *testing.F) {
	const id = "AAAAAAAAAAAAAAAAAAAAAA"
	const rest = `"sid":"` + id + `","jti":"` + id + `","iat":1,"exp":32503680000,"auth_time":1,"dur":30`
	const session = `{"sub":"anna","gen":3,"token_use":"session",` + rest
	for _, claims := range []string{
		session + `}`, `{"sub":"anna","gen":0,"token_use":"code",` + rest + `}`, session + `,"iss":"me","aud":"you"}`, session + `,"iss":"me","aud":["you"]}`,
		session + `,"nbf":1}`, session + `,"nbf":32503680000}`, session + `,"iss":"m\ufffd","aud":"y\ufffd"}`, session + "}\n", " " + session + " }", session + `}}`,
		session + `,"a":{"b":[1,2.50,"]"]},"\u0061":"\n","` + "\xff" + `":"` + "\xfe" + `"}`, `{"s\u0075b":"x",` + session[1:] + `}`, session + `,"a":[}]}`, `[]`, `null`, ``, `"x"`,
		`{"sub":"session","gen":3,"token_use":"session",` + rest + `,"exp":5}`, strings.Replace(session, "32503680000", "1", 1) + `}`,
	} {
		for _, header := range []string{ownHeader, `{"alg":"HS256"}`, `{"alg":"HS256","kid":"old","typ":"JWT"}`, `{"alg":"HS256","crit":[],"typ":"JWT"}`, `{"alg":"HS512","typ":"JWT"}`} {
			f.Add(header, claims, "")
		}
	}
	f.Add(ownHeader, session+"}", "A")
	f.Add(ownHeader, session+"}", ".")
	all := issuers(f)
	f.Fuzz(func(t *testing.T, header, claims, tail string) {
		encode := base64.RawURLEncoding.EncodeToString
		segments := encode([]byte(header)) + "." + encode([]byte(claims))
		signature, err := jwt.SigningMethodHS256.Sign(segments, testSecret)
		if err != nil {
			t.Fatal(err)
		}
		for name, i := range all {
			theirs, own := compare(t, i, segments+"."+encode(signature)+tail)
			plain := name == "plain" && header == ownHeader && tail == "" && strings.TrimSpace(claims) == claims
			if plain && theirs != nil && theirs.NotBefore == nil && !own {
				t.Errorf("%s: only golang-jwt accepts %s", name, claims)
			}
		}
	})
}
