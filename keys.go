package socketauth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/internal/jws"
)

// Key is a key for signing and verifying tokens. For HMAC, Sign and Verify are the same []byte, of
// at least 32 bytes and not shorter than the hash (RFC 7518 section 3.2). For RSA, ECDSA and
// Ed25519 they are a private and a public key of crypto/rsa (at least 2048 bits), crypto/ecdsa or
// crypto/ed25519.
type Key struct {
	ID     string            // the header "kid" of its tokens; may be empty if there is only one key
	Method jwt.SigningMethod // the algorithm, such as jwt.SigningMethodES256; no other is accepted
	Sign   any               // nil if the key only verifies
	Verify any
}

// LogValue keeps the key out of logs.
func (k Key) LogValue() slog.Value { return slog.StringValue("socketauth.Key " + k.ID) }

// Format keeps the key out of the output of package fmt.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, "socketauth.Key "+k.ID) }

// MarshalJSON keeps the key out of logs in JSON.
func (k Key) MarshalJSON() ([]byte, error) { return json.Marshal("socketauth.Key " + k.ID) }

// check returns an error if a key has no algorithm, or "none", or is of another type than the
// algorithm needs, or is weak, or if Sign and Verify are not of one pair.
func (k Key) check() error {
	if k.Method == nil || k.Method.Alg() == "none" {
		return errors.New(`its Method is missing or "none"`)
	}
	if err := k.checkStrength(); err != nil {
		return err
	}
	if k.Sign == nil {
		return nil
	}
	signature, err := k.Method.Sign("socketauth", k.Sign)
	if err != nil {
		return fmt.Errorf("its Sign does not sign %s: %w", k.Method.Alg(), err)
	}
	if err := k.Method.Verify("socketauth", signature, k.Verify); err != nil {
		return fmt.Errorf("its Verify does not verify what Sign signs: %w", err)
	}
	return nil
}

// checkStrength returns an error if Verify is not a key of the type and size that Method needs.
func (k Key) checkStrength() error {
	switch m := k.Method.(type) {
	case *jwt.SigningMethodHMAC:
		least := max(32, m.Hash.Size()) // RFC 7518 section 3.2
		if b, ok := k.Verify.([]byte); !ok || len(b) < least {
			return fmt.Errorf("for %s its Verify must be a []byte of at least %d bytes", m.Alg(), least)
		}
	case *jwt.SigningMethodRSA:
		return checkRSA(k.Verify)
	case *jwt.SigningMethodRSAPSS:
		return checkRSA(k.Verify)
	case *jwt.SigningMethodECDSA:
		if pub, ok := k.Verify.(*ecdsa.PublicKey); !ok || pub.Curve == nil || pub.Params().BitSize != m.CurveBits {
			return fmt.Errorf("for %s its Verify must be an *ecdsa.PublicKey on that curve", m.Alg())
		}
	case *jwt.SigningMethodEd25519:
		if pub, ok := k.Verify.(ed25519.PublicKey); !ok || len(pub) != ed25519.PublicKeySize {
			return errors.New("for EdDSA its Verify must be an ed25519.PublicKey")
		}
	}
	return nil
}

// checkRSA returns an error if key is not an RSA key of at least 2048 bits (RFC 7518 section 3.3).
func checkRSA(key any) error {
	if pub, ok := key.(*rsa.PublicKey); !ok || pub.N == nil || pub.N.BitLen() < 2048 {
		return errors.New("its Verify must be an *rsa.PublicKey of at least 2048 bits")
	}
	return nil
}

// copyKey copies a key that the app could change or clear later.
func copyKey(key any) any {
	switch key := key.(type) {
	case []byte:
		return slices.Clone(key)
	case ed25519.PrivateKey:
		return slices.Clone(key)
	case ed25519.PublicKey:
		return slices.Clone(key)
	}
	return key
}

// DecodeSecret decodes a secret from base64, for example from an environment variable. It accepts
// the standard and the URL alphabet (RFC 4648 sections 4 and 5), with or without padding, and
// ignores white space around it. The error does not contain the secret. DecodeSecret does not check
// the length, which New does.
func DecodeSecret(s string) ([]byte, error) {
	plain := strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(strings.TrimSpace(s), "="))
	secret, err := base64.RawURLEncoding.Strict().DecodeString(plain)
	if err != nil {
		// Without the cause, which quotes the secret.
		return nil, errors.New("socketauth: secret is not base64: make one with openssl rand -base64 32")
	}
	return secret, nil
}

// keyring has the keys of tokens, or the hook that finds them.
type keyring struct {
	signing Key
	all     []Key
	byID    map[string]Key
	find    func(context.Context, *jwt.Token) (Key, error) // Options.KeyFunc, or nil

	// The HMAC keys among all, and the one of them that signs, or nil. Each verifies only tokens whose
	// "kid" is its ID, or, if it is the only key and has no ID, those without one.
	hmacs  []*jws.Key
	signer *jws.Key
}

// newKeyring returns the keyring for the options Secret, Keys and KeyFunc. The error names all
// faults.
func newKeyring(secret []byte, keys []Key, find func(context.Context, *jwt.Token) (Key, error)) (*keyring, error) {
	set := 0
	for _, is := range []bool{secret != nil, keys != nil, find != nil} {
		if is {
			set++
		}
	}
	switch set {
	case 0:
		return nil, errors.New("exactly one of Secret, Keys and KeyFunc must be set, and none is")
	case 2, 3:
		return nil, fmt.Errorf("exactly one of Secret, Keys and KeyFunc must be set, and %d are", set)
	}
	if find != nil {
		return &keyring{find: find}, nil
	}
	if secret != nil {
		if len(secret) == 0 {
			return nil, errors.New("option Secret has 0 bytes: is the environment variable set? " +
				"Make a secret with openssl rand -base64 32 and read it with DecodeSecret")
		}
		if len(secret) < 32 {
			return nil, fmt.Errorf("option Secret has %d bytes and needs at least 32 random ones: "+
				"make one with openssl rand -base64 32 and read it with DecodeSecret", len(secret))
		}
		keys = []Key{{Method: jwt.SigningMethodHS256, Sign: secret, Verify: secret}}
	}
	k := &keyring{byID: make(map[string]Key, len(keys))}
	var faults []error
	for n, key := range keys {
		key.Sign, key.Verify = copyKey(key.Sign), copyKey(key.Verify)
		if err := key.check(); err != nil {
			faults = append(faults, fmt.Errorf("key %d (%q): %w", n, key.ID, err))
		}
		if _, taken := k.byID[key.ID]; taken || key.ID == "" && len(keys) > 1 {
			faults = append(faults, fmt.Errorf("key %d: each of several keys needs an ID of its own, and %q is not", n, key.ID))
		}
		k.byID[key.ID] = key
		k.all = append(k.all, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("no key in Keys")
	}
	k.signing = k.byID[keys[0].ID]
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	for n, key := range k.all {
		if own, ok := jws.New(key.Method, key.Verify, key.ID); ok {
			k.hmacs = append(k.hmacs, own)
			if n == 0 && key.Sign != nil {
				k.signer = own
			}
		}
	}
	return k, nil
}

// open reports whether one of the HMAC keys has signed a token, with the header that the library
// writes, and read accepts the payload, which it must not keep.
func (k *keyring) open(text string, read func(payload []byte) bool) bool {
	for _, own := range k.hmacs {
		if own.Open(text, read) {
			return true
		}
	}
	return false
}

// verifying returns the keys that a token may be signed with, which is not verified yet. A token
// without "kid" may be signed with any key: it may be from a time when there was a single key
// without an ID.
func (k *keyring) verifying(ctx context.Context, parsed *jwt.Token, t *token) ([]Key, error) {
	if k.find != nil {
		key, err := k.ask(ctx, &jwt.Token{
			Raw: parsed.Raw, Method: parsed.Method, Header: parsed.Header, Claims: t.claims(),
		})
		return []Key{key}, err
	}
	kid, given := parsed.Header["kid"]
	if !given || kid == "" {
		return k.all, nil
	}
	if len(k.all) == 1 && k.signing.ID == "" {
		return k.all, nil // whatever "kid" the app's own hook has set
	}
	id, _ := kid.(string)
	key, ok := k.byID[id]
	if !ok {
		return nil, ErrUnknownKey
	}
	return []Key{key}, nil
}

// verificationKeys returns the keys of an algorithm for golang-jwt, which refuses all signatures if
// there are none.
func verificationKeys(keys []Key, alg string) (set jwt.VerificationKeySet) {
	for _, key := range keys {
		if key.Method != nil && key.Method.Alg() == alg {
			set.Keys = append(set.Keys, key.Verify)
		}
	}
	return set
}

// ask returns the key that KeyFunc finds for a token.
func (k *keyring) ask(ctx context.Context, t *jwt.Token) (Key, error) {
	key, err := k.find(ctx, t)
	if err != nil {
		return Key{}, err
	}
	if key.Method == nil || key.Method.Alg() == "none" {
		return Key{}, errors.New(`the Method of the key is missing or "none"`)
	}
	return key, key.checkStrength()
}

// sign returns the signed token. It does not use jwt.Token.SignedString, which would marshal the
// claims again and so might change the app's.
func (k *keyring) sign(ctx context.Context, t *token) (string, error) {
	if k.signer != nil {
		return k.signer.Sign(t.appendPayload), nil
	}
	key := k.signing
	if k.find != nil {
		var err error
		unsigned := &jwt.Token{Header: map[string]any{"typ": "JWT"}, Claims: t.claims()}
		if key, err = k.ask(ctx, unsigned); err != nil {
			return "", fmt.Errorf("socketauth: KeyFunc: %w", err)
		}
	}
	header := map[string]any{"typ": "JWT", "alg": key.Method.Alg()}
	if key.ID != "" {
		header["kid"] = key.ID
	}
	head, err := json.Marshal(header)
	if err != nil {
		return "", fmt.Errorf("socketauth: signing: %w", err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	text := encode(head) + "." + encode(t.appendPayload(nil))
	signature, err := key.Method.Sign(text, key.Sign)
	if err != nil {
		return "", fmt.Errorf("socketauth: signing: %w", err)
	}
	return text + "." + encode(signature), nil
}
