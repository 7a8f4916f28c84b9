package socketauth

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/z-open/socketauth/internal/cluster"
)

// TestRecordedRefusalsNotTold checks that other processes hear nothing of the budget that limits
// how many refusals this one records, which anybody can use up.
func TestRecordedRefusalsNotTold(t *testing.T) {
	r := &recorder{attempts: Limits{}.throttle(make([]byte, 32))}
	for range 100 {
		r.floods("refusals", "some session", "")
		r.floods("refusals", "", "203.0.113.1")
	}
	if news := r.attempts.Exchange(1); news != nil {
		t.Errorf("told % x", news)
	}
	attempt, _ := r.attempts.Begin("203.0.113.1", "")
	attempt.Failed()
	if news := r.attempts.Exchange(1); news == nil {
		t.Error("a failure is not told")
	}
}

// TestFailuresInAnotherForm checks that a message which cannot be read, as from a newer version of
// the library, is logged once and counts as nothing.
func TestFailuresInAnotherForm(t *testing.T) {
	var logs bytes.Buffer
	f := failures{guard: Limits{}.throttle(make([]byte, 32)), log: slog.New(slog.NewTextHandler(&logs, nil))}
	for range 3 {
		f.hear(cluster.Message{Node: "AAAAAAAA", Data: []byte{99, 1, 2, 3}})
	}
	if n := strings.Count(logs.String(), "in another form"); n != 1 {
		t.Errorf("logged %d times: %s", n, logs.String())
	}
}
