package socketauth

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/deadline"
)

// This file holds how users prove again who they are (step-up), and what asks them to (RFC 9470).

// RequireRecent returns middleware for handlers that lets an event through if the user has proved
// who they are at most maxAge ago: at the login, or by a step-up since. If acr is given, the claim
// "acr" must be one of these too. To any other event the acknowledgement is
//
//	{error: {code: "reauthentication_required", maxAge: <seconds>, acr: [<acr>, ...]}}
//
// The client then has the user log in again with step_up, which the client for browsers does in
// reauthenticate, and sends the event again.
func RequireRecent(maxAge time.Duration, acr ...string) func(Handler) Handler {
	required := newRecency(maxAge, acr)
	return func(next Handler) Handler {
		if next == nil {
			return nil // On says so
		}
		return func(ctx context.Context, s *Socket, args Args) (any, error) {
			if !required.holds(ctx, time.Now()) {
				return nil, required.refusal()
			}
			return next(ctx, s, args)
		}
	}
}

// RequireRecent is like the function of that name, for requests that Middleware has let through:
// put it inside of Middleware. It answers any other request with 401 and the challenge
// insufficient_user_authentication (RFC 9470 section 3). Like Middleware, it panics for a nil
// handler.
func (a *Auth) RequireRecent(maxAge time.Duration, acr ...string) func(http.Handler) http.Handler {
	required := newRecency(maxAge, acr)
	return func(next http.Handler) http.Handler {
		if next == nil {
			panic("socketauth: nil handler for RequireRecent")
		}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if required.holds(r.Context(), time.Now()) {
				next.ServeHTTP(w, r)
				return
			}
			if r.Context().Value(claimsKey{}) == nil {
				a.logOutside(r.URL.Path)
			}
			deadline.Body(w, r)
			w.Header().Set("WWW-Authenticate", required.challenge(r))
			answer(w, http.StatusUnauthorized, publicBody(required.refusal()))
		})
	}
}

// recency is how recently, and how well, a user must have proved who they are.
type recency struct {
	maxAge time.Duration
	acr    []string // one of these; any if it is empty
}

func newRecency(maxAge time.Duration, acr []string) recency {
	return recency{max(maxAge, 0), slices.Clone(acr)}
}

// clockLead is how far the clock of the process that has stamped a proof may be ahead of this
// one's. A proof that is further in the future is not recent: how old it is cannot be told.
const clockLead = time.Minute

// holds reports whether the user of a context has proved it, as far as the claims say.
func (r recency) holds(ctx context.Context, now time.Time) bool {
	var at time.Time
	var acr string
	switch claims := ctx.Value(claimsKey{}).(type) {
	case *token:
		at = claims.AuthTime.Add(claims.Ahead)
		_ = json.Unmarshal(claims.proof("acr"), &acr) // what is not a string is none
	case jwt.MapClaims:
		var seconds float64
		number, err := json.Marshal(claims["auth_time"]) // of any type that is a number in JSON
		if err != nil || json.Unmarshal(number, &seconds) != nil {
			return false
		}
		at = fromSeconds(seconds)
		acr, _ = claims["acr"].(string)
	default:
		return false
	}
	age := now.Sub(at)
	return -clockLead <= age && age <= r.maxAge && (len(r.acr) == 0 || acr != "" && slices.Contains(r.acr, acr))
}

// refusal returns what a client is told that has to prove it.
func (r recency) refusal() *PublicError {
	details := map[string]any{"maxAge": int(r.maxAge / time.Second)}
	if len(r.acr) > 0 {
		details["acr"] = r.acr
	}
	return &PublicError{Code: codeReauthentication, Details: details}
}

// challenge returns the header WWW-Authenticate for it, of the scheme that the token of the request
// came by.
func (r recency) challenge(request *http.Request) string {
	c := fmt.Sprintf(`Bearer error="insufficient_user_authentication", error_description=%q, max_age="%d"`,
		codes[codeReauthentication].message, int(r.maxAge/time.Second))
	if len(r.acr) > 0 {
		c += fmt.Sprintf(", acr_values=%q", strings.Join(r.acr, " "))
	}
	if usesDPoP(request) {
		c = "DPoP" + strings.TrimPrefix(c, "Bearer") + ", " + algorithms
	}
	return c
}

// IssueStepUp mints a step-up code for a session whose user has just proved again who they are, in
// a way that the library does not know, such as a passkey. claims are what Options.Claim would
// return; of these only "sub", "acr" and "amr" count. The client presents the code with the current
// token of the session, and RequireRecent lets it through from then on.
//
// If the user named by "sub" has no such session that is alive, the error is ErrWrongSession. If
// the blacklist cannot be reached, it wraps ErrUnavailable.
func (a *Auth) IssueStepUp(ctx context.Context, sessionID string, claims jwt.MapClaims) (string, error) {
	if !a.tokens.canSign(a.tokens.authorization) {
		return "", optionsError([]error{errNoSigning})
	}
	provedAt := time.Now()
	userID, _ := claims["sub"].(string)
	if userID != "" {
		sessions, err := a.knownSessions(ctx, userID)
		if err != nil {
			return "", err
		}
		if !slices.ContainsFunc(sessions, func(s blacklist.Session) bool { return s.ID == sessionID }) {
			return "", ErrWrongSession
		}
	}
	code, err := a.mintStepUp(ctx, sessionID, claims, provedAt)
	if err != nil {
		return "", err
	}
	return code.Text, nil
}

// mintStepUp mints a step-up code. provedAt is when the user proved who they are.
func (a *Auth) mintStepUp(ctx context.Context, sessionID string, claims jwt.MapClaims, provedAt time.Time) (code *token, err error) {
	err = a.contain("Authorization", func() error {
		code, err = a.tokens.stepUp(ctx, sessionID, claims, provedAt)
		return err
	})
	return code, err
}
