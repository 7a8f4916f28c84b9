package dpop

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"testing"
)

// TestParse guards that a key is read as it was written, and that what is none of its kind is an
// error.
func TestParse(t *testing.T) {
	made, text, err := New()
	if err != nil {
		t.Fatal(err)
	}
	if read, err := Parse(text); err != nil || !read.private.Equal(made.private) || read.Thumbprint != made.Thumbprint {
		t.Errorf("another key: %v", err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(other)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty": "", "not PEM": "a key", "not PKCS #8": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}})),
		"another kind": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	} {
		if _, err := Parse(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestDocumentedProofs guards that proofs are those of docs/protocol.md, byte for byte.
func TestDocumentedProofs(t *testing.T) {
	text, err := os.ReadFile("../../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(text), "\n### A worked example\n")
	find := func(name string) string {
		_, rest, _ := strings.Cut(example, "\n"+name+":")
		value, _, _ := strings.Cut(rest, "\n")
		return strings.TrimSpace(value)
	}
	seed := make([]byte, ed25519.SeedSize)
	for i := range seed {
		seed[i] = byte(i)
	}
	k := newKey(ed25519.NewKeyFromSeed(seed))
	token := find("token")
	if k.Thumbprint != find("thumbprint") || hash(token) != find("ath") || BoundTo(token) != k.Thumbprint || k.IsLost(token) {
		t.Errorf("the thumbprint is %s, and the hash of the token %s", k.Thumbprint, hash(token))
	}
	socket, err := k.Socket(token, "itAK7tGCnMsDnT4_ZUHcAA")
	if err != nil {
		t.Fatal(err)
	}
	login, err := k.sign(payload{ID: "kTq0sK2mSPGmUgrk", Method: "POST", URL: "https://app.example/login", IssuedAt: 1795720320})
	if err != nil {
		t.Fatal(err)
	}
	request, err := k.sign(payload{
		ID: "ZsBcd0pXQ0mIwlTt", Method: "GET", URL: "https://app.example/api/orders", IssuedAt: 1795720400, TokenHash: hash(token),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, proof := range []string{socket, login, request} {
		if !strings.Contains(example, proof+"\n") {
			t.Errorf("%s is not in the example", proof)
		}
	}
}
