package socketauth

import (
	"errors"

	"github.com/z-open/socketauth/internal/dpop"
)

// This file holds how sessions are bound to a key of the user's device (RFC 9449).

// Binding says whether sessions are bound to a key of the user's device. A token of a bound session
// names that key, and is worth nothing without a proof of it (RFC 9449): who has copied the token
// alone gets nowhere. A session is bound from its beginning, by a proof that comes with the login,
// the registration or the trade of the code, or never.
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

var (
	errOtherKey   = errors.New("the proof is of another key")
	errOtherToken = errors.New("the proof is for another token")
)

// readProof returns the proof of a key that came with the token t, or with none if t is nil: with a
// token that is bound it has to be of that key, and with any it has to be for that token. What else
// it says is for the caller to check.
func readProof(text string, t *token) (*dpop.Proof, error) {
	proof, err := dpop.Parse(text)
	switch {
	case err != nil:
		return nil, err
	case t != nil && t.Thumbprint != "" && proof.Thumbprint != t.Thumbprint:
		return nil, errOtherKey
	}
	if err := proof.Verify(); err != nil {
		return nil, err
	}
	if t != nil && !proof.IsFor(t.Text) {
		return nil, errOtherToken
	}
	return proof, nil
}

// boundTo returns a token that came with a proof, or what a code becomes that is bound to no key
// yet: it binds the session that it begins.
func (t *token) boundTo(proof *dpop.Proof) *token {
	if t.Thumbprint != "" {
		return t
	}
	binds := *t
	binds.Thumbprint, binds.Binds = proof.Thumbprint, true
	return &binds
}
