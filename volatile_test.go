package socketauth_test

import (
	"testing"
	"testing/synctest"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// TestVolatile guards that a volatile event is sent once to who is in the target, and that it does not wait
// for claims that are being brought up to date, as any other event does.
func TestVolatile(t *testing.T) {
	withDirectory(t, nil, func(srv *testServer, d *directory) {
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

// TestVolatileAcrossProcesses guards that a volatile event reaches the sockets of other processes, and is
// volatile there too.
func TestVolatileAcrossProcesses(t *testing.T) {
	d := new(directory)
	withCluster(t, 2, func(o *socketauth.Options[string]) { o.UpdateClaims = d.update }, func(p []*process) {
		here, _ := p[0].authenticated()
		there, token := p[1].authenticated()
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
		there.authenticate(token)
		there.expectToken()
		there.expect(`42["message"]`)
		emit(p[0].All().Volatile(), "pointer")
		there.expect(`42["pointer"]`)
		there.expectNothing()
	})
}
