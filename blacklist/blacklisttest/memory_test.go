package blacklisttest_test

import (
	"os"
	"testing"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/blacklist/blacklisttest"
)

// faultEnv names the fault of the store in a process whose tests are expected to fail.
const faultEnv = "BLACKLISTTEST_FAULT"

func open(*testing.T) blacklist.Store {
	store := &broken{Store: plain{blacklist.NewMemory()}}
	if f, ok := faults()[os.Getenv(faultEnv)]; ok {
		f.breaks(store)
	}
	return store
}

func TestMemory(t *testing.T)         { blacklisttest.Run(t, open) }
func TestMemoryInBubble(t *testing.T) { blacklisttest.RunInBubble(t, open) }

// A store that was never stopped remembers everything.
func TestMemoryOverRestarts(t *testing.T) {
	blacklisttest.RunRestarts(t, func(t *testing.T) (blacklist.Store, func() blacklist.Store) {
		store := open(t)
		return store, func() blacklist.Store {
			if b := store.(*broken); b.forgets {
				return blacklist.NewMemory()
			}
			return store
		}
	})
}

func TestMemoryOverClockSetBack(t *testing.T) {
	blacklisttest.RunSetBack(t, func(*testing.T) func(*testing.T) blacklist.Store {
		var store blacklist.Store
		return func(t *testing.T) blacklist.Store {
			if store == nil {
				store = open(t)
			}
			return store
		}
	})
}
