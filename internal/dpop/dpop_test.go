package dpop_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/internal/dpop"
	"github.com/z-open/socketauth/internal/dpop/dpoptest"
)

var keys = map[string]*dpoptest.Key{"P-256": dpoptest.NewKey(), "Ed25519": dpoptest.NewEd25519()}

// check returns the error of Parse, and then of Verify.
func check(proof string) error {
	p, err := dpop.Parse(proof)
	if err == nil {
		err = p.Verify()
	}
	return err
}

// jwk returns the key's own jwk with some members replaced.
func jwk(k *dpoptest.Key, members map[string]any) map[string]any {
	c := maps.Clone(k.Header["jwk"].(map[string]any))
	maps.Copy(c, members)
	return map[string]any{"jwk": c}
}

// TestProof guards that a proof of either algorithm is read and verified, and what else may be in
// it.
func TestProof(t *testing.T) {
	for name, k := range keys {
		t.Run(name, func(t *testing.T) {
			p, err := dpop.Parse(k.Socket("lv_VI97HAXpY6yYWAAAC", "a.b.c"))
			if err != nil || p.Verify() != nil {
				t.Fatal(err, p.Verify())
			}
			if p.Thumbprint != k.Thumbprint || p.Nonce != "lv_VI97HAXpY6yYWAAAC" || !p.IsFor("a.b.c") || p.IsFor("a.b.d") {
				t.Errorf("%+v", p)
			}
			if !p.IssuedAt.IsZero() || p.ID+p.Method+p.URL != "" {
				t.Errorf("what is missing is not empty: %+v", p)
			}
			claims := map[string]any{"jti": "1", "htm": "GET", "htu": "https://a/b", "iat": 1.5e9, "x": []int{1}}
			if p, err = dpop.Parse(k.Sign(claims)); err != nil || p.Verify() != nil ||
				p.ID != "1" || p.Method != "GET" || p.URL != "https://a/b" || !p.IssuedAt.Equal(time.Unix(1.5e9, 0)) {
				t.Errorf("%+v, %v", p, err)
			}
			for what, header := range map[string]map[string]any{
				"a key ID":                   {"kid": "k"},
				"members that it ignores":    {"x5t": []any{1}, "ALG": "none", "Crit": []string{"x"}},
				"other members in the key":   jwk(k, map[string]any{"ext": true, "key_ops": []string{"verify"}, "kid": "k", "D": "x"}),
				"an unknown b64, not marked": {"b64": true},
			} {
				if p, err := dpop.Parse(k.SignWith(header, claims)); err != nil || p.Verify() != nil || p.Thumbprint != k.Thumbprint {
					t.Errorf("%s: %v", what, err)
				}
			}
			for _, iat := range []any{"1", nil, true, 1e13, -1e13, []int{1}} {
				if p, err := dpop.Parse(k.Sign(map[string]any{"iat": iat, "jti": 1, "htm": nil, "htu": []int{}})); err != nil ||
					!p.IssuedAt.IsZero() || p.ID+p.Method+p.URL != "" {
					t.Errorf("iat %v: %+v, %v", iat, p, err)
				}
			}
		})
	}
}

// manyMembers are too many members, which other names than theirs come before.
var manyMembers = func() string {
	var b strings.Builder
	for n := range 64 {
		fmt.Fprintf(&b, `,"m%d":1`, n)
	}
	return b.String()
}()

// TestRefused guards that each proof that is not valid is refused, by its form or by its signature.
func TestRefused(t *testing.T) {
	claims := map[string]any{"nonce": "n", "ath": "h"}
	for name, k := range keys {
		t.Run(name, func(t *testing.T) {
			good := k.Sign(claims)
			if err := check(good); err != nil {
				t.Fatal(err)
			}
			segments := strings.Split(good, ".")
			header := marshal(k.Header)
			with := func(old, new string) string { // the header as text, changed
				if !strings.Contains(header, old) {
					t.Fatalf("no %s in %s", old, header)
				}
				return k.SignText(strings.Replace(header, old, new, 1), `{}`)
			}
			own := k.Header["jwk"].(map[string]any)
			other := dpoptest.NewKey()
			if name == "Ed25519" {
				other = dpoptest.NewEd25519()
			}
			for what, proof := range map[string]string{
				"nothing":                     "",
				"not a JWS":                   "proof",
				"two segments":                segments[0] + "." + segments[1],
				"four segments":               good + ".",
				"five segments":               good + "..",
				"a line break":                segments[0] + "\n." + segments[1] + "." + segments[2],
				"a line break at the end":     good + "\r\n",
				"padding":                     good + "=",
				"no signature":                segments[0] + "." + segments[1] + ".",
				"a shorter signature":         good[:len(good)-4],
				"a longer signature":          good + "AAAA",
				"the signature of another":    good[:strings.LastIndexByte(good, '.')] + other.Sign(claims)[strings.LastIndexByte(other.Sign(claims), '.'):],
				"another payload":             segments[0] + "." + dpoptest.Encode([]byte(`{"nonce":"m","ath":"h"}`)) + "." + segments[2],
				"a header that is not JSON":   k.SignText("x", "{}"),
				"a header that is an array":   k.SignText("[]", "{}"),
				"a header that is null":       k.SignText("null", "{}"),
				"a header not in UTF-8":       k.SignText(strings.Replace(header, "{", "{\"kid\":\"\xff\",", 1), "{}"),
				"something after the header":  k.SignText(header+"{}", "{}"),
				"a payload that is not JSON":  k.SignText(header, "{"),
				"a payload that is a string":  k.SignText(header, `"x"`),
				"a nonce that is a number":    k.SignText(header, `{"nonce":1}`),
				"an ath that is null":         k.SignText(header, `{"ath":null}`),
				"a nonce twice":               k.SignText(header, `{"nonce":"n","nonce":"n"}`),
				"a nonce twice, one escaped":  k.SignText(header, `{"nonce":"n","n\u006fnce":"m"}`),
				"no typ":                      k.SignWith(map[string]any{"typ": nil}, claims),
				"the typ of a token":          k.SignWith(map[string]any{"typ": "JWT"}, claims),
				"a typ in capitals":           k.SignWith(map[string]any{"typ": "DPOP+JWT"}, claims),
				"a typ that is a list":        k.SignWith(map[string]any{"typ": []string{"dpop+jwt"}}, claims),
				"no alg":                      k.SignWith(map[string]any{"alg": nil}, claims),
				"alg none":                    k.SignWith(map[string]any{"alg": "none"}, claims),
				"alg none and no signature":   unsigned(k, "none"),
				"alg HS256":                   symmetric(k),
				"alg RS256":                   k.SignWith(map[string]any{"alg": "RS256"}, claims),
				"alg ES384":                   k.SignWith(map[string]any{"alg": "ES384"}, claims),
				"the alg of the other kind":   k.SignWith(map[string]any{"alg": map[string]string{"P-256": "EdDSA", "Ed25519": "ES256"}[name]}, claims),
				"crit":                        k.SignWith(map[string]any{"crit": []string{"exp"}}, claims),
				"an empty crit":               k.SignWith(map[string]any{"crit": []string{}}, claims),
				"crit and b64":                k.SignWith(map[string]any{"crit": []string{"b64"}, "b64": false}, claims),
				"alg twice":                   with(`"alg":`, `"alg":"none","alg":`),
				"alg twice, the last is none": with(`"typ":`, `"alg":"none","typ":`),
				"jwk twice":                   with(`"jwk":`, `"jwk":{},"jwk":`),
				"kty twice":                   with(`"kty":`, `"kty":"oct","kty":`),
				"no jwk":                      k.SignWith(map[string]any{"jwk": nil}, claims),
				"a jwk that is a string":      k.SignWith(map[string]any{"jwk": "x"}, claims),
				"a jwk that is null":          with(marshal(own), "null"),
				"an empty jwk":                with(marshal(own), "{}"),
				"a private key":               k.SignWith(jwk(k, map[string]any{"d": own["x"]}), claims),
				"a private key that is null":  k.SignWith(jwk(k, map[string]any{"d": nil}), claims),
				"a symmetric key":             with(marshal(own), `{"kty":"oct","k":"AAAA"}`),
				"another curve":               k.SignWith(jwk(k, map[string]any{"crv": "P-384"}), claims),
				"secp256k1":                   k.SignWith(jwk(k, map[string]any{"crv": "secp256k1"}), claims),
				"X25519":                      k.SignWith(jwk(k, map[string]any{"crv": "X25519"}), claims),
				"Ed448":                       k.SignWith(jwk(k, map[string]any{"crv": "Ed448"}), claims),
				"another kty":                 k.SignWith(jwk(k, map[string]any{"kty": "RSA"}), claims),
				"x that is a number":          k.SignWith(jwk(k, map[string]any{"x": 1}), claims),
				"no x":                        k.SignWith(jwk(k, map[string]any{"x": ""}), claims),
				"another x":                   k.SignWith(jwk(k, map[string]any{"x": other.Header["jwk"].(map[string]any)["x"]}), claims),
				"x with padding":              k.SignWith(jwk(k, map[string]any{"x": own["x"].(string) + "="}), claims),
				"x with a line break":         k.SignWith(jwk(k, map[string]any{"x": own["x"].(string) + "\n"}), claims),
				"x with a leading zero":       k.SignWith(jwk(k, map[string]any{"x": longer(t, own["x"])}), claims),
				"x of one byte less":          k.SignWith(jwk(k, map[string]any{"x": own["x"].(string)[:42]}), claims),
				"y of another type":           k.SignWith(jwk(k, map[string]any{"y": 1}), claims),
				"another y":                   k.SignWith(jwk(k, map[string]any{"y": dpoptest.Encode(make([]byte, 32))}), claims),
				"very many members":           k.SignText(header, `{"1":1`+manyMembers+`}`),
				"too long":                    k.Sign(map[string]any{"nonce": strings.Repeat("n", dpop.MaxLength)}),
			} {
				if err := check(proof); err == nil {
					t.Errorf("%s: accepted", what)
				} else if len(err.Error()) > 200 {
					t.Errorf("%s: the error repeats what came: %v", what, err)
				}
			}
			for n := range good {
				for _, bit := range []byte{1, 2, 32} {
					changed := []byte(good)
					if changed[n] ^= bit; check(string(changed)) == nil {
						t.Errorf("with another byte %d: %s", n, changed)
					}
				}
			}
		})
	}
}

// TestMaxLength guards that a proof of exactly the maximum is read, and none that is longer.
func TestMaxLength(t *testing.T) {
	k := keys["P-256"]
	sign := func(n int) string { return k.Sign(map[string]any{"nonce": strings.Repeat("n", n)}) }
	n := (dpop.MaxLength-len(sign(0)))*3/4 + 3
	for len(sign(n)) > dpop.MaxLength {
		n--
	}
	if proof := sign(n); len(proof) < dpop.MaxLength-1 {
		t.Fatalf("the longest proof has %d bytes", len(proof))
	} else if err := check(proof); err != nil {
		t.Error(err)
	}
	if check(sign(n+1)) == nil {
		t.Error("a longer proof is accepted")
	}
}

// TestSignatureOfZeros guards that no signature of zeros is accepted, and none with numbers that
// are not less than the order of the group.
func TestSignatureOfZeros(t *testing.T) {
	good := keys["P-256"].Sign(nil)
	text := good[:strings.LastIndexByte(good, '.')+1]
	order := elliptic.P256().Params().N.FillBytes(make([]byte, 32))
	one := append(make([]byte, 31), 1)
	zero := make([]byte, 32)
	for _, s := range [][2][]byte{{zero, zero}, {one, zero}, {zero, one}, {order, one}, {one, order}, {order, order}} {
		if check(text+dpoptest.Encode(append(append([]byte{}, s[0]...), s[1]...))) == nil {
			t.Errorf("the signature %x is accepted", s)
		}
	}
}

// TestKeysThatAnyoneSignsWith guards that no key of Ed25519 is accepted for which signatures can be
// made without a private key, in none of the encodings that ed25519.Verify understands.
func TestKeysThatAnyoneSignsWith(t *testing.T) {
	forged := 0
	for _, text := range []string{ // y, little-endian: of small order, and the same plus the prime
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		for _, sign := range []byte{0, 0x80} {
			x, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			x[31] |= sign
			header := `{"typ":"dpop+jwt","alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":"` + dpoptest.Encode(x) + `"}}`
			signature := append(append([]byte{1}, make([]byte, 31)...), make([]byte, 32)...) // the neutral point, and 0
			for n := range 64 {                                                              // one of 8 is enough
				text := dpoptest.Encode([]byte(header)) + "." + dpoptest.Encode(fmt.Append(nil, `{"jti":"`, n, `"}`))
				if !ed25519.Verify(x, []byte(text), signature) {
					continue
				}
				forged++
				if err := check(text + "." + dpoptest.Encode(signature)); err == nil {
					t.Errorf("the key %x: a forged proof is accepted", x)
				}
			}
			if _, err := dpop.Parse(keys["Ed25519"].SignText(header, "{}")); err == nil {
				t.Errorf("the key %x is accepted", x)
			}
		}
	}
	if forged < 100 {
		t.Errorf("only %d proofs were forged, and so the test shows little", forged)
	}
}

// TestThumbprintOfOtherKeys guards that no other kind of key has a thumbprint.
func TestThumbprintOfOtherKeys(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []any{nil, &p384.PublicKey, new(rsa.PublicKey), ed25519.PublicKey{1}} {
		if got, err := dpop.Thumbprint(key); err == nil {
			t.Errorf("%T: %s", key, got)
		}
	}
}

// TestIsThumbprint guards what "jkt" may be.
func TestIsThumbprint(t *testing.T) {
	good := keys["P-256"].Thumbprint
	if !dpop.IsThumbprint(good) {
		t.Error(good)
	}
	for _, text := range []string{"", good[:42], good + "A", good[:42] + "\n", good[:42] + "=", good[:42] + "B", "+" + good[1:]} {
		if dpop.IsThumbprint(text) {
			t.Errorf("%q", text)
		}
	}
}

// unsigned returns a proof without a signature.
func unsigned(k *dpoptest.Key, algorithm string) string {
	h := maps.Clone(k.Header)
	h["alg"] = algorithm
	return dpoptest.Encode([]byte(marshal(h))) + "." + dpoptest.Encode([]byte("{}")) + "."
}

// symmetric returns a proof that is signed by HMAC with the public key, as a reader would accept
// that takes the algorithm from the header and the key from anywhere.
func symmetric(k *dpoptest.Key) string {
	token := jwt.New(jwt.SigningMethodHS256)
	maps.Copy(token.Header, k.Header)
	token.Header["alg"] = "HS256"
	text, err := token.SignedString([]byte(marshal(k.Header["jwk"])))
	if err != nil {
		panic(err)
	}
	return text
}

// longer returns the base64url of a zero byte and what the text stands for.
func longer(t *testing.T, text any) string {
	b, err := jwt.NewParser().DecodeSegment(text.(string))
	if err != nil {
		t.Fatal(err)
	}
	return dpoptest.Encode(append([]byte{0}, b...))
}

func marshal(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// FuzzParse checks that whatever is accepted, golang-jwt accepts too, with the key of the same
// thumbprint and the same claims.
func FuzzParse(f *testing.F) {
	for _, k := range keys {
		f.Add(k.Socket("n", "a.b.c"))
		f.Add(k.Request("GET", "https://host/path", "a.b.c"))
		f.Add(k.SignText(marshal(k.Header), `{"nonce":"\u0061","iat":1e3,"x":{"y":[1]}}`))
		f.Add(unsigned(k, "none"))
		f.Add(symmetric(k))
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := dpop.Parse(text)
		if err != nil {
			return
		}
		if len(text) > dpop.MaxLength || !dpop.IsThumbprint(p.Thumbprint) {
			t.Fatalf("accepted: %+v", p)
		}
		var claims jwt.MapClaims
		_, err = jwt.NewParser(jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation(), jwt.WithValidMethods([]string{"ES256", "EdDSA"})).
			ParseWithClaims(text, &claims, func(token *jwt.Token) (any, error) { return public(token.Header["jwk"]) })
		if verified := p.Verify() == nil; verified != (err == nil) {
			t.Fatalf("verified: %v, and golang-jwt: %v", verified, err)
		}
		if nonce, _ := claims["nonce"].(string); err == nil && nonce != p.Nonce {
			t.Fatalf("the nonce %q, and golang-jwt: %q", p.Nonce, nonce)
		}
	})
}

// public returns the key of a jwk as golang-jwt has parsed it.
func public(jwk any) (any, error) {
	members, _ := jwk.(map[string]any)
	decode := func(name string) []byte {
		text, _ := members[name].(string)
		b, err := jwt.NewParser(jwt.WithStrictDecoding()).DecodeSegment(text)
		if err != nil {
			return nil
		}
		return b
	}
	switch members["crv"] {
	case "P-256":
		return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, decode("x")...), decode("y")...))
	case "Ed25519":
		return ed25519.PublicKey(decode("x")), nil
	}
	return nil, fmt.Errorf("an unknown curve")
}

// BenchmarkProof measures what a proof costs: reading it, and both reading and verifying it.
func BenchmarkProof(b *testing.B) {
	for name, k := range keys {
		proof := k.Socket("lv_VI97HAXpY6yYWAAAC", "a.b.c")
		b.Run(name+"/parse", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := dpop.Parse(proof); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/check", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := check(proof); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
