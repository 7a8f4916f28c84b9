// Package dpop reads and checks DPoP proofs (RFC 9449): small signed texts by which a client shows
// that it has the private key that a token is bound to (RFC 7800). It knows no tokens, clocks or
// stores: what a proof must say is for its callers to check.
package dpop

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/z-open/socketauth/internal/engine"
)

// MaxLength is the maximum length of a proof, in bytes.
const MaxLength = 4 << 10

// The algorithms of proofs.
const (
	es256 = "ES256" // ECDSA with P-256 and SHA-256 (RFC 7518 section 3.4)
	edDSA = "EdDSA" // Ed25519 (RFC 8037)
)

// Algorithms are the algorithms of the proofs that Parse accepts, as challenges name them.
const Algorithms = es256 + " " + edDSA

// Proof is what a proof says. Until Verify has returned nil, anyone may have written it.
type Proof struct {
	Thumbprint string // of the key in its header (RFC 7638), in base64url

	ID        string    // "jti"
	Nonce     string    // "nonce"
	TokenHash string    // "ath"
	Method    string    // "htm"
	URL       string    // "htu"
	IssuedAt  time.Time // "iat"; zero if there is none

	key       crypto.PublicKey
	signed    string // the header, a dot and the payload, encoded
	signature []byte
}

var (
	errTooLong      = fmt.Errorf("it is longer than %d bytes", MaxLength)
	errSegments     = errors.New("it is not three segments of base64url")
	errNotObject    = errors.New("it is not a JSON object of at most 64 members with unique names")
	errType         = errors.New(`"typ" is not "dpop+jwt"`)
	errAlgorithm    = errors.New(`"alg" is not one of ` + Algorithms + ", or not that of the key")
	errCritical     = errors.New(`critical members are not supported ("crit")`)
	errPrivate      = errors.New("the key is a private one")
	errUnsupported  = errors.New("the key is not of P-256 or Ed25519")
	errBadKey       = errors.New("the key is not a valid public key")
	errNotText      = errors.New(`"nonce" or "ath" is not a string`)
	errBadSignature = errors.New("the signature is not that of the key")
)

// encoding refuses texts that another text of the same bytes could stand for. It skips line breaks.
var encoding = base64.RawURLEncoding.Strict()

// Parse reads a proof. It checks the form, the algorithm and the key, but not the signature. "jti",
// "htm", "htu" and "iat" of another type than they should have are taken for missing.
func Parse(text string) (*Proof, error) {
	p, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("the proof is not valid: %w", err)
	}
	return p, nil
}

func parse(text string) (*Proof, error) {
	if len(text) > MaxLength {
		return nil, errTooLong
	}
	header, rest, _ := strings.Cut(text, ".")
	payload, signature, ok := strings.Cut(rest, ".")
	if !ok || strings.ContainsAny(text, "\r\n") {
		return nil, errSegments
	}
	var decoded [3][]byte
	for n, segment := range [...]string{header, payload, signature} {
		var err error
		if decoded[n], err = encoding.DecodeString(segment); err != nil {
			return nil, errSegments
		}
	}
	p := &Proof{signed: text[:len(header)+1+len(payload)], signature: decoded[2]}
	if err := p.readHeader(decoded[0]); err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if err := p.readPayload(decoded[1]); err != nil {
		return nil, fmt.Errorf("payload: %w", err)
	}
	return p, nil
}

// readHeader reads the header of the proof. Members that it does not know are ignored, as RFC 7515
// section 4 says.
func (p *Proof) readHeader(header []byte) error {
	var typ, algorithm string
	var jwk []byte
	err := members(header, func(name string, value []byte) error {
		switch name {
		case "typ":
			typ, _ = engine.Unquote(value)
		case "alg":
			algorithm, _ = engine.Unquote(value)
		case "jwk":
			jwk = value
		case "crit":
			return errCritical
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case typ != "dpop+jwt":
		return errType
	case algorithm != es256 && algorithm != edDSA:
		return errAlgorithm
	}
	if p.key, err = readKey(jwk); err != nil {
		return err
	}
	if _, isEd25519 := p.key.(ed25519.PublicKey); isEd25519 != (algorithm == edDSA) {
		return errAlgorithm
	}
	p.Thumbprint, err = Thumbprint(p.key)
	return err
}

// readPayload reads the payload of the proof.
func (p *Proof) readPayload(payload []byte) error {
	return members(payload, func(name string, value []byte) error {
		ok := true
		switch name {
		case "nonce":
			p.Nonce, ok = engine.Unquote(value)
		case "ath":
			p.TokenHash, ok = engine.Unquote(value)
		case "jti":
			p.ID, _ = engine.Unquote(value)
		case "htm":
			p.Method, _ = engine.Unquote(value)
		case "htu":
			p.URL, _ = engine.Unquote(value)
		case "iat":
			p.IssuedAt = readTime(value)
		}
		if !ok {
			return errNotText
		}
		return nil
	})
}

// Verify checks the signature of the proof, with the key in its header.
func (p *Proof) Verify() error {
	ok := false
	switch key := p.key.(type) {
	case *ecdsa.PublicKey:
		const half = 32
		if len(p.signature) == 2*half {
			sum := sha256.Sum256([]byte(p.signed))
			r, s := new(big.Int).SetBytes(p.signature[:half]), new(big.Int).SetBytes(p.signature[half:])
			ok = ecdsa.Verify(key, sum[:], r, s)
		}
	case ed25519.PublicKey:
		ok = ed25519.Verify(key, []byte(p.signed), p.signature)
	}
	if !ok {
		return fmt.Errorf("the proof is not valid: %w", errBadSignature)
	}
	return nil
}

// IsFor reports whether the proof is for the token: whether it has its hash.
func (p *Proof) IsFor(token string) bool {
	return subtle.ConstantTimeCompare([]byte(p.TokenHash), []byte(HashOf(token))) == 1
}

// HashOf returns the hash of a token as proofs have it in "ath".
func HashOf(token string) string { return digest(token) }

// digest returns the SHA-256 of a text in base64url.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return encoding.EncodeToString(sum[:])
}

// maxMembers is how many members of an object are read.
const maxMembers = 64

// members calls f for each member of a JSON object. It returns an error if data is not an object,
// or has a name twice: two readers could then understand it differently. The names are those
// exactly written, while encoding/json would take "ALG" for "alg".
func members(data []byte, f func(name string, value []byte) error) error {
	data = bytes.TrimLeft(data, " \t\r\n")
	if len(data) == 0 || data[0] != '{' || !engine.ValidJSON(data) || !utf8.Valid(data) {
		return errNotObject
	}
	var some [16]string
	seen := some[:0]
	return engine.Members(data, func(n, _, value []byte) error {
		name := string(n)
		if len(seen) == maxMembers || slices.Contains(seen, name) {
			return errNotObject
		}
		seen = append(seen, name)
		return f(name, value)
	})
}

// readTime returns the time of a NumericDate (RFC 7519 section 2), and the zero time for what is
// none.
func readTime(value []byte) time.Time {
	// The value is valid JSON, of which ParseFloat accepts only numbers.
	seconds, err := strconv.ParseFloat(string(value), 64)
	if err != nil || seconds < -1e12 || seconds > 1e12 {
		return time.Time{}
	}
	const exact = 1e6 // microseconds
	return time.UnixMicro(int64(seconds * exact))
}
