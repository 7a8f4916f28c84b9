package logonce

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestMinuteSaysItOnceAMinuteAndCountsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Minute
		say := func(wantUnsaid int, want bool) {
			t.Helper()
			if unsaid, now := m.Say(); unsaid != wantUnsaid || now != want {
				t.Errorf("%d, %v, want %d, %v", unsaid, now, wantUnsaid, want)
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
	})
}
