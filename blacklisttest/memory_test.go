package blacklisttest_test

import (
	"testing"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklisttest"
)

func open(*testing.T) socketauth.Blacklist {
	return socketauth.NewMemoryBlacklist()
}

func TestMemory(t *testing.T)         { blacklisttest.Run(t, open) }
func TestMemoryInBubble(t *testing.T) { blacklisttest.RunInBubble(t, open) }
