package socketauth

import (
	"cmp"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/deadline"
	"github.com/z-open/socketauth/internal/lazyctx"
)

// This file holds TokenPath, where a client without a socket has the tokens of its session
// replaced, confirms them and ends the session.

// serveTokens registers POST, DELETE and OPTIONS of TokenPath for requests of allowed origins.
func (a *Auth) serveTokens(mux Mux) error {
	guarded := a.origins.Guard(http.HandlerFunc(a.handleToken), func(w http.ResponseWriter, _ *http.Request) {
		answerText(w, http.StatusForbidden, "code", codeOriginNotAllowed)
	})
	return register(mux, a.tokenPath, guarded, http.MethodPost, http.MethodDelete, http.MethodOptions)
}

// delayed is how long a request may be under way to the server. A proxy that sends a request twice
// may deliver the second one only after its client has confirmed the answer to the first. It is
// Superseded then, and refused, as is what comes on a socket that was open before.
const delayed = 2 * time.Second

// tokenRequest is a request at TokenPath.
type tokenRequest struct {
	*http.Request
	writer           http.ResponseWriter
	auth             *Auth
	arrived          time.Time
	address, network string
}

// handleToken serves TokenPath.
func (a *Auth) handleToken(w http.ResponseWriter, r *http.Request) {
	arrived := time.Now()
	var asked tokenBody
	switch r.Method {
	case http.MethodOptions: // but not a preflight
		w.Header().Set("Allow", "DELETE, OPTIONS, POST")
		answerNothing(w)
		return
	case http.MethodPost:
		var fault *httpFault
		if asked, fault = readTokenBody(w, r); fault != nil {
			answerText(w, fault.status, "code", fault.code)
			return
		}
	}
	h, ok := authorizationOf(r)
	if !ok {
		deadline.Body(w, r)
		a.challengeMissing(w)
		return
	}
	address := a.address(r)
	q := &tokenRequest{r, w, a, arrived, address, a.network(r, address)}
	ctx, cancel := lazyctx.WithTimeout(r.Context(), a.timeout)
	defer cancel()
	traced, end := a.span(ctx, "presentation")
	next, refused := q.handle(traced, h, asked)
	end(refused.err())
	switch {
	case refused != nil:
		a.refuseRequest(w, r, refused)
	case next != nil:
		answerText(w, http.StatusOK, "token", next.Text)
	default:
		answerNothing(w)
	}
}

// handle does what is asked about a token. It returns the next one if there is one.
func (q *tokenRequest) handle(
	ctx context.Context, h authorization, asked tokenBody,
) (next *token, refused *refusal) {
	a := q.auth
	t, refused := a.verifyRequest(ctx, q.writer, q.Request, h)
	switch {
	case refused != nil && refused.token == nil:
		return nil, a.countInvalidToken(q.network, q.address, refused)
	case refused != nil && refused.code != codeTokenExpired: // by its proof, which says nothing about the token
		return nil, refused
	case refused != nil && asked.confirm: // the token was valid until it expired
		return nil, refused
	case refused != nil:
		return nil, q.unlessReuse(refused)
	}
	// Counted for each token, so that nobody who has an old one can keep away who has the current one.
	// What cannot be reuse does not keep away what can.
	kind := "requests with the token "
	if asked.confirm {
		kind = "confirmations with the token "
	}
	turn, wait := a.attempts.Begin(kind+t.ID, "")
	defer turn.Void()
	if wait > 0 {
		return nil, q.limited(t, wait)
	}
	ends := q.Method == http.MethodDelete
	if (ends || asked.confirm) && t.Use != useSession {
		return nil, (&refusal{code: codeInvalidToken, cause: errNotSession}).withToken(t)
	}
	switch {
	case ends:
		refused = q.end(t)
	case asked.confirm:
		refused = q.confirm(ctx, t)
	default:
		next, refused = q.exchange(ctx, t, asked.stepUp)
	}
	if refused != nil {
		refused = refused.withToken(t)
	}
	return next, refused
}

// What a session has of exchanges, and a token of confirmations: the first 60 in a row, then one
// every 2 seconds. Limits.FailuresPerAddress sets the 60. Only those that were accepted count. The
// store accepts the confirmation of a token that was replaced since, so that one must not count for
// the session: no old token may spend what the current one needs.
func exchangesOf(t *token) string     { return "exchanges of the session " + t.SessionID }
func confirmationsOf(t *token) string { return "confirmations of the token " + t.ID }

// wait returns how long a client has to wait until its next request that counts for a budget.
func (q *tokenRequest) wait(budget string) time.Duration {
	turn, wait := q.auth.attempts.Begin(budget, "")
	turn.Void()
	return wait
}

// count counts a request that was accepted.
func (q *tokenRequest) count(budget string) {
	turn, _ := q.auth.attempts.Begin(budget, "")
	turn.FailedHere()
}

// limited refuses a request because of a limit.
func (q *tokenRequest) limited(t *token, wait time.Duration) *refusal {
	q.auth.limited(limitExchanges, slog.String("user", t.UserID), slog.String("address", q.address))
	return &refusal{code: codeTooManyAttempts, retryAfter: wholeSeconds(wait), token: t}
}

// exchange has the token replaced, for a client that confirms.
func (q *tokenRequest) exchange(ctx context.Context, t *token, stepUp string) (*token, *refusal) {
	a := q.auth
	if wait := q.wait(exchangesOf(t)); wait > 0 {
		// A token that is dead is still judged. Otherwise a thief who exhausts the budget could keep
		// reuse from being detected.
		verdict, err := q.judge(t)
		if err != nil || verdict == blacklist.Accepted || verdict == blacklist.Stale {
			return nil, q.limited(t, wait)
		}
		return nil, q.reject(t, verdict)
	}
	proof, refused := a.verifyStepUp(ctx, stepUp, t)
	if refused != nil {
		return nil, q.unlessReuse(refused)
	}
	asked := false // the store was, or is about to be, asked to decide
	renewed, refused := a.renew(ctx, &renewal{
		token: t, stepUp: proof, confirm: true, presentation: q.presentation(t),
		offered: func() *token { return nil },
		ready:   func(*token, string) *refusal { asked = true; return nil },
		again:   func(*token, string) {},
		hasLeft: func() bool { return false }, // who does not hear the answer asks again, which costs nothing
		judge:   func() (blacklist.Verdict, error) { return q.judge(t) },
	})
	switch {
	case refused != nil && asked:
		return nil, refused
	case refused != nil:
		return nil, q.unlessReuse(refused.withToken(t))
	case renewed.verdict != blacklist.Accepted:
		return nil, q.reject(t, renewed.verdict)
	}
	q.count(exchangesOf(t))
	next := renewed.next
	switch {
	case t.Use == useCode:
		a.begun(context.WithoutCancel(ctx), t, next)
		a.record(ctx, slog.LevelDebug, "socketauth: session begun by a request", q.event(AuditAuthenticated, next))
	case next != t:
		a.record(ctx, slog.LevelDebug, "socketauth: token rotated by a request", q.event(AuditRotated, next))
	}
	return next, nil
}

// confirm records that the client has stored the token.
func (q *tokenRequest) confirm(ctx context.Context, t *token) *refusal {
	if wait := q.wait(confirmationsOf(t)); wait > 0 {
		return q.limited(t, wait)
	}
	refused := q.auth.confirmOnce(ctx, t)
	if refused == nil {
		q.count(confirmationsOf(t))
	}
	return refused
}

// end ends the session of the token. It may have been ended by a request whose answer was lost.
func (q *tokenRequest) end(t *token) *refusal {
	a := q.auth
	// A token that was replaced is reuse here too: a theft must not go unnoticed because its victim
	// has logged out.
	verdict, err := q.judge(t)
	switch {
	case err != nil:
		return &refusal{code: codeUnavailable, cause: err}
	case verdict == blacklist.LoggedOut:
		return nil
	case verdict != blacklist.Accepted && verdict != blacklist.Stale:
		return q.reject(t, verdict)
	}
	life := context.WithoutCancel(q.Context())
	if err := a.logOut(life, t); err != nil {
		return &refusal{code: codeUnavailable, cause: err}
	}
	a.record(life, slog.LevelInfo, "socketauth: logged out by a request", q.event(AuditLogout, t))
	a.endSession(t.SessionID, causeLoggedOut)
	return nil
}

// isDoubtful reports whether the request may be a recorded one of a bound session, sent again by
// somebody who does not have the key. If its token was replaced, that is not judged as reuse then.
func (q *tokenRequest) isDoubtful(t *token) bool {
	return t.Thumbprint != "" && !t.Binds && q.auth.requestProofs.isRepeatable(q.Request, t)
}

// presentation returns what the store has to know of the token. It names no successor.
func (q *tokenRequest) presentation(t *token) blacklist.Presentation {
	return blacklist.Presentation{
		Token:            t.ref(),
		SocketOpenedAt:   byWallClock(q.arrived.Add(-delayed)), // never when the connection was opened
		PresentedAt:      byWallClock(q.arrived),
		SupersededWithin: q.auth.timeout,
		EndOnReuse:       q.auth.reusePolicy == EndSession && !q.isDoubtful(t),
		Address:          q.address,
		UserAgent:        truncate(q.UserAgent()),
	}
}

// judge has the store decide on a session token that is not to be replaced.
func (q *tokenRequest) judge(t *token) (blacklist.Verdict, error) {
	return q.auth.judge(context.WithoutCancel(q.Context()), q.presentation(t))
}

// unlessReuse returns the refusal of a token that was refused before the store was asked, unless it
// was replaced, which is reuse.
func (q *tokenRequest) unlessReuse(refused *refusal) *refusal {
	t := refused.token
	var replaced bool
	refused, verdict := q.auth.unlessReuse(refused, func() (v blacklist.Verdict, err error) {
		v, err = q.judge(t)
		replaced = v == blacklist.Replaced
		return v, err
	})
	if refused == nil || replaced {
		refused = q.reject(t, cmp.Or(verdict, blacklist.Replaced))
	}
	return refused.withToken(t)
}

// reject does what follows from a token that the store has rejected, and returns the refusal. If it
// was replaced and that may be no reuse, the client has to send a proof that nobody can have
// recorded.
func (q *tokenRequest) reject(t *token, v blacklist.Verdict) *refusal {
	if v == blacklist.Replaced && q.auth.reusePolicy == EndSession && q.isDoubtful(t) {
		q.writer.Header().Set(nonceHeader, q.auth.requestProofs.nonces.NewFor(t.ID))
		return &refusal{code: codeUseDPoPNonce, cause: errRepeatable, token: t}
	}
	return q.auth.reject(q.Context(), t, v, q.event(AuditReuse, t))
}

// event returns the audit event for something that the request has done to the session of a token.
func (q *tokenRequest) event(kind AuditKind, t *token) AuditEvent {
	return AuditEvent{
		Kind: kind, UserID: t.UserID, SessionID: t.SessionID,
		Address: q.address, UserAgent: truncate(q.UserAgent()),
	}
}

// tokenBody is the body of a POST to TokenPath.
type tokenBody struct {
	confirm bool
	stepUp  string // a step-up code; "" for none
}

// readTokenBody reads the body of a request, which must be empty or a JSON object.
func readTokenBody(w http.ResponseWriter, r *http.Request) (asked tokenBody, fault *httpFault) {
	fault = readBody(w, r, func(body []byte) *httpFault {
		if len(body) == 0 {
			return nil
		}
		if mediaType(r) != jsonMedia {
			return &httpFault{http.StatusUnsupportedMediaType, httpMediaType}
		}
		var members map[string]any
		if !utf8.Valid(body) || json.Unmarshal(body, &members) != nil || members == nil {
			return errMalformed
		}
		confirm, stepUp := members["confirm"], members["step_up"]
		isBool, isText := false, false
		asked.confirm, isBool = confirm.(bool)
		asked.stepUp, isText = stepUp.(string)
		if confirm != nil && !isBool || stepUp != nil && !isText || asked.confirm && asked.stepUp != "" {
			return errMalformed
		}
		return nil
	})
	if fault != nil {
		fault = &httpFault{fault.status, tokenFaults[fault.code]}
	}
	return asked, fault
}

// tokenFaults has the codes of TokenPath for those of a login.
var tokenFaults = map[string]string{
	httpBodyMalformed: codeBodyMalformed,
	httpBodyTooLarge:  codeBodyTooLarge,
	httpMediaType:     codeMediaType,
}
