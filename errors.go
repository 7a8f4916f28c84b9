package socketauth

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/z-open/socketauth/blacklist"
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
	retryable  bool // the code is terminal in the table, but not this time
	closes     bool // also a socket that is authenticated
	retryAfter int  // in seconds, if not as the table says
	cause      error
	token      *token // that was refused, if it was verified
}

// withToken records which token was refused.
func (r *refusal) withToken(t *token) *refusal {
	r.token = t
	return r
}

func (r *refusal) Error() string { return r.code }

func (r *refusal) Unwrap() error { return r.cause }

// terminal says whether the token presented last is dead.
func (r *refusal) terminal() bool { return codes[r.code].terminal && !r.retryable }

// payload is what goes with the event "unauthorized".
func (r *refusal) payload() any {
	type data struct {
		Message string `json:"message"`
		Code    string `json:"code"`
		Type    string `json:"type"`
	}
	d := data{cmp.Or(codes[r.code].message, r.code), r.code, "UnauthorizedError"}
	p := struct {
		data
		Terminal   bool `json:"terminal"`
		RetryAfter int  `json:"retryAfter,omitempty"`
		Data       data `json:"data"`
	}{data: d, Terminal: r.terminal(), RetryAfter: cmp.Or(r.retryAfter, codes[r.code].retryAfter), Data: d}
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
func refuseVerdict(v blacklist.Verdict) *refusal {
	switch v {
	case blacklist.ReuseDetected, blacklist.SessionCompromised:
		return &refusal{code: codeTokenReused}
	case blacklist.Revoked:
		return &refusal{code: codeSessionRevoked}
	case blacklist.Superseded:
		return &refusal{code: codeNoLongerValid, retryable: true}
	case blacklist.Unknown, blacklist.Replaced, blacklist.LoggedOut:
		return &refusal{code: codeNoLongerValid}
	}
	return &refusal{code: codeServerError, cause: fmt.Errorf("socketauth: blacklist gave verdict %d", v)}
}

// ErrClosed is the error of every use of a socket that has ended.
var ErrClosed = errors.New("socketauth: socket closed")

// ErrNotAuthenticated is the error of waiting for a client's reply before it is told that it is authenticated.
var ErrNotAuthenticated = errors.New("socketauth: socket not authenticated")

// ErrBadArguments is the error of Args.Decode: the client sent something else.
var ErrBadArguments = errors.New("socketauth: bad arguments")

// ErrUnknownKey is what a KeyFunc says, bare or wrapped, of a token it knows no key for.
var ErrUnknownKey = errors.New("socketauth: unknown key")

// ErrPasswordTooLong is the error of hashing a password of more than 72 bytes, past which bcrypt looks at nothing.
var ErrPasswordTooLong = errors.New("socketauth: password is longer than 72 bytes")

// Codes that login and registration answer.
const (
	httpUserInvalid      = "USER_INVALID"
	httpServerError      = "SERVER_ERROR"
	httpTooManyAttempts  = "TOO_MANY_ATTEMPTS"
	httpUnavailable      = "UNAVAILABLE"
	httpOriginNotAllowed = "ORIGIN_NOT_ALLOWED"
	httpPasswordTooLong  = "PASSWORD_TOO_LONG"
	httpBodyMalformed    = "BODY_MALFORMED"
	httpBodyTooLarge     = "BODY_TOO_LARGE"
	httpMediaType        = "MEDIA_TYPE_NOT_SUPPORTED"
)

// wholeSeconds is a duration as Retry-After has it, rounded up.
func wholeSeconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }
