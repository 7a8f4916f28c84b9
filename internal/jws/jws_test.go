package jws

import (
	"crypto"
	"encoding/base64"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

var (
	secret   = []byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
	encode   = base64.RawURLEncoding.EncodeToString
	reader   = jwt.NewParser(jwt.WithStrictDecoding())
	hs256, _ = New(jwt.SigningMethodHS256, secret, "")
)

// opened returns the payload that k reads from a token.
func opened(k *Key, token string) (payload string, ok bool) {
	ok = k.Open(token, func(b []byte) bool { payload = string(b); return true })
	return payload, ok
}

// signed signs two encoded segments with golang-jwt.
func signed(method jwt.SigningMethod, text string) string {
	signature, err := method.Sign(text, secret)
	if err != nil {
		panic(err)
	}
	return text + "." + encode(signature)
}

// TestAsGolangJWT checks that tokens are written as golang-jwt writes them, and read by either.
func TestAsGolangJWT(t *testing.T) {
	for _, method := range []jwt.SigningMethod{jwt.SigningMethodHS256, jwt.SigningMethodHS384, jwt.SigningMethodHS512} {
		for _, id := range []string{"", "2027", `a"<&>é\`} {
			k, ok := New(method, secret, id)
			if !ok {
				t.Fatalf("no key for %s, %q", method.Alg(), id)
			}
			theirs := jwt.NewWithClaims(method, jwt.MapClaims{"a": "b"})
			if id != "" {
				theirs.Header["kid"] = id
			}
			want, err := theirs.SignedString(secret)
			if err != nil {
				t.Fatal(err)
			}
			for range 3 { // also with a state that was used before
				if got := k.Sign(func(b []byte) []byte { return append(b, `{"a":"b"}`...) }); got != want {
					t.Errorf("%s, %q: signed %s, and golang-jwt %s", method.Alg(), id, got, want)
				}
				if got, ok := opened(k, want); !ok || got != `{"a":"b"}` {
					t.Errorf("%s, %q: %q, %v", method.Alg(), id, got, ok)
				}
			}
			if k.Open(want, func([]byte) bool { return false }) {
				t.Errorf("%s, %q: accepted, though the payload was not", method.Alg(), id)
			}
		}
	}
}

// TestOpenRefuses checks that a token is refused that differs from the right one in any part, and
// one with the right signature that golang-jwt would not read.
func TestOpenRefuses(t *testing.T) {
	const payload = "eyJhIjoiYiJ9"
	own := hs256.prefix + payload
	good := signed(jwt.SigningMethodHS256, own)
	if got, ok := opened(hs256, good); !ok || got != `{"a":"b"}` {
		t.Fatal("the good token is refused, and so the others prove nothing")
	}
	for n := range good {
		other := []byte(good)
		other[n] ^= 1
		if _, ok := opened(hs256, string(other)); ok {
			t.Errorf("with another byte %d: %s", n, other)
		}
		if _, ok := opened(hs256, good[:n]); ok {
			t.Errorf("without what comes after byte %d", n)
		}
	}
	named, _ := New(jwt.SigningMethodHS256, secret, "name")
	for name, text := range map[string]string{
		"another algorithm":         signed(jwt.SigningMethodHS512, own),
		"another header":            signed(jwt.SigningMethodHS256, encode([]byte(`{"alg":"HS256"}`))+"."+payload),
		"critical header":           signed(jwt.SigningMethodHS256, encode([]byte(`{"alg":"HS256","crit":["x"],"typ":"JWT"}`))+"."+payload),
		"an ID":                     signed(jwt.SigningMethodHS256, named.prefix+payload),
		"no header":                 signed(jwt.SigningMethodHS256, "."+payload),
		"four segments":             signed(jwt.SigningMethodHS256, own+"."+payload),
		"two segments":              signed(jwt.SigningMethodHS256, strings.TrimSuffix(hs256.prefix, ".")),
		"a payload respelt":         signed(jwt.SigningMethodHS256, hs256.prefix+"YR"),
		"padding":                   signed(jwt.SigningMethodHS256, hs256.prefix+"YQ=="),
		"a character not of base64": signed(jwt.SigningMethodHS256, own+"+"),
		"nothing":                   "",
		"the end cut off":           good[:len(good)-1],
		"something after it":        good + "A",
		"another dot":               good + ".",
		"another separator":         strings.Replace(good, payload+".", payload+"A", 1),
	} {
		if _, ok := opened(hs256, text); ok {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// TestNew checks for which keys golang-jwt has to sign and verify.
func TestNew(t *testing.T) {
	for name, c := range map[string]struct {
		method jwt.SigningMethod
		secret any
		id     string
	}{
		"no method":          {nil, secret, ""},
		"another method":     {jwt.SigningMethodRS256, secret, ""},
		"none":               {jwt.SigningMethodNone, secret, ""},
		"of the same name":   {&jwt.SigningMethodHMAC{Name: "HS256", Hash: crypto.SHA512}, secret, ""},
		"of a name unknown":  {&jwt.SigningMethodHMAC{Name: "HS1", Hash: crypto.SHA1}, secret, ""},
		"a secret not bytes": {jwt.SigningMethodHS256, string(secret), ""},
		"an ID not UTF-8":    {jwt.SigningMethodHS256, secret, "a\xff"},
	} {
		if k, ok := New(c.method, c.secret, c.id); ok || k != nil {
			t.Errorf("%s: a key", name)
		}
	}
}

// TestConcurrentUse checks that goroutines that use a key at the same time do not disturb each
// other.
func TestConcurrentUse(t *testing.T) {
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			want := strings.Repeat(string(rune('a'+n)), 10*n)
			for range 200 {
				text := hs256.Sign(func(b []byte) []byte { return append(b, want...) })
				if got, ok := opened(hs256, text); !ok || got != want {
					t.Errorf("%q, %v, and not %q", got, ok, want)
				}
			}
		})
	}
	wg.Wait()
}

// FuzzOpen checks that of what golang-jwt accepts, with the header of the key, exactly the same is
// accepted and read alike, but for line breaks in a signature; nothing else is.
func FuzzOpen(f *testing.F) {
	own := strings.TrimSuffix(hs256.prefix, ".")
	for _, payload := range []string{"", "YQ", "YR", "YQ==", "eyJhIjoiYiJ9", "YWJj\nYWJj", "YWJj.YWJj", "+/+/", "\xff"} {
		f.Add(own, payload, "")
		f.Add(encode([]byte(`{"typ":"JWT","alg":"HS256"}`)), payload, "")
	}
	f.Add(own, "YQ", "A")
	f.Add(own, "YQ", ".")
	f.Add(own, "YQ", "=")
	f.Fuzz(func(t *testing.T, head, payload, tail string) {
		text := signed(jwt.SigningMethodHS256, head+"."+payload) + tail
		got, ok := opened(hs256, text)
		parts := strings.Split(text, ".")
		var theirs []byte
		want := len(parts) == 3 && parts[0] == own && !strings.ContainsAny(parts[2], "\r\n")
		if want {
			var errs [2]error
			var signature []byte
			theirs, errs[0] = reader.DecodeSegment(parts[1])
			signature, errs[1] = reader.DecodeSegment(parts[2])
			want = !slices.ContainsFunc(errs[:], func(err error) bool { return err != nil }) &&
				jwt.SigningMethodHS256.Verify(parts[0]+"."+parts[1], signature, secret) == nil
		}
		if ok != want || ok && got != string(theirs) {
			t.Errorf("%q: %q, %v; golang-jwt reads %q, %v", text, got, ok, theirs, want)
		}
	})
}
