package doctest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"github.com/z-open/socketauth/internal/dpop"
)

// TestWorkedExample guards the example of proofs in docs/protocol.md, by which a client in another
// language can be checked: each thing in it is computed anew from those before it.
func TestWorkedExample(t *testing.T) {
	ed, token, ec := workedExample(t)
	seed := decode(t, ed.jwk["d"])
	private := ed25519.NewKeyFromSeed(seed)
	if got := encode(private.Public().(ed25519.PublicKey)); got != ed.jwk["x"] {
		t.Errorf("x is %s", got)
	}
	if want := `{"crv":"Ed25519","kty":"OKP","x":"` + ed.jwk["x"] + `"}`; ed.members != want {
		t.Errorf("the members are %s", want)
	}
	if len(ed.proofs) != 3 {
		t.Fatalf("%d proofs with Ed25519, not of a login, on a socket and in a request", len(ed.proofs))
	}
	for _, p := range ed.proofs {
		signed := encode([]byte(ed.header)) + "." + encode([]byte(p.payload))
		if want := signed + "." + encode(ed25519.Sign(private, []byte(signed))); p.text != want {
			t.Errorf("the proof with %s is %s", p.payload, want)
		}
	}

	x, y := decode(t, ec.jwk["x"]), decode(t, ec.jwk["y"])
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, append(x, y...)...))
	if err != nil {
		t.Fatal(err)
	}
	secret, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), decode(t, ec.jwk["d"]))
	if err != nil || !secret.PublicKey.Equal(public) {
		t.Errorf("d is not the private key of x and y: %v", err)
	}
	if want := `{"crv":"P-256","kty":"EC","x":"` + ec.jwk["x"] + `","y":"` + ec.jwk["y"] + `"}`; ec.members != want {
		t.Errorf("the members are %s", want)
	}
	if len(ec.proofs) != 1 {
		t.Fatalf("%d proofs with P-256", len(ec.proofs))
	}
	signed := encode([]byte(ec.header)) + "." + encode([]byte(ed.proofs[0].payload))
	signature, ok := strings.CutPrefix(ec.proofs[0].text, signed+".")
	if rs := decode(t, signature); !ok || len(rs) != 64 {
		t.Errorf("the proof with P-256 does not begin with %s", signed)
	} else {
		sum := sha256.Sum256([]byte(signed))
		r, s := new(big.Int).SetBytes(rs[:32]), new(big.Int).SetBytes(rs[32:])
		if !ecdsa.Verify(public, sum[:], r, s) {
			t.Error("the signature of the proof with P-256 is not the key's")
		}
	}

	for _, k := range []example{ed, ec} {
		if got := hash(k.members); got != k.thumbprint {
			t.Errorf("the thumbprint is %s", got)
		}
		public := make(map[string]string)
		for name, value := range k.jwk {
			if name != "d" {
				public[name] = value
			}
		}
		var header struct {
			Typ, Alg string
			JWK      map[string]string
		}
		err := json.Unmarshal([]byte(k.header), &header)
		if same, _ := json.Marshal(public); err != nil || header.Typ != "dpop+jwt" || string(same) != marshal(t, header.JWK) {
			t.Errorf("the header is %s, and the key %s: %v", k.header, same, err)
		}
	}
	// What the server makes of the proofs.
	for _, k := range []example{ed, ec} {
		for i, text := range k.proofs {
			proof, err := dpop.Parse(text.text)
			if err == nil {
				err = proof.Verify()
			}
			if err != nil {
				t.Errorf("the server refuses the proof %s: %v", text.text, err)
			} else if proof.Thumbprint != k.thumbprint || proof.IsFor(token.text) != (i > 0) {
				t.Errorf("the server takes the proof for %+v", proof)
			}
		}
	}
	if got := hash(token.text); got != token.ath {
		t.Errorf("ath is %s", got)
	}
	if want := `"cnf":{"jkt":"` + ed.thumbprint + `"}`; !strings.Contains(token.claims, want) {
		t.Errorf("the token's claims are %s, without %s", token.claims, want)
	}
	for i, want := range []string{"", token.ath, token.ath} {
		var payload struct{ Ath string }
		if err := json.Unmarshal([]byte(ed.proofs[i].payload), &payload); err != nil || payload.Ath != want {
			t.Errorf("ath in %s, %v", ed.proofs[i].payload, err)
		}
	}
}

// example is one key of the example, with its proofs.
type example struct {
	jwk                         map[string]string
	members, thumbprint, header string
	proofs                      []struct{ payload, text string }
}

// exampleToken is the token of the example.
type exampleToken struct{ text, claims, ath string }

// workedExample reads the example.
func workedExample(t *testing.T) (ed example, token exampleToken, ec example) {
	t.Helper()
	d := readDocument(t, "docs/protocol.md")
	line := regexp.MustCompile(`^(\w+): +(.*)$`)
	begin := 0
	for n, text := range d.prose {
		if text == "### A worked example" {
			begin = n
		}
	}
	if begin == 0 {
		t.Fatal("docs/protocol.md has no worked example")
	}
	k, payload := &ed, ""
	for _, b := range d.blocks {
		for _, text := range strings.Split(b.code, "\n") {
			found := line.FindStringSubmatch(text)
			if b.line < begin || found == nil {
				continue
			}
			switch name, value := found[1], found[2]; name {
			case "key":
				if k.jwk != nil {
					k = &ec
				}
				if err := json.Unmarshal([]byte(value), &k.jwk); err != nil {
					t.Fatal(err)
				}
			case "members":
				k.members = value
			case "thumbprint":
				k.thumbprint = value
			case "header":
				k.header = value
			case "token":
				token.text = value
				parts := strings.Split(value, ".")
				token.claims = string(decode(t, parts[len(parts)/2]))
			case "ath":
				token.ath = value
			case "payload":
				payload = value
			case "proof":
				k.proofs = append(k.proofs, struct{ payload, text string }{payload, value})
			default:
				t.Errorf("docs/protocol.md:%d has %q, which no test looks at", b.line, name)
			}
		}
	}
	return ed, token, ec
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func decode(t *testing.T, text string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return encode(sum[:])
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
