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

// leakOptions tell clients apart by address, so that what is counted of each has to go too.
func leakOptions(o *socketauth.Options[string]) {
	o.ClientIP = func(r *http.Request) string { return r.Header.Get("X-Address") }
	o.Logger = slog.New(slog.DiscardHandler)
	o.CodeLifetime = time.Hour // of those that a confirming client keeps over the pauses
	o.TokenLifetime = time.Hour
	o.Blacklist = blacklist.NewMemory()
}

func addressOf(n int) string { return fmt.Sprintf("203.0.113.%d", n%256) }

// held is what the process holds that connections could leave behind.
type held struct {
	goroutines int
	heap       uint64
}

func holds() held {
	runtime.GC()
	runtime.GC() // what was in a sync.Pool outlives one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return held{runtime.NumGoroutine(), m.HeapAlloc}
}

// left has the store of a server with leakOptions clear away what is over, and returns how many sessions remain, and
// users who have one.
func (w *world) left() (sessions, users int) { return socketauth.StoreLeft(w.Auth()) }

// forgets waits until all sessions are over, and makes sure that the store has forgotten them, and whose they were.
func (w *world) forgets() {
	w.Helper()
	time.Sleep(2 * time.Hour)
	sessions, users := w.left()
	if sessions != 0 {
		w.Errorf("the store remembers %d sessions that are over", sessions)
	}
	if users != 0 {
		w.Errorf("the store remembers whose sessions %d were", users)
	}
}

// nothingLeft makes sure that no connection has left anything behind, but for what the blacklist keeps of sessions.
func (w *world) nothingLeft(before held, sessions int) held {
	w.Helper()
	for _, left := range socketauth.LeftBehind(w.Server.Server) {
		w.Error(left)
	}
	after := holds()
	if after.goroutines > before.goroutines+2 {
		w.Errorf("%d goroutines are left, of %d", after.goroutines, before.goroutines)
	}
	const perSession, slack = 640, 2 << 20 // each session is a user's of its own; the runtime and other tests take and give a megabyte; what is counted is counted above
	if after.heap > before.heap+slack+perSession*uint64(sessions) {
		w.Errorf("the heap grew from %d to %d bytes, with %d sessions", before.heap, after.heap, sessions)
	}
	return after
}

// noTimerLeft makes sure that the end of the server has nothing to wait for: in the bubble's time, a timer that a socket
// has left behind would take as long as it was set.
func (w *world) noTimerLeft() {
	w.Helper()
	began := time.Now()
	if err := w.Shutdown(w.Context()); err != nil {
		w.Error(err)
	}
	if took := time.Since(began); took > 0 {
		w.Errorf("Shutdown waited %v for timers of sockets that are gone", took)
	}
}

// cycler is one client after another, the next with the token that the last has stored.
type cycler struct {
	*world
	version, transport string
	token              string
	sessions           int
}

// cycle connects, authenticates and ends, the n-th time. Half of the ends are clean: by logout or by leaving; the others
// are cuts, each at one of several bytes.
func (y *cycler) cycle(n int) error {
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
	c, err := y.begin(y.version, y.transport, addressOf(n))
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
	late := y.transport == "upgrade" && n%3 == 0 // the upgrade, that is
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
			y.token = presented // which is good still, whatever came of this
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
	return y.cutInTheMiddle(c, n)
}

// receive is the new token, acknowledged where that is due.
func (y *cycler) receive(c *siotest.Conn, confirming, cut bool) (token string, err error) {
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

// breakOff cuts a connection that has said nothing, or not all that it began to say.
func (y *cycler) breakOff(c *siotest.Conn, n int) error {
	if y.transport == "upgrade" {
		if ws, err := c.Probe(y.Context()); err == nil {
			_ = ws.Close()
		}
		return nil
	}
	return y.cutInTheMiddle(c, n)
}

// cutInTheMiddle cuts a connection in a frame, in the body of a POST, or in a poll.
func (y *cycler) cutInTheMiddle(c *siotest.Conn, n int) error {
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

func TestNothingIsLeftOfConnections(t *testing.T) {
	// Guards: whatever way a connection comes and goes, it leaves no goroutine, timer, session of an engine, place in the
	// hub or the census, and no memory. SOAK=1 has 20,000 clean and 20,000 abrupt ends for each engine and transport.
	rounds := leakRounds
	if os.Getenv("SOAK") != "" {
		rounds = 20_000
	}
	const workers, batch = 8, min(leakRounds, 500)
	for _, version := range []string{"3", "4"} {
		for _, transport := range siotest.Transports {
			t.Run(version+" "+transport, func(t *testing.T) {
				inWorld(t, leakOptions, func(w *world) {
					var cyclers [workers]cycler
					for i := range cyclers {
						cyclers[i] = cycler{world: w, version: version, transport: transport}
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
					run(0, batch) // what pools, maps and the runtime keep for later is there from now on
					before, known := holds(), sessions()
					for n := 0; n < 2*rounds && !t.Failed(); n += batch {
						run(n, n+batch)
						remembered, _ := w.left()
						w.nothingLeft(before, remembered)
					}
					w.forgets()
					after := w.nothingLeft(before, 0)
					s := w.Auth().Stats()
					t.Logf("%d cycles: goroutines %d, then %d; heap %d KB, then %d KB; %d sessions, authentications %v, rotations %d, logouts %d, reuses %d",
						2*rounds, before.goroutines, after.goroutines, before.heap>>10, after.heap>>10, sessions()-known, s.Authentications, s.Rotations, s.Logouts, s.Reuses)
					if s.Reuses != 0 || len(s.Limited) != 0 {
						t.Errorf("%d times reuse, limits %v", s.Reuses, s.Limited)
					}
					w.noTimerLeft()
				})
			})
		}
	}
}

func TestNothingIsLeftOfHalfOpenHandshakes(t *testing.T) {
	// Guards: 5,000 polling handshakes that nobody goes on with stayed for ever in go-socket.io.
	for _, version := range []string{"3", "4"} {
		t.Run(version, func(t *testing.T) {
			inWorld(t, leakOptions, func(w *world) {
				half := func(count int) {
					for n := range count {
						c, err := w.begin(version, "polling", addressOf(n))
						if err != nil {
							t.Fatal(errors.Join(fmt.Errorf("handshake %d", n), err))
						}
						_ = c.Close()
					}
				}
				half(halfOpenSessions) // what maps and the runtime keep of as many at a time is there from now on
				time.Sleep(time.Minute)
				before := holds()
				half(halfOpenSessions)
				synctest.Wait()
				s := w.Auth().Stats().Sockets[version]
				if s.Connecting != halfOpenSessions {
					t.Errorf("%+v, so nothing was tested", s)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				after := w.nothingLeft(before, 0)
				t.Logf("goroutines %d, then %d; heap %d KB, then %d KB", before.goroutines, after.goroutines, before.heap>>10, after.heap>>10)
				w.noTimerLeft()
			})
		})
	}
}
