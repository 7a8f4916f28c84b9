package boltstore_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/blacklist/blacklisttest"
	"github.com/z-open/socketauth/boltstore"
)

func open(t *testing.T, path string) *boltstore.Store {
	t.Helper()
	store, err := boltstore.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

func fresh(t *testing.T) blacklist.Store {
	return open(t, filepath.Join(folder(t), "sessions.db"))
}

func TestConformance(t *testing.T)         { blacklisttest.Run(t, fresh) }
func TestConformanceInBubble(t *testing.T) { blacklisttest.RunInBubble(t, fresh) }

func TestConformanceOverRestarts(t *testing.T) {
	blacklisttest.RunRestarts(t, func(t *testing.T) (blacklist.Store, func() blacklist.Store) {
		path := filepath.Join(folder(t), "sessions.db")
		store := open(t, path)
		return store, func() blacklist.Store {
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, path)
		}
	})
}

func TestConformanceOverClockSetBack(t *testing.T) {
	blacklisttest.RunSetBack(t, func(t *testing.T) func(*testing.T) blacklist.Store {
		path := filepath.Join(folder(t), "sessions.db")
		return func(t *testing.T) blacklist.Store { return open(t, path) }
	})
}

// folder returns a folder, in memory if the system has that, since the suite does not need a disk.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "boltstore")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// verdict returns the verdict of a result, without its mark.
func verdict(r blacklist.Result, err error) (blacklist.Verdict, error) { return r.Verdict, err }
