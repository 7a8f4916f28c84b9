// Package dpoptest makes DPoP proofs for tests.
package dpoptest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/z-open/socketauth/internal/dpop"
)

// Key is a key pair that proofs are signed with.
type Key struct {
	Private    crypto.Signer
	Thumbprint string
	Header     map[string]any // of its proofs
}

// NewKey returns a new key of P-256.
func NewKey() *Key {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return newKey(private, "ES256", map[string]any{
		"kty": "EC", "crv": "P-256", "x": Encode(point[1:33]), "y": Encode(point[33:]),
	})
}

// NewEd25519 returns a new key of Ed25519.
func NewEd25519() *Key {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	return newKey(private, "EdDSA", map[string]any{"kty": "OKP", "crv": "Ed25519", "x": Encode(public)})
}

func newKey(private crypto.Signer, algorithm string, jwk map[string]any) *Key {
	thumbprint, err := dpop.Thumbprint(private.Public())
	if err != nil {
		panic(err)
	}
	return &Key{private, thumbprint, map[string]any{"typ": "dpop+jwt", "alg": algorithm, "jwk": jwk}}
}

// Encode returns the base64url of b.
func Encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// Socket returns a proof for a token that is presented on the connection with the Engine.IO id sid.
func (k *Key) Socket(sid, token string) string {
	return k.Sign(map[string]any{"nonce": sid, "ath": dpop.HashOf(token)})
}

// Request returns a proof for a request with a token, or for one without if token is "".
func (k *Key) Request(method, url, token string) string { return k.Sign(k.Claims(method, url, token)) }

// Claims returns the payload of a proof for a request, for tests that change it.
func (k *Key) Claims(method, url, token string) map[string]any {
	claims := map[string]any{"jti": rand.Text(), "htm": method, "htu": url, "iat": time.Now().Unix()}
	if token != "" {
		claims["ath"] = dpop.HashOf(token)
	}
	return claims
}

// Sign returns a proof with the given payload.
func (k *Key) Sign(payload map[string]any) string { return k.SignWith(nil, payload) }

// SignWith is Sign with some members of the header replaced; nil removes one.
func (k *Key) SignWith(header, payload map[string]any) string {
	h := maps.Clone(k.Header)
	for name, value := range header {
		if h[name] = value; value == nil {
			delete(h, name)
		}
	}
	return k.SignText(marshal(h), marshal(payload))
}

// SignText returns a proof with the given texts as header and payload, whatever they are.
func (k *Key) SignText(header, payload string) string {
	text := Encode([]byte(header)) + "." + Encode([]byte(payload))
	var signature []byte
	switch private := k.Private.(type) {
	case *ecdsa.PrivateKey:
		sum := sha256.Sum256([]byte(text))
		r, s, err := ecdsa.Sign(rand.Reader, private, sum[:])
		if err != nil {
			panic(err)
		}
		signature = append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	case ed25519.PrivateKey:
		signature = ed25519.Sign(private, []byte(text))
	default:
		panic(fmt.Sprintf("dpoptest: a key of type %T", private))
	}
	return text + "." + Encode(signature)
}

func marshal(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}
