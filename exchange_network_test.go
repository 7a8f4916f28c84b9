package socketauth_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/z-open/socketauth"
)

// TestTokenPathBadNetwork checks that a client which obeys the rules keeps its session, and is not
// taken for a thief, on a network that loses requests and answers, and delivers requests once more
// up to a second and a half later; with a store that fails, or loses its replies; and with changes
// of its claims.
func TestTokenPathBadNetwork(t *testing.T) {
	steps := 1000
	if os.Getenv("CI") != "" {
		steps = 10_000
	}
	for range 3 {
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 0))
		is := func(percent int) bool { return random.IntN(100) < percent }
		store := new(faultyStore)
		withTokens(t, func(o *socketauth.Options[string]) {
			store.use(o)
			o.SessionLifetime, o.Limits.FailuresPerAddress = 10*365*24*time.Hour, socketauth.NoLimit
		}, func(srv *testServer) {
			var mu sync.Mutex
			failing := 0
			fails := func(string) error {
				mu.Lock()
				defer mu.Unlock()
				if failing--; failing >= 0 {
					return errStoreDown
				}
				return nil
			}
			var later sync.WaitGroup
			again := func(f func()) {
				if !is(10) {
					return
				}
				delay := time.Duration(random.Int64N(int64(1500 * time.Millisecond)))
				later.Go(func() { time.Sleep(delay); f() })
			}
			// deliver makes a request unless it is lost, and says whether its answer has come.
			deliver := func(f func()) (answered bool) {
				if is(5) {
					return false
				}
				f()
				again(f)
				return !is(5)
			}
			stored, generation := srv.code(), 0
			for n := range steps {
				if is(2) {
					store.fail(fails, nil)
				} else if is(2) {
					store.fail(nil, fails)
				}
				mu.Lock()
				failing = random.IntN(4)
				mu.Unlock()
				var a tokenAnswer
				presented := stored
				answered := deliver(func() {
					answer := srv.exchange(presented)
					mu.Lock()
					defer mu.Unlock()
					if a.status == 0 {
						a = answer
					}
				})
				mu.Lock()
				got := a
				mu.Unlock()
				switch {
				case !answered, got.status == 503:
				case got.status == 200:
					stored = got.token
					generation++
					switch next := stored; random.IntN(4) {
					case 0, 1:
						deliver(func() { srv.confirmToken(next) })
					case 2:
						deliver(func() { srv.get(next) })
					}
				case got.code == "no_longer_valid" && got.body["terminal"] == false: // it is still on its way
				default:
					srv.Fatalf("seed %d, step %d: %d %v\n%s", seed, n, got.status, got.body, tail(srv.logs.String()))
				}
				if generation > 0 && is(1) {
					if _, err := srv.Auth().RefreshUser(srv.Context(), "anna"); err != nil && !errors.Is(err, socketauth.ErrUnavailable) {
						srv.Fatal(err)
					}
				}
				time.Sleep(200 * time.Millisecond) // what is late by ten generations is reuse
				if generation > 0 && is(50) {
					time.Sleep(time.Duration(random.Int64N(int64(20 * time.Second))))
				}
			}
			later.Wait()
			store.fail(nil, nil)
			srv.rotated(stored)
			if s := srv.logs.String(); strings.Contains(s, "two clients have had the token") {
				t.Errorf("seed %d: taken for a thief", seed)
			}
			if generation < steps/2 {
				t.Errorf("%d generations in %d steps", generation, steps)
			}
		})
	}
}

// tail returns the end of a log.
func tail(s string) string { return s[max(0, len(s)-4000):] }
