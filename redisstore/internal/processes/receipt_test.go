//go:build unix

package processes

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// receiptTimeout is long, so that a test can tell whether a process was waited for, also on a
// machine that is busy.
const receiptTimeout = 4 * time.Second

// TestReceipts checks what a revocation says of three processes, of which one stands still and is
// killed after that.
func TestReceipts(t *testing.T) {
	t.Parallel()
	const maxStale = 10 * time.Second
	redis := redistest.Start(t)
	all := startAll(t, 3, config{Redis: []string{redis.Addr}, ReceiptTimeout: receiptTimeout, MaxStale: maxStale})
	names := nodeNames(t, all)
	users := 0
	// connect has a new user log in at each of the processes.
	connect := func(at ...*process) (user string) {
		t.Helper()
		users++
		user = fmt.Sprintf("user%d", users)
		for _, p := range at {
			p.login(user)
		}
		return user
	}
	revoke := func(user string) (socketauth.Receipt, time.Duration) {
		t.Helper()
		a := all[0].must("revoke-user", order{User: user})
		return a.Receipt, a.Took
	}
	well, unheard := all[:2], names[2:]

	if r, _ := revoke(connect(all...)); r.Sessions != 3 || r.Sockets != 3 || r.Nodes != 3 || len(r.Unheard) != 0 {
		t.Errorf("with all processes well: %+v", r)
	}

	user := connect(all...)
	all[2].stop()
	r, took := revoke(user)
	if r.Sessions != 3 || r.Sockets != 2 || r.Nodes != 2 || !slices.Equal(r.Unheard, unheard) {
		t.Errorf("with %s standing still: %+v", names[2], r)
	}
	if took > receiptTimeout+3*time.Second {
		t.Errorf("with %s standing still it took %v", names[2], took)
	}
	// Once it is silent for three seconds, it is not waited for any more. But it may serve still.
	eventually(t, patience, func() error {
		r, took := revoke(connect(well...))
		if !slices.Equal(r.Unheard, unheard) || r.Sockets != 2 {
			t.Fatalf("while %s stands still: %+v", names[2], r)
		}
		if took > receiptTimeout/2 {
			return fmt.Errorf("a silent process is waited for: %v", took)
		}
		return nil
	})
	all[2].cont()
	eventually(t, patience, func() error {
		if r, _ := revoke(connect(all...)); r.Sockets != 3 || r.Nodes != 3 || len(r.Unheard) != 0 {
			return fmt.Errorf("with all processes well again: %+v", r)
		}
		return nil
	})

	all[2].kill()
	killed := time.Now()
	// silent checks the receipt of a revocation that began when it was that long ago.
	silent := func(r socketauth.Receipt, ago time.Duration) {
		t.Helper()
		if r.Sockets != 2 || ago < maxStale-2*time.Second && !slices.Equal(r.Unheard, unheard) {
			t.Fatalf("%v after %s was killed: %+v", ago, names[2], r)
		}
	}
	eventually(t, patience, func() error {
		user, ago := connect(well...), time.Since(killed)
		r, took := revoke(user)
		silent(r, ago+took)
		if took > receiptTimeout/2 {
			return fmt.Errorf("a process that was killed is waited for: %v", took)
		}
		return nil
	})
	// After MaxStale its sockets are at an end, wherever it may be.
	eventually(t, maxStale+patience, func() error {
		user, ago := connect(well...), time.Since(killed)
		r, took := revoke(user)
		silent(r, ago+took)
		if len(r.Unheard) != 0 || r.Nodes != 2 {
			return fmt.Errorf("%v after %s was killed: %+v", time.Since(killed), names[2], r)
		}
		return nil
	})
}

// nodeNames waits until all processes know each other, and returns the names by which they do, in
// their order.
func nodeNames(t *testing.T, all []*process) []string {
	t.Helper()
	var names []string
	eventually(t, patience, func() error {
		names = nil
		for n, p := range all {
			nodes := p.must("stats", order{}).Stats.Nodes
			if len(nodes) != len(all) {
				return fmt.Errorf("process %d knows %+v", n, nodes)
			}
			names = append(names, nodes[0].Name)
		}
		return nil
	})
	return names
}

// TestKilledProcess checks that the clients of a process that is killed come back at another one,
// with the tokens that they had, and that the session is the same.
func TestKilledProcess(t *testing.T) {
	redis := redistest.Start(t)
	all := startAll(t, 2, config{Redis: []string{redis.Addr}})
	tokens := make([]string, 50)
	var live []*socket
	for n := range tokens {
		s := all[0].login("anna")
		tokens[n] = s.stored()
		live = append(live, s)
	}
	all[0].kill()
	for n, s := range live {
		if _, err := s.waitEnd(t.Context()); err != nil {
			t.Fatal(err)
		}
		all[1].enter(tokens[n])
	}
	sessions := all[1].must("sessions", order{User: "anna"}).Sessions
	for _, s := range sessions {
		if s.Sockets != 1 {
			t.Errorf("session %s has %d sockets", s.ID, s.Sockets)
		}
	}
	if len(sessions) != len(tokens) {
		t.Errorf("there are %d sessions, and were %d", len(sessions), len(tokens))
	}
	if r := all[1].must("revoke-user", order{User: "anna"}).Receipt; r.Sockets != len(tokens) {
		t.Errorf("receipt %+v", r)
	}
}
