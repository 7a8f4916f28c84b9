package socketauth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/z-open/socketauth/internal/deadline"
)

// middlewareGrace is how long the middleware goes on accepting a token that was replaced: requests that were on their
// way, with the token that the client had when it sent them.
const middlewareGrace = 10 * time.Second

// Middleware lets through requests that carry a living session token as "Authorization: Bearer" (RFC 6750 section
// 2.1), with its claims in the context. It only reads: a token is not replaced by it. Others are answered 401, or 503
// where the blacklist is out of reach.
func (a *Auth) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := bearer(r)
		if !ok {
			deadline.Body(w, r)
			a.challenge(w, codeInvalidToken, "Bearer")
			return
		}
		t, refused := a.check(r.Context(), text)
		if refused == nil {
			next.ServeHTTP(w, r.WithContext(contextWithToken(r.Context(), t)))
			return
		}
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
			answerRetry(w, http.StatusTooManyRequests, refused.code, retryLater)
		case codeServerError:
			answer(w, http.StatusInternalServerError, map[string]string{"code": refused.code})
		default:
			a.challenge(w, refused.code, `Bearer error="invalid_token", error_description="`+cmp.Or(codes[refused.code].message, "Token refused")+`"`)
		}
	})
}

func (a *Auth) challenge(w http.ResponseWriter, code, challenge string) {
	w.Header().Set("WWW-Authenticate", challenge)
	answer(w, http.StatusUnauthorized, map[string]string{"code": code})
}

// check is what Middleware asks of a session token.
func (a *Auth) check(ctx context.Context, text string) (*token, *refusal) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	t, refused := a.verify(ctx, text)
	if refused != nil {
		return nil, refused
	}
	if _, refused := a.tenant(ctx, t); refused != nil {
		return nil, refused.withToken(t)
	}
	if t.Use != useSession {
		return nil, &refusal{code: codeInvalidToken, cause: errors.New("a code where a session token is due"), token: t}
	}
	if refused := a.checkToken(ctx, t, middlewareGrace, a.timeout); refused != nil {
		return nil, refused.withToken(t)
	}
	return t, nil
}

func bearer(r *http.Request) (string, bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	text = strings.TrimLeft(text, " ")
	return text, strings.EqualFold(scheme, "Bearer") && text != ""
}

// answer writes a JSON body that nobody may store.
func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	deadline.Answer(w)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that went away is told nothing
}

func answerRetry(w http.ResponseWriter, status int, code string, seconds int) {
	w.Header().Set("Retry-After", strconv.Itoa(seconds))
	answer(w, status, map[string]string{"code": code})
}

type claimsKey struct{}

// ContextWithClaims is a context in which ClaimsFromContext finds claims: for tests of code behind Middleware.
func ContextWithClaims(ctx context.Context, claims jwt.MapClaims) context.Context {
	return context.WithValue(ctx, claimsKey{}, claims)
}

// ClaimsFromContext gives the claims of the token that a request came in with, or that a socket's
// handler is called for: a copy, the caller's to keep. A number in them is a float64 where that
// holds it, so that it is written again as the same, and a json.Number where it does not. false:
// the context comes from neither.
func ClaimsFromContext(ctx context.Context) (jwt.MapClaims, bool) {
	switch claims := ctx.Value(claimsKey{}).(type) {
	case *token:
		return claims.claims(), true
	case jwt.MapClaims:
		return copyClaims(claims), true
	}
	return nil, false
}

// contextWithToken is ContextWithClaims for the claims of a token, which are read where they are
// asked for.
func contextWithToken(ctx context.Context, t *token) context.Context {
	return context.WithValue(ctx, claimsKey{}, t)
}
