package socketauth

// This file holds how sessions are bound to a key of the user's device (RFC 9449).

// Binding says whether sessions are bound to a key of the user's device. A token of a bound session names
// that key, and is worth nothing without a proof of it (RFC 9449): who has copied the token alone gets
// nowhere. A session is bound from its beginning, by a proof that comes with the login, the registration
// or the trade of the code, or never.
type Binding int

const (
	// BindOptional binds the session if such a proof comes, and otherwise not.
	BindOptional Binding = iota
	// BindRequired refuses codes that come without a proof, and the tokens of sessions that are not
	// bound: their users have to log in again.
	BindRequired
	// BindNever binds no session. A session that is bound already stays so, and its tokens need their
	// proofs.
	BindNever
)
