package socketauth_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/siotest"
)

// TestVolatile guards that a volatile event is sent once to who is in the target, and that it does
// not wait for claims that are being brought up to date, as any other event does.
func TestVolatile(t *testing.T) {
	d := new(directory)
	onEngines(t, func(o *socketauth.Options[string]) { o.UpdateClaims = d.update }, func(srv *testServer) {
		d.set("anna", "admin")
		d.set("bert", "admin")
		c, token := srv.authenticated()
		other, _ := srv.authenticatedAs(jwt.MapClaims{"sub": "bert"})
		emit := func(target socketauth.Target, event string) {
			t.Helper()
			if err := target.Emit(event); err != nil {
				t.Error(err)
			}
		}
		emit(srv.All().Volatile(), "pointer")
		c.expect(`42["pointer"]`)
		other.expect(`42["pointer"]`)
		srv.demote(d, "anna", "guest")
		c.expect(refreshEvent)
		emit(srv.All().Volatile(), "pointer")
		emit(srv.All(), "message")
		other.expect(`42["pointer"]`)
		other.expect(`42["message"]`)
		c.authenticate(token)
		c.expectToken()
		c.expect(`42["message"]`)
		emit(srv.All().Volatile(), "pointer")
		c.expect(`42["pointer"]`)
		c.expectNothing()
	})
}

// TestVolatileAcrossProcesses guards that a volatile event reaches the sockets of other processes,
// and is volatile there too.
func TestVolatileAcrossProcesses(t *testing.T) {
	d := new(directory)
	clusterOnEngines(t, 3, func(o *socketauth.Options[string]) { o.UpdateClaims = d.update }, func(p []*process) {
		here, _ := p[0].authenticated()
		there, token := p[1].authenticated()
		third, _ := p[2].authenticatedAs(claimsOf("bert"))
		d.set("anna", "admin")
		d.set("bert", "admin")
		synctest.Wait()
		emit := func(target socketauth.Target, event string) {
			t.Helper()
			if err := target.Emit(event); err != nil {
				t.Error(err)
			}
			synctest.Wait()
		}
		emit(p[0].ToUser("anna").Volatile(), "pointer")
		here.expect(`42["pointer"]`)
		there.expect(`42["pointer"]`)
		p[0].demote(d, "anna", "guest")
		there.expect(refreshEvent)
		emit(p[0].All().Volatile(), "pointer")
		emit(p[0].All(), "message")
		third.expect(`42["pointer"]`)
		third.expect(`42["message"]`)
		there.authenticate(token)
		there.expectToken()
		there.expect(`42["message"]`)
		emit(p[0].All().Volatile(), "pointer")
		there.expect(`42["pointer"]`)
		there.expectNothing()
	})
}

// large is more than a hundredth of what may wait for a client, and more than fits into a
// connection.
var large = strings.Repeat("x", 50_000)

// expectSkipped checks that the client, which has not read for a while, was sent some of the
// volatile events, in their order, and the last event, which is not volatile.
func expectSkipped(t *testing.T, c *siotest.Conn, many int) {
	t.Helper()
	next, got := 0, 0
	for {
		frame, err := c.Read()
		if err != nil {
			t.Fatalf("after %d events: %v", got, err)
		}
		if frame == `42["last"]` {
			break
		}
		var n int
		if _, err := fmt.Sscanf(frame, `42["pointer",%d,`, &n); err != nil || n < next {
			t.Fatalf("got %.100q after event %d", frame, next-1)
		}
		next, got = n+1, got+1
	}
	if got == 0 || got == many {
		t.Errorf("the slow client got %d of %d events", got, many)
	}
}

// TestVolatileForSlowClients guards that a client which does not read, and which other events would
// disconnect in the end, is only skipped by volatile ones, that others get them all, and that it is
// sent other events afterwards.
func TestVolatileForSlowClients(t *testing.T) {
	onAllTransports(t, func(srv *testServer, version, transport string) {
		srv.OnDisconnect(func(_ context.Context, s *socketauth.Socket, reason string) {
			if srv.Context().Err() == nil {
				t.Errorf("%s was disconnected: %s", s.UserID(), reason)
			}
		})
		reader := srv.rawAuthenticated(version, transport, "bert")
		sleeper := srv.rawAuthenticated(version, transport, "anna")
		const many = 120 // more than MaxQueue holds
		for n := range many {
			if err := srv.All().Volatile().Emit("pointer", n, large); err != nil {
				t.Fatal(err)
			}
			if _, err := reader.Expect(fmt.Sprintf(`42["pointer",%d,`, n)); err != nil {
				t.Fatal(err)
			}
		}
		if err := srv.Emit("last"); err != nil {
			t.Fatal(err)
		}
		expectSkipped(t, sleeper, many)
	})
}

// TestVolatileForSlowClientsAcrossProcesses guards the same for the clients of other processes.
func TestVolatileForSlowClientsAcrossProcesses(t *testing.T) {
	clusterOnEngines(t, 3, nil, func(p []*process) {
		var sleepers []*siotest.Conn
		for _, p := range p {
			sleepers = append(sleepers, p.rawAuthenticated(p.version, "websocket", "anna"))
		}
		reader := p[2].rawAuthenticated(p[2].version, "websocket", "bert")
		const many = 120
		for n := range many {
			if err := p[0].All().Volatile().Emit("pointer", n, large); err != nil {
				t.Fatal(err)
			}
			if _, err := reader.Expect(fmt.Sprintf(`42["pointer",%d,`, n)); err != nil {
				t.Fatal(err)
			}
		}
		if err := p[0].Emit("last"); err != nil {
			t.Fatal(err)
		}
		for _, c := range sleepers {
			expectSkipped(t, c, many)
		}
	})
}
