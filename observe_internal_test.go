package socketauth

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestStatsNamesBounded checks that the counters by name are bounded, since codes come from the
// app, which may make them of what clients send.
func TestStatsNamesBounded(t *testing.T) {
	var c tally
	for n := range 10_000 {
		c.add(fmt.Sprint("code ", n))
	}
	c.add("code 0")
	all := c.all()
	if len(all) != maxNames+1 || all["code 0"] != 2 || all["other"] != 10_000-maxNames {
		t.Errorf("%d names, %d of the first, %d others", len(all), all["code 0"], all["other"])
	}
}

// TestPanicsAreLoggedOnceAMinute guards that clients cannot fill the log with the stacks of a hook
// that panics, and that a panic of another hook is not hidden.
func TestPanicsAreLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := new(strings.Builder)
		r := &recorder{log: slog.New(slog.NewTextHandler(logs, nil))}
		fail := func(hook string) {
			if err := r.contain(hook, func() error { panic("out of order") }); !errors.Is(err, errPanic) {
				t.Errorf("%s: %v", hook, err)
			}
		}
		for range 100 {
			fail("ClientIP")
		}
		fail("Claim")
		if n := strings.Count(logs.String(), "hook panicked"); n != 2 {
			t.Errorf("%d panics of two hooks were logged in a minute, want 2", n)
		}
		time.Sleep(time.Minute)
		if fail("ClientIP"); !strings.Contains(logs.String(), "more_since_last=99") {
			t.Error("a minute later the panics that were not logged are not counted")
		}
	})
}
