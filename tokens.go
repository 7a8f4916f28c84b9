package socketauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/id"
)

// The values of the claim "token_use".
const (
	useCode    = "code"    // a login is answered with it; it is exchanged for a session token once
	useSession = "session" // a socket authenticates with it
	useStepUp  = "step_up" // the user has proved again who they are; it is presented with the token of its session
)

// maxTokenLength is the maximum length of tokens that are verified or minted, in bytes.
const maxTokenLength = 16 << 10

// maxCodeLength is the maximum length of codes that are minted. The later tokens of a session may
// be longer: their generations have more digits, and a longer key may sign them.
const maxCodeLength = maxTokenLength - 1<<10

// The errors of an issuer.
var (
	errExpired  = errors.New("token expired") // and otherwise valid
	errInvalid  = errors.New("invalid token")
	errReserved = errors.New("only the library may set it")

	errClock = fmt.Errorf("%w: the blacklist's clock", ErrUnavailable)

	errNoSigning = errors.New("no key to sign with: the first of Keys has no Sign")
)

// token is a token that was verified or minted. It does not change after that.
type token authn.Token

// withoutText returns a copy of the token for a socket to keep: nothing that its client has stored
// is sent again, and the text is the largest part of a token.
func (t *token) withoutText() *token {
	kept := *t
	kept.Text = ""
	return &kept
}

// ref returns what the blacklist knows of the token.
func (t *token) ref() blacklist.TokenRef {
	ref := blacklist.TokenRef{
		SessionID: t.SessionID, UserID: t.UserID, TokenID: t.ID, Generation: t.Generation,
		IssuedAt: t.IssuedAt, AuthTime: t.Began, ExpiresAt: t.ExpiresAt, Mark: t.Mark,
	}
	if t.Binds {
		ref.Bind = t.Thumbprint
	} else {
		ref.Bound = t.Thumbprint != ""
	}
	return ref
}

// The getters of jwt.Claims. Times have fractions of seconds, which the types of golang-jwt cut
// off.

func (t *token) GetExpirationTime() (*jwt.NumericDate, error) {
	return &jwt.NumericDate{Time: t.ExpiresAt}, nil
}
func (t *token) GetNotBefore() (*jwt.NumericDate, error) {
	c, err := claim("nbf", t.NotBefore)
	if err != nil {
		return nil, err
	}
	return c.GetNotBefore()
}
func (t *token) GetIssuedAt() (*jwt.NumericDate, error) {
	return &jwt.NumericDate{Time: t.IssuedAt}, nil
}
func (t *token) GetIssuer() (string, error) {
	c, err := claim("iss", t.Issuer)
	if err != nil {
		return "", err
	}
	return c.GetIssuer()
}
func (t *token) GetSubject() (string, error) { return t.UserID, nil }
func (t *token) GetAudience() (jwt.ClaimStrings, error) {
	c, err := claim("aud", t.Audience)
	if err != nil {
		return nil, err
	}
	return c.GetAudience()
}

// mintHook is one of the hooks Authorization and Refresh.
type mintHook func(context.Context, jwt.MapClaims) (string, error)

// issuer mints and verifies tokens.
type issuer struct {
	keys             *keyring
	parser           *jwt.Parser
	issuer, audience string

	issuerClaim, audienceClaim json.RawMessage // issuer and audience as JSON

	codeLifetime, tokenLifetime, sessionLifetime, refreshInterval time.Duration

	authorization, refresh mintHook // may be nil

	// storeTime is the Time of a blacklist.Clock. It is nil if the store has none, and goes by the
	// clock of this process.
	storeTime func(ctx context.Context, userID string, t time.Time) (time.Time, error)
}

// byStore returns what the store's clock showed when that of this process showed at, and how far
// the latter is ahead. All times in tokens are the store's. The error wraps errClock.
func (i *issuer) byStore(ctx context.Context, userID string, at time.Time) (t time.Time, ahead time.Duration, err error) {
	if i.storeTime == nil {
		return at, 0, nil
	}
	if t, err = i.storeTime(ctx, userID, at); err != nil {
		return t, 0, fmt.Errorf("%w: %w", errClock, err)
	}
	return t, at.Round(0).Sub(t.Round(0)), nil
}

// prepare makes what depends on the fields issuer and audience alone.
func (i *issuer) prepare() {
	options := []jwt.ParserOption{jwt.WithStrictDecoding(), jwt.WithExpirationRequired()}
	if i.issuer != "" {
		options = append(options, jwt.WithIssuer(i.issuer))
	}
	if i.audience != "" {
		options = append(options, jwt.WithAudience(i.audience))
	}
	i.parser = jwt.NewParser(options...)
	i.issuerClaim, _ = json.Marshal(i.issuer) // a string can always be marshaled
	i.audienceClaim, _ = json.Marshal(i.audience)
}

// canSign reports whether tokens can be signed: by hook, unless it is nil, or with a key.
func (i *issuer) canSign(hook mintHook) bool {
	return hook != nil || i.keys == nil || i.keys.find != nil || i.keys.signing.Sign != nil
}

// verify checks a token without the store, except for its clock. The error wraps errInvalid, or is
// errExpired if the token is valid except that it has expired; then the token is returned too. If
// the error wraps errClock, the store could not be asked for the time; any other error means that
// KeyFunc failed.
func (i *issuer) verify(ctx context.Context, text string) (*token, error) {
	// Line breaks are refused because even strict base64 decoders skip them.
	if len(text) > maxTokenLength || strings.IndexByte(text, '\n') >= 0 || strings.IndexByte(text, '\r') >= 0 {
		return nil, errInvalid
	}
	t, expired := i.verifyOwn(text), false
	if t == nil {
		var err error
		if t, expired, err = i.parse(ctx, text); err != nil {
			return nil, err
		}
	}
	if i.storeTime != nil { // so far, expired is by the clock of this process
		now, ahead, err := i.byStore(ctx, t.UserID, time.Now())
		if err != nil {
			return nil, err
		}
		t.Ahead, expired = ahead, !now.Before(t.ExpiresAt)
	}
	if expired {
		return t, errExpired
	}
	return t, nil
}

// verifyOwn is parse for most tokens: signed with one of the HMAC keys, with the header that the
// library writes. It returns nil for all others and for those that are not valid, about which parse
// decides. parse accepts each token that verifyOwn accepts, and returns the same.
func (i *issuer) verifyOwn(text string) *token {
	t := &token{Text: text}
	ok := i.keys.open(text, func(payload []byte) bool {
		return engine.ValidJSON(payload) && t.UnmarshalJSON(payload) == nil
	})
	if !ok || !i.isValid(t) {
		return nil
	}
	return t
}

// isValid reports whether golang-jwt would accept the registered claims (RFC 7519 section 4.1) of
// t. It is false for some that it would accept: with "nbf", or more than one audience.
func (i *issuer) isValid(t *token) bool {
	is := func(claim []byte, want string) bool {
		if want == "" {
			return true
		}
		got, ok := engine.Unquote(claim)
		return ok && got == want
	}
	return t.NotBefore == nil && time.Now().Before(t.ExpiresAt) &&
		is(t.Issuer, i.issuer) && is(t.Audience, i.audience)
}

// parse has golang-jwt verify a token. expired is true if it is valid except that it has expired by
// the clock of this process. The error wraps errInvalid unless KeyFunc failed.
func (i *issuer) parse(ctx context.Context, text string) (t *token, expired bool, err error) {
	t = &token{Text: text}
	var failed error // the error of KeyFunc, which does not mean that the token is invalid
	_, err = i.parser.ParseWithClaims(text, t, func(parsed *jwt.Token) (any, error) {
		if _, ok := parsed.Header["crit"]; ok {
			return nil, errors.New("critical headers are not supported (RFC 7515 section 4.1.11)")
		}
		keys, err := i.keys.verifying(ctx, parsed, t)
		if err != nil && !errors.Is(err, ErrUnknownKey) {
			failed = err
		}
		return verificationKeys(keys, parsed.Method.Alg()), err
	})
	expired = errors.Is(err, jwt.ErrTokenExpired) && t.Use != "" && !errors.Is(err, jwt.ErrTokenInvalidIssuer) &&
		!errors.Is(err, jwt.ErrTokenInvalidAudience) && !errors.Is(err, jwt.ErrTokenNotValidYet)
	switch {
	case failed != nil:
		return nil, false, failed
	case err != nil && !expired:
		return nil, false, fmt.Errorf("%w: %w", errInvalid, err)
	}
	return t, expired, nil
}

// code mints the code of a login: generation 0 of a new session. authTime is when the user proved
// who they are, by the clock of this process. thumbprint is that of the key to which the code, and
// so the session, is bound; "" for none.
func (i *issuer) code(ctx context.Context, app jwt.MapClaims, authTime time.Time, thumbprint string) (*token, error) {
	claims, err := checkClaims(app)
	if err != nil {
		return nil, err
	}
	return i.mintCode(ctx, &token{SessionID: newID(), Use: useCode, Thumbprint: thumbprint}, claims, authTime, app)
}

// stepUp mints the code of a step-up in a session. It has "sub" and how the user proved who they
// are, and no other claim of the app's.
func (i *issuer) stepUp(ctx context.Context, sessionID string, app jwt.MapClaims, authTime time.Time) (*token, error) {
	if _, err := checkClaims(app); err != nil {
		return nil, err
	}
	given := jwt.MapClaims{"sub": app["sub"]}
	for _, name := range proofClaims {
		if value, ok := app[name]; ok {
			given[name] = value
		}
	}
	claims, err := json.Marshal(given)
	if err != nil {
		return nil, fmt.Errorf("socketauth: claims: %w", err)
	}
	return i.mintCode(ctx, &token{SessionID: sessionID, Use: useStepUp}, claims, authTime, given)
}

// checkClaims returns the JSON of the claims that the app gives at a login.
func checkClaims(app jwt.MapClaims) ([]byte, error) {
	sub, ok := app["sub"].(string)
	if !ok || sub == "" || !utf8.ValidString(sub) {
		return nil, fmt.Errorf(
			`socketauth: claim "sub" must be a string in UTF-8 that is not empty; its type is %T`, app["sub"])
	}
	for _, name := range ownClaims {
		if _, ok := app[name]; ok && !slices.Contains(proofClaims[:], name) {
			return nil, fmt.Errorf("socketauth: claim %q: %w", name, errReserved)
		}
	}
	claims, err := json.Marshal(app)
	if err != nil {
		return nil, fmt.Errorf("socketauth: claims: %w", err)
	}
	return claims, nil
}

// mintCode completes a code and signs it. claims are the JSON of app.
func (i *issuer) mintCode(ctx context.Context, code *token, claims []byte, authTime time.Time, app jwt.MapClaims) (*token, error) {
	if err := code.readApp(claims); err != nil {
		return nil, fmt.Errorf("socketauth: %w", err)
	}
	authTime, _, err := i.byStore(ctx, code.UserID, authTime)
	if err != nil {
		return nil, err
	}
	code.AuthTime = fromSeconds(seconds(authTime))
	code.Began = code.AuthTime
	now, ahead, err := i.byStore(ctx, code.UserID, time.Now())
	if err != nil {
		return nil, err
	}
	code.Ahead = ahead
	t, err := i.mint(ctx, code, now, now.Add(i.codeLifetime), "Authorization", i.authorization, app)
	if err == nil && i.authorization == nil && (i.keys.signer == nil || !i.isValid(t)) {
		t, err = i.verify(ctx, t.Text) // the app's claims, or KeyFunc, may make it invalid
	}
	if err == nil && len(t.Text) > maxCodeLength {
		return nil, fmt.Errorf("socketauth: the code has %d bytes, more than %d", len(t.Text), maxCodeLength)
	}
	return t, err
}

// successor mints the session token that replaces t.
func (i *issuer) successor(ctx context.Context, t *token) (*token, error) {
	now, ahead, err := i.byStore(ctx, t.UserID, time.Now())
	if err != nil {
		return nil, err
	}
	expires := now.Add(i.tokenLifetime)
	if last := t.Began.Add(i.sessionLifetime); expires.After(last) {
		expires = last
	}
	if !expires.After(now) {
		return nil, errExpired
	}
	next := *t
	next.Text, next.Use, next.Generation, next.Ahead, next.Binds = "", useSession, t.Generation+1, ahead, false
	return i.mint(ctx, &next, now, expires, "Refresh", i.refresh, nil)
}

// isFresh reports whether a token is too young to be replaced. A token whose iat is ahead of the
// clock is replaced, because its age is not known.
func (i *issuer) isFresh(t *token) bool {
	age, left := time.Since(t.IssuedAt.Add(t.Ahead)), time.Until((*authn.Token)(t).Expiry())
	return t.Use == useSession && 0 <= age && age < i.refreshInterval && age < left
}

// hookTimeout is how long all hooks of one login may take together.
const hookTimeout = 30 * time.Second

// codeWithin returns how long after a login has begun its code can still be accepted.
func (i *issuer) codeWithin() time.Duration { return hookTimeout + i.codeLifetime + time.Minute }

// mint completes a token, whose times are by the store's clock, and signs it, with sign if it is
// not nil: the hook of the given name. given are the app's claims before they were marshaled to
// JSON, if sign is to receive them unchanged.
func (i *issuer) mint(
	ctx context.Context, t *token, now, expires time.Time, hook string, sign mintHook, given jwt.MapClaims,
) (*token, error) {
	now, expires = now.Truncate(time.Microsecond), expires.Truncate(time.Microsecond)
	t.ID, t.Duration = newID(), expires.Sub(now).Seconds()
	t.IssuedAt, t.ExpiresAt = fromSeconds(seconds(now)), fromSeconds(seconds(expires))
	if i.issuer != "" {
		t.Issuer = i.issuerClaim
	}
	if i.audience != "" {
		t.Audience = i.audienceClaim
	}
	err := t.check()
	if err != nil {
		return nil, fmt.Errorf("socketauth: %w", err)
	}
	if sign != nil {
		claims := t.claims()
		maps.Copy(claims, copyClaims(given))
		return i.mintByHook(ctx, t, claims, hook, sign)
	}
	if t.Text, err = i.keys.sign(ctx, t); err == nil && len(t.Text) > maxTokenLength {
		err = fmt.Errorf("socketauth: the token has %d bytes, more than %d", len(t.Text), maxTokenLength)
	}
	return t, err
}

// mintByHook has a hook sign the claims, and verifies the token that it returns.
func (i *issuer) mintByHook(
	ctx context.Context, want *token, claims jwt.MapClaims, hook string, sign mintHook,
) (*token, error) {
	text, err := sign(ctx, claims)
	if err != nil {
		return nil, fmt.Errorf("socketauth: %s: %w", hook, err)
	}
	got, err := i.verify(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("socketauth: the token of %s is not accepted: %w", hook, err)
	}
	same := got.UserID == want.UserID && got.SessionID == want.SessionID && got.ID == want.ID &&
		got.Use == want.Use && got.Generation == want.Generation && got.Duration == want.Duration &&
		got.IssuedAt.Equal(want.IssuedAt) && got.AuthTime.Equal(want.AuthTime) &&
		got.Began.Equal(want.Began) && got.Mark == want.Mark && got.Thumbprint == want.Thumbprint && sameProof(got, want) &&
		!got.ExpiresAt.After(want.ExpiresAt)
	if !same {
		return nil, fmt.Errorf("socketauth: %s changed a claim that only the library may set", hook)
	}
	return got, nil
}

// sameProof reports whether two tokens have the same values of proofClaims.
func sameProof(a, b *token) bool {
	for _, name := range proofClaims {
		x, y := a.proof(name), b.proof(name)
		if bytes.Equal(x, y) {
			continue
		}
		var v, w any
		if json.Unmarshal(x, &v) != nil || json.Unmarshal(y, &w) != nil || !reflect.DeepEqual(v, w) {
			return false
		}
	}
	return true
}

// newID returns 128 random bits in base64.
func newID() string { return id.New().String() }

// isID reports whether s is 128 bits in base64, as newID returns them.
func isID(s string) bool {
	_, ok := id.Parse(s)
	return ok
}

// seconds returns a time as a NumericDate (RFC 7519 section 2) with microseconds: RevokeUser has to
// tell logins within one second apart.
func seconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

// fromSeconds is the reverse of seconds.
func fromSeconds(f float64) time.Time { return time.UnixMicro(int64(math.Round(f * 1e6))) }

// prove records in the successor of t how and when its user has proved again who they are, by the
// given code.
func (t *token) prove(code *token) {
	t.AuthTime, t.Proof = code.AuthTime, nil
	for _, name := range proofClaims {
		t.addProof(name, code.proof(name))
	}
}

// stepUpOf returns what the store has to know of a step-up code, which may be nil.
func stepUpOf(code *token) blacklist.StepUp {
	if code == nil {
		return blacklist.StepUp{}
	}
	return blacklist.StepUp{ID: code.ID, At: code.AuthTime}
}
