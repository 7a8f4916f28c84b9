//go:build unix

package processes

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// TestGuesser checks that somebody who guesses at an account at three processes has about as many
// guesses as at one: 20 in a row, and one more in each 5 seconds.
func TestGuesser(t *testing.T) {
	redis := redistest.Start(t)
	all := startAll(t, 3, config{Redis: []string{redis.Addr}})
	guess := func(p *process, user string) (let bool) {
		body := strings.NewReader(`{"username":"` + user + `","password":"wrong"}`)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url+"/login", body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		switch response.StatusCode {
		case http.StatusUnauthorized:
			return true
		case http.StatusTooManyRequests:
			return false
		}
		t.Fatalf("status %d", response.StatusCode)
		return false
	}
	// Until they have heard that there are others, each lets through all of its budget.
	eventually(t, 10*time.Second, func() error {
		for _, p := range all {
			if n := len(p.must("stats", order{}).Stats.Nodes); n != 3 {
				return fmt.Errorf("a process knows %d processes", n)
			}
		}
		return nil
	})
	pause(2 * time.Second)

	guesses, began := 0, time.Now()
	for time.Since(began) < 8*time.Second {
		for _, p := range all {
			if guess(p, "victim") {
				guesses++
			}
		}
		pause(20 * time.Millisecond)
	}
	most := 21 + 3 + int(time.Since(began)/(5*time.Second))
	t.Logf("%d guesses in %v", guesses, time.Since(began))
	if guesses > most {
		t.Errorf("want at most %d; each process for itself lets through 63", most)
	}
	if !guess(all[0], "somebody else") {
		t.Error("another account is throttled")
	}
}
