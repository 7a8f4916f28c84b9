package socketauth

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/z-open/socketauth/internal/deadline"
	"github.com/z-open/socketauth/internal/lazyctx"
)

// middlewareGrace is how long Middleware accepts a token after it was replaced: the client may have
// sent the request before it had the new one.
const middlewareGrace = 10 * time.Second

// Middleware returns a handler that calls next for requests with a valid session token in the
// header "Authorization: Bearer <token>" (RFC 6750 section 2.1). ClaimsFromContext returns its
// claims from the context of the request. The token is not replaced; one that was replaced in the
// last 10 seconds is accepted. A token that its client has not confirmed yet is confirmed by its
// first use.
//
// The token of a session that is bound to a key comes with "Authorization: DPoP <token>" and a
// proof in the header DPoP (RFC 9449 section 7). If pages of other origins send requests, the app's
// own CORS has to allow both headers, and to expose DPoP-Nonce and WWW-Authenticate.
//
// All other requests are answered with a JSON object {"code":"<code>"}: 401 with WWW-Authenticate
// if the token is missing or refused, 503 with Retry-After if the blacklist cannot be reached, 500
// or 429 if a hook (TenantID, KeyFunc) failed or returned ErrTooManyAttempts. After 401 with
// token_expired or stale_token, which says that the claims are out of date, the client has its
// token replaced, on a socket or at Options.TokenPath, and asks again with the next one.
//
// Like http.ServeMux, Middleware panics if next is nil.
func (a *Auth) Middleware(next http.Handler) http.Handler {
	if next == nil {
		panic("socketauth: nil handler for Middleware")
	}
	if a.bus != nil {
		_, _ = a.bus.start(false) // to hear what fails in other processes; otherwise each is on its own
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if t := a.authorized(w, r); t != nil {
			next.ServeHTTP(w, r.WithContext(contextWithToken(r.Context(), t)))
		}
	})
}

// verifyRequest is verify for the token of a request, and checks its proof. If it is
// refused because of its proof, the refusal has the token, which may be good.
func (a *Auth) verifyRequest(ctx context.Context, w http.ResponseWriter, r *http.Request, h authorization) (*token, *refusal) {
	t, refused := a.verify(ctx, h.text)
	switch {
	case refused == nil:
		return a.requestProofs.check(w, r, h, t)
	case refused.token != nil: // it has expired
		if _, unproved := a.requestProofs.check(w, r, h, refused.token); unproved != nil {
			return nil, unproved
		}
	}
	return nil, refused
}

// authorized returns the session token of a request. If it has none that is alive, authorized
// answers the request and returns nil.
func (a *Auth) authorized(w http.ResponseWriter, r *http.Request) *token {
	h, ok := authorizationOf(r)
	if !ok {
		deadline.Body(w, r)
		a.challengeMissing(w)
		return nil
	}
	t, refused := a.check(w, r, h)
	if refused != nil {
		a.refuseRequest(w, r, refused)
		return nil
	}
	return t
}

// refuseRequest answers a request whose token is refused, and records that.
func (a *Auth) refuseRequest(w http.ResponseWriter, r *http.Request, refused *refusal) {
	deadline.Body(w, r)
	e := AuditEvent{Kind: AuditRefused, Address: a.address(r), UserAgent: truncate(r.UserAgent())}
	if refused.token != nil {
		e.UserID, e.SessionID = refused.token.UserID, refused.token.SessionID
	}
	a.recordRefusal(r.Context(), "socketauth: request refused", refused, a.network(r, e.Address), e)
	switch refused.code {
	case codeUnavailable:
		answerRetry(w, http.StatusServiceUnavailable, refused.code, retrySoon)
	case codeTooManyAttempts:
		answerRetry(w, http.StatusTooManyRequests, refused.code, cmp.Or(refused.retryAfter, retryLater))
	case codeServerError:
		answerText(w, http.StatusInternalServerError, "code", refused.code)
	default:
		a.challenge(w, tokenChallenge(r, refused.code), refused.body())
	}
}

// challenge answers 401 (RFC 6750 section 3).
func (a *Auth) challenge(w http.ResponseWriter, challenge string, body any) {
	w.Header().Set("WWW-Authenticate", challenge)
	answer(w, http.StatusUnauthorized, body)
}

// challengeMissing answers a request that has no token with the schemes by which it can be sent.
func (a *Auth) challengeMissing(w http.ResponseWriter) {
	w.Header().Add("WWW-Authenticate", "Bearer")
	if a.binding != BindNever {
		w.Header().Add("WWW-Authenticate", "DPoP "+algorithms)
	}
	answer(w, http.StatusUnauthorized, map[string]any{"code": codeInvalidToken})
}

// check verifies the session token of a request for Middleware.
func (a *Auth) check(w http.ResponseWriter, r *http.Request, h authorization) (*token, *refusal) {
	ctx, cancel := lazyctx.WithTimeout(r.Context(), a.timeout)
	defer cancel()
	t, refused := a.verifyRequest(ctx, w, r, h)
	if refused != nil {
		return nil, refused
	}
	if _, refused := a.tenant(ctx, t); refused != nil {
		return nil, refused.withToken(t)
	}
	if t.Use != useSession {
		return nil, &refusal{code: codeInvalidToken, cause: errNotSession, token: t}
	}
	unconfirmed, refused := a.checkWithin(ctx, t, middlewareGrace)
	if unconfirmed && refused == nil {
		refused = a.confirmOnce(ctx, t)
	}
	if refused != nil {
		return nil, refused.withToken(t)
	}
	return t, nil
}

// answer writes a JSON body that caches must not store.
func answer(w http.ResponseWriter, status int, body any) {
	beginAnswer(w, status)
	_ = json.NewEncoder(w).Encode(body) // an error means that the client has left
}

// answerText is answer for an object with one member, a string.
func answerText(w http.ResponseWriter, status int, name, text string) {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || strings.IndexByte(`"\<>&`, c) >= 0 { // encoding/json may escape it
			answer(w, status, map[string]string{name: text})
			return
		}
	}
	beginAnswer(w, status)
	body := make([]byte, 0, len(`{"":""}`)+1+len(name)+len(text))
	body = append(append(append(body, `{"`...), name...), `":"`...)
	_, _ = w.Write(append(append(body, text...), "\"}\n"...))
}

// answerNothing is answer without a body.
func answerNothing(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	deadline.Answer(w)
	w.WriteHeader(http.StatusNoContent)
}

func beginAnswer(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	deadline.Answer(w)
	w.WriteHeader(status)
}

// answerRetry is answer for a client that is told to come back after some seconds.
func answerRetry(w http.ResponseWriter, status int, code string, seconds int) {
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	answerText(w, status, "code", code)
}

// ContextWithClaims returns a context from which ClaimsFromContext returns claims. It is for tests
// of code that runs behind Middleware.
func ContextWithClaims(ctx context.Context, claims jwt.MapClaims) context.Context {
	return context.WithValue(ctx, claimsKey{}, claims)
}

// ClaimsFromContext returns a copy of the claims in a context: of the token of a request that
// Middleware let through, or of the socket that a handler was called for. A number is a float64 if
// that represents it exactly, and otherwise a json.Number. The result is false if the context has
// no claims.
func ClaimsFromContext(ctx context.Context) (jwt.MapClaims, bool) {
	switch claims := ctx.Value(claimsKey{}).(type) {
	case *token:
		return claims.claims(), true
	case jwt.MapClaims:
		return copyClaims(claims), true
	}
	return nil, false
}

// contextWithToken is ContextWithClaims for the claims of a token. They are decoded only if they
// are asked for.
func contextWithToken(ctx context.Context, t *token) context.Context {
	return context.WithValue(ctx, claimsKey{}, t)
}
