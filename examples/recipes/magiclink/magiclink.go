// Package magiclink logs users in by a link that they are sent by mail.
package magiclink

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/z-open/socketauth"
)

// A link lives for 15 minutes, and a user is sent one a minute at most.
const lifetime, pause = 15 * time.Minute, time.Minute

// Links are links of one purpose. Each works once, if no newer one was sent and the user still has
// the address that it was sent to. Its secret is in the fragment, which browsers send to no server,
// and the database has only its hash.
type Links struct {
	DB       *sql.DB // with the tables of schema.sql
	Purpose  string  // a link is good for nothing else
	Verified bool    // which addresses are sent one: those that are verified, or those that are not
	Page     string  // the URL of the page that the link opens
	Mail     func(ctx context.Context, to, link string) error
	Asked    chan string // has room for as many addresses as may wait for Run
}

// Ask serves a form with the field "email". Whether there is such a user is looked up later, so
// neither the answer nor the time that it takes shows it.
func (l *Links) Ask(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	select {
	case l.Asked <- r.PostFormValue("email"):
		w.WriteHeader(http.StatusAccepted)
	default:
		http.Error(w, "Please try again in a minute.", http.StatusServiceUnavailable)
	}
}

// Run sends links to who has asked, until Asked is closed.
func (l *Links) Run(ctx context.Context) {
	for email := range l.Asked {
		if err := l.Send(ctx, email); err != nil {
			slog.ErrorContext(ctx, "link not sent", "purpose", l.Purpose, "cause", err)
		}
	}
}

// Send sends a link to the user with that address, if there is one who was sent none just now. The
// mail goes to the address in the database, never to a spelling of it that somebody has typed.
func (l *Links) Send(ctx context.Context, email string) (err error) {
	secret, expires := rand.Text(), time.Now().Add(lifetime)
	err = l.DB.QueryRowContext(ctx, `INSERT INTO links (purpose, user, email, hash, expires)
		SELECT ?, id, email, ?, ? FROM users WHERE email = ? AND verified = ?
		ON CONFLICT (purpose, user) DO UPDATE SET email = excluded.email, hash = excluded.hash, expires = excluded.expires
		WHERE links.expires <= ? RETURNING email`, l.Purpose, hash(secret), expires.Unix(),
		strings.ToLower(email), l.Verified, expires.Add(-pause).Unix()).Scan(&email)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	return l.Mail(ctx, email, l.Page+"#"+l.Purpose+"="+secret)
}

// Take uses a link up, and returns the ID of the user and the address that it was sent to.
func (l *Links) Take(ctx context.Context, secret string) (user, email string, err error) {
	err = l.DB.QueryRowContext(ctx, `DELETE FROM links WHERE purpose = ? AND hash = ? AND expires > ?
		AND email = (SELECT email FROM users WHERE id = user) RETURNING user, email`,
		l.Purpose, hash(secret), time.Now().Unix()).Scan(&user, &email)
	if errors.Is(err, sql.ErrNoRows) {
		err = &socketauth.PublicError{Code: "LINK_INVALID"}
	}
	return user, email, err
}

// FindUser is the hook Options.FindUserByCredentials. The page calls it by client.login.
func (l *Links) FindUser(ctx context.Context, c socketauth.Credentials) (string, error) {
	user, _, err := l.Take(ctx, c.Get(l.Purpose))
	return user, err
}

func hash(secret string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(secret))) }
