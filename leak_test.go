package socketauth_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/siotest"
)

// leakOptions tell clients apart by address, so that what is counted for each address must go too.
func leakOptions(o *socketauth.Options[string]) {
	o.ClientIP = func(r *http.Request) string { return r.Header.Get("X-Address") }
	o.Logger = slog.New(slog.DiscardHandler)
	o.CodeLifetime = time.Hour // confirming clients keep their codes over the pauses
	o.TokenLifetime = time.Hour
	o.Blacklist = blacklist.NewMemory()
}

func addressOf(n int) string { return fmt.Sprintf("203.0.113.%d", n%256) }

// usage is what the process uses that connections could leave behind.
type usage struct {
	goroutines int
	heap       uint64
}

// measureUsage returns what the process uses now. The goroutines that wait to be used again, whose
// number is bounded, are not counted.
func (srv *testServer) measureUsage() usage {
	runtime.GC()
	runtime.GC() // a sync.Pool is empty after the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{runtime.NumGoroutine() - socketauth.IdleWorkers(srv.Server.Server), m.HeapAlloc}
}

// storeLeft has the store of a server with leakOptions forget what is over, and returns how many
// sessions, and users who have one, remain.
func (srv *testServer) storeLeft() (sessions, users int) { return socketauth.StoreLeft(srv.Auth()) }

// expectForgotten waits until all sessions are over, and checks that the store has forgotten them
// and their users.
func (srv *testServer) expectForgotten() {
	srv.Helper()
	time.Sleep(2 * time.Hour)
	sessions, users := srv.storeLeft()
	if sessions != 0 {
		srv.Errorf("the store remembers %d sessions that are over", sessions)
	}
	if users != 0 {
		srv.Errorf("the store remembers whose sessions %d were", users)
	}
}

// expectNothingLeft checks that no connection has left anything behind but the sessions in the
// store.
func (srv *testServer) expectNothingLeft(before usage, sessions int) usage {
	srv.Helper()
	for _, left := range socketauth.LeftBehind(srv.Server.Server) {
		srv.Error(left)
	}
	after := srv.measureUsage()
	if after.goroutines > before.goroutines+2 {
		srv.Errorf("%d goroutines are left, of %d", after.goroutines, before.goroutines)
	}
	// Each session has a user of its own. The runtime and other tests use and free about a megabyte;
	// what can be counted was counted above.
	const perSession, slack = 640, 2 << 20
	limit := before.heap + slack + perSession*uint64(sessions)
	for range 10 { // what has a finalizer, also of other tests, is freed by a later collection
		if after.heap <= limit {
			return after
		}
		runtime.Gosched()
		after = srv.measureUsage()
	}
	if after.heap > limit {
		srv.Errorf("the heap grew from %d to %d bytes, with %d sessions", before.heap, after.heap, sessions)
	}
	return after
}

// expectNoTimers checks that no timer is left: Shutdown would wait for it, in the bubble's time.
func (srv *testServer) expectNoTimers() {
	srv.Helper()
	began := time.Now()
	if err := srv.Shutdown(srv.Context()); err != nil {
		srv.Error(err)
	}
	if took := time.Since(began); took > 0 {
		srv.Errorf("Shutdown waited %v for timers of sockets that are gone", took)
	}
}

// reconnector is one client after another, each with the token that the one before it stored.
type reconnector struct {
	*testServer
	version, transport string
	token              string
	sessions           int
}

// cycle connects, authenticates and ends, the n-th time. Half of the ends are clean, by logging out
// or leaving; the others cut the connection, each at one of several bytes.
func (y *reconnector) cycle(n int) error {
	confirming, end, at := n&1 == 1, n>>1&3, n>>3&3
	cuts := end >= 2
	presented := y.token
	if presented == "" {
		var err error
		if presented, err = y.Auth().IssueCode(y.Context(), jwt.MapClaims{"sub": fmt.Sprintf("%s %s %d", y.version, y.transport, n)}); err != nil {
			return err
		}
		y.sessions++
	}
	y.token = ""
	c, err := y.dialEngine(y.version, y.transport, addressOf(n))
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	defer c.Close()
	if cuts && at == 3 {
		return y.breakOff(c, n)
	}
	in, _ := json.Marshal(map[string]any{"token": presented, "confirm": confirming})
	early := y.version == "4" && n>>5&1 == 1 // by the handshake's auth
	auth := ""
	if early {
		auth = string(in)
	}
	if _, err := c.Join(auth); err != nil {
		return fmt.Errorf("namespace: %w", err)
	}
	upgrade := func() error {
		ws, err := c.Probe(y.Context())
		if err != nil {
			return err
		}
		return c.MoveTo(ws)
	}
	late := y.transport == "upgrade" && n%3 == 0 // when to upgrade
	if y.transport == "upgrade" && !late {
		if err := upgrade(); err != nil {
			return fmt.Errorf("upgrade: %w", err)
		}
	}
	if !early {
		if err := c.Write(`42["authenticate",` + string(in) + `]`); err != nil {
			return fmt.Errorf("authenticate: %w", err)
		}
	}
	if cuts && at == 0 {
		if confirming {
			y.token = presented // it is still good, whatever the server received
		}
		return nil
	}
	if y.token, err = y.receive(c, confirming, cuts && at == 1); err != nil {
		return err
	}
	if cuts && at == 1 && confirming {
		return nil
	}
	if late {
		if err := upgrade(); err != nil {
			return fmt.Errorf("upgrade, late: %w", err)
		}
	}
	if err := c.Write(`427["nobody handles this"]`); err != nil {
		return err
	}
	if _, err := c.Expect(`437[{"error":{"code":"unknown_event"}}]`); err != nil {
		return fmt.Errorf("not in: %w", err)
	}
	switch end {
	case 0:
		y.token = ""
		if err := c.Write(`42["logout"]`); err != nil {
			return err
		}
		if _, err := c.Expect(`42["logged_out"]`); err != nil {
			return err
		}
		return c.UntilEnd()
	case 1:
		return c.Write("41", "1")
	}
	return y.cut(c, n)
}

// receive returns the new token, and acknowledges it where the server asks for it.
func (y *reconnector) receive(c *siotest.Conn, confirming, cut bool) (token string, err error) {
	p, err := c.Expect("42")
	if err != nil {
		return "", err
	}
	id, rest, _ := strings.Cut(p, "[")
	var args []string
	if json.Unmarshal([]byte("["+rest), &args) != nil || len(args) != 2 || args[0] != "authenticated" || (id != "") != confirming {
		return "", fmt.Errorf("%.200q instead of authenticated", p)
	}
	if confirming && !cut {
		err = c.Write("43" + id + "[]")
	}
	return args[1], err
}

// breakOff cuts a connection that has sent nothing, or the half of something.
func (y *reconnector) breakOff(c *siotest.Conn, n int) error {
	if y.transport == "upgrade" {
		if ws, err := c.Probe(y.Context()); err == nil {
			_ = ws.Close()
		}
		return nil
	}
	return y.cut(c, n)
}

// cut cuts a connection in a frame, in the body of a POST, or in a poll.
func (y *reconnector) cut(c *siotest.Conn, n int) error {
	var err error
	switch half := n >> 5 & 1; {
	case !c.Polling() && half == 0:
		_, err = c.NetConn().Write([]byte{0x81, 0x80 | 50, 1, 2, 3, 4, '4'})
	case !c.Polling():
	case half == 0:
		_, err = io.WriteString(c.NetConn(), c.Head(http.MethodPost, 100)+"4")
	default:
		_, err = io.WriteString(c.NetConn(), c.Head(http.MethodGet, 0))
	}
	return err
}

// TestLeakConnections checks that a connection, however it comes and goes, leaves no goroutine,
// timer, session of an engine, registration, slot or memory. SOAK=1 has 20,000 clean and 20,000
// abrupt ends for each engine and transport.
func TestLeakConnections(t *testing.T) {
	rounds := leakRounds
	if os.Getenv("SOAK") != "" {
		rounds = 20_000
	}
	const workers, batch = 8, min(leakRounds, 500)
	for _, version := range []string{"3", "4"} {
		for _, transport := range siotest.Transports {
			t.Run(version+" "+transport, func(t *testing.T) {
				withServer(t, leakOptions, func(srv *testServer) {
					var cyclers [workers]reconnector
					for i := range cyclers {
						cyclers[i] = reconnector{testServer: srv, version: version, transport: transport}
					}
					run := func(from, to int) {
						var wg sync.WaitGroup
						for i := range cyclers {
							wg.Go(func() {
								for n := from + i; n < to && !t.Failed(); n += workers {
									if err := cyclers[i].cycle(n); err != nil {
										t.Errorf("cycle %d: %v", n, err)
									}
								}
							})
						}
						wg.Wait()
						time.Sleep(2 * time.Minute) // for the heartbeats of those that were cut while polling
						synctest.Wait()
					}
					sessions := func() (n int) {
						for i := range cyclers {
							n += cyclers[i].sessions
						}
						return n
					}
					run(0, batch) // allocates what pools, maps and the runtime keep
					before, known := srv.measureUsage(), sessions()
					for n := 0; n < 2*rounds && !t.Failed(); n += batch {
						run(n, n+batch)
						remembered, _ := srv.storeLeft()
						srv.expectNothingLeft(before, remembered)
					}
					srv.expectForgotten()
					after := srv.expectNothingLeft(before, 0)
					s := srv.Auth().Stats()
					t.Logf("%d cycles: goroutines %d, then %d; heap %d KB, then %d KB; %d sessions, authentications %v, rotations %d, logouts %d, reuses %d",
						2*rounds, before.goroutines, after.goroutines, before.heap>>10, after.heap>>10, sessions()-known, s.Authentications, s.Rotations, s.Logouts, s.Reuses)
					if s.Reuses != 0 || len(s.Limited) != 0 {
						t.Errorf("%d times reuse, limits %v", s.Reuses, s.Limited)
					}
					srv.expectNoTimers()
				})
			})
		}
	}
}

// TestLeakHalfOpenHandshakes checks that polling handshakes that nobody goes on with leave nothing
// behind. In go-socket.io they stayed for ever.
func TestLeakHalfOpenHandshakes(t *testing.T) {
	for _, version := range []string{"3", "4"} {
		t.Run(version, func(t *testing.T) {
			withServer(t, leakOptions, func(srv *testServer) {
				half := func(count int) {
					for n := range count {
						c, err := srv.dialEngine(version, "polling", addressOf(n))
						if err != nil {
							t.Fatal(errors.Join(fmt.Errorf("handshake %d", n), err))
						}
						_ = c.Close()
					}
				}
				half(halfOpenSessions) // allocates what maps and the runtime keep
				time.Sleep(time.Minute)
				before := srv.measureUsage()
				half(halfOpenSessions)
				synctest.Wait()
				s := srv.Auth().Stats().Sockets[version]
				if s.Connecting != halfOpenSessions {
					t.Errorf("%+v, so nothing was tested", s)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				after := srv.expectNothingLeft(before, 0)
				t.Logf("goroutines %d, then %d; heap %d KB, then %d KB", before.goroutines, after.goroutines, before.heap>>10, after.heap>>10)
				srv.expectNoTimers()
			})
		})
	}
}
