package socketauth

import (
	"context"
	"errors"
	"time"
)

// Blacklist remembers, for each session, which of its tokens are alive; every other token of it is dead. It is the one
// place where a presentation is decided, and each method is one atomic step: of two presentations of one token, one
// comes second. Its size is constant for a session, however often its token was replaced.
//
// A method that could not reach its decision says so by an error, and the caller accepts nothing. Where only the reply
// was lost, the caller repeats the call with the same arguments and gets the same verdict, but EndedByReuse after Reused,
// and a Revoke counts what it ends itself. Methods are safe for concurrent use, and each call returns soon after its
// context has ended: one that does not is given up for its socket, but the goroutine that made it stays, and Shutdown
// waits for it.
//
// NewMemoryBlacklist makes one for a single process; the folder boltblacklist has one that survives a restart. Whoever
// writes another keeps a Standing for each session, which makes the decisions, and runs the suite in the folder
// blacklisttest.
type Blacklist interface {
	// Present decides one presentation and records it. Where it says Accepted, the presented token holds its generation
	// and the successor is alive. Only a code starts a session, and only one issued since the store remembers.
	Present(ctx context.Context, p Presentation) (Verdict, error)

	// Confirm records that a confirming client has stored the token t, which Present accepted as a successor. Accepted:
	// t holds its generation, now or already, or did until the next one began. Overtaken: another branch holds it.
	// Replaced: a later generation has begun. Only the first of these can change anything.
	Confirm(ctx context.Context, t TokenRef) (Verdict, error)

	// Check says, without recording anything, how a token stands: Accepted where it holds its
	// generation or is the predecessor of one that nobody holds yet. grace is added for a token
	// that was replaced that short a time ago, and branch is how long, from its issue, a successor
	// is accepted that is not confirmed yet; with both at 0, Check says whether Present would
	// accept the token. Where a clock was set back, a token that was replaced, or a successor that
	// was issued, in what is the future now, gets neither. A token that is called Replaced with
	// both at 0 stays so for good. No method looks at whether the token itself has expired: that
	// one has, and was replaced before, is reuse all the same.
	Check(ctx context.Context, t TokenRef, grace, branch time.Duration) (Verdict, error)

	// Revoke ends sessions for good, and says what it did. The reason that a session ended for first stays its reason.
	// What is unknown is no error, and dead from then on too.
	Revoke(ctx context.Context, r Revocation) (Change, error)

	// Sessions are the living sessions of a user, in no order; their Sockets are not the store's to know.
	Sessions(ctx context.Context, userID string) ([]Session, error)

	// Watch calls heard for every change from now on, by whichever process, until ctx ends; then it returns nil. After
	// an error the caller watches again. heard returns soon, may be called from many goroutines at once, and never while
	// the store holds a lock. A store of one process calls it before the method that makes the change returns. One that
	// processes share says Missed first of all, once it listens, and whenever it cannot be sure to have heard all.
	Watch(ctx context.Context, heard func(Change)) error
}

// TokenRef is what a token is known by, never its text.
type TokenRef struct {
	SessionID  string // 128 bits in base64url, as TokenID
	TokenID    string
	UserID     string
	Generation uint64 // 0 for the code that starts the session
	IssuedAt   time.Time
	AuthTime   time.Time // when the user proved who they are
	ExpiresAt  time.Time
}

// Presentation is one token presented on a socket, after everything was checked that needs no store, with the token
// minted to replace it.
type Presentation struct {
	Token TokenRef

	// SuccessorID is the next generation's TokenID. Empty: a session token that is not to be
	// replaced, for it is young enough to be kept as it is, and only confirmed; or Check has called
	// it Replaced, and it came to log out or after it had expired, so that reuse is all it can be.
	SuccessorID        string
	SuccessorExpiresAt time.Time

	// Confirming: the client will confirm that it has the successor, and until then nobody holds that generation.
	Confirming bool

	// What would be reuse is Overtaken, a late frame of one's own, where the client's connection was open already when the
	// token was replaced, and that was at most Overtake and ten generations before the token came. It came at PresentedAt,
	// which is before the store's step by as long as hooks and retries took; zero: now. The times are by the caller's
	// clock; a store with a clock of its own allows for the difference. Where the clock was set back by more than a second
	// since the token was replaced, the times say nothing, and it is reuse.
	SocketOpenedAt time.Time
	PresentedAt    time.Time
	Overtake       time.Duration

	// EndOnReuse: reuse revokes the session, in the same step.
	EndOnReuse bool

	// Address and UserAgent are the client's, kept for Sessions.
	Address   string
	UserAgent string
}

// Verdict is what a blacklist says of a token. The zero Verdict is none, and accepts nothing.
type Verdict uint8

// The verdicts.
const (
	Accepted     Verdict = iota + 1
	Unknown              // the store does not know the session, or not yet that generation: it has lost state
	Overtaken            // used and replaced, but a moment ago and by a client that could not know
	Replaced             // used and replaced, where nothing follows from it
	Reused               // used and replaced, and presented again: a theft, for which this call ended the session
	EndedByReuse         // its session was ended by a reuse
	LoggedOut            // its session was ended by its user
	Revoked              // its session was ended by the app
)

// Revocation says which sessions are to end: one, those of a user, or all.
type Revocation struct {
	// Exactly one of these is set. Of a user, or of all, those sessions end whose user proved who they are (AuthTime)
	// before now by the store's own clock, and all that the store knows.
	SessionID string
	UserID    string
	All       bool

	// Except is a session of the user that goes on, where the store knows it: it has begun. Only with UserID.
	Except string

	Why Verdict // LoggedOut or Revoked; anything else is an error

	// Keep is how long a code can live that comes from a login of before: the store remembers for so long what was revoked
	// before it had begun. What it knows it marks, and what it does not know is no session of a session token.
	Keep time.Duration
}

// Change is what others have to hear of: that sessions ended, or that a token was confirmed.
type Change struct {
	// Of which session, or of all of a user but for one, or of all, as in Revocation. The UserID is set for one session
	// too, where the store knows it.
	SessionID string
	UserID    string
	Except    string
	All       bool

	// Missed: changes may have been lost, and whoever watches looks at all that it lives on again. Nothing else is set.
	Missed bool

	// Verdict is LoggedOut, Revoked or EndedByReuse: it is over. Accepted: the token TokenID holds Generation now.
	Verdict    Verdict
	TokenID    string
	Generation uint64

	At       time.Time // by the store's clock
	Sessions int       // how many living ones were ended, in what Revoke returns
}

// Session is one living session of a user: one login, on one device or several.
type Session struct {
	ID        string    `json:"id"`
	UserID    string    `json:"userId"`
	Since     time.Time `json:"since"`     // the login
	LastSeen  time.Time `json:"lastSeen"`  // the last presentation of its token
	ExpiresAt time.Time `json:"expiresAt"` // the latest expiry of its tokens
	Address   string    `json:"address"`   // of the last presentation
	UserAgent string    `json:"userAgent"` // likewise, cut to 256 bytes
	Sockets   int       `json:"sockets"`   // live ones, in this process
}

var (
	errRevocation = errors.New("socketauth: a Revocation needs exactly one of SessionID, UserID and All")
	errExcept     = errors.New("socketauth: a Revocation's Except goes with a UserID only")
	errWhy        = errors.New("socketauth: a Revocation's Why is LoggedOut or Revoked")
)

// Check says what is wrong with a revocation, for stores to ask.
func (r Revocation) Check() error {
	set := 0
	for _, is := range []bool{r.SessionID != "", r.UserID != "", r.All} {
		if is {
			set++
		}
	}
	if set != 1 {
		return errRevocation
	}
	if r.Except != "" && r.UserID == "" {
		return errExcept
	}
	if r.Why != LoggedOut && r.Why != Revoked {
		return errWhy
	}
	return nil
}
