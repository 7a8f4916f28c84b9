package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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
func (f *tokenFile) Store(token string) (err error) {
	next := f.path + ".new"
	file, err := os.OpenFile(next, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(token)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(next, f.path); err != nil {
		return err
	}
	return syncFolder(f.path)
}

// Remove removes the token.
func (f *tokenFile) Remove() error {
	if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncFolder(f.path)
}
