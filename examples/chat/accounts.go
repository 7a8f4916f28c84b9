package main

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/text/secure/precis"

	"github.com/z-open/socketauth"
)

const (
	minName, maxName = 2, 24 // characters
	minPassword      = 8
)

var errNameTooLong = errors.New("name too long")

// accounts has the hooks by which socketauth looks up and registers users.
type accounts struct {
	store     *store
	passwords *socketauth.Passwords
}

// Register is the hook Options.Register, which POST /register calls.
func (a *accounts) Register(ctx context.Context, c socketauth.Credentials) (user, error) {
	name, key, err := parseName(c.Get("username"))
	switch {
	case errors.Is(err, errNameTooLong):
		return user{}, &socketauth.PublicError{Code: "NAME_TOO_LONG", Err: err}
	case err != nil:
		return user{}, &socketauth.PublicError{Code: "NAME_INVALID", Err: err}
	}
	password := c.Get("password")
	if utf8.RuneCountInString(password) < minPassword {
		return user{}, &socketauth.PublicError{Code: "PASSWORD_TOO_SHORT"}
	}
	hash, err := a.passwords.Hash(ctx, password)
	if errors.Is(err, socketauth.ErrPasswordTooLong) {
		return user{}, &socketauth.PublicError{Code: "PASSWORD_TOO_LONG", Err: err}
	}
	if err != nil {
		return user{}, err
	}
	u, err := a.store.AddUser(ctx, name, key, hash)
	if errors.Is(err, errNameTaken) {
		return user{}, &socketauth.PublicError{Code: "USER_EXISTS", Err: err}
	}
	return u, err
}

// FindByName looks up a user and the hash of their password, which socketauth compares.
func (a *accounts) FindByName(ctx context.Context, name string) (u user, hash string, err error) {
	_, key, err := parseName(name)
	if err != nil {
		return user{}, "", socketauth.ErrInvalidCredentials
	}
	u, hash, err = a.store.UserByKey(ctx, key)
	if errors.Is(err, errNoUser) {
		err = socketauth.ErrInvalidCredentials
	}
	return u, hash, err
}

// Account is the hook Options.Account. It returns the same for all spellings of a name, so that
// failed logins are counted together.
func (a *accounts) Account(c socketauth.Credentials) string {
	_, key, _ := parseName(c.Get("username")) // the key is "" if the name is not valid
	return key
}

// Claim is the hook Options.Claim. It returns what tokens say about a user.
func (a *accounts) Claim(u user) (jwt.MapClaims, error) {
	return jwt.MapClaims{"sub": strconv.FormatInt(u.ID, 10), "name": u.Name}, nil
}

// parseName returns a name as it is shown, and a key that is the same for all its spellings (RFC
// 8265): with capitals or without, with composed characters or without. It returns an error for a
// name with spaces or control characters inside.
func parseName(s string) (name, key string, err error) {
	s = strings.TrimSpace(s)
	if len(s) > maxName*utf8.UTFMax {
		return "", "", errNameTooLong
	}
	if name, err = precis.UsernameCasePreserved.String(s); err != nil {
		return "", "", err
	}
	switch n := utf8.RuneCountInString(name); {
	case n < minName:
		return "", "", errors.New("name too short")
	case n > maxName:
		return "", "", errNameTooLong
	}
	key, err = precis.UsernameCaseMapped.CompareKey(name)
	return name, key, err
}
