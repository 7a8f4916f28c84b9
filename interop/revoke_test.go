package interop

import (
	"context"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/z-open/socketauth"
)

// TestRevocations: Go code ends a session, all sessions of a user, and all sessions while their
// sockets are connected. They stay ended, and later logins work.
func TestRevocations(t *testing.T) {
	stores(t, matrix, func(t *testing.T, r run, keep options) {
		a := serve(t, setup{options: keep})
		d := play(t, r, "revocations", a.url, nil)
		ends := func(ended socketauth.Receipt, err error) func(sessions, sockets int) {
			t.Helper()
			return func(sessions, sockets int) {
				t.Helper()
				if err != nil || ended.Sessions != sessions || ended.Sockets != sockets {
					t.Errorf("%+v, %v, it should have ended %d sessions and %d sockets", ended, err, sessions, sockets)
				}
			}
		}
		d.ignore("rotated")

		d.entersConfirming("phone")
		phone := d.self("phone", "alice")
		d.entersConfirming("sibling")
		d.hears("sibling", "reply to echo", "in")
		d.entersConfirming("waiting")
		d.entersConfirming("tablet")
		d.enters("bob")
		d.hears("bob", "reply to echo", "in")
		d.hears("client", "ready")
		ends(a.Auth().RevokeSession(t.Context(), "alice", phone))(1, 3)
		for _, socket := range []string{"phone", "sibling", "waiting"} {
			d.refused(socket, "session_revoked")
		}
		d.hears("phone", "connect")
		d.refused("phone", "session_revoked")
		ends(a.Auth().RevokeSession(t.Context(), "alice", phone))(0, 0)

		d.hears("tablet", "reply to echo", "alive")
		d.hears("client", "ready")
		ends(a.Auth().RevokeUser(t.Context(), "alice"))(1, 1)
		d.refused("tablet", "session_revoked")
		for _, socket := range []string{"tablet", "early"} {
			d.hears(socket, "connect")
			d.refused(socket, "session_revoked")
		}

		d.entersConfirming("again")
		d.hears("again", "reply to echo", "in")
		d.hears("bob", "reply to echo", "alive")
		d.hears("client", "ready")
		ends(a.Auth().RevokeAll(t.Context()))(2, 2)
		for _, socket := range []string{"again", "bob"} {
			d.refused(socket, "session_revoked")
			d.hears(socket, "connect")
			d.refused(socket, "session_revoked")
		}
		d.enters("last")
		d.done()

		type revoked struct{ user, session string }
		var got []revoked
		for _, e := range a.audited(socketauth.AuditRevoked) {
			got = append(got, revoked{e.UserID, e.SessionID})
		}
		if want := []revoked{{"alice", phone}, {"alice", phone}, {"alice", ""}, {"", ""}}; !reflect.DeepEqual(got, want) {
			t.Errorf("audited: %v, want %v", got, want)
		}
		if reuse := a.audited(socketauth.AuditReuse); len(reuse) > 0 {
			t.Errorf("audited as theft: %v", reuse)
		}
	})
}

// TestDevices: Sessions has one entry for each login whose code was used, with its client's name,
// address and sockets.
func TestDevices(t *testing.T) {
	stores(t, matrix, func(t *testing.T, r run, keep options) {
		a := serve(t, setup{options: keep})
		gone := make(chan string, 10)
		a.OnDisconnect(func(_ context.Context, s *socketauth.Socket, _ string) { gone <- s.SessionID() })
		d := play(t, r, "devices", a.url, nil)
		d.ignore("rotated")

		for _, socket := range []string{"phone", "sibling", "waiting", "tablet"} {
			d.entersConfirming(socket)
		}
		d.enters("bob")
		d.hears("sibling", "reply to echo", "in")
		phone, tablet, bob := d.self("phone", "alice"), d.self("tablet", "alice"), d.self("bob", "bob")
		d.hears("client", "ready")
		list := sessions(t, a, "alice", 2)
		isDevice(t, list[0], tablet, "a tablet", 1) // the session seen last comes first
		isDevice(t, list[1], phone, "a phone", 2)
		if other := sessions(t, a, "bob", 1)[0]; other.ID != bob || other.Sockets != 1 || other.UserAgent == "a phone" {
			t.Errorf("bob's is %+v", other)
		}

		speak(t, a, "alice")
		for _, socket := range []string{"phone", "sibling", "tablet"} {
			d.hears(socket, "news", "go on")
		}
		d.hears("sibling", "disconnect", "io client disconnect")
		d.hears("tablet", "logged_out")
		d.ends("tablet")
		d.hears("client", "ready")
		if left := map[string]bool{<-gone: true, <-gone: true}; !left[phone] || !left[tablet] {
			t.Errorf("sockets of %v have left, of %s and %s should have", left, phone, tablet)
		}
		isDevice(t, sessions(t, a, "alice", 1)[0], phone, "a phone", 1)
		speak(t, a, "alice")
		d.hears("phone", "news", "go on")
		d.done()
	})
}

func isDevice(t *testing.T, got socketauth.Session, id, agent string, sockets int) {
	t.Helper()
	if got.ID != id || got.UserAgent != agent || got.Address != "127.0.0.1" || got.Sockets != sockets {
		t.Errorf("a session is %+v, it should be %s of %q with %d sockets", got, id, agent, sockets)
	}
}

// self expects a socket to be told its user and its session, and returns the session.
func (d *driver) self(socket, user string) string {
	d.t.Helper()
	l := d.hears(socket, "reply to who am I")
	var who struct{ User, Session string }
	if len(l.Args) != 1 || json.Unmarshal(l.Args[0], &who) != nil || who.User != user || who.Session == "" {
		d.t.Fatalf("%v, it should be %s", l, user)
	}
	return who.Session
}
