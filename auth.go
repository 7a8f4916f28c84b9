package socketauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/internal/logonce"
)

// Auth is the core that HTTP and sockets share: keys, blacklist, policy. It is made by New and safe for concurrent use.
type Auth struct {
	*config

	losses  logonce.Minute // of the blacklist's state, to be logged
	unclear logonce.Minute // clients whose "confirm" says neither yes nor no, likewise
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
