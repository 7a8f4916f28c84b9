package logonce

import (
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
