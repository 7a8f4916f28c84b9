package boltblacklist_test

import (
	"path/filepath"
	"testing"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklisttest"
	"github.com/z-open/socketauth/boltblacklist"
)

func open(t *testing.T, path string) *boltblacklist.Store {
	t.Helper()
	store, err := boltblacklist.Open(path)
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

func fresh(t *testing.T) socketauth.Blacklist {
	return open(t, filepath.Join(t.TempDir(), "sessions.db"))
}

func TestConformance(t *testing.T)         { blacklisttest.Run(t, fresh) }
func TestConformanceInBubble(t *testing.T) { blacklisttest.RunInBubble(t, fresh) }

func TestConformanceOverRestarts(t *testing.T) {
	blacklisttest.RunRestarts(t, func(t *testing.T) (socketauth.Blacklist, func() socketauth.Blacklist) {
		path := filepath.Join(t.TempDir(), "sessions.db")
		store := open(t, path)
		return store, func() socketauth.Blacklist {
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, path)
		}
	})
}
