package compare

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/z-open/socketauth/bench/internal/load"
	"github.com/z-open/socketauth/bench/internal/servers"
)

// login demands a token in each answer.
func login(ctx context.Context, r *run) (metrics, error) {
	return repeat(ctx, r, r.workers, func(_ context.Context, i int) (worker, error) {
		h := load.NewHTTPClient(i)
		return worker{done: h.CloseIdleConnections, op: func(ctx context.Context) error {
			_, err := load.Login(ctx, h, r.url, servers.Username, servers.Password)
			return err
		}}, nil
	})
}

// middleware demands the user's name in each answer, which the server takes from the token.
func middleware(ctx context.Context, r *run) (metrics, error) {
	return repeat(ctx, r, r.workers, func(ctx context.Context, i int) (worker, error) {
		h := load.NewHTTPClient(i)
		token, err := load.Login(ctx, h, r.url, servers.Username, servers.Password)
		if err != nil {
			return worker{}, err
		}
		if r.dialect == load.EIO4Token { // a code is traded for a token on a socket
			var conn *load.Conn
			if conn, token, err = load.Open(ctx, r.url, r.dialect, i, token); err != nil {
				return worker{}, err
			}
			if err := conn.Leave(); err != nil {
				return worker{}, err
			}
		}
		header := http.Header{"Authorization": {"Bearer " + token}}
		return worker{done: h.CloseIdleConnections, op: func(ctx context.Context) error {
			text, err := load.Do(ctx, h, http.MethodGet, r.url+"/api/me", "", header)
			if due := `{"user":"` + servers.Username + `"}`; err == nil && string(text) != due {
				err = fmt.Errorf("%q instead of %q", text, due)
			}
			return err
		}}, nil
	})
}

// flood has some clients log in all the time, while the sockets of others echo one event each at a
// steady rate. A login is answered with a token, or refused because too many are under way.
func flood(ctx context.Context, r *run) (metrics, error) {
	clients, err := r.openAll(ctx, r.echoSockets)
	defer closeAll(clients)
	if err != nil {
		return nil, err
	}
	var working sync.WaitGroup
	over := make(chan struct{})
	errs := make([]error, r.flooders+len(clients))
	logins, refusals := make([]int, r.flooders), make([]int, r.flooders)
	for i := range r.flooders {
		h := load.NewHTTPClient(i)
		defer h.CloseIdleConnections()
		working.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				switch _, err := load.Login(ctx, h, r.url, servers.Username, servers.Password); {
				case err == nil:
					logins[i]++
				case strings.Contains(err.Error(), ": 503 ") || strings.Contains(err.Error(), ": 429 "):
					refusals[i]++
				default:
					errs[i] = err
					return
				}
			}
		})
	}
	if err := sleep(ctx, r.warmup); err != nil {
		close(over)
		working.Wait()
		return nil, err
	}
	latencies := make([][]time.Duration, len(clients))
	for i, c := range clients {
		working.Go(func() {
			tick := time.NewTicker(r.pace)
			defer tick.Stop()
			for {
				began := time.Now()
				if errs[r.flooders+i] = c.Echo(); errs[r.flooders+i] != nil {
					return
				}
				latencies[i] = append(latencies[i], time.Since(began))
				select {
				case <-over:
					return
				case <-tick.C:
				}
			}
		})
	}
	err = sleep(ctx, r.duration)
	close(over)
	working.Wait()
	if err = errors.Join(err, firstError(errs)); err != nil {
		return nil, err
	}
	m := metrics{
		loginsPerSecond: sum(logins) / (r.warmup + r.duration).Seconds(),
		refused:         sum(refusals),
	}
	addQuantiles(m, slices.Concat(latencies...))
	return m, nil
}

func sum(all []int) float64 {
	total := 0
	for _, n := range all {
		total += n
	}
	return float64(total)
}
