package socketauth

import (
	"context"
	"log/slog"
	"time"

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

// record logs an event, and tells the app's Audit of it.
func (a *Auth) record(ctx context.Context, level slog.Level, msg string, e AuditEvent, attrs ...any) {
	e.Time = time.Now()
	a.counts.event(e)
	for _, attr := range [...]slog.Attr{slog.String("user", e.UserID), slog.String("session", e.SessionID), slog.String("socket", e.SocketID), slog.String("address", e.Address), slog.String("code", e.Code), slog.String("except", e.Except)} {
		if attr.Value.String() != "" {
			attrs = append(attrs, attr)
		}
	}
	ctx = context.WithoutCancel(ctx) // what happened is told also where the client has left
	a.log.Log(ctx, level, msg, attrs...)
	if a.auditHook != nil {
		_ = a.contain("Audit", func() error { a.auditHook(ctx, e); return nil })
	}
}

// recordRefusal records an event that is a refusal: an error where the fault is on this side. Those of one session, or
// of one network where there is no session, are recorded as long as they are no flood, which anybody can send.
func (a *Auth) recordRefusal(ctx context.Context, msg string, r *refusal, network string, e AuditEvent) {
	e.Code = r.code
	if e.Kind == AuditRefused && a.floods(e.SessionID, network) {
		a.counts.event(e)
		a.limited(limitRefusals, slog.String("address", e.Address), slog.String("code", e.Code))
		return
	}
	level := slog.LevelDebug
	if r.code == codeUnavailable || r.code == codeServerError {
		level = slog.LevelError
	}
	var attrs []any
	if r.cause != nil {
		attrs = append(attrs, slog.Any("cause", r.cause))
	}
	a.record(ctx, level, msg, e, attrs...)
}

// floods reports whether a session, or a network where that is empty, has been refused more often than is recorded: as
// often as an address may fail, counted apart from that. Clients of no network share one budget.
func (a *Auth) floods(session, network string) bool {
	of := "refusals of the network " + throttle.Wide(network)
	if session != "" {
		of = "refusals of the session " + session
	}
	attempt, wait := a.attempts.Begin(of, "")
	attempt.Failed()
	return wait > 0
}

// event is what happened on a socket, to the token's session.
func (s *Socket) event(kind AuditKind, t *token, code string) AuditEvent {
	e := AuditEvent{Kind: kind, SocketID: s.ID(), Address: s.visit.request.ClientIP, UserAgent: s.visit.request.UserAgent, Code: code}
	if t != nil {
		e.UserID, e.SessionID = t.UserID, t.SessionID
	}
	return e
}
