package redisstore

import (
	"testing"
	"time"

	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// Guards the estimate of Redis's clock: it is never ahead of it.
func TestTimeIsNeverAhead(t *testing.T) {
	server := redistest.Start(t)
	s, err := New(server.Client(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		at := time.Now() // of the same machine
		got, err := s.Time(t.Context(), "user", at)
		if err != nil {
			t.Fatal(err)
		}
		if ahead := got.Sub(at); ahead > 0 || ahead < -time.Second {
			t.Fatalf("%s, and Redis showed %s", got, at)
		}
	}
	if counters, err := s.counters(t.Context()); err != nil || counters != [buckets]int64{} {
		t.Errorf("%v, %v", counters, err)
	}
	if err := s.subscribed(t.Context()); err != nil {
		t.Error(err)
	}
}
