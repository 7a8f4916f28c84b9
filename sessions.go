package socketauth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/z-open/socketauth/blacklist"
)

// This file holds what an app can do to sessions.

// A Session is one living session of a user: one login, on one device or several.
type Session struct {
	blacklist.Session
	Sockets int `json:"sockets"` // live ones, in all processes that have answered
}

// Sessions returns the living sessions of a user, the one seen last first, for example for a page
// of their devices. A session begins when the code of its login is traded for a token. Errors wrap
// ErrUnavailable.
//
// With Options.Cluster, the sockets of other processes are counted as far as these answer within
// ReceiptTimeout or before ctx has ended.
func (a *Auth) Sessions(ctx context.Context, userID string) ([]Session, error) {
	known, err := a.knownSessions(ctx, userID)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(known))
	for n, one := range known {
		ids[n] = one.ID
	}
	var sessions []Session
	for n, sockets := range a.countSockets(ctx, ids) {
		sessions = append(sessions, Session{Session: known[n], Sockets: sockets})
	}
	return sessions, nil
}

// knownSessions returns the living sessions of a user, the one seen last first, as the store knows
// them.
func (a *Auth) knownSessions(ctx context.Context, userID string) (known []blacklist.Session, err error) {
	err = a.contain("Blacklist", func() (err error) {
		known, err = a.blacklist.Sessions(ctx, userID)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: sessions: %w", ErrUnavailable, err)
	}
	slices.SortFunc(known, func(x, y blacklist.Session) int {
		return cmp.Or(y.LastSeen.Compare(x.LastSeen), cmp.Compare(x.ID, y.ID))
	})
	return known, nil
}

// RevokeSession ends one session of a user for good: its tokens are dead at once, on sockets and in
// Middleware, and its sockets are closed with session_revoked. A handler that ends the session of
// its own socket must do everything else first: its context ends, and its reply reaches nobody.
//
// If the session is another user's, nothing ends, which the receipt shows: no sessions. One that is
// unknown, or over already, is no error either; what is unknown is dead from then on. Errors wrap
// ErrUnavailable; the session may be over all the same.
//
// Once the store has decided, the end of ctx does not matter any more. With Options.Cluster, the
// receipt says what all processes have closed that answer within ReceiptTimeout. One that does not
// closes the sockets when it hears of the revocation from the store.
func (a *Auth) RevokeSession(ctx context.Context, userID, sessionID string) (Receipt, error) {
	if sessionID == "" {
		return Receipt{}, errEmpty
	}
	return a.revoke(ctx, blacklist.Revocation{UserID: userID, SessionID: sessionID})
}

// RevokeUser ends all sessions of a user, as RevokeSession does, and all logins whose credentials
// were checked before. A login after it works.
func (a *Auth) RevokeUser(ctx context.Context, userID string) (Receipt, error) {
	return a.revoke(ctx, blacklist.Revocation{UserID: userID})
}

// RevokeOthers is like RevokeUser but keeps one session. Call it when a user has changed their
// password, with the session in which they did so. If that session has not begun or is another
// user's, all of the user's sessions are ended.
func (a *Auth) RevokeOthers(ctx context.Context, userID, sessionID string) (Receipt, error) {
	if sessionID == "" {
		return Receipt{}, errEmpty
	}
	return a.revoke(ctx, blacklist.Revocation{UserID: userID, Except: sessionID})
}

// RevokeAll ends all sessions of all users, as RevokeUser does for one.
func (a *Auth) RevokeAll(ctx context.Context) (Receipt, error) {
	return a.revoke(ctx, blacklist.Revocation{All: true})
}

var errEmpty = errors.New("socketauth: revoking or refreshing: the user's or the session's id is empty")

func (a *Auth) revoke(ctx context.Context, r blacklist.Revocation) (Receipt, error) {
	r.Why = blacklist.Revoked
	if r.UserID == "" && !r.All {
		return Receipt{}, errEmpty
	}
	var prepared []func(blacklist.Change) int
	for _, server := range a.allServers() {
		prepared = append(prepared, server.prepareRevocation(r))
	}
	change, err := a.revokeInStore(ctx, r)
	if err != nil {
		return Receipt{}, fmt.Errorf("%w: revoking: %w", ErrUnavailable, err)
	}
	if change.Verdict == 0 { // the session is another user's
		return Receipt{}, nil
	}
	receipt := Receipt{Sessions: change.Sessions, Nodes: 1}
	addOthers := a.askRevoked(ctx, r)
	for _, closeSockets := range prepared {
		receipt.Sockets += closeSockets(change)
	}
	addOthers(&receipt)
	attrs := []any{slog.Int("sessions", receipt.Sessions), slog.Int("sockets", receipt.Sockets)}
	if len(receipt.Unheard) > 0 {
		attrs = append(attrs, slog.Any("unheard", receipt.Unheard))
	}
	a.record(ctx, slog.LevelInfo, "socketauth: sessions revoked", AuditEvent{Kind: AuditRevoked, UserID: r.UserID, SessionID: r.SessionID, Except: r.Except}, attrs...)
	return receipt, nil
}

// RefreshUser has the claims of a user brought up to date by Options.UpdateClaims, because
// something about the user has changed: a role, for example. Nobody is signed out by it.
//
// Once it has returned, no handler begins and no broadcast is delivered under older claims, in this
// process and in those that the receipt does not name as Unheard; Middleware refuses older claims
// with stale_token, in all processes. A handler that is running already is not waited for. Each
// socket of the user is sent the event "refresh". What arrives from its client, and what is sent to
// it, then waits until the client has presented its token and OnClaimsChanged has returned. A
// client that does not do so within Timeout is disconnected, in a way after which clients reconnect
// by themselves.
//
// In a process without UpdateClaims, such as one that serves no sockets, it does the same for the
// others. If none has it, clients get new tokens with the claims that they had, unless Refresh
// changes them.
//
// The user need not exist: then nothing happens. Errors wrap ErrUnavailable; it may have taken
// effect all the same. The receipt has the sessions and the sockets that were reached.
func (a *Auth) RefreshUser(ctx context.Context, userID string) (Receipt, error) {
	return a.refresh(ctx, blacklist.Revocation{UserID: userID})
}

// RefreshSession is RefreshUser for one session of the user. If that is another user's, nothing
// happens, which the receipt shows.
func (a *Auth) RefreshSession(ctx context.Context, userID, sessionID string) (Receipt, error) {
	if sessionID == "" {
		return Receipt{}, errEmpty
	}
	return a.refresh(ctx, blacklist.Revocation{UserID: userID, SessionID: sessionID})
}

func (a *Auth) refresh(ctx context.Context, r blacklist.Revocation) (Receipt, error) {
	r.Why = blacklist.Stale
	if r.UserID == "" {
		return Receipt{}, errEmpty
	}
	change, err := a.revokeInStore(ctx, r)
	if err != nil {
		return Receipt{}, fmt.Errorf("%w: refreshing: %w", ErrUnavailable, err)
	}
	if change.Verdict == 0 { // the session is another user's
		return Receipt{}, nil
	}
	receipt := Receipt{Sessions: change.Sessions, Nodes: 1}
	addOthers := a.askRefreshed(ctx, change)
	for _, server := range a.allServers() {
		receipt.Sockets += server.outdate(change)
	}
	addOthers(&receipt)
	attrs := []any{slog.Int("sessions", receipt.Sessions), slog.Int("sockets", receipt.Sockets)}
	if len(receipt.Unheard) > 0 {
		attrs = append(attrs, slog.Any("unheard", receipt.Unheard))
	}
	a.record(ctx, slog.LevelInfo, "socketauth: claims are to be brought up to date", AuditEvent{Kind: AuditRefreshed, UserID: r.UserID, SessionID: r.SessionID}, attrs...)
	return receipt, nil
}

// begun does what follows from a code that was traded for next: it counts the session if it is
// bound to a key, and ends those of the user that exceed the limit.
func (a *Auth) begun(ctx context.Context, code, next *token) {
	if next.Thumbprint != "" {
		a.counts.bound.Add(1)
	}
	a.trimSessions(ctx, code)
}

// trimSessions ends sessions of a user that exceed the limit after a new one has begun: those whose
// tokens were presented the longest ago.
func (a *Auth) trimSessions(ctx context.Context, begun *token) {
	if a.limits.SessionsPerUser == NoLimit {
		return
	}
	sessions, err := a.knownSessions(ctx, begun.UserID)
	if err != nil {
		a.log.Error("socketauth: cannot look whether a user has too many sessions", slog.String("user", begun.UserID), slog.Any("cause", err))
		return
	}
	sessions = slices.DeleteFunc(sessions, func(s blacklist.Session) bool { return s.ID == begun.SessionID })
	for n := a.limits.SessionsPerUser - 1; n < len(sessions); n++ {
		a.limited(limitSessionsPerUser, slog.String("user", begun.UserID))
		if _, err := a.RevokeSession(ctx, begun.UserID, sessions[n].ID); err != nil {
			a.log.Error("socketauth: cannot end a session past the limit", slog.String("user", begun.UserID), slog.Any("cause", err))
		}
	}
}
