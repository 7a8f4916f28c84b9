package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite", without cgo
)

var (
	errNoUser    = errors.New("no such user")
	errNameTaken = errors.New("name taken")
)

const schema = `
CREATE TABLE IF NOT EXISTS users (
	id         INTEGER PRIMARY KEY AUTOINCREMENT, -- never used twice, since tokens have it
	name       TEXT NOT NULL,                     -- as the user writes it
	name_key   TEXT NOT NULL UNIQUE,              -- the same for all spellings of the name
	hash       TEXT NOT NULL,
	created_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT;
CREATE TABLE IF NOT EXISTS messages (
	id     INTEGER PRIMARY KEY AUTOINCREMENT, -- increases
	author TEXT NOT NULL,
	text   TEXT NOT NULL,
	time   INTEGER NOT NULL                   -- in milliseconds
) STRICT;
CREATE TRIGGER IF NOT EXISTS forget AFTER INSERT ON messages BEGIN
	DELETE FROM messages WHERE id <= new.id - 50;
END;
CREATE TABLE IF NOT EXISTS sent ( -- the last messages with a key of each author
	author  TEXT NOT NULL,
	key     TEXT NOT NULL,    -- made by the author's page
	message INTEGER NOT NULL, -- its id, also after it has been deleted from messages
	text    TEXT NOT NULL,
	time    INTEGER NOT NULL,
	PRIMARY KEY (author, key)
) STRICT;
CREATE TRIGGER IF NOT EXISTS forget_sent AFTER INSERT ON sent BEGIN
	DELETE FROM sent WHERE author = new.author AND message NOT IN
		(SELECT message FROM sent WHERE author = new.author ORDER BY message DESC LIMIT 100);
END;
DROP TABLE IF EXISTS message_keys; -- of an earlier version
CREATE TABLE IF NOT EXISTS seen (
	session TEXT PRIMARY KEY,
	time    INTEGER NOT NULL                  -- in milliseconds: when one of its pages was there last
) STRICT;
CREATE TABLE IF NOT EXISTS settings (
	name  TEXT PRIMARY KEY,
	value BLOB NOT NULL
) STRICT;`

// user is a user without the hash of the password.
type user struct {
	ID   int64
	Name string
}

// message is a message of the room.
type message struct {
	ID     int64     `json:"id"`            // increases
	Key    string    `json:"key,omitempty"` // made by the author's page, by which it knows the message again
	Author string    `json:"author"`
	Text   string    `json:"text"`
	Time   time.Time `json:"time"`
}

// store has the users, the secret that signs their tokens, and the last messages, in one SQLite
// file.
type store struct{ db *sql.DB }

// openStore opens the file at an absolute path, and creates it if it does not exist.
func openStore(ctx context.Context, path string) (*store, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) // SQLite would create it readable by everyone
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}

	pragmas := url.Values{"_pragma": {"busy_timeout(5000)", "journal_mode(WAL)"}}
	name := url.URL{Scheme: "file", Path: filepath.ToSlash(path), OmitHost: true, RawQuery: pragmas.Encode()}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &store{db}, nil
}

func (s *store) Close() error { return s.db.Close() }

// Secret returns 32 random bytes. The first call creates them, and later ones return the same.
func (s *store) Secret(ctx context.Context) ([]byte, error) {
	fresh := make([]byte, 32)
	if _, err := rand.Read(fresh); err != nil {
		return nil, err
	}
	const insert = `INSERT INTO settings (name, value) VALUES ('secret', ?) ON CONFLICT DO NOTHING`
	if _, err := s.db.ExecContext(ctx, insert, fresh); err != nil {
		return nil, err
	}
	var secret []byte
	err := s.db.QueryRowContext(ctx, `SELECT value FROM settings WHERE name = 'secret'`).Scan(&secret)
	return secret, err
}

// AddUser adds a user. It returns errNameTaken if another user has the key.
func (s *store) AddUser(ctx context.Context, name, key, hash string) (user, error) {
	const insert = `INSERT INTO users (name, name_key, hash) VALUES (?, ?, ?) ON CONFLICT DO NOTHING RETURNING id`
	u := user{Name: name}
	err := s.db.QueryRowContext(ctx, insert, name, key, hash).Scan(&u.ID)
	if errors.Is(err, sql.ErrNoRows) {
		err = errNameTaken
	}
	return u, err
}

// UserByKey returns a user and the hash of the password, or errNoUser.
func (s *store) UserByKey(ctx context.Context, key string) (u user, hash string, err error) {
	const query = `SELECT id, name, hash FROM users WHERE name_key = ?`
	err = s.db.QueryRowContext(ctx, query, key).Scan(&u.ID, &u.Name, &hash)
	if errors.Is(err, sql.ErrNoRows) {
		err = errNoUser
	}
	return u, hash, err
}

// AddMessage stores a message. A trigger deletes the oldest one if there are more than 50. If the author
// has sent a message with the same key before, AddMessage stores nothing and returns that message, with
// isNew false; it knows the last 100 keys of each author. An empty key is no key.
func (s *store) AddMessage(ctx context.Context, author, text, key string) (m message, isNew bool, err error) {
	m = message{Key: key, Author: author, Text: text, Time: time.Now().UTC().Truncate(time.Millisecond)}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return message{}, false, err
	}
	defer func() {
		if e := tx.Rollback(); !errors.Is(e, sql.ErrTxDone) {
			err = errors.Join(err, e)
		}
	}()
	const insert = `INSERT INTO messages (author, text, time) VALUES (?, ?, ?) RETURNING id`
	if err := tx.QueryRowContext(ctx, insert, author, text, m.Time.UnixMilli()).Scan(&m.ID); err != nil || key == "" {
		return m, true, errors.Join(err, tx.Commit())
	}
	const insertSent = `INSERT INTO sent (author, key, message, text, time) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`
	result, err := tx.ExecContext(ctx, insertSent, author, key, m.ID, text, m.Time.UnixMilli())
	if err != nil {
		return message{}, false, err
	}
	if count, err := result.RowsAffected(); err != nil || count > 0 {
		return m, true, errors.Join(err, tx.Commit())
	}
	const query = `SELECT message, text, time FROM sent WHERE author = ? AND key = ?`
	var at int64
	err = tx.QueryRowContext(ctx, query, author, key).Scan(&m.ID, &m.Text, &at)
	m.Time = time.UnixMilli(at).UTC()
	return m, false, err // without the message that was inserted
}

// Messages returns the stored messages, the oldest first.
func (s *store) Messages(ctx context.Context) (messages []message, err error) {
	const query = `SELECT m.id, coalesce(k.key, ''), m.author, m.text, m.time
		FROM messages AS m LEFT JOIN sent AS k ON k.author = m.author AND k.message = m.id ORDER BY m.id`
	rows, err := s.db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	messages = []message{} // not nil, which would be null in JSON
	for rows.Next() {
		var m message
		var at int64
		if err := rows.Scan(&m.ID, &m.Key, &m.Author, &m.Text, &at); err != nil {
			return nil, err
		}
		m.Time = time.UnixMilli(at).UTC()
		messages = append(messages, m)
	}
	return messages, rows.Err()
}

// See notes that a page of a session was there just now.
func (s *store) See(ctx context.Context, session string) error {
	const upsert = `INSERT INTO seen (session, time) VALUES (?, ?) ON CONFLICT DO UPDATE SET time = excluded.time`
	now := time.Now()
	if _, err := s.db.ExecContext(ctx, upsert, session, now.UnixMilli()); err != nil {
		return err
	}
	_, err := s.db.ExecContext(ctx, `DELETE FROM seen WHERE time < ?`, now.AddDate(0, -1, 0).UnixMilli()) // its session has ended
	return err
}

// Seen returns when a page of a session was there last, as far as See knows, or else the zero time.
func (s *store) Seen(ctx context.Context, session string) (time.Time, error) {
	var at int64
	err := s.db.QueryRowContext(ctx, `SELECT time FROM seen WHERE session = ?`, session).Scan(&at)
	if errors.Is(err, sql.ErrNoRows) {
		return time.Time{}, nil
	}
	return time.UnixMilli(at).UTC(), err
}
