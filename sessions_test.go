package socketauth_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
)

// TestSessions checks the list of a user's sessions: when each began and was seen, its device, its
// sockets, and that it goes with log-out and expiry.
func TestSessions(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.TokenLifetime = time.Hour }, func(srv *testServer) {
		began := time.Now()
		a, _ := srv.authenticated()
		time.Sleep(time.Minute)
		b, token := srv.authenticated()
		b.authenticate(token)
		b.expectToken()
		time.Sleep(time.Minute)
		b2 := srv.dial("")
		b2.offerFor(b.current).confirm()
		b2.expectAuthenticated()
		b.expect(`42["rotated"]`)
		bert, _ := srv.authenticatedAs(claimsOf("bert"))

		sessions, err := srv.Auth().Sessions(srv.Context(), "anna")
		if err != nil || len(sessions) != 2 {
			t.Fatalf("%+v, %v", sessions, err)
		}
		last, first := sessions[0], sessions[1]
		if last.Sockets != 2 || first.Sockets != 1 {
			t.Errorf("%d and %d sockets", last.Sockets, first.Sockets)
		}
		if !first.Since.Equal(began) || !first.LastSeen.Equal(began) || !first.ExpiresAt.Equal(began.Add(time.Hour)) {
			t.Errorf("%+v", first)
		}
		if !last.Since.Equal(began.Add(time.Minute)) || !last.LastSeen.Equal(began.Add(2*time.Minute)) {
			t.Errorf("%+v", last)
		}
		if last.UserID != "anna" || last.Address != "pipe" || last.UserAgent != "Go-http-client/1.1" || last.ID == first.ID {
			t.Errorf("%+v", last)
		}
		a.close()
		synctest.Wait()
		if sessions, _ = srv.Auth().Sessions(srv.Context(), "anna"); sessions[1].Sockets != 0 {
			t.Errorf("%d sockets after the only one has ended", sessions[1].Sockets)
		}
		b.emit("logout")
		b.expect(`42["logged_out"]`)
		if sessions, _ = srv.Auth().Sessions(srv.Context(), "anna"); len(sessions) != 1 || sessions[0].ID != first.ID {
			t.Errorf("after the log-out: %+v", sessions)
		}
		time.Sleep(time.Hour)
		if sessions, _ = srv.Auth().Sessions(srv.Context(), "anna"); len(sessions) != 0 {
			t.Errorf("after the last expiry: %+v", sessions)
		}
		bert.expectRefused("token_expired")
	})
}
