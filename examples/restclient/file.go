package main

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/z-open/socketauth/examples/internal/dpop"
)

// tokenFile is the path of the file with the token that is to be presented next. One process at a
// time may use it. See ../goclient for a lock.
type tokenFile string

func (f tokenFile) load() (string, error) {
	text, err := os.ReadFile(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return strings.TrimSpace(string(text)), err
}

// store replaces the token. When it returns, one of the two is on disk, whatever happens: the one
// before is good until the next is used.
func (f tokenFile) store(token string) error {
	next := string(f) + ".new"
	file, err := os.OpenFile(next, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(token)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(next, string(f))
}

// key returns the key in a second file. If there is none, it makes one.
func (f tokenFile) key() (*dpop.Key, error) {
	file := f + ".key"
	text, err := file.load()
	if err != nil {
		return nil, err
	}
	if text != "" {
		return dpop.Parse(text)
	}
	key, text, err := dpop.New()
	if err == nil {
		err = file.store(text) // before it is used
	}
	return key, err
}

func (f tokenFile) remove() error {
	if err := os.Remove(string(f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
