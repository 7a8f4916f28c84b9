//go:build unix

package processes

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// TestDemotions has the role of a user with 50 sockets at three processes change over and over,
// also by handlers of their own sockets, while events of all of them race and the clocks of two
// processes are two seconds apart. Once such a call has returned, no handler may begin and no
// broadcast may arrive under the role before; no event and no session may be lost. It logs how long
// the call takes. With SOAK=1 there are ten times as many events.
func TestDemotions(t *testing.T) {
	events, calls := int64(100_000), 200
	if os.Getenv("SOAK") != "" {
		events, calls = 1_000_000, 1_000
	}
	d := startDemotions(t)
	d.connect([]int{3, 2})

	var stop, settled atomic.Bool
	var work, callers sync.WaitGroup
	defer work.Wait()
	defer callers.Wait()
	defer settled.Store(true)
	defer stop.Store(true)
	for _, one := range d.tabs {
		work.Go(func() { one.answerRefreshes(&settled) })
		for range 2 {
			work.Go(func() {
				for !settled.Load() && !t.Failed() {
					one.act()
				}
			})
		}
	}
	for n := range 2 {
		callers.Go(func() {
			for !stop.Load() && !t.Failed() {
				pause(time.Duration(rand.IntN(50)) * time.Millisecond)
				if n == 0 {
					d.demote(d.all[rand.IntN(len(d.all))])
				} else {
					d.tabs[rand.IntN(len(d.tabs))].demote()
				}
			}
		})
	}
	eventually(t, 10*patience, func() error {
		if a, c := d.acted.Load(), len(d.calls()); (a < events || c < calls) && !t.Failed() {
			return fmt.Errorf("%d events of %d, %d calls of %d", a, events, c, calls)
		}
		return nil
	})
	stop.Store(true)
	callers.Wait()
	d.settle()
	settled.Store(true)
	work.Wait()
	d.judge()
}

// demotions is what TestDemotions knows.
type demotions struct {
	t     *testing.T
	all   []*process
	least *least
	tabs  []*tab

	acted, news, reconnects, refreshes, repeated, stale atomic.Int64

	mu   sync.Mutex
	took []time.Duration // by each call of RefreshUser
}

func startDemotions(t *testing.T) *demotions {
	t.Helper()
	server := redistest.Start(t)
	path := filepath.Join(t.TempDir(), "least")
	if err := os.WriteFile(path, make([]byte, 8), 0o600); err != nil {
		t.Fatal(err)
	}
	d := &demotions{t: t}
	var err error
	if d.least, err = openLeast(path); err != nil {
		t.Fatal(err)
	}
	c := config{Redis: []string{server.Addr}, Roles: path, Timeout: 10 * time.Second, ReceiptTimeout: patience}
	for _, ahead := range []time.Duration{0, 2 * time.Second, 0} {
		c.Ahead = ahead
		d.all = append(d.all, start(t, c))
		now := time.Now()
		if off := d.all[len(d.all)-1].must("clock", order{}).Clock.Sub(now); canMoveClock && (off < ahead || off > ahead+time.Second) {
			t.Fatalf("a process's clock is %v ahead, not %v", off, ahead)
		}
	}
	nodeNames(t, d.all)
	return d
}

// connect has the user log in on 20 devices, with the given numbers of tabs in turn.
func (d *demotions) connect(tabs []int) {
	d.t.Helper()
	const devices = 20
	codes := d.all[0].must("codes", order{User: "anna", N: devices}).Codes
	for n, code := range codes {
		one := &browser{d: d, token: code}
		for range tabs[n%len(tabs)] {
			t := &tab{browser: one, refreshed: make(chan struct{}, 1)}
			if err := t.connect(); err != nil {
				d.t.Fatal(err)
			}
			d.tabs = append(d.tabs, t)
		}
	}
}

// demote gives the user the next role at a process, and checks that tokens with the one before are
// refused everywhere from then on.
func (d *demotions) demote(p *process) {
	a, err := p.ask(d.t.Context(), "demote", order{User: "anna"})
	if err != nil {
		d.t.Errorf("a call of RefreshUser: %v", err)
		return
	}
	d.called(a)
	token := d.tabs[rand.IntN(len(d.tabs))].stored()
	if roleOfToken(token) >= d.least.load() {
		return // it was replaced already
	}
	if status := d.all[rand.IntN(len(d.all))].me(token); status != 401 {
		d.t.Errorf("the middleware answered %d to a token that is out of date", status)
	}
	d.stale.Add(1)
}

// called takes the result of a call of RefreshUser.
func (d *demotions) called(a answer) {
	if a.Receipt.Nodes != len(d.all) || len(a.Receipt.Unheard) > 0 {
		d.t.Errorf("receipt %+v", a.Receipt)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.took = append(d.took, a.Took)
}

// calls returns how long each call has taken, sorted.
func (d *demotions) calls() []time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(slices.Values(d.took))
}

// settle changes the role a last time, and waits until all sockets have it, and are in its room
// alone.
func (d *demotions) settle() {
	d.t.Helper()
	role := d.all[0].must("demote", order{User: "anna"}).Role
	eventually(d.t, patience, func() error {
		if d.t.Failed() {
			return nil // no tab answers any more
		}
		for _, p := range d.all {
			in := len(p.must("sockets", order{Room: roomOf(role)}).Peers)
			out := len(p.must("sockets", order{Room: roomOf(role + 1)}).Peers)
			if in != len(d.tabs) || out != 0 {
				return fmt.Errorf("%d sockets are in the room of role %d, and %d in the other", in, role, out)
			}
		}
		return nil
	})
}

// judge looks at what was found when all is done.
func (d *demotions) judge() {
	for n, p := range d.all {
		for _, fault := range p.must("faults", order{}).Faults {
			d.t.Errorf("process %d: %s", n, fault)
		}
	}
	sessions := d.all[0].must("sessions", order{User: "anna"}).Sessions
	if devices := 20; len(sessions) != devices {
		d.t.Errorf("there are %d sessions of %d", len(sessions), devices)
	}
	took := d.calls()
	d.t.Logf("%d events, %d news, %d presentations because of a refresh, %d of them repeated, %d sockets reconnected, %d tokens out of date refused by the middleware",
		d.acted.Load(), d.news.Load(), d.refreshes.Load(), d.repeated.Load(), d.reconnects.Load(), d.stale.Load())
	d.t.Logf("%d calls of RefreshUser with %d sockets: half of them took %v, 99 of 100 %v, the longest %v",
		len(took), len(d.tabs), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
}

// browser is a device of the user: its tabs share a token, and take turns at presenting it.
type browser struct {
	d *demotions

	turn sync.Mutex // held by the tab that presents

	mu    sync.Mutex
	token string
}

func (b *browser) stored() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.token
}

func (b *browser) store(token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.token = token
}

// tab is a socket of a browser, which connects again when it is closed.
type tab struct {
	*browser
	refreshed chan struct{} // the server has asked for the token

	live struct {
		sync.Mutex
		socket *socket
		role   int64 // of the newest token that the socket was sent; an odd one that came before
		odd    int64
	}
}

// connect connects to a process at random and presents the stored token.
func (t *tab) connect() error {
	t.turn.Lock()
	defer t.turn.Unlock()
	t.live.Lock()
	t.live.role, t.live.odd = -1, -1
	t.live.Unlock()
	url := t.d.all[rand.IntN(len(t.d.all))].url
	s, err := dialWith(t.d.t.Context(), url, map[string]any{"token": t.stored(), "confirm": true}, t.heard)
	if err != nil {
		return err
	}
	if err := t.admitted(s); err != nil {
		s.close()
		return err
	}
	t.d.t.Cleanup(s.close)
	t.live.Lock()
	defer t.live.Unlock()
	t.live.socket = s
	return nil
}

// admitted waits for the answer to the presentation, and stores the token that was sent.
func (t *tab) admitted(s *socket) error {
	err := s.admitted(t.d.t.Context())
	if token := s.stored(); token != "" && generation(token) > generation(t.stored()) {
		t.store(token)
	}
	return err
}

// heard takes an event, in the order in which they arrive.
func (t *tab) heard(e event) (keep bool) {
	switch e.name {
	case "refresh":
		select {
		case t.refreshed <- struct{}{}:
		default: // it is known
		}
		return false
	case "rotated":
		return false
	case "authenticated":
		t.live.Lock()
		t.live.role = roleOfToken(e.text(0))
		if t.live.role%2 == 1 {
			t.live.odd = t.live.role
		}
		t.live.Unlock()
	case "news":
		t.hearNews(e)
		return false
	}
	return true
}

// hearNews checks that what was emitted when the user had at least some role arrives under that
// role or a later one, of those whose sockets are in the room.
func (t *tab) hearNews(e event) {
	var least int64
	_ = json.Unmarshal(e.args[1], &least)
	t.live.Lock()
	role, odd := t.live.role, t.live.odd
	t.live.Unlock()
	if role < least || e.text(0) == "admins" && odd < least {
		t.d.t.Errorf("news for %s of when the role was %d has reached a socket with role %d, or %d before", e.text(0), least, role, odd)
	}
	t.d.news.Add(1)
}

func (t *tab) socket() *socket {
	t.live.Lock()
	defer t.live.Unlock()
	return t.live.socket
}

// answerRefreshes presents the stored token whenever the server asks for it, and connects again
// when the connection has ended.
func (t *tab) answerRefreshes(stop *atomic.Bool) {
	for !stop.Load() && !t.d.t.Failed() {
		select {
		case <-t.refreshed:
			t.refresh()
		case <-time.After(50 * time.Millisecond):
		}
		for !t.socket().open() && !stop.Load() && !t.d.t.Failed() {
			t.d.reconnects.Add(1)
			if err := t.connect(); err != nil {
				t.again("connecting", err)
			}
		}
	}
}

// refresh presents the stored token on the socket.
func (t *tab) refresh() {
	t.turn.Lock()
	defer t.turn.Unlock()
	s := t.socket()
	t.d.refreshes.Add(1)
	if err := s.emit("authenticate", map[string]any{"token": t.stored(), "confirm": true}); err != nil {
		return
	}
	if err := t.admitted(s); err != nil {
		t.again("a refresh", err)
		select {
		case t.refreshed <- struct{}{}:
		default:
		}
	}
}

// again waits before something is tried again that was not decided. Another refusal is a fault.
func (t *tab) again(what string, err error) {
	if code := refused(err); code != "unavailable" && code != "timeout" && !errors.Is(err, errClosed) {
		t.d.t.Errorf("%s: %v", what, err)
	}
	t.d.repeated.Add(1)
	pause(time.Duration(10+rand.IntN(50)) * time.Millisecond)
}

// act sends an event, which has to be handled under a role that is not older than what was known
// before.
func (t *tab) act() {
	least := t.d.least.load()
	var role int64
	if !t.call("act", &role) {
		return
	}
	if role < least {
		t.d.t.Errorf("an event was handled under role %d, and was sent when that was %d", role, least)
	}
	t.d.acted.Add(1)
}

// demote has a handler of the socket give the user the next role.
func (t *tab) demote() {
	var a answer
	if t.call("demote", &a) {
		t.d.called(a)
	}
}

// call sends an event and reports whether there was an answer, which there is unless the socket is
// closed.
func (t *tab) call(name string, answer any) bool {
	s := t.socket()
	reply, err := s.call(t.d.t.Context(), name)
	if err != nil {
		if errors.Is(err, errClosed) || errors.Is(err, context.Canceled) || !s.open() {
			pause(20 * time.Millisecond)
		} else {
			t.d.t.Errorf("an event that was not answered: %v", err)
		}
		return false
	}
	values := []any{answer}
	if err := json.Unmarshal(reply, &values); err != nil || strings.Contains(string(reply), `"error":{`) {
		t.d.t.Errorf("an event was answered by %s", reply)
		return false
	}
	return true
}

// claimsOf returns the claims in a token.
func claimsOf(token string) (c struct {
	Role       int64  `json:"role"`
	Generation uint64 `json:"gen"`
}) {
	if parts := strings.Split(token, "."); len(parts) == 3 {
		payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(payload, &c)
	}
	return c
}

func roleOfToken(token string) int64 { return claimsOf(token).Role }
func generation(token string) uint64 { return claimsOf(token).Generation }
