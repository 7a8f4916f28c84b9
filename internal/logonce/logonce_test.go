package logonce

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestMinute(t *testing.T) {
	// Guards that a message is logged once a minute, and that the others are counted.
	synctest.Test(t, func(t *testing.T) {
		var m Minute
		say := func(wantSuppressed int, want bool) {
			t.Helper()
			if suppressed, now := m.Allow(); suppressed != wantSuppressed || now != want {
				t.Errorf("%d, %v, want %d, %v", suppressed, now, wantSuppressed, want)
			}
		}
		say(0, true)
		say(0, false)
		say(0, false)
		time.Sleep(time.Minute)
		say(2, true)
		say(0, false)
		time.Sleep(time.Minute)
		say(1, true)
		say(0, false)
		if suppressed := m.Force(); suppressed != 1 {
			t.Errorf("%d before what must be logged, want 1", suppressed)
		}
		time.Sleep(time.Minute - 1)
		say(0, false)
		time.Sleep(time.Nanosecond)
		say(1, true)
	})
}

func TestEach(t *testing.T) {
	// Guards that each name has a minute of its own, across the time when old names are forgotten,
	// and that the names which are remembered are bounded.
	synctest.Test(t, func(t *testing.T) {
		var e Each
		say := func(name string, wantSuppressed int, want bool) {
			t.Helper()
			if suppressed, now := e.Allow(name); suppressed != wantSuppressed || now != want {
				t.Errorf("%s: %d, %v, want %d, %v", name, suppressed, now, wantSuppressed, want)
			}
		}
		say("a", 0, true)
		say("a", 0, false)
		time.Sleep(59 * time.Second)
		say("b", 0, true)
		time.Sleep(time.Second)
		say("a", 1, true)
		say("b", 0, false)
		time.Sleep(58 * time.Second)
		say("b", 0, false)
		say("a", 0, false)
		time.Sleep(time.Second)
		say("b", 2, true)
		time.Sleep(time.Hour)
		for n := range maxNames {
			say("name "+strconv.Itoa(n), 0, true)
		}
		say("one more", 0, true)
		say("another", 0, false)
		say("name 0", 0, false)
		if len(e.recent) > maxNames {
			t.Errorf("%d names are remembered", len(e.recent))
		}
	})
}
