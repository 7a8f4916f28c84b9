//go:build unix

package processes

import (
	"fmt"
	"testing"
	"time"

	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// TestHammer checks that clients which present one token all the time cannot delay the revocation
// of its user, and that the token is not accepted after that.
func TestHammer(t *testing.T) {
	const sockets = 100
	redis := redistest.Start(t)
	all := startAll(t, 3, config{Redis: []string{redis.Addr}})
	token := all[0].login("anna").stored()
	type attempt struct {
		began time.Time
		err   error
	}
	results := make(chan []attempt, sockets)
	stop := make(chan struct{})
	for n := range sockets {
		go func() {
			var mine []attempt
			defer func() { results <- mine }()
			for round := n; ; round++ {
				select {
				case <-stop:
					return
				default:
				}
				began := time.Now()
				s, err := dial(t.Context(), all[round%len(all)].url, nil)
				if err == nil {
					s.change(func() { s.noAck = true }) // so that the token stays good
					err = s.present(t.Context(), token, true)
					s.close()
				}
				mine = append(mine, attempt{began, err})
				if refused(err) == "session_revoked" {
					return
				}
			}
		}()
	}
	pause(time.Second)
	a := all[1].must("revoke-user", order{User: "anna"})
	revoked := time.Now()
	pause(time.Second)
	close(stop)
	accepted, refusals := 0, make(map[string]int)
	for range sockets {
		for _, r := range <-results {
			switch {
			case r.err == nil && r.began.After(revoked):
				t.Errorf("the token was accepted %v after its user was revoked", r.began.Sub(revoked))
			case r.err == nil:
				accepted++
			default:
				refusals[r.err.Error()]++
			}
		}
	}
	t.Logf("the revocation took %v; %d presentations were accepted before, and others refused: %v", a.Took, accepted, refusals)
	if a.Took > 5*time.Second {
		t.Errorf("the revocation took %v", a.Took)
	}
	if accepted < sockets {
		t.Errorf("only %d presentations were accepted before: there was no contention", accepted)
	}
	eventually(t, patience, func() error {
		if sessions := all[2].must("sessions", order{User: "anna"}).Sessions; len(sessions) != 0 {
			return fmt.Errorf("a session is alive: %+v", sessions)
		}
		return nil
	})
}
