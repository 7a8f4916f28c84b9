package socketauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/z-open/socketauth/internal/logonce"
	"github.com/z-open/socketauth/internal/throttle"
)

// AuditEvent is something that happened to an identity, for Options.Audit. What is not known, or not proven, is empty,
// but for the Account.
type AuditEvent struct {
	Kind      AuditKind
	Time      time.Time
	UserID    string
	SessionID string
	SocketID  string
	Address   string // of the client, by Options.ClientIP
	UserAgent string
	Code      string // what the client was told, where it was refused
	Except    string // the session that RevokeOthers left alive
	Account   string // which account a failed login or registration named, as Options.Account has it; it is in no log
}

// AuditKind says what happened.
type AuditKind string

// The kinds of audit events. With each, and at the level named, goes a line to Options.Logger. Past 60 refusals in a row
// of one session, or of one network where no session is known, one in 2 s is recorded (Limits.FailuresPerAddress); what a
// limit has refused, one in a minute. Stats counts all.
const (
	AuditLogin         AuditKind = "login"         // credentials were accepted, a code was given; info
	AuditLoginFailed   AuditKind = "login_failed"  // a login or registration was refused: credentials, hook or outage; info, or error
	AuditRegistered    AuditKind = "registered"    // a user was registered, a code was given; info
	AuditAuthenticated AuditKind = "authenticated" // a socket proved who it is; debug
	AuditRotated       AuditKind = "rotated"       // a session token was replaced on a socket, whose client has the next; debug
	AuditReuse         AuditKind = "reuse"         // a replaced token came back, which ended its session; warn
	AuditLogout        AuditKind = "logout"        // a session was ended by its user; info
	AuditRevoked       AuditKind = "revoked"       // sessions were ended by the app: one, a user's (but for Except), or all where both are empty; info
	AuditExpired       AuditKind = "expired"       // a socket was disconnected since its token had expired; debug
	AuditRefused       AuditKind = "refused"       // a token was refused, on a socket or of a request; debug, or error
)

// recorder logs, counts and audits what happens.
type recorder struct {
	log      *slog.Logger
	audit    func(ctx context.Context, e AuditEvent) // may be nil
	attempts *throttle.Guard                         // counts failures
	counts   counts

	losses  logonce.Minute // limits how often lost state of the store is logged
	unclear logonce.Minute // limits how often an unclear "confirm" is logged
}

// record logs an event, and tells the app's Audit of it.
func (r *recorder) record(ctx context.Context, level slog.Level, msg string, e AuditEvent, attrs ...any) {
	e.Time = time.Now()
	r.counts.event(e)
	for _, attr := range [...]slog.Attr{slog.String("user", e.UserID), slog.String("session", e.SessionID), slog.String("socket", e.SocketID), slog.String("address", e.Address), slog.String("code", e.Code), slog.String("except", e.Except)} {
		if attr.Value.String() != "" {
			attrs = append(attrs, attr)
		}
	}
	ctx = context.WithoutCancel(ctx) // what happened is told also where the client has left
	r.log.Log(ctx, level, msg, attrs...)
	if r.audit != nil {
		_ = r.contain("Audit", func() error { r.audit(ctx, e); return nil })
	}
}

// recordRefusal records an event that is a refusal: an error where the fault is on this side. Those of one session, or
// of one network where there is no session, are recorded as long as they are no flood, which anybody can send.
func (r *recorder) recordRefusal(ctx context.Context, msg string, refused *refusal, network string, e AuditEvent) {
	e.Code = refused.code
	if e.Kind == AuditRefused && r.floods(e.SessionID, network) {
		r.counts.event(e)
		r.limited(limitRefusals, slog.String("address", e.Address), slog.String("code", e.Code))
		return
	}
	level := slog.LevelDebug
	if refused.code == codeUnavailable || refused.code == codeServerError {
		level = slog.LevelError
	}
	var attrs []any
	if refused.cause != nil {
		attrs = append(attrs, slog.Any("cause", refused.cause))
	}
	r.record(ctx, level, msg, e, attrs...)
}

// floods reports whether a session, or a network where that is empty, has been refused more often than is recorded: as
// often as an address may fail, counted apart from that. Clients of no network share one budget.
func (r *recorder) floods(session, network string) bool {
	of := "refusals of the network " + throttle.Wide(network)
	if session != "" {
		of = "refusals of the session " + session
	}
	attempt, wait := r.attempts.Begin(of, "")
	attempt.Failed()
	return wait > 0
}

// Stats are counts since the core was made, and gauges of now. Maps have no entry where there is nothing to count.
type Stats struct {
	Sockets         map[string]SocketStats `json:"sockets"`         // by the version of Engine.IO, "3" or "4"
	Logins          map[string]uint64      `json:"logins"`          // and registrations, by what was answered; "OK" for a code
	Authentications map[string]uint64      `json:"authentications"` // of sockets, by code; "ok" for those that got in
	Requests        map[string]uint64      `json:"requests"`        // that Middleware refused, by code
	Rotations       uint64                 `json:"rotations"`
	Reuses          uint64                 `json:"reuses"`
	Logouts         uint64                 `json:"logouts"`
	Revocations     uint64                 `json:"revocations"`
	Expiries        uint64                 `json:"expiries"`
	Limited         map[string]uint64      `json:"limited"` // what a limit has refused, by its name
	Store           StoreStats             `json:"store"`
}

// SocketStats are the connections to one engine.
type SocketStats struct {
	Connecting    int `json:"connecting"` // not authenticated yet
	Authenticated int `json:"authenticated"`
}

// StoreStats are the calls of the Blacklist, but for Watch.
type StoreStats struct {
	Calls   uint64        `json:"calls"`
	Errors  uint64        `json:"errors"`
	Time    time.Duration `json:"time"`    // of all calls together, in nanoseconds
	Buckets []StoreBucket `json:"buckets"` // cumulative, as a histogram has them
}

// StoreBucket is how many calls took at most so long.
type StoreBucket struct {
	UpTo  time.Duration `json:"upTo"` // in nanoseconds
	Calls uint64        `json:"calls"`
}

// counts is what a core counts.
type counts struct {
	logins, authentications, requests, limited tally

	rotations, reuses, logouts, revocations, expiries atomic.Uint64

	store storeCounts
	said  sync.Map // limit to *logonce.Minute
}

// event counts what is recorded.
func (c *counts) event(e AuditEvent) {
	switch e.Kind {
	case AuditLogin, AuditRegistered:
		c.logins.add("OK")
	case AuditLoginFailed:
		c.logins.add(e.Code)
	case AuditAuthenticated:
		c.authentications.add("ok")
	case AuditRotated:
		c.rotations.Add(1)
	case AuditReuse:
		c.reuses.Add(1)
	case AuditLogout:
		c.logouts.Add(1)
	case AuditRevoked:
		c.revocations.Add(1)
	case AuditExpired:
		c.expiries.Add(1)
	case AuditRefused:
		if e.SocketID != "" {
			c.authentications.add(e.Code)
		} else {
			c.requests.add(e.Code)
		}
	}
}

// limit counts what a limit has refused. now says whether it is to be logged, with how many have not been since.
func (c *counts) limit(name string) (unsaid int, now bool) {
	c.limited.add(name)
	minute, ok := c.said.Load(name)
	if !ok {
		minute, _ = c.said.LoadOrStore(name, new(logonce.Minute))
	}
	return minute.(*logonce.Minute).Say()
}

// tally counts by name. Names may come from the app, so their number is bounded.
type tally struct {
	mu     sync.Mutex
	counts map[string]uint64
}

func (t *tally) add(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = make(map[string]uint64)
	}
	if _, known := t.counts[name]; !known && len(t.counts) >= maxNames {
		name = "other"
	}
	t.counts[name]++
}

func (t *tally) all() map[string]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make(map[string]uint64, len(t.counts)) // never nil, which is null in JSON
	maps.Copy(all, t.counts)
	return all
}

type storeCounts struct {
	calls, errors atomic.Uint64
	time          atomic.Int64
	took          [len(storeTimes) + 1]atomic.Uint64
}

func (c *storeCounts) call(began time.Time, err error) {
	took := time.Since(began)
	c.calls.Add(1)
	c.time.Add(int64(took))
	if err != nil {
		c.errors.Add(1)
	}
	n, _ := slices.BinarySearch(storeTimes[:], took)
	c.took[n].Add(1)
}

func (c *storeCounts) stats() StoreStats {
	s := StoreStats{Errors: c.errors.Load(), Time: time.Duration(c.time.Load())}
	for n := range c.took {
		s.Calls += c.took[n].Load()
		if n < len(storeTimes) {
			s.Buckets = append(s.Buckets, StoreBucket{storeTimes[n], s.Calls})
		}
	}
	return s
}

const maxNames = 200

// storeTimes are the upper ends of the histogram's buckets; beyond the last is one more.
var storeTimes = [...]time.Duration{10 * time.Microsecond, 100 * time.Microsecond, time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second, 10 * time.Second}

// limited counts what a limit has refused or ended, and logs that once a minute: said is whether it did so now.
func (r *recorder) limited(limit string, attrs ...any) (said bool) {
	unsaid, now := r.counts.limit(limit)
	if now {
		r.log.Warn("socketauth: a limit is reached", append(attrs, slog.String("limit", limit), slog.Int("more_since_last", unsaid))...)
	}
	return now
}

// logLoss says once a minute that the blacklist does not know what it should.
func (r *recorder) logLoss(about ...any) {
	if unsaid, now := r.losses.Say(); now {
		r.log.Warn("socketauth: the blacklist does not know the session of a valid token: it has lost state (a restart, in memory), or is not shared with the process that made the token",
			append(about, slog.Int("more_since_last", unsaid))...)
	}
}

// logUnclear logs once a minute that a client's "confirm" is taken for none. The value itself is not
// logged: a client that gets one field wrong may have put its token there.
func (r *recorder) logUnclear(is string, about ...any) {
	if unsaid, now := r.unclear.Say(); now {
		r.log.Warn(`socketauth: the field "confirm" of a client is neither true nor false, and counts as no confirmation: a reply that is lost then costs the client its session`,
			append(about, slog.String("type", is), slog.Int("more_since_last", unsaid),
				slog.String("fix", `the client sends confirm: true, or "true" where it can only send strings`))...)
	}
}

// errPanic is the error of a hook that panicked. The log has the stack.
var errPanic = errors.New("socketauth: hook panicked")

// contain calls a hook, and makes an error of its panic.
func (r *recorder) contain(hook string, call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("socketauth: hook panicked", slog.String("hook", hook), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			err = fmt.Errorf("%w: %s", errPanic, hook)
		}
	}()
	return call()
}
