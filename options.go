package socketauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/origin"
)

// Options configure the library. U is the app's own type of a user, which the library only passes
// from FindUserByCredentials or Register to Claim; a process without login uses Options[any].
//
// Options are copied and checked once, by New or a function that calls it. The error names all
// faults. A duration of zero stands for its default, a negative one is a fault.
//
// Hooks are called by several goroutines at the same time. A hook that panics fails the request or
// the presentation that it was called for and nothing else; the panic is logged.
type Options[U any] struct {
	// FindUserByCredentials returns the user who logs in. It returns ErrInvalidCredentials if the
	// user is unknown or the password is wrong, a *PublicError to refuse for a reason that the
	// client may know, ErrUnavailable or ErrTooManyAttempts to have the client come back, and any
	// other error if it failed. ctx ends 30 seconds after the login began. PasswordLogin makes such
	// a function. APIServe requires it, except in an app whose users log in elsewhere: with TokenPath,
	// and without this, Register, Claim and their paths, it serves TokenPath alone, for the codes of
	// IssueCode.
	FindUserByCredentials func(ctx context.Context, c Credentials) (U, error)

	// Register creates the user of a registration and returns it, with the errors of
	// FindUserByCredentials. If nil, there is no registration route.
	Register func(ctx context.Context, c Credentials) (U, error)

	// Claim returns the claims of a user's tokens: "sub", a string that is not empty, and claims of
	// the app's own. Of the library's own claims, which the package comment lists, it may only return
	// "acr" and "amr", which say how the user has proved who they are: see RequireRecent. APIServe
	// requires it as it does FindUserByCredentials.
	Claim func(u U) (jwt.MapClaims, error)

	// Authorization signs the code of a login and returns it. c has all claims of the code, the
	// app's own as Claim returned them. Authorization must sign the library's own claims unchanged,
	// except that "exp" may be earlier. If nil, the library signs.
	Authorization func(ctx context.Context, c jwt.MapClaims) (string, error)

	// Refresh signs each session token and returns it, under the same conditions as Authorization.
	// c has the app's own claims as ClaimsFromContext returns them; Refresh may change them, for
	// example to bring them up to date. ctx ends after Timeout. If nil, the library signs, and the
	// app's own claims are copied from token to token as the JSON of the first one.
	Refresh func(ctx context.Context, c jwt.MapClaims) (string, error)

	// UpdateClaims returns the app's own claims as they are now. It is called for each session
	// token that is about to be minted, with the claims of the token that it replaces, once the
	// blacklist has said that this one would be accepted. It may change old and return it; "sub"
	// and the library's own claims must stay as they are or be left out. After
	// ErrInvalidCredentials the user is gone: their session is ended. A *PublicError refuses the
	// presentation, after ErrUnavailable the client comes back, and after any other error it is
	// told server_error; no token is used up then. ctx ends after Timeout. Auth.RefreshUser has the
	// claims of a user fetched at once. If nil, the app's claims are copied from token to token.
	UpdateClaims func(ctx context.Context, old jwt.MapClaims) (jwt.MapClaims, error)

	// AppURL returns the URL that login and registration answer instead of the code. It should have
	// the code in its fragment, which browsers do not send to servers:
	// "https://app.example/#code="+code. If nil, the code is answered.
	AppURL func(code string) string

	// TenantID returns the tenant of a token, by its claims, for Socket.TenantID. It is called for
	// each token that is about to replace a presented one, and for each that is sent to Middleware. If
	// the tenant is empty, the presented token is refused with invalid_tenant. ctx ends after Timeout.
	// If nil, there are no tenants.
	TenantID func(ctx context.Context, c jwt.MapClaims) (string, error)

	// Secret is an HS256 key of at least 32 random bytes. DecodeSecret reads one from base64.
	// Exactly one of Secret, Keys and KeyFunc must be set.
	Secret []byte

	// Keys are several keys. The first one signs. Each verifies the tokens whose header "kid" is
	// its ID; a token without "kid" is tried with every key of its algorithm. An app that used
	// Secret can therefore change to Keys, with the secret as one of them, and no user is signed
	// out. If the first key has no Sign, only Middleware can be used.
	Keys []Key

	// KeyFunc returns the key of a token. It is called to verify a token, whose claims are not
	// verified yet, and to sign one, whose header has no "kid" yet. The Method of the Key is the
	// only algorithm that is accepted. For a token that it has no key for, KeyFunc returns
	// ErrUnknownKey.
	KeyFunc func(ctx context.Context, t *jwt.Token) (Key, error)

	// Issuer is the claim "iss" and Audience the claim "aud" (RFC 7519 section 4.1) of all tokens.
	// A token with others is refused. Set them if the key is also used for anything else. If empty,
	// the claim is neither set nor checked.
	Issuer   string
	Audience string

	// Timeout is how long a socket may take to authenticate, and how long its hooks and the calls
	// of the blacklist may take together with their repetitions. A replaced token that arrives
	// within this time on a connection that was open before the replacement counts as late, not as
	// reuse. The default is 5 seconds.
	Timeout time.Duration

	// CodeLifetime is how long after the login its code is accepted. The default is 30 seconds.
	CodeLifetime time.Duration

	// TokenLifetime is how long a session token lives. A socket is disconnected when its token
	// expires, unless it was replaced before. The default is 24 hours.
	TokenLifetime time.Duration

	// SessionLifetime is how long a session lives from its login: no token of it expires later. The
	// default is 30 days.
	SessionLifetime time.Duration

	// RefreshInterval is the age from which a presented session token is replaced. A younger token
	// is sent back as it is, unless half of its life is over. It must not be more than half of
	// TokenLifetime. The default is 0: each token is replaced each time.
	RefreshInterval time.Duration

	// ReusePolicy is what happens when a token is presented that was replaced before. The default
	// is EndSession.
	ReusePolicy ReusePolicy

	// Binding says whether sessions are bound to a key of the user's device, without whose proof
	// their tokens are worth nothing (RFC 9449). The default is BindOptional.
	Binding Binding

	// AllowedOrigins are the origins of pages, other than the server's own, that may log in and
	// connect, such as "https://app.example" or "http://localhost:5173". They are compared exactly;
	// an entry that no browser sends is a fault. If empty, only the server's own origin is allowed.
	// Requests without an Origin header are allowed, unless their header Sec-Fetch-Site names
	// another site.
	//
	// "unsafe:null" and "unsafe:file://" allow the origins "null" and "file://", which some desktop
	// wrappers and embedded clients send. They are unsafe: a page of any site can have the origin
	// "null", and any local file "file://".
	AllowedOrigins []string

	// Hosts are the names of the server as the Host header of requests has them, such as
	// "app.example" or "localhost:8080"; a name without a port stands for all ports. A login or
	// socket request for another host is refused, and so is a request to Middleware whose token is
	// bound to a key: another server may have sent it on. Set Hosts if the server can be reached
	// without TLS: the page of an attacker, whose name was made to resolve to this server (DNS
	// rebinding), counts as the server's own origin otherwise. If empty, all hosts are accepted.
	Hosts []string

	// Blacklist stores which sessions exist and which tokens are dead. If nil, it is kept in the
	// memory of this core: it is empty after a restart, and all users have to log in again. A
	// process that only uses Middleware must share the blacklist of the process that serves the
	// sockets; with one of its own it would refuse every token.
	Blacklist blacklist.Store

	// Cluster joins the processes of an app that has more than one. If it is zero, the process is on
	// its own.
	Cluster Cluster

	// Audit is called for what happens to identities: logins, rotations, reuse, revocations,
	// refusals. It is called synchronously, and should return soon. If nil, events are only logged.
	Audit func(ctx context.Context, e AuditEvent)

	// Account returns the account that a login or registration is for, for which its failure is
	// counted. If FindUserByCredentials accepts several spellings of a name, Account should return
	// the same for all. If nil, the accounts are the fields "username" and "email".
	Account func(c Credentials) string

	// Limits bound the memory and the work that clients can cause. Zero fields have the defaults
	// that Limits gives.
	Limits Limits

	// ClientIP returns the IP address of the client of a request. Set it if a proxy is in front, to
	// a function that reads a header which the proxy sets and clients cannot set. It may return an
	// address with port, brackets or quotes. Of a list, the last address is used; for "" and for
	// what is not an address, the address of the peer is. A list and what is not an address are
	// logged once a minute.
	//
	// If nil, the client is the peer of the connection, and no limits per address apply to peers
	// that may be a proxy: those on loopback, private, link-local and shared (100.64.0.0/10)
	// addresses and on unix sockets. For such peers, a login sets the cookie "socketauth_device".
	// For 14 days, it lets its owner try to log in to the account from the same browser, however
	// many attempts of others fail. Without it, an owner may have to wait for as long as others
	// guess the password.
	ClientIP func(r *http.Request) string

	// LoginPath, RegisterPath and SocketPath are the paths that the library serves. SocketPath is
	// served with and without a slash at its end. The defaults are "/login", "/register" and
	// "/socket.io/".
	LoginPath    string
	RegisterPath string
	SocketPath   string

	// TokenPath is the path, such as "/token", at which clients without a socket trade the code of a
	// login for a session token, have that replaced, confirm the next one (POST) and end the session
	// (DELETE), all with "Authorization: Bearer <code or token>", or DPoP instead of Bearer and a
	// proof (RFC 9449) if the token is bound to a key. APIServe registers it. OnAuthenticated is
	// not asked there; UpdateClaims and TenantID are. If empty, it is not served.
	TokenPath string

	// ClientPath is the folder under which SocketServe serves the client for browsers. With
	// "/socketauth/", for example, pages import "/socketauth/socketauth.js", which imports the other
	// files. It must start and end with a slash. If empty, the client is not served.
	ClientPath string

	// Trace is called when something begins that takes time: op is "login", "register", "step-up",
	// "presentation" (of a token on a socket or at TokenPath), "store" and a call, such as "store
	// Present", or "handler" and an event, such as "handler message". The context that it returns
	// is used within, and end is called once with what came of it: nil, or an error whose text is
	// for operators, valid UTF-8 and cut after 1 KiB. Both must return soon. metrics.Trace, of the
	// module of that name, makes spans of OpenTelemetry. If nil, nothing is traced.
	Trace func(ctx context.Context, op string) (traced context.Context, end func(err error))

	// Logger receives what an operator of the app should know, and never a secret. At level debug
	// it receives why each token was refused. If nil, slog.Default() is used.
	Logger *slog.Logger
}

// LogValue keeps keys out of logs.
func (o Options[U]) LogValue() slog.Value { return slog.StringValue("socketauth.Options") }

// Format keeps keys out of the output of package fmt.
func (o Options[U]) Format(f fmt.State, _ rune) { fmt.Fprint(f, "socketauth.Options") }

// ReusePolicy is what happens to a session when one of its tokens is presented that was replaced
// before: two parties have had the token, and one of them may be a thief.
type ReusePolicy int

const (
	// EndSession ends the session everywhere: which of the two parties is the thief is not known.
	EndSession ReusePolicy = iota
	// RejectOnly refuses the token. The session goes on.
	RejectOnly
)

// config is Options without the type parameter, checked and with defaults.
type config struct {
	*recorder
	*locator

	// login and register are nil if a hook that they need is missing.
	login    func(ctx context.Context, c Credentials) (jwt.MapClaims, error)
	register func(ctx context.Context, c Credentials) (jwt.MapClaims, error)

	appURL   func(code string) string
	tenantID func(ctx context.Context, c jwt.MapClaims) (string, error)

	updateClaims func(ctx context.Context, old jwt.MapClaims) (jwt.MapClaims, error) // may be nil

	limits  Limits
	account func(c Credentials) string
	devices devices

	tokens    *issuer
	blacklist blacklist.Store
	batch     blacklist.BatchChecker // the same store, if it is one; otherwise nil
	cluster   clusterConfig
	origins   *origin.Policy

	timeout     time.Duration
	reusePolicy ReusePolicy
	binding     Binding

	requestProofs *requestProofs

	loginPath, registerPath, socketPath string
	tokenPath                           string  // "" if it is not served
	clientPath                          string  // "" if the client is not served
	apiFaults                           []error // why APIServe cannot be used
}

// config is check with all faults in one error.
func (o Options[U]) config() (*config, error) {
	c, faults := o.check()
	return c, optionsError(faults)
}

// check returns the options with their defaults, and all their faults.
func (o Options[U]) check() (*config, []error) {
	r := &recorder{log: cmp.Or(o.Logger, slog.Default()), audit: o.Audit, trace: o.Trace}
	c := &config{
		recorder:     r,
		locator:      &locator{recorder: r, clientIP: o.ClientIP},
		appURL:       o.AppURL,
		tenantID:     o.TenantID,
		updateClaims: o.UpdateClaims,
		account:      o.Account,
		limits:       o.Limits.withDefaults(),
		blacklist:    o.Blacklist,
		reusePolicy:  o.ReusePolicy,
		binding:      o.Binding,
		loginPath:    cmp.Or(o.LoginPath, "/login"),
		registerPath: cmp.Or(o.RegisterPath, "/register"),
		socketPath:   cmp.Or(o.SocketPath, "/socket.io/"),
		tokenPath:    o.TokenPath,
		clientPath:   o.ClientPath,
	}
	if c.blacklist == nil {
		c.blacklist = blacklist.NewMemory()
	}

	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	duration := func(name string, d, standard time.Duration) time.Duration {
		switch {
		case d < 0:
			fault("%s is negative: %v", name, d)
		case 0 < d && d < time.Millisecond:
			fault("%s is %v, less than a millisecond: for %d seconds, write %[3]d * time.Second", name, d, int64(d))
		}
		return cmp.Or(d, standard)
	}

	keys, err := newKeyring(o.Secret, o.Keys, o.KeyFunc)
	if err != nil {
		faults = append(faults, err)
	}
	c.timeout = duration("Timeout", o.Timeout, 5*time.Second)
	c.tokens = &issuer{
		keys:            keys,
		issuer:          o.Issuer,
		audience:        o.Audience,
		codeLifetime:    duration("CodeLifetime", o.CodeLifetime, 30*time.Second),
		tokenLifetime:   duration("TokenLifetime", o.TokenLifetime, 24*time.Hour),
		sessionLifetime: duration("SessionLifetime", o.SessionLifetime, 30*24*time.Hour),
		refreshInterval: duration("RefreshInterval", o.RefreshInterval, 0),
		authorization:   o.Authorization,
		refresh:         o.Refresh,
	}
	c.tokens.prepare()
	if c.tokens.refreshInterval > c.tokens.tokenLifetime/2 {
		fault("RefreshInterval %v is more than half of TokenLifetime %v", o.RefreshInterval, c.tokens.tokenLifetime)
	}

	c.limits.check(fault)
	if isNilPointer(o.Blacklist) {
		fault("Blacklist is a nil %T, not nil", o.Blacklist)
	}
	c.cluster = o.Cluster.check(o.Secret, o.Blacklist != nil, fault, duration)
	c.attempts = o.Limits.throttle(c.cluster.subkey("socketauth throttle v1"))
	c.devices = newDevices(o.Secret, c.cluster)
	if o.ReusePolicy != EndSession && o.ReusePolicy != RejectOnly {
		fault("ReusePolicy %d does not exist", o.ReusePolicy)
	}
	if o.Binding < BindOptional || o.Binding > BindNever {
		fault("Binding %d does not exist", o.Binding)
	}
	if c.origins, err = origin.New(o.AllowedOrigins, o.Hosts, c.log); err != nil {
		faults = append(faults, err)
	}
	c.requestProofs = newRequestProofs(o.Binding, c.origins, c.locator, o.Secret, c.cluster)
	for _, p := range [...]struct{ name, path string }{
		{"LoginPath", c.loginPath},
		{"RegisterPath", c.registerPath},
		{"SocketPath", c.socketPath},
		{"TokenPath", cmp.Or(c.tokenPath, "/")},
		{"ClientPath", cmp.Or(c.clientPath, "/")},
	} {
		if !strings.HasPrefix(p.path, "/") || strings.ContainsAny(p.path, "{}*: ?#") {
			fault("%s %q is not a plain path that starts with a slash", p.name, p.path)
		}
	}
	if c.clientPath != "" && !strings.HasSuffix(c.clientPath, "/") {
		fault(`ClientPath %q does not end with a slash: it is a folder, such as "/socketauth/"`, c.clientPath)
	}
	checkRoutes(c, fault)

	c.login = credentialHook(o.FindUserByCredentials, o.Claim)
	c.register = credentialHook(o.Register, o.Claim)
	issues := c.tokenPath != "" && o.LoginPath == "" && o.RegisterPath == "" &&
		o.FindUserByCredentials == nil && o.Register == nil && o.Claim == nil
	if o.FindUserByCredentials == nil && !issues {
		c.apiFaults = append(c.apiFaults, errors.New(
			"option FindUserByCredentials is missing: it returns the user who logs in, and PasswordLogin makes one; "+
				"an app that has no login but IssueCode calls New and SocketServe instead"))
	}
	if o.Claim == nil && !issues {
		c.apiFaults = append(c.apiFaults, errors.New(
			`option Claim is missing: it returns the claims of a user, at least {"sub": id}`))
	}
	if !c.tokens.canSign(c.tokens.authorization) || c.tokenPath != "" && !c.tokens.canSign(c.tokens.refresh) {
		c.apiFaults = append(c.apiFaults, errNoSigning)
	}
	return c, faults
}

// checkRoutes checks that the routes for POST requests are paths of their own.
func checkRoutes(c *config, fault func(format string, args ...any)) {
	routes := [...]struct{ name, path string }{
		{"LoginPath", c.loginPath}, {"RegisterPath", c.registerPath}, {"TokenPath", c.tokenPath},
	}
	socket := strings.TrimSuffix(c.socketPath, "/")
	for i, r := range routes {
		switch {
		case r.path == "":
			continue
		case r.path == "/":
			fault(`%s is "/", which takes requests for all other paths too: give it a path of its own`, r.name)
		case strings.TrimSuffix(r.path, "/") == socket:
			fault("%s %q is taken by SocketPath, which is served with and without a slash at its end", r.name, r.path)
		}
		for _, before := range routes[:i] {
			if before.path == r.path {
				fault("%s and %s are both %q", before.name, r.name, r.path)
			}
		}
	}
}

// optionsError returns one error for all faults, or nil if there are none.
func optionsError(faults []error) error {
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("socketauth: options: %w", errors.Join(faults...))
}

// credentialHook returns a function that calls find and then claim, without the type parameter. It
// is nil if one of them is.
func credentialHook[U any](
	find func(context.Context, Credentials) (U, error), claim func(U) (jwt.MapClaims, error),
) func(context.Context, Credentials) (jwt.MapClaims, error) {
	if find == nil || claim == nil {
		return nil
	}
	return func(ctx context.Context, c Credentials) (jwt.MapClaims, error) {
		user, err := find(ctx, c)
		if err != nil {
			return nil, lookupError{err}
		}
		return claim(user)
	}
}

// lookupError is an error of FindUserByCredentials or Register.
type lookupError struct{ error }

// Unwrap returns what the hook has returned.
func (e lookupError) Unwrap() error { return e.error }
