package socketauth

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/internal/deadline"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/lazyctx"
	"github.com/z-open/socketauth/internal/throttle"
)

// Mux registers the routes of the library. http.ServeMux and chi's Router implement it; MuxFunc
// makes one of other routers.
//
// A pattern is a method, a space and a path without wildcards, such as "POST /login". A path that
// ends with a slash stands for that path alone, not for the paths below it. If a route is taken,
// Handle should panic, as that of http.ServeMux and of gin does: the library returns that as an
// error. chi and echo silently replace a route that is taken.
type Mux interface {
	Handle(pattern string, h http.Handler)
}

// MuxFunc returns a Mux for a router that takes method and path as two arguments: f registers h
// there. For gin and echo:
//
//	mux := socketauth.MuxFunc(func(method, path string, h http.Handler) {
//		router.Handle(method, path, gin.WrapH(h))
//	})
//	mux := socketauth.MuxFunc(func(method, path string, h http.Handler) {
//		e.Add(method, path, echo.WrapHandler(h))
//	})
func MuxFunc(f func(method, path string, h http.Handler)) Mux { return muxFunc(f) }

type muxFunc func(method, path string, h http.Handler)

// Handle implements Mux.
func (f muxFunc) Handle(pattern string, h http.Handler) {
	method, path, _ := strings.Cut(pattern, " ")
	f(method, path, h)
}

// register registers h for a path and some methods. If the mux panics, because the route is taken,
// register returns an error.
func register(mux Mux, path string, h http.Handler, methods ...string) (err error) {
	if mux == nil {
		return errors.New("socketauth: the mux is nil")
	}
	bounded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		deadline.Body(w, r) // for handlers that answer without reading the body
		if r.Method == http.MethodOptions {
			deadline.Answer(w)
		}
		h.ServeHTTP(w, r)
	})
	pattern := ""
	defer func() {
		p := recover()
		if v := reflect.ValueOf(mux); p != nil && v.Kind() == reflect.Pointer && v.IsNil() {
			err = fmt.Errorf("socketauth: the mux is a nil %T", mux)
		} else if p != nil {
			err = fmt.Errorf("socketauth: the mux refuses %q: %v", pattern, p)
		}
	}()
	for _, method := range methods {
		pattern = method + " " + path
		mux.Handle(pattern, bounded)
	}
	return nil
}

// The bounds of the body of a login or registration.
const (
	maxBody     = 64 << 10
	bodyTimeout = 10 * time.Second
)

// APIServe makes a core of its own with New and registers the routes for login and registration on
// mux. To share a core with sockets or Middleware, call New once and use its methods.
func APIServe[U any](mux Mux, opts Options[U]) (*Auth, error) {
	a, err := newWithAPI(opts)
	if err != nil {
		return nil, err
	}
	return a, a.APIServe(mux)
}

// APIServe registers POST and OPTIONS of LoginPath on mux, and of RegisterPath if there is a
// Register hook. Both are answered with a code, which the client exchanges for a session token on a
// socket or at TokenPath. If TokenPath is set, APIServe registers POST, DELETE and OPTIONS of it
// too. It returns an error if a hook or key that they need is missing, or if the mux panics because
// a route is taken.
func (a *Auth) APIServe(mux Mux) error {
	if len(a.apiFaults) > 0 {
		return optionsError(a.apiFaults)
	}
	var err error
	if a.login != nil {
		err = a.serveHook(mux, a.loginPath, endpoint{"login", AuditLogin, http.StatusForbidden, a.login})
	}
	if err == nil && a.config.register != nil {
		e := endpoint{"register", AuditRegistered, http.StatusBadRequest, a.config.register}
		err = a.serveHook(mux, a.registerPath, e)
	}
	if err == nil && a.tokenPath != "" {
		err = a.serveTokens(mux)
	}
	if err == nil && a.bus != nil {
		_, err = a.bus.start(false)
	}
	return err
}

// endpoint is login or registration.
type endpoint struct {
	name          string
	accepted      AuditKind
	refusedStatus int // the status of a refusal whose reason the client may know
	hook          func(ctx context.Context, c Credentials) (jwt.MapClaims, error)
}

// serveHook registers an endpoint for requests of allowed origins.
func (a *Auth) serveHook(mux Mux, path string, e endpoint) error {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.handleCredentials(w, r, e) })
	guarded := a.origins.Guard(h, func(w http.ResponseWriter, _ *http.Request) {
		answerText(w, http.StatusForbidden, "code", httpOriginNotAllowed)
	})
	return register(mux, path, guarded, http.MethodPost, http.MethodOptions)
}

// handleCredentials handles a login or registration.
func (a *Auth) handleCredentials(w http.ResponseWriter, r *http.Request, e endpoint) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "OPTIONS, POST")
		answerNothing(w) // OPTIONS, but not a preflight
		return
	}
	credentials, fault := readCredentials(w, r)
	stepUp := false
	if fault == nil && e.accepted == AuditLogin {
		stepUp, fault = takeStepUp(credentials)
	}
	if fault != nil {
		answerText(w, fault.status, "code", fault.code)
		return
	}
	address := a.address(r)
	network := a.network(r, address)
	failed := AuditEvent{Kind: AuditLoginFailed, Address: address, UserAgent: truncate(r.UserAgent())}
	key := "" // that the session is to be bound to
	if !stepUp {
		var refused *refusal
		if key, refused = a.requestProofs.loginKey(w, r); refused != nil {
			a.answerBadProof(w, r, e, failed, refused)
			return
		}
	}
	accounts, err := a.accountsOf(credentials)
	if err != nil { // refused, because a failure could not be counted
		a.answerRefused(w, r, e, failed, err)
		return
	}
	failed.Account = truncate(accounts[0])
	var session *token // that a step-up is for
	if stepUp {
		if session = a.authorized(w, r); session == nil {
			return
		}
		e.name, e.accepted = "step-up", AuditStepUp
		failed.UserID, failed.SessionID = session.UserID, session.SessionID
	}
	var hash accountsHash
	if network == "" {
		hash = hashAccounts(accounts)
	}
	attempt, wait, turn := a.begin(r, network, accounts, hash)
	if wait > 0 {
		a.recordLimit(r.Context(), e, limitAttempts, httpTooManyAttempts, failed)
		answerRetry(w, http.StatusTooManyRequests, httpTooManyAttempts, wholeSeconds(wait))
		return
	}
	defer attempt.Void() // unless it failed or succeeded, it does not count
	ctx, cancel := lazyctx.WithTimeout(context.WithValue(r.Context(), turnKey{}, turn), hookTimeout)
	defer cancel()
	authTime := time.Now() // before the hook, so that a revocation while it runs ends this login
	var code *token
	ctx, end := a.span(ctx, e.name)
	err = a.contain(e.name, func() error {
		claims, err := e.hook(ctx, credentials)
		if err == nil {
			err = ctx.Err() // after hookTimeout, a revocation that came meanwhile may be forgotten
		}
		switch {
		case err != nil:
		case session == nil:
			code, err = a.tokens.code(ctx, claims, authTime, key)
		case claims["sub"] != session.UserID:
			err = fmt.Errorf("%w: a step-up by another user than the session's", ErrInvalidCredentials)
		default:
			code, err = a.tokens.stepUp(ctx, session.SessionID, claims, authTime)
		}
		return err
	})
	end(err)
	var url string
	if err == nil && a.appURL != nil && session == nil {
		err = a.contain("AppURL", func() error { url = a.appURL(code.Text); return nil })
	}
	if err != nil {
		if publicCode(err) != "" || errors.Is(err, ErrInvalidCredentials) || errors.Is(err, ErrPasswordTooLong) {
			attempt.Failed()
		}
		a.answerRefused(w, r, e, failed, err)
		return
	}
	attempt.Succeeded()
	if network == "" {
		a.devices.remember(w, r, accounts, hash)
	}
	a.record(r.Context(), slog.LevelInfo, "socketauth: "+e.name+" accepted", AuditEvent{
		Kind: e.accepted, UserID: code.UserID, SessionID: code.SessionID,
		Address: address, UserAgent: truncate(r.UserAgent()),
	})
	switch {
	case a.appURL != nil && session == nil:
		answerText(w, http.StatusOK, "url", url)
	default:
		answerText(w, http.StatusOK, "token", code.Text)
	}
}

// begin begins an attempt to log in to or register one of the accounts. wait is how long the client
// has to wait instead, or 0. t is its turn in the queue of Passwords. Clients whose network is not
// known are told apart by a proof that they were logged in before, or by the headers of a proxy;
// for them the hash of the accounts is needed.
func (a *Auth) begin(
	r *http.Request, network string, accounts []string, hash accountsHash,
) (attempt *throttle.Attempt, wait time.Duration, t turn) {
	if network != "" {
		attempt, wait = a.attempts.Begin(network, accounts...)
		return attempt, wait, turn{group: throttle.Wide(network)}
	}
	client := forwardedFor(r)
	device := a.devices.find(r, hash)
	attempt, wait = a.attempts.BeginUnlocated(client, device, accounts...)
	if device != "" {
		return attempt, wait, turn{group: "known " + string(hash[:])}
	}
	return attempt, wait, turn{name: client}
}

// answerRefused answers a login or registration that failed with err, and records it. Only the log
// has the cause.
func (a *Auth) answerRefused(w http.ResponseWriter, r *http.Request, e endpoint, failed AuditEvent, err error) {
	status, code, level, retry := http.StatusInternalServerError, httpServerError, slog.LevelError, 0
	attrs := []any{slog.Any("cause", cause{err})}
	public := publicError(err)
	switch {
	case public.Code != "":
		status, code, level = e.refusedStatus, public.Code, slog.LevelInfo
	case errors.Is(err, ErrPasswordTooLong):
		status, code, level = e.refusedStatus, httpPasswordTooLong, slog.LevelInfo
	case errors.Is(err, ErrInvalidCredentials):
		status, code, level = http.StatusUnauthorized, httpUserInvalid, slog.LevelInfo
	case errors.Is(err, ErrTooManyAttempts):
		status, code, level, retry = http.StatusTooManyRequests, httpTooManyAttempts, slog.LevelInfo, retryLater
	case errors.Is(err, ErrUnavailable):
		status, code, level, retry = http.StatusServiceUnavailable, httpUnavailable, slog.LevelInfo, retrySoon
	case r.Context().Err() != nil:
		level = slog.LevelDebug // the client has left, and the hook ended because of that
	case e.accepted != AuditRegistered && errors.As(err, new(lookupError)):
		attrs = append(attrs, slog.String("fix", "if the user does not exist, return ErrInvalidCredentials"))
	}
	if retry > 0 {
		a.recordLimit(r.Context(), e, limitLogins, code, failed, attrs...)
		answerRetry(w, status, code, retry)
		return
	}
	failed.Code = code
	a.record(r.Context(), level, "socketauth: "+e.name+" refused", failed, attrs...)
	public.Code = code
	answer(w, status, publicBody(&public))
}

// answerBadProof answers a login or registration whose proof is refused. Clients can cause that at
// will, so that it is recorded once a minute for each network. That a proof needs a nonce is no
// failure.
func (a *Auth) answerBadProof(w http.ResponseWriter, r *http.Request, e endpoint, failed AuditEvent, refused *refusal) {
	failed.Code = httpUseDPoPNonce
	now := false
	if refused.code != codeUseDPoPNonce {
		failed.Code = httpInvalidProof
		_, now = a.loginProofs.Allow(throttle.Wide(failed.Address))
	}
	if now {
		a.record(r.Context(), slog.LevelInfo, "socketauth: "+e.name+" refused", failed, slog.Any("cause", cause{refused.cause}))
	} else {
		a.counts.logins.add(failed.Code)
	}
	answerText(w, http.StatusBadRequest, "code", failed.Code)
}

// recordLimit records a refusal by a limit, which clients can cause at will: once a minute. All are
// counted.
func (a *Auth) recordLimit(ctx context.Context, e endpoint, limit, code string, failed AuditEvent, attrs ...any) {
	if a.limited(limit, slog.String("address", failed.Address)) {
		failed.Code = code
		a.record(ctx, slog.LevelInfo, "socketauth: "+e.name+" refused", failed, attrs...)
		return
	}
	a.counts.logins.add(code)
}

// accountsOf returns the names of the accounts that a client may be trying to log in to, at least
// one. Without Options.Account both usual fields count: the library does not know which one the app
// reads, and a client could fill the other one to hide it.
func (c *config) accountsOf(credentials Credentials) (names []string, err error) {
	username, email := credentials.Get("username"), credentials.Get("email")
	switch {
	case c.account != nil:
		err = c.contain("Account", func() error { names = []string{c.account(credentials)}; return nil })
		return names, err
	case username != "" && email != "" && username != email:
		return []string{username, email}, nil
	}
	return []string{cmp.Or(username, email)}, nil
}

// httpFault is the answer to a request that is not valid.
type httpFault struct {
	status int
	code   string
}

// bodies are buffers for the bodies of requests. What a hook gets is a copy.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

const maxPooledBody = 4 << 10

// readTexts returns the members of a JSON object if all are strings, and otherwise nil.
func readTexts(body []byte) Credentials {
	if !engine.ValidJSON(body) || bytes.TrimLeft(body, " \t\r\n")[0] != '{' {
		return nil
	}
	c := make(Credentials, 4)
	err := engine.Members(body, func(_, quoted, value []byte) error {
		name, _ := engine.Unquote(quoted)
		text, ok := engine.Unquote(value)
		if !ok {
			return errNotText
		}
		c[name] = text
		return nil
	})
	if err != nil {
		return nil
	}
	return c
}

var errNotText = errors.New("not a string")

// readCredentials reads the body of a request, which must be a JSON object or a form.
func readCredentials(w http.ResponseWriter, r *http.Request) (Credentials, *httpFault) {
	const formMedia = "application/x-www-form-urlencoded"
	media := mediaType(r)
	if media != jsonMedia && media != formMedia {
		return nil, &httpFault{http.StatusUnsupportedMediaType, httpMediaType}
	}
	var c Credentials
	fault := readBody(w, r, func(body []byte) *httpFault {
		if !utf8.Valid(body) {
			return errMalformed
		}
		if media == jsonMedia {
			if c = readTexts(body); c == nil && (json.Unmarshal(body, (*map[string]any)(&c)) != nil || c == nil) {
				return errMalformed
			}
			return nil
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return errMalformed
		}
		c = make(Credentials, len(form))
		for name, values := range form {
			if !utf8.ValidString(name + values[0]) { // in JSON two different names could become the same
				return errMalformed
			}
			c[name] = values[0]
		}
		return nil
	})
	if fault != nil {
		return nil, fault
	}
	return c, nil
}

const jsonMedia = "application/json"

// mediaType returns the media type of a request's body, or "" if it has none that is valid, or
// several.
func mediaType(r *http.Request) string {
	values := r.Header.Values("Content-Type")
	if len(values) != 1 {
		return ""
	}
	if values[0] == jsonMedia {
		return jsonMedia
	}
	media, _, err := mime.ParseMediaType(values[0])
	if err != nil {
		return ""
	}
	return media
}

// readBody reads the body of a request and calls use with it, which must not keep it. The read
// deadline stays if there is a fault, because net/http reads the rest of the body.
func readBody(w http.ResponseWriter, r *http.Request, use func(body []byte) *httpFault) *httpFault {
	rc := http.NewResponseController(w)
	// If w does not support deadlines, that of the http.Server applies.
	_ = rc.SetReadDeadline(time.Now().Add(bodyTimeout))
	buf := bodies.Get().(*bytes.Buffer)
	defer func() {
		clear(buf.Bytes()) // there is a password in it
		if buf.Reset(); buf.Cap() <= maxPooledBody {
			bodies.Put(buf)
		}
	}()
	_, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &httpFault{http.StatusRequestEntityTooLarge, httpBodyTooLarge}
	case err != nil:
		return errMalformed
	}
	if fault := use(buf.Bytes()); fault != nil {
		return fault
	}
	_ = rc.SetReadDeadline(time.Time{})
	return nil
}

var errMalformed = &httpFault{http.StatusBadRequest, httpBodyMalformed}

// takeStepUp removes the field "step_up" from the credentials of a login and reports whether it
// asks for a step-up. Forms can only send strings.
func takeStepUp(c Credentials) (asked bool, fault *httpFault) {
	switch c["step_up"] {
	case true, "true":
		asked = true
	case nil, false, "false", "":
	default: // not a login, whose code would begin another session
		return false, errMalformed
	}
	delete(c, "step_up")
	return asked, nil
}
