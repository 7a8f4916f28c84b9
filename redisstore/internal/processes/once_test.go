//go:build unix

package processes

import (
	"sync"
	"testing"

	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// TestOnce checks that one process accepts a code that is presented to three at the same time, in
// each of many rounds; and that of clients which confirm, one goes on.
func TestOnce(t *testing.T) {
	const workers = 4
	redis := redistest.Start(t)
	all := startAll(t, 3, config{Redis: []string{redis.Addr}})
	for _, test := range []struct {
		name    string
		rounds  int
		confirm bool
	}{{"plain", 1000, false}, {"confirming", 200, true}} {
		t.Run(test.name, func(t *testing.T) {
			var work sync.WaitGroup
			for n := range workers {
				o := order{User: test.name, All: true, N: test.rounds / workers}
				codes := all[n%len(all)].must("codes", o).Codes
				work.Go(func() {
					for round, code := range codes {
						accepted, others := presentToAll(t, all, code, test.confirm)
						if accepted != 1 {
							t.Errorf("round %d: the code was accepted %d times, and the others were told: %v", round, accepted, others)
							return
						}
					}
				})
			}
			work.Wait()
		})
	}
}

// presentToAll presents one token to each process at the same time, on sockets that have connected
// before. It returns how many were let in, and why the others were not.
func presentToAll(t *testing.T, all []*process, token string, confirm bool) (accepted int, others []error) {
	results := make([]error, len(all))
	var connected, work sync.WaitGroup
	connected.Add(len(all))
	for n, p := range all {
		work.Go(func() {
			s, err := dial(t.Context(), p.url, nil)
			connected.Done()
			connected.Wait()
			if err == nil {
				defer s.close()
				if err = s.present(t.Context(), token, confirm); err == nil {
					err = s.settled(t.Context())
				}
			}
			results[n] = err
		})
	}
	work.Wait()
	for _, err := range results {
		switch refused(err) {
		case "no_longer_valid", "token_reused":
			others = append(others, err)
		case "":
			if err == nil {
				accepted++
				continue
			}
			fallthrough
		default:
			t.Error(err)
		}
	}
	return accepted, others
}
