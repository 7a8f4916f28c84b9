package socketauth_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// withRole runs a test against a server whose users have the role that the test stores in role.
func withRole(t *testing.T, test func(srv *testServer, role *atomic.Value)) {
	t.Helper()
	role := new(atomic.Value)
	withServer(t, func(o *socketauth.Options[string]) {
		o.UpdateClaims = func(_ context.Context, old jwt.MapClaims) (jwt.MapClaims, error) {
			old["role"] = role.Load()
			return old, nil
		}
	}, func(srv *testServer) { test(srv, role) })
}

// refresh has the claims of anna brought up to date.
func (srv *testServer) refresh() {
	srv.Helper()
	if _, err := srv.Auth().RefreshUser(context.Background(), "anna"); err != nil {
		srv.Fatal(err)
	}
}

// answerRefresh waits for "refresh" and presents the token.
func (c *client) answerRefresh() {
	c.srv.Helper()
	c.expect(`42["refresh"]`)
	c.authenticate(c.current)
	c.expectToken()
}

// TestClaimsOutdatedWhileTheAppActs checks that OnClaimsChanged is told the claims that it has
// acted on before, also if those were out of date by the time it returned.
func TestClaimsOutdatedWhileTheAppActs(t *testing.T) {
	withRole(t, func(srv *testServer, role *atomic.Value) {
		role.Store("guest")
		var changes []string
		srv.OnClaimsChanged(func(ctx context.Context, _ *socketauth.Socket, old jwt.MapClaims) error {
			now, _ := socketauth.ClaimsFromContext(ctx)
			changes = append(changes, old["role"].(string)+" to "+now["role"].(string))
			if len(changes) == 1 {
				role.Store("guest")
				srv.refresh()
			}
			return nil
		})
		c, _ := srv.authenticated()
		role.Store("admin")
		srv.refresh()
		c.answerRefresh()
		c.answerRefresh()
		synctest.Wait()
		if want := []string{"guest to admin", "admin to guest"}; !slices.Equal(changes, want) {
			t.Errorf("OnClaimsChanged was told %q, want %q", changes, want)
		}
	})
}

// TestBroadcastRacingOnClaimsChanged checks that a message for a room does not reach a socket that
// has left the room because its claims have changed, although it was a member when the message was
// emitted.
func TestBroadcastRacingOnClaimsChanged(t *testing.T) {
	withRole(t, func(srv *testServer, role *atomic.Value) {
		role.Store("admin")
		srv.OnClaimsChanged(func(_ context.Context, s *socketauth.Socket, _ jwt.MapClaims) error {
			s.Leave("admins")
			return nil
		})
		c, s := srv.authenticatedSocket(claimsOf("anna"))
		s.Join("admins", "others")
		members := socketauth.Members(srv.To("admins")) // as Emit does
		role.Store("guest")
		srv.refresh()
		c.answerRefresh()
		synctest.Wait()
		if socketauth.Receives(members[0], "admins") {
			t.Error("it reaches the socket")
		}
		if !socketauth.Receives(s, "others") {
			t.Error("a message for a room that it is in does not reach it")
		}
	})
}

// TestUsedCodeWithUpdateClaims checks that a code which is presented again is what it is without
// UpdateClaims: reuse, which ends the session, or a late message of the client's own.
func TestUsedCodeWithUpdateClaims(t *testing.T) {
	withRole(t, func(srv *testServer, role *atomic.Value) {
		role.Store("guest")
		code := srv.code()
		late := srv.dial("") // before the code was used
		c := srv.dial("")
		c.authenticate(code)
		c.expectToken()
		late.authenticate(code)
		if u := late.expectRefused("no_longer_valid"); u.Terminal {
			t.Error("a late message of the client's own is refused for good")
		}
		c.expectAuthenticated()
		time.Sleep(time.Second) // what comes on a later connection is not late
		srv.dial(`{"token":"` + code + `"}`).expectRefused("token_reused")
		c.expectRefused("token_reused")
	})
}
