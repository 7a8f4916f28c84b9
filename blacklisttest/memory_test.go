package blacklisttest_test

import (
	"os"
	"testing"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklisttest"
)

// faultEnv names the fault that the store is to have, in a process whose tests are expected to fail.
const faultEnv = "BLACKLISTTEST_FAULT"

func open(*testing.T) socketauth.Blacklist {
	store := &broken{Blacklist: socketauth.NewMemoryBlacklist()}
	if f, ok := faults()[os.Getenv(faultEnv)]; ok {
		f.breaks(store)
	}
	return store
}

func TestMemory(t *testing.T)         { blacklisttest.Run(t, open) }
func TestMemoryInBubble(t *testing.T) { blacklisttest.RunInBubble(t, open) }

// A store that was never stopped has forgotten nothing.
func TestMemoryOverRestarts(t *testing.T) {
	blacklisttest.RunRestarts(t, func(t *testing.T) (socketauth.Blacklist, func() socketauth.Blacklist) {
		store := open(t)
		return store, func() socketauth.Blacklist {
			if b := store.(*broken); b.forgets {
				return socketauth.NewMemoryBlacklist()
			}
			return store
		}
	})
}

func TestMemoryOverClockSetBack(t *testing.T) {
	blacklisttest.RunSetBack(t, func(*testing.T) func(*testing.T) socketauth.Blacklist {
		var store socketauth.Blacklist
		return func(t *testing.T) socketauth.Blacklist {
			if store == nil {
				store = open(t)
			}
			return store
		}
	})
}
