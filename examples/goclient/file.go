package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/z-open/socketauth/examples/internal/dpop"
)

// tokenFile stores the code or token that is to be presented next. Only one process at a time may
// use it: if two present the same token, that looks like a theft, and the server ends the session.
type tokenFile struct {
	path string
	lock *os.File // another file, because the file itself is replaced
}

// openTokenFile opens the file at path and locks it.
func openTokenFile(path string) (*tokenFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(lock); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is in use by another process: %w", path, err), lock.Close())
	}
	return &tokenFile{path, lock}, nil
}

// Close releases the lock.
func (f *tokenFile) Close() error { return f.lock.Close() }

// Load returns the token, or "" if there is none.
func (f *tokenFile) Load() (string, error) {
	text, err := os.ReadFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return strings.TrimSpace(string(text)), err
}

// Store replaces the token. The new one is on disk when it returns, because the old one is dead as
// soon as the new one is acknowledged.
func (f *tokenFile) Store(token string) error { return replaceFile(f.path, token) }

// replaceFile replaces what a file has. If the process is killed at any point, the file has either
// the old text or the new one, and the new one once replaceFile has returned.
func replaceFile(path, text string) error {
	next := path + ".new"
	file, err := os.OpenFile(next, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(next, path); err != nil {
		return err
	}
	return syncFolder(path)
}

// openKey returns the key in the file at path. If there is none, it makes one.
func openKey(path string) (*dpop.Key, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, text, err := dpop.New()
		if err == nil {
			err = replaceFile(path, text) // before the key is used
		}
		return key, err
	}
	if err != nil {
		return nil, err
	}
	key, err := dpop.Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// Remove removes the token.
func (f *tokenFile) Remove() error {
	if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncFolder(f.path)
}
