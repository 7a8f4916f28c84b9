package socketauth

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/authn"
)

// The errors that hooks return to the library and that the library returns to the app. Each may be
// wrapped, so compare with errors.Is.
var (
	// ErrInvalidCredentials is returned by a login or registration hook if the user is unknown or
	// the password is wrong. The client cannot tell the two apart: it is answered 401 with
	// USER_INVALID. Passwords.Compare returns it for a wrong password.
	ErrInvalidCredentials = errors.New("socketauth: invalid credentials")

	// ErrPasswordTooLong is returned by Passwords.Hash for a password of more than 72 bytes,
	// because bcrypt ignores all bytes after the 72nd. A Register hook may return it: the client is
	// answered PASSWORD_TOO_LONG.
	ErrPasswordTooLong = errors.New("socketauth: password is longer than 72 bytes")

	// ErrTooManyAttempts is returned by a hook if a limit of the app's own is reached. The client
	// is told to come back in 30 seconds.
	ErrTooManyAttempts = errors.New("socketauth: too many attempts")

	// ErrUnavailable is returned by a hook, a method or a function if something that it needs, such
	// as a database, cannot be reached or is too busy. The client is told to come back in a second.
	ErrUnavailable = errors.New("socketauth: unavailable")

	// ErrUnknownKey is returned by Options.KeyFunc for a token that it has no key for. The token is
	// refused as invalid.
	ErrUnknownKey = errors.New("socketauth: unknown key")

	// ErrBadArguments is returned by Args.Decode if the client sent arguments other than those
	// asked for. A handler may return it: the client's acknowledgement says bad_arguments.
	ErrBadArguments = errors.New("socketauth: bad arguments")

	// ErrClosed is returned by methods of a Socket that has ended. It is also the cause of the end
	// of the context of its handlers.
	ErrClosed = errors.New("socketauth: socket closed")

	// ErrWrongSession is returned by IssueStepUp if the session is not one of the user's that are
	// alive.
	ErrWrongSession = errors.New("socketauth: not a living session of this user")

	// ErrNotAuthenticated is returned by Socket.EmitWithAck in OnAuthenticated and OnClaimsChanged:
	// what these send reaches the client once they have returned.
	ErrNotAuthenticated = errors.New("socketauth: socket not authenticated")
)

// PublicError is the error of a hook or handler that refuses for a reason that the client may know.
// The client is told Code, and Err is only logged. The HTTP status is 403 at a login and 400 at a
// registration. On a socket, Code is the code of "unauthorized" or of the acknowledgement.
type PublicError struct {
	Code string // for the client; if it is empty, the error is handled like any other error
	Err  error  // the cause, for the log; may be nil

	// Details are sent to the client beside Code, as JSON. What the library itself sends there,
	// such as "code", "message", "terminal" and "retryAfter", takes precedence.
	Details map[string]any
}

// Error returns the code and the cause. It is for logs, not for clients.
func (e *PublicError) Error() string {
	switch {
	case e == nil:
		return "socketauth: nil *PublicError"
	case e.Err == nil:
		return e.Code
	}
	return e.Code + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *PublicError) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// publicError returns the PublicError that err wraps. It is zero if there is none.
func publicError(err error) PublicError {
	var public *PublicError
	if !errors.As(err, &public) || public == nil { // a nil *PublicError is a mistake of the app
		return PublicError{}
	}
	return *public
}

// publicCode returns the code of the PublicError that err wraps, or "" if there is none.
func publicCode(err error) string { return publicError(err).Code }

// publicBody returns what a client is told of a PublicError, as an HTTP body or as the error in an
// acknowledgement. Details that JSON cannot hold are left out.
func publicBody(e *PublicError) map[string]any {
	body := make(map[string]any, 1+len(e.Details))
	if _, err := json.Marshal(e.Details); err == nil {
		maps.Copy(body, e.Details)
	}
	body["code"] = e.Code
	return body
}

// The codes that sockets and Middleware send to clients.
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
	codeStaleToken         = "stale_token"
	codeStepUpRefused      = "step_up_refused"
	codeReauthentication   = "reauthentication_required"
	codeProofRequired      = "proof_required"
	codeInvalidProof       = "invalid_proof"

	codeUseDPoPNonce     = "use_dpop_nonce"           // only in answers to requests
	codeOriginNotAllowed = "origin_not_allowed"       // only at TokenPath
	codeBodyMalformed    = "body_malformed"           // only at TokenPath
	codeBodyTooLarge     = "body_too_large"           // only at TokenPath
	codeMediaType        = "media_type_not_supported" // only at TokenPath

	codeUnauthorized = "unauthorized"  // only in acknowledgements
	codeUnknownEvent = "unknown_event" // only in acknowledgements
	codeBadArguments = "bad_arguments" // only in acknowledgements
)

// After how many seconds a client that could not be served is told to come back.
const (
	retrySoon  = 1
	retryLater = 30
)

// codes has what a client is told with each code: a message, whether the token that it presented is
// dead, and after how many seconds to come back.
var codes = map[string]struct {
	message    string
	messages   [lateness]string // instead of message for a client that was late
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
	codeTimeout: {message: "Not authenticated in time", messages: [...]string{
		notPresented: "No token was presented in time",
		notDecided:   "The token was not accepted in time",
		notConfirmed: "The token was not acknowledged in time",
	}},

	codeTooManyAttempts:    {message: "Too many attempts", retryAfter: retryLater},
	codeTooManyConnections: {message: "Too many connections", retryAfter: retryLater},
	codeUnavailable:        {message: "Temporarily unavailable", retryAfter: retrySoon},
	codeServerError:        {message: "Server error", retryAfter: retrySoon},

	codeStaleToken:       {message: "Claims of the token are out of date"},
	codeStepUpRefused:    {message: "Step-up code is not valid for this session, or was used"},
	codeReauthentication: {message: "A more recent or a stronger authentication is required"},

	codeProofRequired: {message: "The proof of the token's key is missing"},
	codeInvalidProof:  {message: "The proof is not one of the token's key for this token and place", terminal: true},
	codeUseDPoPNonce:  {message: "The proof needs the nonce of the server"},
}

// late is the deadline that a client has missed.
type late int

const (
	notLate      late = iota
	notPresented      // it presented no token
	notDecided        // it presented one, and was not let in
	notConfirmed      // it did not confirm the token that it was sent
	lateness     = iota
)

// lateCauses has, for the log, what the deadlines are for and how clients can meet them.
var lateCauses = [lateness]struct {
	cause error
	fix   string
}{
	notPresented: {
		errors.New("the client presented no token within Options.Timeout"),
		`the client must give {token} as the handshake's auth (clients 3.x and 4.x) or emit "authenticate" ` +
			"with it after each connect (1.x and 2.x), and log in first if it has none",
	},
	notDecided: {
		errors.New("the client presented a token and was not let in within Options.Timeout of its connection"),
		"the client must present its token as soon as it connects; " +
			"KeyFunc, TenantID, Refresh and OnAuthenticated must return sooner",
	},
	notConfirmed: {
		errors.New(`the client did not acknowledge "authenticated" within Options.Timeout`),
		`a client that presents with confirm must call the acknowledgement of "authenticated" ` +
			"once it has stored the token",
	},
}

// refuseLate returns the refusal of a client that has missed a deadline.
func refuseLate(l late) *refusal {
	return &refusal{code: codeTimeout, late: l, cause: lateCauses[l].cause}
}

// refuseClosed returns the refusal with which the state of a socket has closed it.
func refuseClosed(e authn.Effects) *refusal {
	switch {
	case e.Unconfirmed:
		return refuseLate(notConfirmed)
	case e.Silent:
		return refuseLate(notPresented)
	case e.Refuse == authn.TimedOut:
		return refuseLate(notDecided)
	case e.Refuse == authn.StoreTimedOut:
		return &refusal{code: e.Refuse, cause: errors.New("the blacklist did not answer in time")}
	case e.Refuse == authn.BranchLost:
		return &refusal{
			code: e.Refuse, retryable: true,
			cause: errors.New("the session was confirmed with another token than the one offered here"),
		}
	}
	return &refusal{code: e.Refuse}
}

// refusal is the error of a presentation that is refused: a code for the client, a cause for the
// log.
type refusal struct {
	code       string
	retryable  bool // the token is not dead, although the table says so for this code
	closes     bool // the socket is closed even if it is authenticated
	retryAfter int  // in seconds; 0 means as the table says
	late       late
	cause      error
	details    map[string]any // of a PublicError
	token      *token         // the token that was refused; nil if it was not verified
}

// withToken records which token was refused.
func (r *refusal) withToken(t *token) *refusal {
	r.token = t
	return r
}

func (r *refusal) Error() string { return r.code }

func (r *refusal) Unwrap() error { return r.cause }

// terminal reports whether the presented token is dead.
func (r *refusal) terminal() bool { return codes[r.code].terminal && !r.retryable }

// payload returns the data of the event "unauthorized".
func (r *refusal) payload() any {
	type data struct {
		Message string `json:"message"`
		Code    string `json:"code"`
		Type    string `json:"type"`
	}
	d := data{cmp.Or(codes[r.code].messages[r.late], codes[r.code].message, r.code), r.code, "UnauthorizedError"}
	p := struct {
		data
		Terminal   bool `json:"terminal"`
		RetryAfter int  `json:"retryAfter,omitempty"`
		Data       data `json:"data"`
	}{data: d, Terminal: r.terminal(), RetryAfter: cmp.Or(r.retryAfter, codes[r.code].retryAfter), Data: d}
	if len(r.details) == 0 {
		return p
	}
	all := publicBody(&PublicError{Code: r.code, Details: r.details})
	own, _ := json.Marshal(p) // a struct of strings and numbers
	_ = json.Unmarshal(own, &all)
	return all
}

// body returns the body with which a request is refused. Whether a token is dead is not for the app
// to say.
func (r *refusal) body() map[string]any {
	body := publicBody(&PublicError{Code: r.code, Details: r.details})
	delete(body, "terminal")
	delete(body, "retryAfter")
	if r.retryable {
		body["terminal"] = false
	}
	return body
}

// refuseError returns the refusal for the error of a hook.
func refuseError(hook string, err error) *refusal {
	r := &refusal{code: codeServerError, cause: fmt.Errorf("socketauth: %s: %w", hook, err)}
	switch public := publicError(err); {
	case public.Code != "":
		r.code, r.details = public.Code, public.Details
	case errors.Is(err, ErrTooManyAttempts):
		r.code = codeTooManyAttempts
	case errors.Is(err, ErrUnavailable):
		r.code = codeUnavailable
	}
	return r
}

// refuseVerdict returns the refusal for a verdict other than Accepted.
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
	case blacklist.Stale:
		return &refusal{code: codeStaleToken}
	case blacklist.StepUpRefused:
		return &refusal{code: codeStepUpRefused}
	}
	err := fmt.Errorf("socketauth: the blacklist returned the verdict %d", v)
	return &refusal{code: codeServerError, cause: err}
}

// The codes that login and registration answer with.
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
	httpInvalidProof     = "INVALID_PROOF"
	httpUseDPoPNonce     = "USE_DPOP_NONCE"
)

// wholeSeconds returns a duration in seconds, rounded up, as the Retry-After header has it.
func wholeSeconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// maxErrorText is how much of an error's text is kept, in bytes, where clients can make it long.
const maxErrorText = 1 << 10

// shortError is an error whose text is cut.
type shortError struct {
	text string
	err  error
}

func (e *shortError) Error() string { return e.text }

func (e *shortError) Unwrap() error { return e.err }

// short returns an error that wraps err and whose text is the beginning of err's, in valid UTF-8.
// It returns err itself if nothing has to be changed. Errors about JSON quote what the client sent.
func short(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if len(text) <= maxErrorText && utf8.ValidString(text) {
		return err
	}
	if len(text) > maxErrorText {
		text = text[:maxErrorText] + "..."
	}
	return &shortError{strings.ToValidUTF8(text, "\uFFFD"), err}
}

// cause is an error for the log, whose text may have what a client sent.
type cause struct{ err error }

// LogValue implements slog.LogValuer.
func (c cause) LogValue() slog.Value { return slog.AnyValue(short(c.err)) }
