package dpop

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/hex"
	"slices"

	"github.com/z-open/socketauth/internal/engine"
)

// Thumbprint returns the thumbprint of a public key of P-256 or Ed25519 (RFC 7638), in base64url.
func Thumbprint(key crypto.PublicKey) (string, error) {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return "", errUnsupported
		}
		point, err := key.Bytes() // 4, and the two coordinates
		if err != nil {
			return "", errBadKey
		}
		x, y := encoding.EncodeToString(point[1:1+size]), encoding.EncodeToString(point[1+size:])
		return digest(`{"crv":"P-256","kty":"EC","x":"` + x + `","y":"` + y + `"}`), nil
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize {
			return "", errBadKey
		}
		return digest(`{"crv":"Ed25519","kty":"OKP","x":"` + encoding.EncodeToString(key) + `"}`), nil
	}
	return "", errUnsupported
}

// IsThumbprint reports whether text has the form of a thumbprint: 256 bits in base64url.
func IsThumbprint(text string) bool {
	const length = 43
	if len(text) != length {
		return false
	}
	sum, err := encoding.DecodeString(text) // which is shorter if there are line breaks
	return err == nil && len(sum) == size
}

// size is the length of a coordinate of P-256, of a key of Ed25519 and of a hash.
const size = 32

// readKey reads a public key in the form of a JSON Web Key (RFC 7517). Members that it does not
// know are ignored.
func readKey(jwk []byte) (crypto.PublicKey, error) {
	var kty, crv, xText, yText string
	hasY := false
	err := members(jwk, func(name string, value []byte) error {
		ok := true
		switch name {
		case "d":
			return errPrivate
		case "kty":
			kty, ok = engine.Unquote(value)
		case "crv":
			crv, ok = engine.Unquote(value)
		case "x":
			xText, ok = engine.Unquote(value)
		case "y":
			yText, ok = engine.Unquote(value)
			hasY = true
		}
		if !ok {
			return errBadKey
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	switch [2]string{kty, crv} {
	case [2]string{"EC", "P-256"}:
		x, okX := readCoordinate(xText)
		y, okY := readCoordinate(yText)
		if !okX || !okY {
			return nil, errBadKey
		}
		key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
		if err != nil { // not on the curve, or not less than the prime
			return nil, errBadKey
		}
		return key, nil
	case [2]string{"OKP", "Ed25519"}:
		x, ok := readCoordinate(xText)
		if !ok || hasY || !isEd25519(x) {
			return nil, errBadKey
		}
		return ed25519.PublicKey(x), nil
	}
	return nil, errUnsupported
}

// readCoordinate decodes a coordinate, which has its full length (RFC 7518 section 6.2.1.2).
func readCoordinate(text string) (b []byte, ok bool) {
	b, err := encoding.DecodeString(text)
	return b, err == nil && len(b) == size && len(text) == encoding.EncodedLen(size)
}

// isEd25519 reports whether x is a key of Ed25519 as a key pair can have it: the only encoding of a
// point that is not one of the eight of small order. With one of these, anyone could write
// signatures that ed25519.Verify accepts. It does not report whether there is a point of this y;
// ed25519.Verify refuses each signature if there is none.
func isEd25519(x []byte) bool {
	var y [size]byte
	copy(y[:], x)
	y[size-1] &^= 1 << 7 // the sign of the other coordinate
	slices.Reverse(y[:]) // to big-endian
	if bytes.Compare(y[:], prime) >= 0 {
		return false
	}
	return !slices.ContainsFunc(smallOrder, func(point []byte) bool { return bytes.Equal(point, y[:]) })
}

// The prime of Ed25519, 2^255 - 19, and the y coordinates of its points of small order: big-endian.
var (
	prime      = unhex("7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffed")
	smallOrder = [][]byte{
		unhex("0000000000000000000000000000000000000000000000000000000000000000"),
		unhex("0000000000000000000000000000000000000000000000000000000000000001"),
		unhex("05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826"),
		unhex("7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7"),
		unhex("7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffec"),
	}
)

func unhex(text string) []byte {
	b, err := hex.DecodeString(text)
	if err != nil {
		panic(err) // only of the constants above
	}
	return b
}
