// Package blacklist is what package socketauth needs of a store that decides which tokens are
// alive: for those who write a store, and for those who choose one. Apps that use the default, a
// store in memory, need nothing of it.
//
// [Store] is the contract. [State] makes the decisions on one session; a store keeps one for each,
// so that no store has to decide by itself. [NewMemory] returns the store for a single process;
// package boltstore has one that survives a restart. Package blacklisttest has the tests that
// every store has to pass.
//
// It imports nothing of package socketauth, and a store needs nothing else of the library.
package blacklist

import (
	"context"
	"errors"
	"time"
)

// A Store remembers, for each session, which of its tokens are alive; every other token of the
// session is dead. It is the one place where a presentation is decided, and each method is one
// atomic step: of two presentations of one token, one comes second. What it keeps of a session is
// of constant size, however often its token is replaced.
//
// A method that could not decide returns an error, and the caller accepts nothing. If only the
// reply was lost, the caller repeats the call with the same arguments and gets the same verdict.
// There are two exceptions: SessionCompromised after ReuseDetected, and Stale after Accepted if the
// mark was raised in between. A repeated Revoke counts only what it ends itself.
//
// A token whose user is not the session's, or that is bound while the session is not, or the other
// way round, is Unknown and changes nothing.
//
// A store that processes share may know sessions by their users alone. To such a store, a session
// of another user is one that it does not know: a code that names another user begins a session of
// that user, and a revocation that does is remembered for that user. Neither has to do with the
// session of the first user, and no such code is ever signed.
//
// Methods are safe for concurrent use, and each call returns soon after its context has ended. The
// caller gives up a call that does not, but the goroutine that made it stays, and the server's
// Shutdown waits for it.
type Store interface {
	// Present decides one presentation and records it. If it returns Accepted, the presented token
	// holds its generation and the successor is alive. Only a code starts a session, and only one
	// issued since the store began to remember.
	//
	// Revocation and reuse are decided first. If Present would accept the token, it then looks at
	// the step-up, and at last at the mark; StepUpRefused and Stale change nothing.
	Present(ctx context.Context, p Presentation) (Result, error)

	// Confirm records that a confirming client has stored the token t, which Present accepted as a
	// successor. It returns Accepted if t holds its generation, now or already, or did until the
	// next one began; Superseded if another branch holds it; and Replaced if a later generation has
	// begun. Only Accepted changes the record. A token whose mark is too low is Stale instead of
	// Accepted, and is not confirmed: its client presents it and gets the next one.
	Confirm(ctx context.Context, t TokenRef) (Result, error)

	// Check returns how a token stands, without recording anything: Accepted if it holds its
	// generation, or is the predecessor of one that nobody holds yet. A token that was replaced is
	// accepted for grace after that, and a successor that is not confirmed yet for branch from its
	// issue. With both zero, Check returns Accepted if Present would, of the token without a
	// step-up and with a successor of the same mark. A token whose mark is too low is Stale
	// instead.
	//
	// If a clock was set back, a token may have been replaced, or a successor issued, at a time
	// that is in the future now. A time in the future gets neither grace nor branch. A token that is
	// Replaced with both zero stays so for good. No method looks at whether the token itself has
	// expired: one that has, and was replaced before, is reuse all the same.
	Check(ctx context.Context, t TokenRef, grace, branch time.Duration) (Result, error)

	// Revoke ends sessions for good, or has their claims brought up to date, and returns what it
	// did. A session keeps the reason for which it ended first. What is unknown is no error, and is
	// dead from then on too. A session of another user is left alone, and the change is zero; or it
	// has no Sessions, if the store knows sessions by their users alone.
	Revoke(ctx context.Context, r Revocation) (Change, error)

	// Sessions returns the living sessions of a user, in no order.
	Sessions(ctx context.Context, userID string) ([]Session, error)

	// Watch calls fn for every change from now on, whichever process makes it, until ctx ends; then
	// it returns nil. After an error the caller watches again. fn returns soon and may be called
	// from many goroutines at once; the store holds no lock while it calls it.
	//
	// A store of one process calls fn before the method that makes the change returns. A store that
	// processes share sends a Gap first of all, once it listens, and whenever it cannot be sure to
	// have heard every change. While it is sure, it calls fn with the zero Change at least once
	// every two seconds: each of them says that every change made up to then was heard, or that a
	// Gap was sent for it.
	Watch(ctx context.Context, fn func(Change)) error
}

// A TokenRef is what a token is known by. It never holds the token's text.
type TokenRef struct {
	SessionID  string // 128 bits in base64url, as TokenID
	TokenID    string
	UserID     string
	Generation uint64 // 0 for the code that starts the session
	IssuedAt   time.Time
	ExpiresAt  time.Time

	// AuthTime is when the user proved who they are before the session began. A step-up does not
	// change it, so that no session outlives a revocation by one.
	AuthTime time.Time

	// Mark says how new the token's claims are: it is the session's mark as it was known before
	// they were fetched. It is 0 for a code, whose claims are fetched when it is traded.
	Mark int64

	// Bound reports whether the token names a key of its device, without which it is worth nothing.
	Bound bool

	// Bind is the key that a code which names none is presented with: the thumbprint of the key
	// whose proof came with it. It is empty if none came, and ignored for any other token. The first
	// presentation that is accepted decides: the session is bound to that key, which the successor
	// names, or never bound. Until a client holds the first generation, the code is alive with the
	// same key, or without one as at first. With another key, with one where there was none, or
	// without one, the code counts as replaced, and is never Superseded.
	Bind string
}

// A Presentation is one token presented by a client, after everything was checked that needs no
// store, with the token minted to replace it.
type Presentation struct {
	Token TokenRef

	// SuccessorID is the TokenID of the next generation. It is empty if a session token is not to
	// be replaced: because it is young enough to be kept and is only confirmed; or because Check
	// has returned Replaced for it and it came to log out or after it had expired, so it can only
	// be reuse.
	SuccessorID        string
	SuccessorExpiresAt time.Time

	// SuccessorMark is the Mark of the successor.
	SuccessorMark int64

	// StepUp is a code by which the user has proved again who they are, in this session. Zero:
	// none.
	StepUp StepUp

	// Confirming reports whether the client will confirm that it has the successor. Until then
	// nobody holds that generation.
	Confirming bool

	// A token that was replaced is Superseded, a late message of the client's own, if all of these
	// are true. Otherwise it is reuse.
	//
	//   - Its connection was open already when the token was replaced (SocketOpenedAt).
	//   - The token was replaced at most SupersededWithin before it came (PresentedAt).
	//   - At most ten generations have begun since.
	//   - The clock was not set back by more than a second since: the times would tell nothing.
	//   - It is not a code that comes with another key than it was bound to (TokenRef.Bind).
	//
	// PresentedAt is earlier than the store's step by as long as hooks and retries took; zero means
	// now. The times are by the caller's clock; a store with a clock of its own allows for the
	// difference.
	SocketOpenedAt   time.Time
	PresentedAt      time.Time
	SupersededWithin time.Duration

	// EndOnReuse has reuse end the session, in the same step.
	EndOnReuse bool

	// Address and UserAgent are the client's, kept for Sessions.
	Address   string
	UserAgent string
}

// A StepUp is what a step-up code is known by. It is good if At is later than the session's last
// proof and than the last revocation of the user; or, since a reply may be lost, if it was the last
// proof and no generation was confirmed since. It comes with a session token that is replaced.
type StepUp struct {
	ID string    // 128 bits in base64url
	At time.Time // when the user proved who they are
}

// A Result is what a store says of a token.
type Result struct {
	Verdict Verdict
	Mark    int64 // with Stale, and with what Check calls Replaced or Unknown of a known session: what the mark has to be at least

	// Unconfirmed reports that Check accepts the token although nobody holds its generation yet: its
	// client has not confirmed it.
	Unconfirmed bool
}

// A Verdict is what a store says of a token. The zero Verdict is none and accepts nothing.
type Verdict uint8

// The verdicts.
const (
	// Accepted: the token is alive.
	Accepted Verdict = iota + 1
	// Unknown: the store does not know the session, or not that generation yet. It has lost state.
	Unknown
	// Superseded: the token was used and replaced, but a moment ago, by a client that could not
	// know that yet.
	Superseded
	// Replaced: the token was used and replaced, and the session goes on.
	Replaced
	// ReuseDetected: the token was used and replaced, and is presented again. It was copied, and
	// this call has ended the session.
	ReuseDetected
	// SessionCompromised: the token's session was ended by a reuse.
	SessionCompromised
	// LoggedOut: the token's session was ended by its user.
	LoggedOut
	// Revoked: the token's session was ended by the app.
	Revoked
	// Stale: the token would be accepted, but its claims, or those of its successor, are out of
	// date. The caller fetches them, and tries again with the mark that it was given.
	Stale
	// StepUpRefused: the token would be accepted, but not the step-up code that came with it: it is
	// too old, or was used.
	StepUpRefused
)

// A Revocation says which sessions are to end, or to have their claims brought up to date: one
// session of a user, all of a user, or all.
type Revocation struct {
	// UserID alone means all sessions of the user, UserID and SessionID that one, and All
	// everyone's. A session of another user is left alone.
	//
	// For a user, and for all, it ends the sessions whose user proved who they are (AuthTime)
	// before now by the store's own clock, and all that the store knows.
	UserID    string
	SessionID string
	All       bool

	// Except is a session of the user that goes on, if the store knows it, which it does once it
	// has begun. Step-ups of before are refused in it from then on. Only with UserID alone.
	Except string

	// Why is LoggedOut, Revoked or Stale. Anything else is an error.
	//
	// Stale ends nothing. It raises the mark of each session it is about, as far as the store knows
	// them, above every mark that they have had, and not below the store's time in Unix
	// microseconds; all to the same mark. So that a session which is just beginning has new claims
	// too, it also raises the mark in the user's entry: for all of a user, and for a session that
	// the store does not know. Not with All or Except.
	Why Verdict

	// Keep is how long a code can live that comes from an earlier login. The store remembers for
	// that long revocations of sessions that have not begun, and the mark in the user's entry. The
	// sessions it knows are marked as ended, and those it does not know accept no session token
	// anyway.
	Keep time.Duration
}

// A Change is what other processes have to hear of: that sessions ended, that their claims are out
// of date, or that a token was confirmed. The zero Change is none.
type Change struct {
	// UserID, SessionID, Except and All say which sessions it is about, as in Revocation.
	UserID    string
	SessionID string
	Except    string
	All       bool

	// Gap reports that changes may have been lost. Whoever watches asks again about all sessions it
	// serves. Nothing else is set.
	Gap bool

	// Hint reports that the change was heard from others, and that the store has not verified it.
	// Whoever watches asks the store before they act on it.
	Hint bool

	// Verdict is LoggedOut, Revoked or SessionCompromised if sessions ended, Stale if claims with a
	// lower mark than Mark are out of date, and Accepted if the token TokenID holds Generation now.
	Verdict    Verdict
	Mark       int64
	TokenID    string
	Generation uint64

	At time.Time // by the store's clock

	// Sessions is how many living sessions it was about; only in what Revoke returns. If all are
	// revoked, a store of very many sessions may stop counting: there were at least so many.
	Sessions int
}

// A Session is one living session of a user: one login, on one device or several.
type Session struct {
	ID        string    `json:"id"`
	UserID    string    `json:"userId"`
	Since     time.Time `json:"since"`     // the login
	LastSeen  time.Time `json:"lastSeen"`  // the last presentation of its token
	ExpiresAt time.Time `json:"expiresAt"` // the latest expiry of its tokens
	Address   string    `json:"address"`   // of the client that presented it last
	UserAgent string    `json:"userAgent"` // of the same client, at most 256 bytes

	// Bound reports whether its tokens are worth nothing without a key of the device.
	Bound bool `json:"bound,omitempty"`
}

var (
	errRevocation = errors.New("blacklist: a Revocation needs a UserID, a UserID and a SessionID, or All")
	errExcept     = errors.New("blacklist: a Revocation has an Except without a UserID alone")
	errWhy        = errors.New("blacklist: a Revocation's Why is none of LoggedOut, Revoked and Stale")
	errStale      = errors.New("blacklist: a Revocation that is Stale has All or Except")
)

// Check returns an error if the revocation is not valid. Stores call it first.
func (r Revocation) Check() error {
	switch {
	case r.All == (r.UserID != ""), r.SessionID != "" && r.UserID == "":
		return errRevocation
	case r.Except != "" && (r.UserID == "" || r.SessionID != ""):
		return errExcept
	case r.Why != LoggedOut && r.Why != Revoked && r.Why != Stale:
		return errWhy
	case r.Why == Stale && (r.All || r.Except != ""):
		return errStale
	}
	return nil
}
