package socketauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// TestToSeveralRooms checks that To reaches the sockets that are in at least one of its rooms, each
// once, and nobody without rooms.
func TestToSeveralRooms(t *testing.T) {
	onEngines(t, nil, func(srv *testServer) {
		a, sa := srv.authenticatedSocket(jwt.MapClaims{"sub": "anna"})
		b, sb := srv.authenticatedSocket(jwt.MapClaims{"sub": "bert"})
		c, sc := srv.authenticatedSocket(jwt.MapClaims{"sub": "carol"})
		sa.Join("red", "blue")
		sc.Join("green")
		sb.Join("blue")
		for _, to := range []struct {
			target socketauth.Target
			want   []*client
		}{
			{srv.To(), nil},
			{srv.To("red"), []*client{a}},
			{srv.To("red", "blue"), []*client{a, b}},
			{srv.To("red", "green"), []*client{a, c}},
			{srv.To("none", "red", "red"), []*client{a}},
			{srv.All(), []*client{a, b, c}},
		} {
			if err := to.target.Emit("x"); err != nil {
				t.Error(err)
			}
			for _, c := range to.want {
				c.expect(`42["x"]`)
			}
			for _, c := range []*client{a, b, c} {
				c.expectNothing()
			}
			if n := len(socketauth.Members(to.target)); n != len(to.want) {
				t.Errorf("%d members, want %d", n, len(to.want))
			}
		}
	})
}

// TestZeroTarget guards that nobody is in a Target that no method has returned, and that using it
// is no panic.
func TestZeroTarget(t *testing.T) {
	for name, target := range map[string]socketauth.Target{"zero": {}, "narrowed": socketauth.Target{}.Except(nil).Volatile()} {
		if err := target.Emit("x"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if peers, err := target.Sockets(t.Context()); err != nil || len(peers) != 0 {
			t.Errorf("%s: %v, %v", name, peers, err)
		}
	}
}

// TestTargetSockets checks that Sockets lists the authenticated sockets of a target, the first ones
// first, and what the list says as JSON.
func TestTargetSockets(t *testing.T) {
	onEngines(t, nil, func(srv *testServer) {
		expect := func(target socketauth.Target, want ...string) {
			t.Helper()
			peers, err := target.Sockets(srv.Context())
			var got []string
			for _, p := range peers {
				got = append(got, p.UserID)
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%v, %v, want %v", got, err, want)
			}
		}
		srv.OnAuthenticated(func(_ context.Context, s *socketauth.Socket) error {
			if s.UserID() == "anna" { // is not let in yet
				expect(srv.ToUser("anna"))
			}
			return nil
		})
		expect(srv.All())
		_, sa := srv.authenticatedSocket(jwt.MapClaims{"sub": "anna"})
		since := time.Now()
		time.Sleep(time.Second)
		cb, sb := srv.authenticatedSocket(jwt.MapClaims{"sub": "bert"})
		waiting := srv.dial("")
		waiting.offerFor(srv.code()) // does not confirm
		sa.Join("red")
		sb.Join("red", "blue")
		expect(srv.All(), "anna", "bert")
		expect(srv.To("red", "blue"), "anna", "bert")
		expect(srv.To("blue"), "bert")
		expect(srv.To())
		expect(srv.ToUser("anna"), "anna")
		expect(srv.ToSession(sb.SessionID()), "bert")
		peers, _ := srv.To("red").Sockets(srv.Context())
		got, _ := json.Marshal(peers[0])
		if want := fmt.Sprintf(`{"userId":"anna","sessionId":%q,"since":%q}`, sa.SessionID(), since.Format(time.RFC3339Nano)); string(got) != want {
			t.Errorf("%s, want %s", got, want)
		}
		cb.close()
		synctest.Wait()
		expect(srv.To("red"), "anna")
	})
}

// TestOthersInRooms guards that To of a socket leaves out the socket itself, as Except leaves out
// those that it is given, in Emit and in Sockets.
func TestOthersInRooms(t *testing.T) {
	onEngines(t, nil, func(srv *testServer) {
		a, sa := srv.authenticatedSocket(jwt.MapClaims{"sub": "anna"})
		b, sb := srv.authenticatedSocket(jwt.MapClaims{"sub": "bert"})
		c, sc := srv.authenticatedSocket(jwt.MapClaims{"sub": "carol"})
		sa.Join("red", "blue")
		sb.Join("red", "green")
		for _, to := range []struct {
			target socketauth.Target
			want   []*client
		}{
			{sa.To("red"), []*client{b}},
			{sa.To("red", "blue"), []*client{b}},
			{sc.To("red"), []*client{a, b}},
			{sa.To(), nil},
			{srv.All().Except(sa, sc), []*client{b}},
			{srv.All().Except(sa).Except(sb), []*client{c}},
			{srv.All().Except(), []*client{a, b, c}},
		} {
			if err := to.target.Emit("x"); err != nil {
				t.Error(err)
			}
			for _, c := range to.want {
				c.expect(`42["x"]`)
			}
			for _, c := range []*client{a, b, c} {
				c.expectNothing()
			}
			if peers, err := to.target.Sockets(srv.Context()); err != nil || len(peers) != len(to.want) {
				t.Errorf("%d sockets, %v, want %d", len(peers), err, len(to.want))
			}
		}
		all := srv.All()
		_ = all.Except(sa)
		if n := len(socketauth.Members(all)); n != 3 {
			t.Errorf("Except has changed its target: %d sockets", n)
		}
		if got := sb.Rooms(); !slices.Equal(got, []string{"green", "red"}) {
			t.Errorf("the rooms are %q", got)
		}
		sb.Leave("red")
		if got := sb.Rooms(); !slices.Equal(got, []string{"green"}) {
			t.Errorf("the rooms are %q", got)
		}
	})
}
