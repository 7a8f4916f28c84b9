//go:build unix

package processes

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// TestFailover checks what a failover to a replica that was behind cannot bring back: codes that
// were used, and, once the processes have subscribed again, sessions that were ended in the last
// minute. Sessions that the replica knows go on.
func TestFailover(t *testing.T) {
	t.Parallel()
	master := redistest.Start(t)
	link := redistest.NewProxy(t, master.Addr)
	replica := master.Replica(link.Addr)
	way := redistest.NewProxy(t, master.Addr)
	all := startAll(t, 3, config{Redis: []string{way.Addr}})

	old := all[0].login("old").stored()
	ended, all1 := all[1].login("ended"), all[2].login("all of user")
	out := all[0].login("out")
	kept, others := all[0].login("keeper"), all[1].login("keeper")
	code := all[0].code("late")
	replicated(t, master, replica)

	link.Stall() // from here on the replica is behind
	late := all[1].enter(code).stored()
	all[0].must("revoke-session", order{User: "ended", Session: sessionOf(ended.stored())})
	all[1].must("revoke-user", order{User: "all of user"})
	all[2].must("revoke-others", order{User: "keeper", Session: sessionOf(kept.stored())})
	if err := out.emit("logout"); err != nil {
		t.Fatal(err)
	}
	if _, err := out.wait(t.Context(), "logged_out"); err != nil {
		t.Fatal(err)
	}
	way.Cut()
	master.Kill()
	replica.Promote()
	way.SwitchTo(replica.Addr)

	// A used code is refused from the first moment on.
	if _, err := enterDecided(t, all[2], code); refused(err) != "no_longer_valid" && refused(err) != "token_reused" {
		t.Errorf("a code that was used before the failover: %v", err)
	}
	// What was ended is ended again as soon as the processes have subscribed.
	for what, token := range map[string]string{
		"a session that was revoked": ended.stored(), "a user's session": all1.stored(),
		"a session that was logged out": out.stored(), "another session of a user who kept one": others.stored(),
	} {
		eventually(t, heardWithin, func() error {
			if status := all[0].me(token); status != 401 {
				return fmt.Errorf("%s: the middleware answers %d", what, status)
			}
			return nil
		})
		if _, err := enterDecided(t, all[1], token); refused(err) == "" {
			t.Errorf("%s was accepted: %v", what, err)
		}
	}
	// A session of which the replica knows nothing is gone, and the client is told to log in.
	if _, err := enterDecided(t, all[0], late); refused(err) != "no_longer_valid" {
		t.Errorf("a session that began after the replica fell behind: %v", err)
	}
	for _, token := range []string{old, kept.stored()} {
		all[2].comesBack(token, patience)
	}
	one, other := loginEventually(t, all[0], "new"), loginEventually(t, all[1], "new")
	all[2].must("revoke-user", order{User: "new"})
	for n, s := range []*socket{one, other} {
		if code, err := s.waitEnd(t.Context()); code != "session_revoked" {
			t.Errorf("socket %d of a new login: %q, %v", n, code, err)
		}
	}
}

// replicated waits until the replica has all that the master has now.
func replicated(t *testing.T, master, replica *redistest.Server) {
	t.Helper()
	has := number(t, master, "master_repl_offset")
	eventually(t, patience, func() error {
		if n := number(t, replica, "slave_repl_offset"); n < has {
			return fmt.Errorf("the replica is at %d, the master was at %d", n, has)
		}
		return nil
	})
}

// number returns a number of what INFO says.
func number(t testing.TB, s *redistest.Server, name string) (n int64) {
	t.Helper()
	for line := range strings.Lines(s.Do("INFO").(string)) {
		if text, is := strings.CutPrefix(line, name+":"); is {
			n, _ = strconv.ParseInt(strings.TrimSpace(text), 10, 64)
			return n
		}
	}
	t.Fatalf("INFO has no %s", name)
	return 0
}

// loginEventually logs in at a process that may have to connect to Redis first. A code from before
// Redis was another one is refused, and the client logs in again.
func loginEventually(t *testing.T, p *process, user string) (s *socket) {
	t.Helper()
	eventually(t, patience, func() error {
		a, err := p.ask(t.Context(), "codes", order{User: user, N: 1})
		if err != nil {
			return err
		}
		if s, err = enter(t.Context(), p.url, a.Codes[0]); err == nil {
			err = s.settled(t.Context())
		}
		return err
	})
	t.Cleanup(s.close)
	return s
}

// TestRedisCluster checks that all works on a cluster of three masters: logins and rotations of
// many users, revoking one and all, emits; and that it goes on when a replica has taken over from a
// master that was killed.
func TestRedisCluster(t *testing.T) {
	t.Parallel()
	const users = 24 // on all three masters
	cluster := redistest.StartCluster(t, true)
	all := startAll(t, 2, config{Redis: cluster.Addrs()})
	nodeNames(t, all)
	begin := func(round string) (one, other []*socket) {
		t.Helper()
		for n := range users {
			s := loginEventually(t, all[0], fmt.Sprintf("%s%d", round, n))
			one = append(one, s)
			other = append(other, all[1].comesBack(s.stored(), patience))
		}
		return one, other
	}
	ends := func(sockets ...*socket) {
		t.Helper()
		for n, s := range sockets {
			if code, err := s.waitEnd(t.Context()); code != "session_revoked" {
				t.Fatalf("socket %d ended with %q, %v", n, code, err)
			}
		}
	}

	one, other := begin("first")
	connect(t, all, order{All: true}, append(one, other...))
	for n := range users / 2 {
		r := all[n%2].must("revoke-user", order{User: fmt.Sprintf("first%d", n)}).Receipt
		if r.Sessions != 1 || r.Sockets != 2 {
			t.Errorf("user %d: receipt %+v", n, r)
		}
		ends(one[n], other[n])
	}
	for _, s := range append(one[users/2:], other[users/2:]...) {
		if !s.open() {
			t.Fatal("a socket of another user was closed")
		}
	}
	if r := all[1].must("revoke-all", order{}).Receipt; r.Sockets != users {
		t.Errorf("revoking all: receipt %+v", r)
	}
	ends(append(one[users/2:], other[users/2:]...)...)
	for n := users / 2; n < users; n++ {
		if _, err := enter(t.Context(), all[n%2].url, other[n].stored()); refused(err) != "session_revoked" {
			t.Errorf("user %d after all were revoked: %v", n, err)
		}
	}

	one, other = begin("second")
	replicated(t, cluster.Masters[0], cluster.Replicas[0])
	cluster.Masters[0].Kill()
	cluster.Replicas[0].Promote()
	began := time.Now()
	for n := range users {
		token := other[n].stored()
		other[n] = all[n%2].comesBack(token, patience)
	}
	t.Logf("all users were served again %v after a replica had taken over", time.Since(began))
	for n := range users {
		eventually(t, patience, func() error {
			_, err := all[n%2].ask(t.Context(), "revoke-user", order{User: fmt.Sprintf("second%d", n)})
			return err
		})
		ends(one[n], other[n])
	}
}
