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
// last 10 seconds is accepted. A token that its client has not confirmed yet is confirmed by its first
// use.
//
// All other requests are answered with a JSON object {"code":"<code>"}: 401 with WWW-Authenticate
// if the token is missing or refused, 503 with Retry-After if the blacklist cannot be reached, 500
// or 429 if a hook (TenantID, KeyFunc) failed or returned ErrTooManyAttempts. After 401 with
// token_expired or stale_token, which says that the claims are out of date, the client has its token
// replaced, on a socket or at Options.TokenPath, and asks again with the next one.
func (a *Auth) Middleware(next http.Handler) http.Handler {
	if a.bus != nil {
		_, _ = a.bus.start(false) // to hear what fails in other processes; otherwise each is on its own
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if t := a.authorized(w, r); t != nil {
			next.ServeHTTP(w, r.WithContext(contextWithToken(r.Context(), t)))
		}
	})
}

// authorized returns the session token of a request. If it has none that is alive, authorized answers the
// request and returns nil.
func (a *Auth) authorized(w http.ResponseWriter, r *http.Request) *token {
	text, ok := bearer(r)
	if !ok {
		deadline.Body(w, r)
		a.challenge(w, "Bearer", map[string]any{"code": codeInvalidToken})
		return nil
	}
	t, refused := a.check(r.Context(), text)
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
		description := cmp.Or(codes[refused.code].message, "Token refused")
		a.challenge(w, `Bearer error="invalid_token", error_description="`+description+`"`, refused.body())
	}
}

// challenge answers 401 (RFC 6750 section 3).
func (a *Auth) challenge(w http.ResponseWriter, challenge string, body any) {
	w.Header().Set("WWW-Authenticate", challenge)
	answer(w, http.StatusUnauthorized, body)
}

// check verifies a session token for Middleware.
func (a *Auth) check(ctx context.Context, text string) (*token, *refusal) {
	ctx, cancel := lazyctx.WithTimeout(ctx, a.timeout)
	defer cancel()
	t, refused := a.verify(ctx, text)
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

// bearer returns the token in the Authorization header. ok is false if there is none, or more than
// one such header.
func bearer(r *http.Request) (text string, ok bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	text = strings.TrimLeft(text, " ")
	return text, strings.EqualFold(scheme, "Bearer") && text != ""
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

// claimsKey is the context key of the claims: a *token, or a jwt.MapClaims of ContextWithClaims.
type claimsKey struct{}

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
