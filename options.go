package socketauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/origin"
)

// Options say who may come in and for how long. U is the app's own user type, which the library only carries from a
// look-up to Claim; a process that only serves sockets writes Options[any].
//
// Options are copied, given their defaults and checked once; all faults are reported together. A duration of zero is
// its default, a negative one is a fault. Hooks may be called from many goroutines at once; one that panics fails the
// request it was called for, and nothing else.
type Options[U any] struct {
	// FindUserByCredentials looks up who logs in. It says ErrInvalidCredentials for an unknown user and for a wrong
	// password alike, a *PublicError where it refuses for a reason the client may know, and any other error where it
	// could not tell. PasswordLogin makes one. Its context ends after 30 s. Required by APIServe.
	FindUserByCredentials func(ctx context.Context, c Credentials) (U, error)

	// Register creates the user of a registration, with errors as above. nil: there is no registration route.
	Register func(ctx context.Context, c Credentials) (U, error)

	// Claim says what the tokens of a user carry: "sub", a string that is not empty, and what else the app wants, but
	// none of the library's own claims (see the package documentation). Required by APIServe.
	Claim func(u U) (jwt.MapClaims, error)

	// Authorization mints the code in the library's place. It receives all claims of the code, and
	// must sign them unchanged, but for "exp", which may be earlier, and for claims of the app's
	// own, which it gets as Claim gave them. nil: the library signs.
	Authorization func(ctx context.Context, c jwt.MapClaims) (string, error)

	// Refresh mints each session token in the library's place, on the terms of Authorization. It is
	// the place to bring the app's own claims up to date, which it gets as ClaimsFromContext gives
	// them. nil: the library signs, and the app's claims go from token to token as the JSON that
	// was signed first.
	Refresh func(ctx context.Context, c jwt.MapClaims) (string, error)

	// AppURL makes the URL that login and registration answer instead of the bare code. Put the code in the fragment,
	// which browsers send to no server: "https://app.example/#code="+code. nil: the code itself is answered.
	AppURL func(code string) string

	// TenantID finds the tenant that a token's claims belong to, for Socket.TenantID. An empty tenant refuses the token
	// with invalid_tenant. nil: there are no tenants.
	TenantID func(ctx context.Context, c jwt.MapClaims) (string, error)

	// Secret is an HS256 key of at least 32 random bytes, used as given; DecodeSecret reads one from base64. Exactly
	// one of Secret, Keys and KeyFunc is set.
	Secret []byte

	// Keys are several keys at once: the first signs, all verify, each the tokens whose "kid" is
	// its ID. A token without "kid", as Secret makes them, is tried with every key of its
	// algorithm: so an app goes from Secret to Keys, with the secret as one of them, and nobody is
	// signed out. Where the first has no Sign, the core serves Middleware alone.
	Keys []Key

	// KeyFunc finds the key of one token, by its header or its claims: to verify a token that came in, whose claims are
	// still only claimed, and to sign one that goes out, whose header has no "kid" yet. The Method of the Key it
	// returns is the only algorithm accepted. For a token it knows no key for, it says ErrUnknownKey.
	KeyFunc func(ctx context.Context, t *jwt.Token) (Key, error)

	// Issuer and Audience are put into every token and demanded of every token that comes in. Set them wherever a key
	// is shared with anything else. Empty: neither set nor looked at.
	Issuer   string
	Audience string

	// Timeout is how long a socket may take to authenticate, a presentation to be decided, and a reused token to be
	// taken for a late frame. 0: 5 s.
	Timeout time.Duration

	// CodeLifetime is how long a login's code may be traded for a token. 0: 30 s.
	CodeLifetime time.Duration

	// TokenLifetime is how long a session token lives. A socket whose token was not replaced in time is disconnected.
	// 0: 24 h.
	TokenLifetime time.Duration

	// SessionLifetime is how long after the login the last token of its session ends, however often it was replaced.
	// 0: 30 days.
	SessionLifetime time.Duration

	// RefreshInterval is how old a session token has to be to be replaced when it is presented; a younger one is answered
	// as it is, unless half of its life is over. At most half of TokenLifetime. 0: each is replaced on every use.
	RefreshInterval time.Duration

	// ReusePolicy says what happens when a token comes back that was used and replaced. Zero: EndSession.
	ReusePolicy ReusePolicy

	// AllowedOrigins are the exact browser origins, besides the server's own, that may log in and
	// connect, such as "https://app.example" or "http://localhost:5173". One that no browser could
	// ever send is a fault. "unsafe:null" and "unsafe:file://" allow the origins "null" and "file://",
	// which some desktop wrappers and embedded clients send: any site can send "null" from a frame, and
	// any local file "file://". None: the server's own alone.
	AllowedOrigins []string

	// Hosts are the app's own names, as the Host header of requests for login and sockets has them, such
	// as "app.example" or "localhost:8080"; one without a port stands for any port. A request for any
	// other Host is refused: it may come from a page whose own name was made to point to this server
	// (DNS rebinding), so set it wherever the server can be reached without TLS. None: any Host is the
	// app's own.
	Hosts []string

	// Blacklist remembers which tokens are dead. nil: in memory, for one process and one core; it forgets on a restart,
	// and all have to log in again. A process that only has Middleware needs the one of the process that has the
	// sockets: on its own it knows no session, and refuses every token.
	Blacklist blacklist.Store

	// Audit is told what happens to identities: logins, rotations, reuse, revocations, refusals. It is called where that
	// happens, so it returns soon, and by many goroutines at once. nil: only Logger is.
	Audit func(ctx context.Context, e AuditEvent)

	// Account says which account a login or registration is for, so that failures are counted for it. Give the name as the
	// look-up has it, where that takes several spellings alike. nil: the fields "username" and "email", whichever are there.
	Account func(c Credentials) string

	// Limits bound what clients can make the process hold. Zero: the defaults that are stated there.
	Limits Limits

	// ClientIP tells the client's address where a proxy stands in front: from a header that the proxy sets, and that
	// clients cannot. It returns one IP address; a port, brackets and quotes are dropped, of a list the last one counts,
	// and "" or anything else is the peer's; a list and what is no address are logged once a minute. nil: the host of
	// Request.RemoteAddr, and no limits for each address of peers that may be a proxy: on loopback, private, link-local
	// and shared (100.64.0.0/10) addresses, and on unix sockets. Behind those a login sets the cookie "socketauth_device",
	// by which the account's owner is let in from the same browser for 14 days whatever others do to the account; who has
	// none may be held up for as long as strangers guess.
	ClientIP func(r *http.Request) string

	// LoginPath, RegisterPath and SocketPath are where the library serves. SocketPath is served with and
	// without its last slash. Empty: "/login", "/register", "/socket.io/".
	LoginPath    string
	RegisterPath string
	SocketPath   string

	// ClientPath is the folder in which SocketServe serves the client for browsers, the files of client/.
	// With "/socketauth/", for example, pages import "/socketauth/socketauth.js", which imports the others.
	// It starts and ends with a slash. Empty: nowhere.
	ClientPath string

	// Logger gets what the app's operator should know, and never a secret; at debug level, why each token was refused.
	// nil: slog.Default().
	Logger *slog.Logger
}

// LogValue keeps keys out of logs.
func (o Options[U]) LogValue() slog.Value { return slog.StringValue("socketauth.Options") }

// Format keeps keys out of whatever fmt prints.
func (o Options[U]) Format(f fmt.State, _ rune) { fmt.Fprint(f, "socketauth.Options") }

// ReusePolicy says what a presentation of a used and replaced token does to its session.
type ReusePolicy int

const (
	// EndSession ends the session everywhere: whether thief or owner came second, one of them has the other's token.
	EndSession ReusePolicy = iota
	// RejectOnly refuses that one presentation; the session lives on.
	RejectOnly
)

// config is Options after they were checked, without the type parameter.
type config struct {
	*recorder
	*locator

	login    func(ctx context.Context, c Credentials) (jwt.MapClaims, error) // nil where a hook it needs is missing
	register func(ctx context.Context, c Credentials) (jwt.MapClaims, error) // nil where there is no registration
	appURL   func(code string) string
	tenantID func(ctx context.Context, c jwt.MapClaims) (string, error)

	limits  Limits
	account func(c Credentials) string
	devices devices

	tokens    *issuer
	blacklist blacklist.Store
	origins   *origin.Policy

	timeout     time.Duration
	reusePolicy ReusePolicy

	loginPath, registerPath, socketPath string
	clientPath                          string  // "": not served
	apiFaults                           []error // what APIServe misses
}

// config is check, with all faults in one error.
func (o Options[U]) config() (*config, error) {
	c, faults := o.check()
	return c, optionsError(faults)
}

// check gives the options their defaults, and says all that is wrong with them.
func (o Options[U]) check() (*config, []error) {
	r := &recorder{log: cmp.Or(o.Logger, slog.Default()), audit: o.Audit, attempts: o.Limits.throttle()}
	c := &config{
		recorder:     r,
		locator:      &locator{recorder: r, clientIP: o.ClientIP},
		appURL:       o.AppURL,
		tenantID:     o.TenantID,
		account:      o.Account,
		devices:      newDevices(o.Secret),
		limits:       o.Limits.withDefaults(),
		blacklist:    o.Blacklist,
		reusePolicy:  o.ReusePolicy,
		loginPath:    cmp.Or(o.LoginPath, "/login"),
		registerPath: cmp.Or(o.RegisterPath, "/register"),
		socketPath:   cmp.Or(o.SocketPath, "/socket.io/"),
		clientPath:   o.ClientPath,
	}
	if c.blacklist == nil {
		c.blacklist = blacklist.NewMemory()
	}

	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	lasting := func(name string, d, standard time.Duration) time.Duration {
		switch {
		case d < 0:
			fault("%s is negative: %v", name, d)
		case 0 < d && d < time.Millisecond:
			fault("%s is %v: was it meant in seconds? Write %d * time.Second", name, d, int64(d))
		}
		return cmp.Or(d, standard)
	}

	keys, err := newKeyring(o.Secret, o.Keys, o.KeyFunc)
	if err != nil {
		faults = append(faults, err)
	}
	c.timeout = lasting("Timeout", o.Timeout, 5*time.Second)
	c.tokens = &issuer{
		keys:            keys,
		issuer:          o.Issuer,
		audience:        o.Audience,
		codeLifetime:    lasting("CodeLifetime", o.CodeLifetime, 30*time.Second),
		tokenLifetime:   lasting("TokenLifetime", o.TokenLifetime, 24*time.Hour),
		sessionLifetime: lasting("SessionLifetime", o.SessionLifetime, 30*24*time.Hour),
		refreshInterval: lasting("RefreshInterval", o.RefreshInterval, 0),
		authorization:   o.Authorization,
		refresh:         o.Refresh,
	}
	c.tokens.parser = c.tokens.newParser()
	if c.tokens.refreshInterval > c.tokens.tokenLifetime/2 {
		fault("RefreshInterval %v is more than half of TokenLifetime %v", o.RefreshInterval, c.tokens.tokenLifetime)
	}

	c.limits.check(fault)
	if v := reflect.ValueOf(o.Blacklist); v.Kind() == reflect.Pointer && v.IsNil() {
		fault("Blacklist is a nil %T, not nil", o.Blacklist)
	}
	if o.ReusePolicy != EndSession && o.ReusePolicy != RejectOnly {
		fault("ReusePolicy %d does not exist", o.ReusePolicy)
	}
	if c.origins, err = origin.New(o.AllowedOrigins, o.Hosts, c.log); err != nil {
		faults = append(faults, err)
	}
	for _, p := range [...]struct{ name, path string }{{"LoginPath", c.loginPath}, {"RegisterPath", c.registerPath}, {"SocketPath", c.socketPath}, {"ClientPath", cmp.Or(c.clientPath, "/")}} {
		if !strings.HasPrefix(p.path, "/") || strings.ContainsAny(p.path, "{}*: ?#") {
			fault("%s %q is not a plain path that starts with a slash", p.name, p.path)
		}
	}
	if c.clientPath != "" && !strings.HasSuffix(c.clientPath, "/") {
		fault("ClientPath %q does not end with a slash: it is a folder, such as \"/socketauth/\"", c.clientPath)
	}
	if c.loginPath == c.registerPath {
		fault("LoginPath and RegisterPath are both %q", c.loginPath)
	}

	c.login = hooks(o.FindUserByCredentials, o.Claim)
	c.register = hooks(o.Register, o.Claim)
	if o.FindUserByCredentials == nil {
		c.apiFaults = append(c.apiFaults, errors.New("option FindUserByCredentials is missing"))
	}
	if o.Claim == nil {
		c.apiFaults = append(c.apiFaults, errors.New("option Claim is missing"))
	}
	if !c.tokens.signs(c.tokens.authorization) {
		c.apiFaults = append(c.apiFaults, errNoSigning)
	}
	return c, faults
}

func optionsError(faults []error) error {
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("socketauth: options: %w", errors.Join(faults...))
}

// hooks makes one step of a look-up and of Claim, and so ends the reach of the type parameter.
func hooks[U any](find func(context.Context, Credentials) (U, error), claim func(U) (jwt.MapClaims, error)) func(context.Context, Credentials) (jwt.MapClaims, error) {
	if find == nil || claim == nil {
		return nil
	}
	return func(ctx context.Context, c Credentials) (jwt.MapClaims, error) {
		user, err := find(ctx, c)
		if err != nil {
			return nil, err
		}
		return claim(user)
	}
}

func or[T comparable](v, standard T) T {
	var zero T
	if v == zero {
		return standard
	}
	return v
}
