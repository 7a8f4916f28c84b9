package dpop

import (
	"crypto/ed25519"
	"testing"
	"time"
)

// The proofs of RFC 9449: figure 2 (a token request), figure 13 (a request with a token), and the
// key of both (figure 9).
const (
	rfcTokenProof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXp" +
		"Da0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6" +
		"IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUu" +
		"Y29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-" +
		"FNyJK70nfbV37xRZT3Lg"
	rfcResourceProof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXp" +
		"Da0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6" +
		"IlAtMjU2In19.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxl" +
		"Lm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1O" +
		"UlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLj" +
		"A"
	rfcToken      = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
	rfcThumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
)

// TestRFC9449 guards that proofs are read as RFC 9449 says, on its own examples.
func TestRFC9449(t *testing.T) {
	token, err := Parse(rfcTokenProof)
	if err != nil {
		t.Fatal(err)
	}
	resource, err := Parse(rfcResourceProof)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*Proof{token, resource} {
		if err := p.Verify(); err != nil {
			t.Error(err)
		}
		if p.Thumbprint != rfcThumbprint {
			t.Errorf("the thumbprint %s", p.Thumbprint)
		}
	}
	said := func(p *Proof) Proof {
		return Proof{ID: p.ID, Nonce: p.Nonce, TokenHash: p.TokenHash, Method: p.Method, URL: p.URL, IssuedAt: p.IssuedAt}
	}
	if got, want := said(token), (Proof{
		ID: "-BwC3ESc6acc2lTc", Method: "POST", URL: "https://server.example.com/token", IssuedAt: time.Unix(1562262616, 0),
	}); !equal(got, want) {
		t.Errorf("%+v", got)
	}
	if got, want := said(resource), (Proof{
		ID: "e1j3V_bKic8-LAEB", Method: "GET", URL: "https://resource.example.org/protectedresource",
		IssuedAt: time.Unix(1562262618, 0), TokenHash: "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo",
	}); !equal(got, want) {
		t.Errorf("%+v", got)
	}
	if token.IsFor(rfcToken) || token.IsFor("") || !resource.IsFor(rfcToken) || resource.IsFor(rfcToken+"x") || resource.IsFor("") {
		t.Error("a proof is taken for one of another token")
	}
}

// equal reports whether two proofs say the same.
func equal(a, b Proof) bool {
	sameTime := a.IssuedAt.Equal(b.IssuedAt)
	a.IssuedAt, b.IssuedAt = time.Time{}, time.Time{}
	return sameTime && a.ID == b.ID && a.Nonce == b.Nonce && a.TokenHash == b.TokenHash && a.Method == b.Method && a.URL == b.URL
}

// TestRFC7638 guards that a thumbprint is the hash that the example of RFC 7638 section 3.1 has, of
// a key of RSA: no proof may have one, but the hash is the same.
func TestRFC7638(t *testing.T) {
	const canonical = `{"e":"AQAB","kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1` +
		`RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW` +
		`2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3X` +
		`PksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"}`
	if got := digest(canonical); got != "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" {
		t.Error(got)
	}
}

// TestRFC8037 guards the thumbprint and the signatures of Ed25519, on the examples of RFC 8037
// (appendix A).
func TestRFC8037(t *testing.T) {
	x, err := encoding.DecodeString("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
	if err != nil {
		t.Fatal(err)
	}
	key, err := readKey([]byte(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`))
	if err != nil || !key.(ed25519.PublicKey).Equal(ed25519.PublicKey(x)) {
		t.Fatal(key, err)
	}
	if got, err := Thumbprint(key); err != nil || got != "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k" {
		t.Error(got, err)
	}
	p := &Proof{key: key, signed: "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"}
	p.signature, err = encoding.DecodeString(
		"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(); err != nil {
		t.Error(err)
	}
}
