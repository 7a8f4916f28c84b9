// Package reset lets users who have forgotten their password set another one, by a link that they
// are sent by mail. It uses the links of package magiclink.
package reset

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"unicode/utf8"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/examples/recipes/magiclink"
)

// Accounts are users who log in with a password. Links for a new password go to verified addresses
// alone: anybody may have registered with an address that they have mistyped, or that is another's.
type Accounts struct {
	Auth      *socketauth.Auth
	Passwords *socketauth.Passwords
	Verify    *magiclink.Links // with Verified false
	Reset     *magiclink.Links // with Verified true; its Ask is where users ask for a link
}

// AskVerify is the handler by which users have a link sent to their address, to verify it.
func (a *Accounts) AskVerify(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
	var email string
	err := a.Verify.DB.QueryRowContext(ctx, "SELECT email FROM users WHERE id = ?", s.UserID()).Scan(&email)
	if err != nil {
		return nil, err
	}
	return nil, a.Verify.Send(ctx, email)
}

// VerifyEmail is the handler by which users send the secret of that link. It takes the link and a
// login to the account: whoever gets a link that they have not asked for verifies nothing by
// opening it.
func (a *Accounts) VerifyEmail(ctx context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
	var secret string
	if err := args.Decode(&secret); err != nil {
		return nil, err
	}
	user, email, err := a.Verify.Take(ctx, secret)
	if err != nil {
		return nil, err
	}
	if user != s.UserID() {
		return nil, &socketauth.PublicError{Code: "LINK_INVALID"}
	}
	_, err = a.Verify.DB.ExecContext(ctx, "UPDATE users SET verified = TRUE WHERE id = ? AND email = ?", user, email)
	return nil, err
}

// SetPassword serves a form with the secret of a link, "reset", and the new "password".
func (a *Accounts) SetPassword(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	ctx := context.WithoutCancel(r.Context()) // what has begun is done, also if the browser leaves
	err := a.set(ctx, r.PostFormValue("reset"), r.PostFormValue("password"))
	if refused := new(socketauth.PublicError); errors.As(err, &refused) {
		http.Error(w, refused.Code, http.StatusForbidden)
	} else if err != nil {
		slog.ErrorContext(ctx, "password not set", "cause", err)
		http.Error(w, "UNAVAILABLE", http.StatusServiceUnavailable)
	}
}

// set uses the link up first, so that only its owner can have passwords hashed. If something fails
// later, the user asks for another link.
func (a *Accounts) set(ctx context.Context, secret, password string) error {
	if utf8.RuneCountInString(password) < 8 || len(password) > 72 {
		return &socketauth.PublicError{Code: "PASSWORD_LENGTH"}
	}
	user, email, err := a.Reset.Take(ctx, secret)
	if err != nil {
		return err
	}
	hash, err := a.Passwords.Hash(ctx, password)
	if err != nil {
		return err
	}
	_, err = a.Reset.DB.ExecContext(ctx, "UPDATE users SET password = ? WHERE id = ? AND email = ?", hash, user, email)
	if err != nil {
		return err
	}
	if _, err = a.Reset.DB.ExecContext(ctx, "DELETE FROM links WHERE user = ?", user); err != nil {
		return err
	}
	_, err = a.Auth.RevokeUser(ctx, user) // whoever else was logged in
	return err
}
