package socketauth

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/z-open/socketauth/internal/dpop"
	"github.com/z-open/socketauth/internal/origin"
)

// This file holds the proofs of requests: DPoP (RFC 9449) at LoginPath, RegisterPath, TokenPath and
// in Middleware.

// proofHeader has the proof of a request, and nonceHeader the nonce that the next one should have.
const (
	proofHeader = "DPoP"
	nonceHeader = "DPoP-Nonce"
)

// proofWindow is how far the time of a proof without a nonce may be from the server's.
const proofWindow = time.Minute

// proofSlack is for how much longer a proof is remembered: the wall clock, by which it is valid,
// may be set back a little meanwhile.
const proofSlack = 10 * time.Second

// requestProofs checks the proofs of requests.
type requestProofs struct {
	*locator
	binding Binding
	origins *origin.Policy
	nonces  *dpop.Nonces
	used    dpop.Replay // the proofs that came with tokens, which are good once
}

// newRequestProofs derives the key of nonces as that of device cookies is derived.
func newRequestProofs(b Binding, o *origin.Policy, l *locator, secret []byte, c clusterConfig) *requestProofs {
	nonces := dpop.NewNonces(purposeKey(secret, c, "socketauth DPoP nonce"))
	return &requestProofs{locator: l, binding: b, origins: o, nonces: nonces}
}

// authorization is the token in the Authorization header of a request.
type authorization struct {
	text   string
	isDPoP bool // its scheme is DPoP, and not Bearer
}

// authorizationOf returns the token in the Authorization header. ok is false if there is none, or
// more than one such header.
func authorizationOf(r *http.Request) (h authorization, ok bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return h, false
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	h.text, h.isDPoP = strings.TrimLeft(text, " "), strings.EqualFold(scheme, "DPoP")
	return h, h.text != "" && (h.isDPoP || strings.EqualFold(scheme, "Bearer"))
}

// usesDPoP reports whether a request has a token of the scheme DPoP.
func usesDPoP(r *http.Request) bool {
	h, ok := authorizationOf(r)
	return ok && h.isDPoP
}

var (
	errNoProof       = errors.New("the token is bound to a key, and the request has no proof of it")
	errBearer        = errors.New("the token is bound to a key, and was sent as Bearer instead of DPoP")
	errCodeUnproved  = errors.New("the session has to be bound to a key, and the request has no proof of one")
	errNotBound      = errors.New("the token is bound to no key, and was sent as DPoP instead of Bearer")
	errBindRequired  = errors.New("the token is bound to no key, and Options.Binding is BindRequired")
	errProofs        = errors.New("the request has more than one header DPoP")
	errOtherMethod   = errors.New("the proof is for another method")
	errOtherTarget   = errors.New("the proof is for another URL")
	errOtherHost     = errors.New("the request is for a host that Options.Hosts does not list")
	errNoProofID     = errors.New(`the proof has no "jti"`)
	errReplayed      = errors.New("the proof was used before")
	errNoProofTime   = errors.New(`the proof has neither "iat" nor a nonce of this server`)
	errProofTime     = fmt.Errorf(`"iat" of the proof is more than %v from the server's time, and it has no nonce of this server`, proofWindow)
	errRepeatable    = errors.New("the token was replaced, and the proof may be a repeated one, because it has no nonce for this token")
	errNonceOutdated = errors.New("the nonce of the proof is too old")
)

// check checks the proof of a request that has the verified token t, which may have expired. It
// returns t, or what a code becomes by the key that it is to be bound to. It asks no store, and
// nothing becomes of the token if it is refused.
func (p *requestProofs) check(w http.ResponseWriter, r *http.Request, h authorization, t *token) (*token, *refusal) {
	refuse := func(code string, err error) (*token, *refusal) {
		return nil, &refusal{code: code, cause: err, token: t}
	}
	hasProof := len(r.Header.Values(proofHeader)) > 0
	switch {
	case t.Thumbprint != "" && !h.isDPoP:
		return refuse(codeProofRequired, errBearer)
	case t.Thumbprint != "" && !hasProof:
		return refuse(codeProofRequired, errNoProof)
	case t.Thumbprint != "":
	case t.Use != useCode && p.binding == BindRequired:
		return refuse(codeInvalidToken, errBindRequired)
	case t.Use != useCode && h.isDPoP:
		return refuse(codeInvalidToken, errNotBound)
	case t.Use != useCode, p.binding == BindNever:
		return t, nil
	case hasProof:
	case h.isDPoP, p.binding == BindRequired:
		return refuse(codeProofRequired, errCodeUnproved)
	default:
		return t, nil
	}
	proof, refused := p.read(w, r, t)
	if refused != nil {
		return nil, refused.withToken(t)
	}
	return t.boundTo(proof), nil
}

// read returns the proof in the header DPoP of a request with the token t, or without one if t is
// nil. It sets the header DPoP-Nonce of the answer if the client needs a nonce, or soon will.
func (p *requestProofs) read(w http.ResponseWriter, r *http.Request, t *token) (*dpop.Proof, *refusal) {
	invalid := func(err error) (*dpop.Proof, *refusal) {
		return nil, &refusal{code: codeInvalidProof, cause: err}
	}
	values := r.Header.Values(proofHeader)
	if len(values) != 1 {
		return invalid(errProofs)
	}
	proof, err := readProof(values[0], t)
	switch {
	case err != nil:
		return invalid(err)
	case proof.Method != r.Method:
		return invalid(errOtherMethod)
	case !origin.IsTarget(proof.URL, r):
		return invalid(errOtherTarget)
	case !p.origins.IsOwn(r.Host): // whoever has received the request may have sent it on with the same Host
		return invalid(errOtherHost)
	case proof.ID == "":
		return invalid(errNoProofID)
	}
	valid, outdated, err := p.validFor(proof)
	if outdated || err != nil {
		w.Header().Set(nonceHeader, p.nonces.New())
	}
	if err != nil {
		return nil, &refusal{code: codeUseDPoPNonce, cause: err}
	}
	// A proof that comes with what begins a session is not remembered: sent again, it binds the
	// session to the same key, which whoever has copied it does not have. And a key that no session
	// is bound to yet costs nothing, so that anyone could have any number of them remembered.
	if t == nil || t.Thumbprint == "" {
		return proof, nil
	}
	if outer, ok := r.Context().Value(claimsKey{}).(*token); ok && outer.Text == t.Text {
		return proof, nil // Middleware around this one has checked the same header, and remembers it
	}
	seen, wait := p.used.Use(proof.Thumbprint, proof.ID, valid)
	switch {
	case seen:
		return invalid(errReplayed)
	case wait > 0:
		p.limited(limitProofs, slog.String("user", t.UserID), slog.String("address", p.address(r)))
		return nil, &refusal{code: codeTooManyAttempts, retryAfter: wholeSeconds(wait)}
	}
	return proof, nil
}

// validFor returns for how long a proof is valid from now on. outdated reports that its nonce soon
// will be too old. The error says why it is not valid now.
func (p *requestProofs) validFor(proof *dpop.Proof) (valid time.Duration, outdated bool, err error) {
	// A nonce that others have made says nothing: processes that share no key may serve one client.
	// But of a proof with a nonce of this server, only that counts. If "iat" were looked at once it
	// is too old, such a proof could be valid for a second time later.
	if age, own := p.nonces.Age(proof.Nonce); own {
		if age > dpop.NonceLifetime || age < -proofWindow {
			return 0, true, errNonceOutdated
		}
		return dpop.NonceLifetime - age + proofSlack, age > dpop.NonceLifetime/2, nil
	}
	if proof.IssuedAt.IsZero() {
		return 0, true, errNoProofTime
	}
	age := time.Since(proof.IssuedAt)
	if age.Abs() > proofWindow {
		return 0, true, errProofTime
	}
	return proofWindow - age + proofSlack, false, nil
}

// isRepeatable reports whether the proof of a request with the token t, which was checked, may be
// one that was used before: at another process, or before this one began. It is not if it has the
// nonce with which such a request was answered once: then its client knew that the token had been
// replaced.
func (p *requestProofs) isRepeatable(r *http.Request, t *token) bool {
	proof, err := dpop.Parse(r.Header.Get(proofHeader))
	return err != nil || !p.nonces.IsFor(proof.Nonce, t.ID)
}

// loginKey returns the thumbprint of the key that a login or registration brings a proof of, and ""
// if it brings none.
func (p *requestProofs) loginKey(w http.ResponseWriter, r *http.Request) (thumbprint string, refused *refusal) {
	if p.binding == BindNever || len(r.Header.Values(proofHeader)) == 0 {
		return "", nil
	}
	proof, refused := p.read(w, r, nil)
	if refused != nil {
		return "", refused
	}
	return proof.Thumbprint, nil
}

// dpopErrors has the errors of the header WWW-Authenticate (RFC 9449 sections 7.1 and 9) for those
// codes that are not "invalid_token".
var dpopErrors = map[string]string{
	codeProofRequired: "invalid_dpop_proof",
	codeInvalidProof:  "invalid_dpop_proof",
	codeUseDPoPNonce:  "use_dpop_nonce",
}

// algorithms is the parameter of a challenge of the scheme DPoP that says how proofs can be signed.
const algorithms = `algs="` + dpop.Algorithms + `"`

// tokenChallenge returns the challenge to a request whose token was refused.
func tokenChallenge(r *http.Request, code string) string {
	kind := cmp.Or(dpopErrors[code], "invalid_token")
	challenge := fmt.Sprintf(`error="%s", error_description="%s"`, kind, cmp.Or(codes[code].message, "Token refused"))
	if dpopErrors[code] != "" || usesDPoP(r) {
		return "DPoP " + challenge + ", " + algorithms
	}
	return "Bearer " + challenge
}
