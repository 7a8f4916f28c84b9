package socketauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/internal/deadline"
	"github.com/z-open/socketauth/internal/seldom"
)

// What hooks say, bare or wrapped, and what the library makes of it.
var (
	// ErrInvalidCredentials: no such user, or not with this password. The two must not be told apart.
	ErrInvalidCredentials = errors.New("socketauth: invalid credentials")

	// ErrUnavailable: something needed is out of reach or too busy for now; the client is told to come back.
	ErrUnavailable = errors.New("socketauth: unavailable")

	// ErrTooManyAttempts: the app's own limit of attempts is reached; the client is told to come back later.
	ErrTooManyAttempts = errors.New("socketauth: too many attempts")
)

// PublicError is a refusal whose reason the client may know: Code goes to it, Err to the log alone.
type PublicError struct {
	Code string
	Err  error
}

// Error is for the log: the code and the cause.
func (e *PublicError) Error() string {
	switch {
	case e == nil:
		return "socketauth: nil *PublicError"
	case e.Err == nil:
		return e.Code
	}
	return e.Code + ": " + e.Err.Error()
}

// Unwrap is the cause.
func (e *PublicError) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// publicCode is the code of a PublicError in err's chain, "" where there is none.
func publicCode(err error) string {
	var public *PublicError
	if !errors.As(err, &public) || public == nil { // a typed nil is a slip of the app's, and no refusal
		return ""
	}
	return public.Code
}

// Codes that sockets and Middleware tell a client.
const (
	codeInvalidToken       = "invalid_token"
	codeTokenExpired       = "token_expired"
	codeInvalidTenant      = "invalid_tenant"
	codeNoLongerValid      = "no_longer_valid"
	codeTokenReused        = "token_reused"
	codeSessionRevoked     = "session_revoked"
	codeWrongSession       = "wrong_session"
	codeTimeout            = "timeout"
	codeTooManyAttempts    = "too_many_attempts"
	codeTooManyConnections = "too_many_connections"
	codeUnavailable        = "unavailable"
	codeServerError        = "server_error"

	codeUnauthorized = "unauthorized"  // in an acknowledgement alone
	codeUnknownEvent = "unknown_event" // likewise
	codeBadArguments = "bad_arguments" // likewise
)

// How many seconds a client waits that is told to come back.
const (
	retrySoon  = 1
	retryLater = 30
)

// codes is the one table of what a client is told with a code: a message, whether the token it presented is dead, and
// when to come back.
var codes = map[string]struct {
	message    string
	terminal   bool
	retryAfter int
}{
	codeInvalidToken:   {message: "Invalid token", terminal: true},
	codeTokenExpired:   {message: "Token has expired", terminal: true},
	codeInvalidTenant:  {message: "Invalid tenant", terminal: true},
	codeNoLongerValid:  {message: "Token is no longer valid", terminal: true},
	codeTokenReused:    {message: "Token was used twice, the session is over", terminal: true},
	codeSessionRevoked: {message: "Session was revoked", terminal: true},
	codeWrongSession:   {message: "Token is of another session"},
	codeTimeout:        {message: "Not authenticated, or the token not acknowledged, in time"},

	codeTooManyAttempts:    {message: "Too many attempts", retryAfter: retryLater},
	codeTooManyConnections: {message: "Too many connections", retryAfter: retryLater},
	codeUnavailable:        {message: "Temporarily unavailable", retryAfter: retrySoon},
	codeServerError:        {message: "Server error", retryAfter: retrySoon},
}

// refusal is one presentation refused: a code for the client, a cause for the log.
type refusal struct {
	code       string
	notForever bool // the code is terminal in the table, but not this time
	closes     bool // also a socket that is authenticated
	retryAfter int  // in seconds, if not as the table says
	cause      error
	token      *token // that was refused, if it was verified
}

// of says which token was refused.
func (r *refusal) of(t *token) *refusal {
	r.token = t
	return r
}

func (r *refusal) Error() string { return r.code }
func (r *refusal) Unwrap() error { return r.cause }

// terminal says whether the token presented last is dead.
func (r *refusal) terminal() bool { return codes[r.code].terminal && !r.notForever }

// payload is what goes with the event "unauthorized".
func (r *refusal) payload() any {
	type data struct {
		Message string `json:"message"`
		Code    string `json:"code"`
		Type    string `json:"type"`
	}
	d := data{or(codes[r.code].message, r.code), r.code, "UnauthorizedError"}
	p := struct {
		data
		Terminal   bool `json:"terminal"`
		RetryAfter int  `json:"retryAfter,omitempty"`
		Data       data `json:"data"`
	}{data: d, Terminal: r.terminal(), RetryAfter: or(r.retryAfter, codes[r.code].retryAfter), Data: d}
	return p
}

// refuseError is the refusal that a hook's error stands for.
func refuseError(hook string, err error) *refusal {
	r := &refusal{code: codeServerError, cause: fmt.Errorf("socketauth: %s: %w", hook, err)}
	switch public := publicCode(err); {
	case public != "":
		r.code = public
	case errors.Is(err, ErrTooManyAttempts):
		r.code = codeTooManyAttempts
	case errors.Is(err, ErrUnavailable):
		r.code = codeUnavailable
	}
	return r
}

// refuseVerdict is the refusal that a verdict other than Accepted stands for.
func refuseVerdict(v Verdict) *refusal {
	switch v {
	case Reused, EndedByReuse:
		return &refusal{code: codeTokenReused}
	case Revoked:
		return &refusal{code: codeSessionRevoked}
	case Overtaken:
		return &refusal{code: codeNoLongerValid, notForever: true}
	case Unknown, Replaced, LoggedOut:
		return &refusal{code: codeNoLongerValid}
	}
	return &refusal{code: codeServerError, cause: fmt.Errorf("socketauth: blacklist gave verdict %d", v)}
}

// Auth is the core that HTTP and sockets share: keys, blacklist, policy. It is made by New and safe for concurrent use.
type Auth struct {
	*config

	losses  seldom.Minute // of the blacklist's state, to be logged
	unclear seldom.Minute // clients whose "confirm" says neither yes nor no, likewise
	counts  *counts

	mu      sync.Mutex
	servers []*Server // whose sockets live on this core
}

// New builds the core. Its error names every fault of the options.
func New[U any](opts Options[U]) (*Auth, error) {
	c, err := opts.config()
	if err != nil {
		return nil, err
	}
	return newAuth(c), nil
}

func newAuth(c *config) *Auth {
	a := &Auth{config: c, counts: new(counts)}
	c.blacklist = measured{c.blacklist, &a.counts.store}
	return a
}

// Infrastructure is New, APIServe and SocketServe in one: login, registration and sockets for an app that has an
// *http.Server (or nil) and a mux. After an error some of the routes may be on the mux already.
func Infrastructure[U any](server *http.Server, mux Mux, opts Options[U]) (*Server, error) {
	a, err := newWithAPI(opts)
	if err != nil {
		return nil, err
	}
	if err := a.APIServe(mux); err != nil {
		return nil, err
	}
	return a.SocketServe(server, mux)
}

// newWithAPI is New for a core that will serve HTTP, so that all faults are reported together.
func newWithAPI[U any](opts Options[U]) (*Auth, error) {
	c, faults := opts.check()
	if err := optionsError(append(faults, c.apiFaults...)); err != nil {
		return nil, err
	}
	return newAuth(c), nil
}

// IssueCode mints a code for someone whom the app has identified by other means: an OAuth callback, a magic link, a
// passkey, a test. claims are what Claim would give. The client trades the code for a token as after a login.
func (a *Auth) IssueCode(ctx context.Context, claims jwt.MapClaims) (string, error) {
	if !a.tokens.signs(a.tokens.authorization) {
		return "", optionsError([]error{errNoSigning})
	}
	var t *token
	err := a.contain("Authorization", func() (err error) {
		t, err = a.tokens.code(ctx, claims, time.Now())
		return err
	})
	if err != nil {
		return "", err
	}
	return t.Text, nil
}

// forget takes a server from those whose sockets are looked for.
func (a *Auth) forget(s *Server) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.servers = slices.DeleteFunc(a.servers, func(other *Server) bool { return other == s })
}

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
		e := AuditEvent{Kind: AuditRefused, Address: a.address(r), UserAgent: cut(r.UserAgent())}
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
			a.challenge(w, refused.code, `Bearer error="invalid_token", error_description="`+or(codes[refused.code].message, "Token refused")+`"`)
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
		return nil, refused.of(t)
	}
	if t.Use != useSession {
		return nil, &refusal{code: codeInvalidToken, cause: errors.New("a code where a session token is due"), token: t}
	}
	if refused := a.standing(ctx, t, middlewareGrace, a.timeout); refused != nil {
		return nil, refused.of(t)
	}
	return t, nil
}

// standing asks the blacklist whether a token is alive, and records nothing.
func (a *Auth) standing(ctx context.Context, t *token, grace, branch time.Duration) *refusal {
	var verdict Verdict
	err := a.contain("Blacklist", func() (err error) {
		verdict, err = a.blacklist.Check(ctx, t.ref(), grace, branch)
		return err
	})
	switch {
	case err != nil:
		return &refusal{code: codeUnavailable, cause: err}
	case verdict != Accepted:
		if verdict == Unknown {
			a.logLoss(slog.String("user", t.UserID), slog.String("session", t.SessionID))
		}
		return refuseVerdict(verdict)
	}
	return nil
}

// logLoss says once a minute that the blacklist does not know what it should.
func (a *Auth) logLoss(about ...any) {
	if unsaid, now := a.losses.Say(); now {
		a.log.Warn("socketauth: the blacklist does not know the session of a valid token: it has lost state (a restart, in memory), or is not shared with the process that made the token",
			append(about, slog.Int("more_since_last", unsaid))...)
	}
}

// logUnclear logs once a minute that a client's "confirm" is taken for none. The value itself is not
// logged: a client that gets one field wrong may have put its token there.
func (a *Auth) logUnclear(is string, about ...any) {
	if unsaid, now := a.unclear.Say(); now {
		a.log.Warn(`socketauth: the field "confirm" of a client is neither true nor false, and counts as no confirmation: a reply that is lost then costs the client its session`,
			append(about, slog.String("type", is), slog.Int("more_since_last", unsaid),
				slog.String("fix", `the client sends confirm: true, or "true" where it can only send strings`))...)
	}
}

// verify is what can be said of a token by itself: signature, claims, expiry.
func (a *Auth) verify(ctx context.Context, text string) (t *token, refused *refusal) {
	err := a.contain("KeyFunc", func() (err error) {
		t, err = a.tokens.verify(ctx, text)
		return err
	})
	switch {
	case err == nil:
		return t, nil
	case errors.Is(err, errExpired):
		return nil, &refusal{code: codeTokenExpired, token: t}
	case errors.Is(err, errInvalid):
		return nil, &refusal{code: codeInvalidToken, cause: err}
	}
	return nil, refuseError("KeyFunc", err)
}

// guessed counts a token that nobody signed against the address it came from. One that is good is never held up.
func (a *Auth) guessed(v *visit, refused *refusal) *refusal {
	if refused.code != codeInvalidToken {
		return refused
	}
	attempt, wait := a.attempts.Begin(v.network, "")
	if wait > 0 {
		a.limited(limitAttempts, slog.String("address", v.request.ClientIP))
		return &refusal{code: codeTooManyAttempts, retryAfter: wholeSeconds(wait)}
	}
	attempt.Failed()
	return refused
}

// tenant asks the app for the tenant of a verified token.
func (a *Auth) tenant(ctx context.Context, t *token) (tenant string, refused *refusal) {
	if a.tenantID == nil {
		return "", nil
	}
	err := a.contain("TenantID", func() (err error) {
		tenant, err = a.tenantID(ctx, t.claims())
		return err
	})
	switch {
	case err != nil:
		return "", refuseError("TenantID", err)
	case tenant == "":
		return "", &refusal{code: codeInvalidTenant}
	}
	return tenant, nil
}

// successor mints the token that is to replace t.
func (a *Auth) successor(ctx context.Context, t *token) (next *token, refused *refusal) {
	err := a.contain("Refresh", func() (err error) {
		next, err = a.tokens.successor(ctx, t)
		return err
	})
	switch {
	case err == nil:
		return next, nil
	case errors.Is(err, errExpired):
		return nil, &refusal{code: codeTokenExpired}
	}
	return nil, refuseError("minting", err)
}

// insist takes a step of the blacklist until it succeeds, for up to Timeout: where only the reply was lost, the step is
// the same when it is taken again.
func (a *Auth) insist(ctx context.Context, step func(ctx context.Context, again bool) error) error {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second/2) {
		err := a.contain("Blacklist", func() error { return step(ctx, pause > 10*time.Millisecond) })
		if err == nil || rest(ctx, pause) != nil {
			return err
		}
	}
}

// errPanic is the error of a hook that panicked. The log has the stack.
var errPanic = errors.New("socketauth: hook panicked")

// contain calls a hook, and makes an error of its panic.
func (c *config) contain(hook string, call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.log.Error("socketauth: hook panicked", slog.String("hook", hook), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			err = fmt.Errorf("%w: %s", errPanic, hook)
		}
	}()
	return call()
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
