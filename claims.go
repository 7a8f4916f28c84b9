package socketauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/internal/dpop"
	"github.com/z-open/socketauth/internal/engine"
)

// This file reads and writes the claims of tokens: those of the library, and those of the app,
// which are copied from token to token as the JSON of the first one.

// claimsKey is the context key of the claims: a *token, or a jwt.MapClaims of ContextWithClaims.
type claimsKey struct{}

// ownClaims are the claims that only the library may set, but for proofClaims. The app sets "sub"
// at the login.
var ownClaims = [...]string{
	"iss", "aud", "sid", "jti", "iat", "exp", "auth_time", "gen", "dur", "token_use", "began", "mark", "acr", "amr", "cnf",
}

// proofClaims are those of the library's claims that say how the user proved who they are. The app
// sets them at the login and at a step-up.
var proofClaims = [...]string{"acr", "amr"}

// UnmarshalJSON reads the claims. It returns an error if one of the library's own is missing,
// occurs twice, or has another type or form.
func (t *token) UnmarshalJSON(data []byte) error {
	var own ownValues
	if err := t.split(data, &own); err != nil {
		return err
	}
	return t.read(&own)
}

// readApp reads the app's claims from JSON that has none of the library's own.
func (t *token) readApp(claims []byte) (err error) {
	var own ownValues
	if err = t.split(claims, &own); err == nil {
		t.UserID, _ = engine.Unquote(own.get("sub"))
	}
	return err
}

// ownValues has the JSON values of "sub" and of the library's own claims; nil for a claim that is
// missing.
type ownValues [1 + len(ownClaims)][]byte

// index returns the index of a claim, or -1 if it is not one of these.
func (ownValues) index(name string) int {
	if name == "sub" {
		return len(ownClaims)
	}
	return slices.Index(ownClaims[:], name)
}

func (v *ownValues) get(name string) []byte { return v[v.index(name)] }

// split stores the app's claims of a JSON object in t.App, and "sub" and the library's own in own,
// whose values are parts of data.
func (t *token) split(data []byte, own *ownValues) error {
	if data[0] != '{' {
		return errors.New("claims are not an object")
	}
	var buf [256]byte
	app := buf[:0]
	err := engine.Members(data, func(name, quoted, value []byte) error {
		if n := own.index(string(name)); n >= 0 {
			if own[n] != nil {
				return fmt.Errorf("claim %s occurs twice", name)
			}
			if own[n] = value; string(name) != "sub" {
				return nil
			}
		}
		if string(name) == "nbf" {
			t.NotBefore = bytes.Clone(value)
		}
		if len(app) > 0 {
			app = append(app, ',')
		}
		app = append(append(append(app, quoted...), ':'), value...)
		return nil
	})
	t.App = bytes.Clone(app)
	t.Issuer, t.Audience = bytes.Clone(own.get("iss")), bytes.Clone(own.get("aud"))
	t.Proof = nil
	for _, name := range proofClaims {
		t.addProof(name, own.get(name))
	}
	return err
}

// addProof adds one of proofClaims, unless value is nil.
func (t *token) addProof(name string, value []byte) {
	if value == nil {
		return
	}
	if t.Proof != nil {
		t.Proof = append(t.Proof, ',')
	}
	t.Proof = append(append(append(append(t.Proof, '"'), name...), `":`...), value...)
}

// proof returns the JSON of one of proofClaims, or nil.
func (t *token) proof(claim string) (value []byte) {
	_ = engine.Members(slices.Concat([]byte{'{'}, t.Proof, []byte{'}'}), func(name, _, v []byte) error {
		if string(name) == claim {
			value = v
		}
		return nil
	})
	return value
}

// read reads the library's own claims from their JSON.
func (t *token) read(claims *ownValues) error {
	var err error
	text := func(name string) string {
		value := claims.get(name)
		if string(value) == `"`+useSession+`"` { // the value of most tokens, without a copy
			return useSession
		}
		s, ok := engine.Unquote(value)
		if !ok || s == "" {
			err = errors.Join(err, fmt.Errorf("claim %s is not a string, or is empty", name))
		}
		return s
	}
	number := func(name string) float64 {
		// The value is valid JSON, of which ParseFloat accepts only numbers.
		f, parseErr := strconv.ParseFloat(string(claims.get(name)), 64)
		if parseErr != nil || f < 0 || f > 1e12 {
			err = errors.Join(err, fmt.Errorf("claim %s is not a number, or out of range", name))
		}
		return f
	}
	t.UserID, t.SessionID, t.ID, t.Use = text("sub"), text("sid"), text("jti"), text("token_use")
	t.IssuedAt, t.ExpiresAt = fromSeconds(number("iat")), fromSeconds(number("exp"))
	t.AuthTime = fromSeconds(number("auth_time"))
	if t.Began = t.AuthTime; claims.get("began") != nil {
		t.Began = fromSeconds(number("began"))
	}
	if mark := claims.get("mark"); mark != nil {
		var parseErr error
		if t.Mark, parseErr = strconv.ParseInt(string(mark), 10, 64); parseErr != nil {
			err = errors.Join(err, errors.New("claim mark is not a whole number, or out of range"))
		}
	}
	if cnf := claims.get("cnf"); cnf != nil {
		var ok bool
		if t.Thumbprint, ok = thumbprintIn(cnf); !ok {
			err = errors.Join(err, errors.New(`claim cnf is not {"jkt": <a thumbprint>}`))
		}
	}
	t.Duration = number("dur")
	generation := number("gen")
	t.Generation = uint64(generation)
	switch {
	case err != nil:
	case generation != math.Trunc(generation):
		err = errors.New("claim gen is not a whole number")
	default:
		err = t.check()
	}
	return err
}

// thumbprintIn returns the thumbprint in the claim "cnf", which must be an object with nothing but
// the member "jkt" (RFC 9449 section 6.1).
func thumbprintIn(cnf []byte) (thumbprint string, ok bool) {
	if cnf[0] != '{' {
		return "", false
	}
	n := 0
	_ = engine.Members(cnf, func(name, _, value []byte) error {
		if n++; string(name) == "jkt" {
			thumbprint, ok = engine.Unquote(value)
		}
		return nil
	})
	return thumbprint, ok && n == 1 && dpop.IsThumbprint(thumbprint)
}

// check returns an error if the library's own claims do not fit together.
func (t *token) check() error {
	switch {
	case !isID(t.SessionID) || !isID(t.ID):
		return errors.New("claim sid or jti is not 128 bits")
	case t.Generation > math.MaxUint32:
		return errors.New("claim gen is out of range")
	case t.Began.After(t.AuthTime):
		return errors.New("claim began is after auth_time")
	case t.Mark < 0:
		return errors.New("claim mark is negative")
	case (t.Use == useCode || t.Use == useStepUp) && t.Generation == 0, t.Use == useSession && t.Generation > 0:
		return nil
	}
	return errors.New("claims token_use and gen do not fit together")
}

// appendPayload appends the claims as JSON, the app's unchanged.
func (t *token) appendPayload(b []byte) []byte {
	start := len(b)
	b = append(append(b, '{'), t.App...)
	member := func(name string) []byte {
		if len(b) > start+1 {
			b = append(b, ',')
		}
		return append(append(append(b, '"'), name...), '"', ':')
	}
	raw := func(name string, value []byte) {
		if value != nil {
			b = append(member(name), value...)
		}
	}
	text := func(name, value string) { // of characters that need no escaping
		b = append(append(append(member(name), '"'), value...), '"')
	}
	number := func(name string, value float64) {
		b = strconv.AppendFloat(member(name), value, 'f', -1, 64)
	}

	raw("iss", t.Issuer)
	raw("aud", t.Audience)
	text("sid", t.SessionID)
	text("jti", t.ID)
	number("iat", seconds(t.IssuedAt))
	number("exp", seconds(t.ExpiresAt))
	number("auth_time", seconds(t.AuthTime))
	if !t.Began.Equal(t.AuthTime) {
		number("began", seconds(t.Began))
	}
	if t.Mark != 0 {
		b = strconv.AppendInt(member("mark"), t.Mark, 10)
	}
	number("gen", float64(t.Generation))
	number("dur", t.Duration)
	text("token_use", t.Use)
	if t.Proof != nil {
		b = append(append(b, ','), t.Proof...)
	}
	if t.Thumbprint != "" { // which needs no escaping
		b = append(append(append(b, `,"cnf":{"jkt":"`...), t.Thumbprint...), `"}`...)
	}
	return append(b, '}')
}

// claims returns a copy of all claims, for hooks, handlers and requests.
func (t *token) claims() jwt.MapClaims {
	c := make(jwt.MapClaims, 16)
	for _, object := range [...][]byte{t.App, t.Proof} {
		_ = engine.Members(slices.Concat([]byte{'{'}, object, []byte{'}'}), func(name, quoted, value []byte) error {
			text, _ := engine.Unquote(quoted)
			c[text] = decode(value)
			return nil
		})
	}
	if t.Issuer != nil {
		c["iss"] = decode(t.Issuer)
	}
	if t.Audience != nil {
		c["aud"] = decode(t.Audience)
	}
	c["sid"], c["jti"], c["token_use"] = t.SessionID, t.ID, t.Use
	c["iat"], c["exp"], c["auth_time"] = seconds(t.IssuedAt), seconds(t.ExpiresAt), seconds(t.AuthTime)
	c["gen"], c["dur"] = float64(t.Generation), t.Duration
	if !t.Began.Equal(t.AuthTime) {
		c["began"] = seconds(t.Began)
	}
	if t.Mark != 0 {
		c["mark"] = decode(strconv.AppendInt(nil, t.Mark, 10))
	}
	if t.Thumbprint != "" {
		c["cnf"] = map[string]any{"jkt": t.Thumbprint}
	}
	return c
}

// decode returns the value of valid JSON. Of numbers it returns what exactNumbers does.
func decode(value []byte) any {
	switch c := value[0]; c {
	case 't':
		return true
	case 'f':
		return false
	case 'n':
		return nil
	case '"':
		text, _ := engine.Unquote(value)
		return text
	case '[', '{':
		var v any
		d := json.NewDecoder(bytes.NewReader(value))
		d.UseNumber()
		_ = d.Decode(&v) // it cannot fail, since the JSON is valid
		return exactNumbers(v)
	default:
		const exact = 15 // so many digits are always represented exactly
		if c != '-' && len(value) <= exact {
			if n, err := strconv.ParseUint(string(value), 10, 64); err == nil {
				return float64(n)
			}
		}
		return exactNumbers(json.Number(value))
	}
}

// claim returns one claim as golang-jwt reads it.
func claim(name string, value json.RawMessage) (jwt.MapClaims, error) {
	if value == nil {
		return nil, nil
	}
	var v any
	err := json.Unmarshal(value, &v)
	return jwt.MapClaims{name: v}, err
}

// exactNumbers replaces each json.Number in v that a float64 represents exactly, so that it is
// written as the same number again, by that float64. It changes maps and slices in place and
// returns the result.
func exactNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if f, err := v.Float64(); err == nil && sameNumber(string(v), strconv.FormatFloat(f, 'e', -1, 64)) {
			return f
		}
	case map[string]any:
		for name, item := range v {
			v[name] = exactNumbers(item)
		}
	case []any:
		for n, item := range v {
			v[n] = exactNumbers(item)
		}
	}
	return v
}

// sameNumber reports whether two JSON numbers are exactly equal.
func sameNumber(a, b string) bool {
	digitsA, exponentA, ok := decimal(a)
	digitsB, exponentB, ok2 := decimal(b)
	return ok && ok2 && digitsA == digitsB && exponentA == exponentB
}

// decimal splits a JSON number into its significant digits, with their sign, and the power of ten
// to multiply them by. ok is false if that is not within a million.
func decimal(number string) (digits string, exponent int, ok bool) {
	mantissa, power, scientific := strings.Cut(strings.ToLower(number), "e")
	if scientific {
		var err error
		if exponent, err = strconv.Atoi(power); err != nil || exponent > 1e6 || exponent < -1e6 {
			return "", 0, false
		}
	}
	mantissa, negative := strings.CutPrefix(mantissa, "-")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits = strings.TrimLeft(whole+fraction, "0")
	trimmed := strings.TrimRight(digits, "0")
	exponent += len(digits) - len(trimmed) - len(fraction)
	switch {
	case trimmed == "":
		return "0", 0, true // also minus zero
	case negative:
		trimmed = "-" + trimmed
	}
	return trimmed, exponent, true
}

// copyClaims returns a deep copy of claims.
func copyClaims(c jwt.MapClaims) jwt.MapClaims {
	if c == nil {
		return nil
	}
	return copyJSON(map[string]any(c)).(map[string]any)
}

func copyJSON(v any) any {
	switch v := v.(type) {
	case map[string]any:
		c := make(map[string]any, len(v))
		for name, item := range v {
			c[name] = copyJSON(item)
		}
		return c
	case []any:
		c := make([]any, len(v))
		for n, item := range v {
			c[n] = copyJSON(item)
		}
		return c
	}
	return v
}
