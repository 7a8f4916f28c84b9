// Package oidc logs users in at an OpenID provider, and out when they log out there.
package oidc

import (
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"

	"github.com/z-open/socketauth"
)

// Login is login at one provider. A user's ID is the one that the provider gives.
type Login struct {
	Auth     *socketauth.Auth
	OAuth2   oauth2.Config
	Verifier *oidc.IDTokenVerifier
	DB       *sql.DB // with the table of schema.sql
}

// Begin sends the browser to the provider. A cookie keeps the PKCE verifier until it comes back;
// state and nonce are hashes of it. No other host can set a cookie whose name begins with
// "__Host-".
func (l *Login) Begin(w http.ResponseWriter, r *http.Request) {
	verifier := oauth2.GenerateVerifier()
	http.SetCookie(w, &http.Cookie{Name: "__Host-oidc", Value: verifier, MaxAge: 600,
		Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
	state, nonce := hash("state", verifier), oidc.Nonce(hash("nonce", verifier))
	http.Redirect(w, r, l.OAuth2.AuthCodeURL(state, nonce, oauth2.S256ChallengeOption(verifier)), http.StatusSeeOther)
}

func hash(of, verifier string) string { return oauth2.S256ChallengeFromVerifier(of + verifier) }

// Return serves the redirect URI, to which the provider sends the browser back. An error is to be
// logged and answered with 400.
func (l *Login) Return(w http.ResponseWriter, r *http.Request) error {
	kept, err := r.Cookie("__Host-oidc")
	if err != nil || r.FormValue("state") != hash("state", kept.Value) {
		return errors.New("the login was not begun in this browser")
	}
	tokens, err := l.OAuth2.Exchange(r.Context(), r.FormValue("code"), oauth2.VerifierOption(kept.Value))
	if err != nil {
		return err
	}
	id, err := l.Verifier.Verify(r.Context(), fmt.Sprint(tokens.Extra("id_token")))
	if err != nil {
		return err
	}
	if id.Nonce != hash("nonce", kept.Value) {
		return errors.New("the ID token is from another login")
	}
	code, err := l.Auth.IssueCode(r.Context(), jwt.MapClaims{"sub": id.Subject})
	if err != nil {
		return err
	}
	theirs, ours := jwt.MapClaims{"sid": ""}, jwt.MapClaims{} // sid is the session; not all providers give it
	if err := id.Claims(&theirs); err != nil {
		return err
	}
	if _, _, err := jwt.NewParser().ParseUnverified(code, ours); err != nil {
		return err
	}
	_, err = l.DB.ExecContext(r.Context(), "INSERT INTO logins VALUES (?, ?, ?)", theirs["sid"], id.Subject, ours["sid"])
	if err != nil {
		return err
	}
	http.Redirect(w, r, "/#code="+code, http.StatusSeeOther)
	return nil
}

// Logout serves the back-channel logout URI, to which the provider posts. An error is to be logged
// and answered with 400, as OpenID Connect Back-Channel Logout 1.0 section 2.8 says.
func (l *Login) Logout(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	token, err := l.Verifier.VerifyLogout(r.Context(), r.PostFormValue("logout_token")) // section 2.6
	if err != nil || time.Since(token.IssuedAt) > 5*time.Minute {
		return errors.Join(errors.New("not a logout token of now"), err)
	}
	if token.SessionID == "" { // then all sessions of the user end
		if _, err := l.Auth.RevokeUser(r.Context(), token.Subject); err != nil {
			return err
		}
	}
	var user, sessions string
	err = l.DB.QueryRowContext(r.Context(), `SELECT coalesce(min(user), ''), coalesce(group_concat(session, ' '), '')
		FROM logins WHERE provider_session = ? AND ? IN (user, '')`, token.SessionID, token.Subject).Scan(&user, &sessions)
	for session := range strings.FieldsSeq(sessions) {
		if _, err := l.Auth.RevokeSession(r.Context(), user, session); err != nil {
			return err
		}
	}
	return err
}
