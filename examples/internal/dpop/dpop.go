// Package dpop makes the proofs of "Device-bound sessions" in docs/protocol.md: what a client in Go
// needs to have its session bound to a key.
package dpop

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Key is the key of a client. The tokens of a session that is bound to it are good only together
// with its proofs, so who copies a token alone gets nothing.
type Key struct {
	// Thumbprint is what bound tokens name the key by, in the claim "cnf" (RFC 7638).
	Thumbprint string

	// Now returns the time. It need not be right.
	Now func() time.Time

	private ed25519.PrivateKey
	header  string // of each proof, encoded
}

// New returns a new key, and the text that Parse reads it from. Store the text, as a secret, before
// the key is used: a session that is bound to a key is lost together with the key.
func New() (*Key, string, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, "", err
	}
	return newKey(private), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

// Parse reads a key.
func Parse(text string) (*Key, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("no key in PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	private, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("a %T, not a key for Ed25519", parsed)
	}
	return newKey(private), nil
}

func newKey(private ed25519.PrivateKey) *Key {
	x := encode(private.Public().(ed25519.PublicKey))
	header := `{"typ":"dpop+jwt","alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":"` + x + `"}}`
	return &Key{
		// These members in this order, and no others.
		Thumbprint: hash(`{"crv":"Ed25519","kty":"OKP","x":"` + x + `"}`),
		Now:        time.Now,
		private:    private,
		header:     encode([]byte(header)),
	}
}

// payload is what a proof says.
type payload struct {
	ID        string `json:"jti,omitempty"`
	Method    string `json:"htm,omitempty"`
	URL       string `json:"htu,omitempty"`
	IssuedAt  int64  `json:"iat,omitempty"`
	Nonce     string `json:"nonce,omitempty"`
	TokenHash string `json:"ath,omitempty"`
}

// Socket returns the proof with which a token is presented on a connection. sid is the id in the
// connection's first packet. The proof is good for this token on this connection.
func (k *Key) Socket(token, sid string) (string, error) {
	return k.sign(payload{Nonce: sid, TokenHash: hash(token)})
}

// Request returns the proof for one request. token is "" if none is sent with it, and nonce is the
// last value of the header DPoP-Nonce in an answer of the server, or "".
func (k *Key) Request(method, url, token, nonce string) (string, error) {
	url, _, _ = strings.Cut(url, "#")
	url, _, _ = strings.Cut(url, "?")
	p := payload{ID: rand.Text(), Method: method, URL: url, IssuedAt: k.Now().Unix(), Nonce: nonce}
	if token != "" {
		p.TokenHash = hash(token)
	}
	return k.sign(p)
}

// sign returns a proof: a JWT with the public key in its header.
func (k *Key) sign(p payload) (string, error) {
	said, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	text := k.header + "." + encode(said)
	return text + "." + encode(ed25519.Sign(k.private, []byte(text))), nil
}

// BoundTo returns the thumbprint of the key that a token is bound to, or "" if it is bound to none.
// The signature of the token is for the server to verify.
func BoundTo(token string) string {
	var claims struct{ Cnf struct{ Jkt string } }
	if parts := strings.Split(token, "."); len(parts) == 3 {
		text, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(text, &claims)
	}
	return claims.Cnf.Jkt
}

// IsLost reports whether a token can no longer be used, because it is bound to another key.
func (k *Key) IsLost(token string) bool {
	bound := BoundTo(token)
	return bound != "" && bound != k.Thumbprint
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return encode(sum[:])
}
