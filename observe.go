package socketauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/z-open/socketauth/internal/forward"
	"github.com/z-open/socketauth/internal/logonce"
	"github.com/z-open/socketauth/internal/throttle"
)

// AuditEvent is something that happened to an identity, for Options.Audit. A field whose value is
// not known, or not proven by a token, is empty; only Account is what the client claimed.
type AuditEvent struct {
	Kind      AuditKind
	Time      time.Time
	UserID    string
	SessionID string
	SocketID  string
	Address   string // of the client, by Options.ClientIP
	UserAgent string // at most 1 KiB of it
	Code      string // what the client was told if it was refused
	Except    string // the session that RevokeOthers left alive
	Account   string // of a failed login or registration, by Options.Account; it is never logged
}

// AuditKind is the kind of an AuditEvent.
type AuditKind string

// The kinds of audit events. Each event is also logged to Options.Logger, at the level named here.
//
// Events that a client can cause at will are limited. Of AuditRefused, the first 60 in a row of one
// session are recorded (of one network if no session is known), then one every 2 seconds;
// Limits.FailuresPerAddress sets the 60. Of the logins and registrations that a limit refuses, one
// a minute is recorded, and of those with a proof that is not valid, one a minute for each network.
// Auth.Stats counts all of them.
const (
	// AuditLogin is a login that was accepted and answered with a code. Level info.
	AuditLogin AuditKind = "login"
	// AuditStepUp is a login by which the user of a session has proved again who they are, and that
	// was answered with a step-up code. Level info.
	AuditStepUp AuditKind = "step_up"
	// AuditLoginFailed is a login or registration that was refused or failed. Level info, error if
	// a hook failed, debug if the client left meanwhile.
	AuditLoginFailed AuditKind = "login_failed"
	// AuditRegistered is a registration that was accepted and answered with a code. Level info.
	AuditRegistered AuditKind = "registered"
	// AuditAuthenticated is a socket that authenticated, or a code that was traded at TokenPath. Level
	// debug.
	AuditAuthenticated AuditKind = "authenticated"
	// AuditRotated is a session token that was replaced: at TokenPath, where the next one may still be
	// lost, when that is answered. Level debug.
	AuditRotated AuditKind = "rotated"
	// AuditReuse is a replaced token that was presented again, which ended its session. Level warn.
	AuditReuse AuditKind = "reuse"
	// AuditLogout is a session that its user ended. Level info.
	AuditLogout AuditKind = "logout"
	// AuditRevoked is a revocation by the app or by Limits.SessionsPerUser: of a session, of all
	// sessions of a user, or of all sessions if both are empty. Level info.
	AuditRevoked AuditKind = "revoked"
	// AuditRefreshed is a call of RefreshUser or RefreshSession. Level info.
	AuditRefreshed AuditKind = "refreshed"
	// AuditExpired is a socket that was disconnected because its token expired. Level debug.
	AuditExpired AuditKind = "expired"
	// AuditRefused is a refusal on a socket, by Middleware or at TokenPath. Level debug, error if the
	// store or a hook failed.
	AuditRefused AuditKind = "refused"
	// AuditProofRefused is the refusal, at the same places, of a token whose proof is missing or is
	// not one of its key: somebody may have copied the token. Of each session, one a minute is
	// recorded. Level warn; the others are logged at level debug.
	AuditProofRefused AuditKind = "proof_refused"
)

// recorder logs, counts and audits what happens.
type recorder struct {
	log      *slog.Logger
	audit    func(ctx context.Context, e AuditEvent) // may be nil
	trace    traceHook                               // may be nil
	attempts *throttle.Guard                         // counts failures and limits attempts
	counts   counts

	losses      logonce.Minute           // limits how often lost state of the store is logged
	unclear     logonce.Minute           // limits how often an unclear "confirm" is logged
	outside     logonce.Minute           // limits how often RequireRecent outside of Middleware is logged
	proofs      logonce.Each             // by session: limits how often refused proofs are recorded
	loginProofs logonce.Each             // by network: the same at logins, apart because anyone can send any number
	panics      sync.Map                 // by hook, *logonce.Minute: limits how often its panics are logged
	lates       [lateness]logonce.Minute // by deadline: limits how often late clients are logged
	dropped     sync.Map                 // by code, *logonce.Minute: limits how often events without a handler are logged
}

// record counts and logs an event, and calls Options.Audit with it.
func (r *recorder) record(ctx context.Context, level slog.Level, msg string, e AuditEvent, attrs ...any) {
	e.Time = time.Now()
	r.counts.event(e)
	ctx = context.WithoutCancel(ctx) // the event is recorded even if the client has left
	r.logEvent(ctx, level, msg, e, attrs...)
	if r.audit != nil {
		_ = r.contain("Audit", func() error { r.audit(ctx, e); return nil })
	}
}

// logEvent logs an event.
func (r *recorder) logEvent(ctx context.Context, level slog.Level, msg string, e AuditEvent, attrs ...any) {
	if r.log.Enabled(ctx, level) {
		for _, attr := range [...]slog.Attr{
			slog.String("user", e.UserID), slog.String("session", e.SessionID), slog.String("socket", e.SocketID),
			slog.String("address", e.Address), slog.String("code", e.Code), slog.String("except", e.Except),
		} {
			if attr.Value.String() != "" {
				attrs = append(attrs, attr)
			}
		}
		r.log.Log(ctx, level, msg, attrs...)
	}
}

// recordRefusal records a refusal, as an error if the server is at fault. Clients can cause
// refusals at will, so those past the limit that floods applies are only counted. Of the refused
// proofs of a session, one a minute is recorded; the others are counted, and logged at debug level.
func (r *recorder) recordRefusal(ctx context.Context, msg string, refused *refusal, network string, e AuditEvent) {
	e.Code = refused.code
	if refused.late != notLate {
		r.logLate(refused, e)
	}
	var attrs []any
	if refused.cause != nil {
		attrs = append(attrs, slog.Any("cause", cause{refused.cause}))
	}
	level := slog.LevelDebug
	switch refused.code {
	case codeUnavailable, codeServerError:
		level = slog.LevelError
	case codeProofRequired, codeInvalidProof:
		e.Kind = AuditProofRefused
		if _, now := r.proofs.Allow(e.SessionID); !now {
			r.counts.event(e)
			if r.log.Enabled(ctx, level) && !r.floods("refused proofs", e.SessionID, network) {
				r.logEvent(ctx, level, msg, e, attrs...)
			}
			return
		}
		level = slog.LevelWarn
	}
	if e.Kind == AuditRefused && r.floods("refusals", e.SessionID, network) {
		r.counts.event(e)
		r.limited(limitRefusals, slog.String("address", e.Address), slog.String("code", e.Code))
		return
	}
	r.record(ctx, level, msg, e, attrs...)
}

// logLate logs once a minute for each deadline that a client has missed it, and how it can meet it.
func (r *recorder) logLate(refused *refusal, e AuditEvent) {
	if unsaid, now := r.lates[refused.late].Allow(); now {
		r.log.Warn("socketauth: a client did not authenticate in time", slog.Any("cause", cause{refused.cause}),
			slog.String("address", e.Address), slog.String("user", e.UserID), slog.String("user_agent", e.UserAgent),
			slog.Int("more_since_last", unsaid), slog.String("fix", lateCauses[refused.late].fix))
	}
}

// floods counts a refusal of a kind of a session, or of a network if the session is not known, and
// reports whether there have been more of them than are recorded: as many as an address may fail,
// in a budget apart from that, for each kind. Clients without a network share one budget. Each
// process counts for itself, since the limit is on what one process records.
func (r *recorder) floods(kind, session, network string) bool {
	budget := kind + " of the network " + throttle.Wide(network)
	if session != "" {
		budget = kind + " of the session " + session
	}
	attempt, wait := r.attempts.Begin(budget, "")
	attempt.FailedHere()
	return wait > 0
}

// Stats has counts since the core was made by New, and the number of connections now. The maps have
// no entry for what has not happened. Stats is meant to be marshaled to JSON or to be copied to
// metrics; package github.com/z-open/socketauth/metrics does that for Prometheus.
type Stats struct {
	// Sockets has the connections by version of Engine.IO: "3" (clients 1.x and 2.x) or "4" (3.x
	// and 4.x).
	Sockets map[string]struct {
		Connecting    int `json:"connecting"` // not authenticated yet
		Authenticated int `json:"authenticated"`
	} `json:"sockets"`

	// Logins has the logins and registrations, by the code that they were answered with; "OK" if
	// they were accepted.
	Logins map[string]uint64 `json:"logins"`

	// Authentications has the sockets that authenticated and the codes that were traded at TokenPath,
	// as "ok", and the refusals on sockets, by code.
	Authentications map[string]uint64 `json:"authentications"`

	// Requests has the requests that were refused by Middleware and at TokenPath, by code.
	Requests map[string]uint64 `json:"requests"`

	Rotations uint64 `json:"rotations"` // session tokens that were replaced
	Reuses    uint64 `json:"reuses"`    // sessions ended because a replaced token was presented
	Logouts   uint64 `json:"logouts"`

	// Revocations counts successful calls of RevokeSession, RevokeUser, RevokeOthers and RevokeAll,
	// and sessions that Limits.SessionsPerUser ended.
	Revocations uint64 `json:"revocations"`

	Expiries uint64 `json:"expiries"` // sockets disconnected because their token expired

	// Bound counts the codes that were traded for tokens which are bound to a key, and
	// ProofsRefused the presentations and requests that were refused because the proof of that key
	// was missing or not valid.
	Bound         uint64 `json:"bound"`
	ProofsRefused uint64 `json:"proofsRefused"`

	// Stale counts sockets disconnected because the blacklist was not heard for Cluster.MaxStale.
	Stale uint64 `json:"stale"`

	// Limited has what was refused or closed because of a limit, by the name of the limit.
	Limited map[string]uint64 `json:"limited"`

	// Store has the calls of Options.Blacklist, except those of Watch and of a blacklist.Clock.
	Store struct {
		Calls  uint64        `json:"calls"`
		Errors uint64        `json:"errors"` // calls that failed
		Time   time.Duration `json:"time"`   // of all calls together; in JSON in nanoseconds

		// Silence is for how long changes that other processes made may have been missed. It is less
		// than 3 seconds while the store is heard and nothing is left to be looked up, and 0 if the
		// store serves one process. In JSON it is in nanoseconds.
		Silence time.Duration `json:"silence"`

		// Buckets is a cumulative histogram: Calls is how many calls took at most UpTo.
		Buckets []struct {
			UpTo  time.Duration `json:"upTo"` // in JSON in nanoseconds
			Calls uint64        `json:"calls"`
		} `json:"buckets"`
	} `json:"store"`

	// Nodes are the processes of the app that may serve clients, this one first. Without
	// Options.Cluster there are none.
	Nodes []struct {
		Name      string    `json:"name"` // random, another one after each start
		Advertise string    `json:"advertise,omitempty"`
		Prefix    string    `json:"prefix,omitempty"` // of the ids of its connections in requests; depends on Advertise and the key alone
		Heard     time.Time `json:"heard"`            // when it was last heard

		// Silent reports that the process was not heard for 3 seconds, or goes on without having
		// heard this one. It may still serve clients.
		Silent bool `json:"silent"`
	} `json:"nodes,omitempty"`

	// Bus has the messages between the processes. Without Options.Cluster there are none.
	Bus struct {
		Sent     uint64 `json:"sent"`     // taken by the Broker
		Dropped  uint64 `json:"dropped"`  // not sent, because too many were waiting or the Broker could not be reached
		Received uint64 `json:"received"` // of other processes
		Rejected uint64 `json:"rejected"` // without a valid signature, too old, or repeated
		Gaps     uint64 `json:"gaps"`     // how often messages of others were missing
		Queued   int    `json:"queued"`   // waiting to be sent now
	} `json:"bus,omitzero"`

	// Forwarded has the requests that a load balancer sent to another process than the one that has
	// their connection. Without Options.Cluster there are none.
	Forwarded struct {
		Sent     uint64 `json:"sent"`     // by this process to others
		Failed   uint64 `json:"failed"`   // of those, the ones that the other process did not answer
		Received uint64 `json:"received"` // from other processes
		Forged   uint64 `json:"forged"`   // requests that claimed to come from another process
	} `json:"forwarded,omitzero"`
}

// addSockets adds the connections of one server.
func (s *Stats) addSockets(version string, connecting, authenticated int) {
	sum := s.Sockets[version]
	sum.Connecting += connecting
	sum.Authenticated += authenticated
	s.Sockets[version] = sum
}

// counts is what a core counts.
type counts struct {
	logins, authentications, requests, limited tally

	rotations, reuses, logouts, revocations, expiries, stale, bound, proofsRefused atomic.Uint64

	store     storeCounts
	forwarded forward.Counts
	logged    sync.Map // from the name of a limit to the *logonce.Minute of its log message
}

// stats returns the counts. Connections are not counted here.
func (c *counts) stats() Stats {
	s := Stats{
		Logins:          c.logins.all(),
		Authentications: c.authentications.all(),
		Requests:        c.requests.all(),
		Rotations:       c.rotations.Load(),
		Reuses:          c.reuses.Load(),
		Logouts:         c.logouts.Load(),
		Revocations:     c.revocations.Load(),
		Expiries:        c.expiries.Load(),
		Bound:           c.bound.Load(),
		ProofsRefused:   c.proofsRefused.Load(),
		Stale:           c.stale.Load(),
		Limited:         c.limited.all(),
	}
	s.Sockets = make(map[string]struct {
		Connecting    int `json:"connecting"`
		Authenticated int `json:"authenticated"`
	})
	c.store.addTo(&s)
	return s
}

// event counts an event.
func (c *counts) event(e AuditEvent) {
	switch e.Kind {
	case AuditLogin, AuditStepUp, AuditRegistered:
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
	case AuditProofRefused, AuditRefused:
		if e.Kind == AuditProofRefused {
			c.proofsRefused.Add(1)
		}
		if e.SocketID != "" {
			c.authentications.add(e.Code)
		} else {
			c.requests.add(e.Code)
		}
	}
}

// limit counts something that a limit refused. now reports whether to log it, and unsaid is how
// many others were not logged since the last message.
func (c *counts) limit(name string) (unsaid int, now bool) {
	c.limited.add(name)
	return allow(&c.logged, name)
}

// allow reports whether a message about the name may be logged in this minute, and how many were
// not logged since the last one. messages maps names to *logonce.Minute.
func allow(messages *sync.Map, name string) (unsaid int, now bool) {
	minute, ok := messages.Load(name)
	if !ok {
		minute, _ = messages.LoadOrStore(name, new(logonce.Minute))
	}
	return minute.(*logonce.Minute).Allow()
}

// limited counts something that a limit refused or closed, and logs the limit once a minute. It
// reports whether it has logged it now.
func (r *recorder) limited(limit string, attrs ...any) (logged bool) {
	unsaid, now := r.counts.limit(limit)
	if now {
		r.log.Warn("socketauth: a limit is reached", append(attrs,
			slog.String("limit", limit), slog.Int("more_since_last", unsaid))...)
	}
	return now
}

// logLoss logs once a minute that the blacklist does not know the session of a valid token.
func (r *recorder) logLoss(about ...any) {
	if unsaid, now := r.losses.Allow(); now {
		r.log.Warn("socketauth: the blacklist does not know the session of a valid token: "+
			"it has lost state (a blacklist in memory does at each restart), "+
			"or it is not shared with the process that made the token",
			append(about, slog.Int("more_since_last", unsaid))...)
	}
}

// logUnclear logs once a minute that the "confirm" of a client has a type that means neither true
// nor false. The value itself is not logged: a client that confuses fields may have put its token
// there.
func (r *recorder) logUnclear(typ string, about ...any) {
	if unsaid, now := r.unclear.Allow(); now {
		r.log.Warn(`socketauth: the field "confirm" of a client is neither true nor false and is taken as false: `+
			"the client loses its session if a reply to it is lost",
			append(about, slog.String("type", typ), slog.Int("more_since_last", unsaid),
				slog.String("fix", `the client must send confirm: true, or "true" if it can only send strings`))...)
	}
}

// logOutside logs once a minute that RequireRecent was asked about a request without claims, whose
// client would be told to have the user log in again and again.
func (r *recorder) logOutside(path string) {
	if unsaid, now := r.outside.Allow(); now {
		r.log.Warn("socketauth: RequireRecent has refused a request that did not come through Middleware",
			slog.String("path", truncate(path)), slog.Int("more_since_last", unsaid),
			slog.String("fix", "put RequireRecent inside of Middleware: auth.Middleware(auth.RequireRecent(maxAge)(handler))"))
	}
}

// How an app can have its clients' events handled, by the code that the events are refused with.
var dropFixes = map[string]string{
	codeUnauthorized: `the client must wait for "authenticated" before it sends events`,
	codeUnknownEvent: "register a handler with Server.On, or correct the name",
}

// logDropped logs once a minute for each code that no handler was called for an event of a client.
// The name is the client's choice, so no more than the beginning of it is logged.
func (r *recorder) logDropped(code, event string, about ...any) {
	const most = 64
	if unsaid, now := allow(&r.dropped, code); now {
		if len(event) > most {
			event = event[:most] + "..."
		}
		r.log.Info("socketauth: no handler was called for an event",
			append(about, slog.String("event", event), slog.String("code", code),
				slog.Int("more_since_last", unsaid), slog.String("fix", dropFixes[code]))...)
	}
}

// errPanic is the error of a hook that panicked. Its stack was logged.
var errPanic = errors.New("socketauth: hook panicked")

// contain calls a hook. If it panics, contain returns an error and logs the panic, once a minute
// for each hook: clients can cause it as often as they like.
func (r *recorder) contain(hook string, call func() error) error {
	return r.containOf(hook, "", call)
}

// containOf is contain for a hook that has a name of its own.
func (r *recorder) containOf(kind, name string, call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			hook := kind + name
			if unsaid, now := allow(&r.panics, hook); now {
				r.log.Error("socketauth: hook panicked", slog.String("hook", hook), slog.Any("panic", p),
					slog.String("stack", string(debug.Stack())), slog.Int("more_since_last", unsaid))
			}
			err = fmt.Errorf("%w: %s", errPanic, hook)
		}
	}()
	return call()
}
