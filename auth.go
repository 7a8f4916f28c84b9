package socketauth

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/admission"
	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/deadline"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/hub"
	"github.com/z-open/socketauth/internal/peerwire"
	"github.com/z-open/socketauth/internal/sharedcall"
)

// Auth is the core that HTTP and sockets share: keys, blacklist and policy. New makes it. It is
// safe for concurrent use.
type Auth struct {
	*config
	bus *bus // nil without Cluster.Broker

	updates *updates // of claims; nil if they are copied

	confirming sharedcall.Group[string, blacklist.Result] // the confirmations by requests, by token

	mu      sync.Mutex
	servers []socketServer // nil where a server was shut down before a later one
	ended   bool           // the last server was shut down
}

// socketServer is a Server, as the core that its sockets live on knows it.
type socketServer interface {
	// connectionCounts returns how many connections there are, by version of Engine.IO.
	connectionCounts() map[string]admission.Count
	// liveSockets returns how many sockets of a session are authenticated.
	liveSockets(sessionID string) int
	// endSession closes the sockets of a session that has ended.
	endSession(sessionID string, why authn.Cause)
	// ready returns why the server cannot serve clients, or nil.
	ready() error
	// silence returns for how long changes of the store may have been missed.
	silence() time.Duration
	// prepareRevocation is called before the store decides. The function that it returns is called
	// with the decision; it closes sockets accordingly and returns how many were closed for the
	// revocation.
	prepareRevocation(r blacklist.Revocation) func(blacklist.Change) int
	// revokedElsewhere closes the sockets that a revocation by another process is about, and
	// returns how many were closed for revocations and not counted before. It returns false if the
	// store has not answered for all of them before ctx has ended.
	revokedElsewhere(ctx context.Context, r blacklist.Revocation) (closed int, ok bool)
	// outdate has the claims of the sockets that a change is about brought up to date, and returns
	// how many sockets it is about.
	outdate(c blacklist.Change) int
	// refreshedElsewhere is outdate for a refresh by another process, once the store has confirmed
	// it. It returns false if the store has not answered for all of the sockets before ctx has
	// ended.
	refreshedElsewhere(ctx context.Context, c blacklist.Change) (outdated int, ok bool)
	// deliver sends a message to the authenticated sockets that are in one of the groups.
	deliver(groups []hub.Group, m *engine.Message, volatile bool)
	// sockets describes the authenticated sockets that are in one of the groups.
	sockets(groups []hub.Group) []peerwire.Socket
}

// allServers returns the servers whose sockets live on this core.
func (a *Auth) allServers() []socketServer {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(a.servers), func(s socketServer) bool { return s == nil })
}

// serverAt returns the server with a number, or nil.
func (a *Auth) serverAt(place int) socketServer {
	a.mu.Lock()
	defer a.mu.Unlock()
	if place >= len(a.servers) {
		return nil
	}
	return a.servers[place]
}

// addServer adds a server and returns its number. The servers of other processes that have the same
// number are the same for the app.
func (a *Auth) addServer(s socketServer) (place int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = false
	if place = slices.Index(a.servers, nil); place >= 0 {
		a.servers[place] = s
		return place
	}
	a.servers = append(a.servers, s)
	return len(a.servers) - 1
}

// removeServer removes a server that was shut down.
func (a *Auth) removeServer(s socketServer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if place := slices.Index(a.servers, s); place >= 0 {
		a.servers[place] = nil
	}
	for n := len(a.servers); n > 0 && a.servers[n-1] == nil; n-- {
		a.servers = a.servers[:n-1]
	}
	a.ended = len(a.servers) == 0
}

// endSession closes the sockets of a session that has ended, on all servers.
func (a *Auth) endSession(sessionID string, why authn.Cause) {
	for _, server := range a.allServers() {
		server.endSession(sessionID, why)
	}
}

// Close ends what the core does in the background, and returns when that has ended, or with the
// error of ctx. Without Options.Cluster it does nothing. With it, SocketServe, APIServe, Middleware
// and the first revocation begin to listen to the other processes, and Close says goodbye to them:
// receipts name a process that ended without one for a while. The Shutdown of the last server calls
// Close; an app that has no server calls it itself. It may be called again.
func (a *Auth) Close(ctx context.Context) error {
	return a.close(ctx, func() bool { return false })
}

// close ends what runs in the background, unless the core is used.
func (a *Auth) close(ctx context.Context, used func() bool) (err error) {
	if a.bus != nil {
		err = a.bus.close(ctx, used)
	}
	if err == nil && a.updates != nil {
		err = deadline.Wait(ctx, &a.updates.work)
	}
	return err
}

// closeUnused is Close if there is no server.
func (a *Auth) closeUnused(ctx context.Context) error {
	return a.close(ctx, func() bool { return len(a.allServers()) > 0 })
}

// Stats returns what the core, and the servers on it, have done, and what is connected now. It is
// cheap enough to be called every second.
func (a *Auth) Stats() Stats {
	s := a.counts.stats()
	for _, server := range a.allServers() {
		for version, n := range server.connectionCounts() {
			s.addSockets(version, n.Unauthenticated, n.Authenticated)
		}
		s.Store.Silence = max(s.Store.Silence, server.silence())
	}
	if a.bus != nil {
		a.bus.addTo(&s)
		a.addForwarded(&s)
	}
	return s
}

// New builds a core. Its error names every fault of the options.
func New[U any](opts Options[U]) (*Auth, error) {
	c, err := opts.config()
	if err != nil {
		return nil, err
	}
	return newAuth(c), nil
}

func newAuth(c *config) *Auth {
	a := &Auth{config: c}
	if clock, ok := c.blacklist.(blacklist.Clock); ok {
		c.tokens.storeTime = a.timeBy(clock)
	}
	c.batch, _ = c.blacklist.(blacklist.BatchChecker)
	if c.cluster.broker != nil {
		a.bus = newBus(c.cluster, c.log, c.attempts, a.deliver, a.answer)
	}
	c.blacklist = measured{c.blacklist, c.recorder}
	if c.updateClaims != nil {
		a.updates = &updates{hook: c.updateClaims, timeout: c.timeout, contain: a.contain}
	}
	return a
}

// newWithAPI is New for a core that will serve login, so that all faults are reported together.
func newWithAPI[U any](opts Options[U]) (*Auth, error) {
	c, faults := opts.check()
	if err := optionsError(append(faults, c.apiFaults...)); err != nil {
		return nil, err
	}
	return newAuth(c), nil
}

// IssueCode mints a code for a user whom the app has identified by other means, such as an OAuth
// callback, a magic link, a passkey or a test. claims are what Options.Claim would return. The
// client trades the code for a token as after a login. If the blacklist is needed for the time and
// cannot be reached, the error wraps ErrUnavailable.
func (a *Auth) IssueCode(ctx context.Context, claims jwt.MapClaims) (string, error) {
	if !a.tokens.canSign(a.tokens.authorization) {
		return "", optionsError([]error{errNoSigning})
	}
	var t *token
	err := a.contain("Authorization", func() (err error) {
		t, err = a.tokens.code(ctx, claims, time.Now(), "")
		return err
	})
	if err != nil {
		return "", err
	}
	return t.Text, nil
}

var (
	errStepUp     = errors.New("a step-up code where a token is needed")
	errNotSession = errors.New("a code where a session token is needed")
)

// verify checks what can be checked of a token without a decision of the store: signature, claims
// and expiry. A refusal for expiry has the token. Step-up codes are refused.
func (a *Auth) verify(ctx context.Context, text string) (*token, *refusal) {
	t, refused := a.verifyAny(ctx, text)
	if t != nil && t.Use == useStepUp || refused != nil && refused.token != nil && refused.token.Use == useStepUp {
		return nil, &refusal{code: codeInvalidToken, cause: errStepUp}
	}
	return t, refused
}

// verifyAny is verify for step-up codes too.
func (a *Auth) verifyAny(ctx context.Context, text string) (t *token, refused *refusal) {
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
	case errors.Is(err, errClock):
		return nil, &refusal{code: codeUnavailable, cause: err}
	}
	return nil, refuseError("KeyFunc", err)
}

// countInvalidToken counts a token that nobody has signed as a failure of the network that it came
// from, and returns the refusal that the client is told. A good token is never delayed.
func (a *Auth) countInvalidToken(network, address string, refused *refusal) *refusal {
	if refused.code != codeInvalidToken {
		return refused
	}
	attempt, wait := a.attempts.Begin(network, "")
	if wait > 0 {
		a.limited(limitAttempts, slog.String("address", address))
		return &refusal{code: codeTooManyAttempts, retryAfter: wholeSeconds(wait)}
	}
	attempt.Failed()
	return refused
}

// tenant asks Options.TenantID for the tenant of a verified token.
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
