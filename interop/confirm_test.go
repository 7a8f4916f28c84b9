package interop

import (
	"context"
	"testing"
	"time"

	"github.com/z-open/socketauth"
)

// TestConfirm: a confirming client is not authenticated until it acknowledges its token, and only
// then that token replaces the one before.
func TestConfirm(t *testing.T) {
	stores(t, entries, func(t *testing.T, r run, keep options) {
		a := serve(t, setup{options: keep})
		a.OnAuthenticated(func(_ context.Context, s *socketauth.Socket) error {
			s.Join("red")
			return s.Emit("news", "introduced")
		})
		d := play(t, r, "confirm", a.url, nil)
		d.enters("bob")
		d.hears("bob", "news", "introduced")
		d.entersConfirming("alice")
		d.hears("alice", "reply to echo", fault("unauthorized"))
		d.hears("alice", "reply to join", fault("unauthorized"))
		d.ignore("reply to speak")
		d.hears("bob", "news", "too early for alice") // to all
		d.hears("bob", "news", "too early for alice") // to the room
		d.hears("alice", "reply to echo", fault("unauthorized"))

		d.hears("alice", "news", "introduced")
		d.hears("alice", "reply to echo", "in")
		for _, socket := range []string{"alice", "bob"} {
			d.hears(socket, "news", "welcome")
		}
		d.hears("late", "connect")
		d.refused("late", "token_reused")
		d.refused("alice", "token_reused")
		d.done()
	})
}

// TestCut: a connection that is lost before the acknowledgement does not cost the session. One of
// the offered tokens stays valid, and the others are refused.
func TestCut(t *testing.T) {
	stores(t, entries, func(t *testing.T, r run, keep options) {
		a := serve(t, setup{options: keep})
		d := play(t, r, "cut", a.url, nil)
		tokens := make(map[string]bool)
		offered := func(socket string) {
			t.Helper()
			if token := d.entersConfirming(socket); tokens[token] {
				t.Errorf("%s was offered what was offered before", socket)
			} else {
				tokens[token] = true
			}
		}
		offered("first")
		d.hears("first", "disconnect", "io client disconnect")
		offered("rival")
		d.hears("witness", "connect")
		offered("second")
		for range 2 {
			d.hears("second", "settled", r.final())
			d.hears("second", "disconnect", "forced close")
			offered("second")
		}
		d.hears("second", "reply to echo", "in")
		d.overtaken("rival")
		d.overtaken("witness")
		d.hears("second", "reply to echo", "still in")
		d.hears("thief", "connect")
		d.refused("thief", "token_reused")
		d.refused("second", "token_reused")
		d.done()
		if reuse := a.audited(socketauth.AuditReuse); len(reuse) != 1 { // the thief's, and nothing before
			t.Errorf("audited as theft: %v", reuse)
		}
	})
}

// TestWithheld: a client that does not acknowledge in time is told so and disconnected, even if it
// was authenticated; then its old token stays valid.
func TestWithheld(t *testing.T) {
	stores(t, entries, func(t *testing.T, r run, keep options) {
		a := serve(t, setup{options: func(o *socketauth.Options[string]) {
			keep(o)
			o.Timeout = 4 * time.Second
		}})
		d := play(t, r, "withheld", a.url, nil)
		first := d.entersConfirming("leaver")
		d.hears("leaver", "reply to echo", fault("unauthorized"))
		if again := d.offered("leaver"); again != first {
			t.Error("the leaver's token was presented again, and another was offered for it")
		}
		d.unconfirmed("leaver")

		d.entersConfirming("member")
		d.hears("member", "reply to echo", "in")
		d.offered("member")
		d.hears("member", "reply to echo", "still in")
		d.unconfirmed("member")
		d.entersConfirming("member")
		d.hears("member", "reply to echo", "in")
		d.done()
	})
}

// TestRotated: when a socket has confirmed its token, the session's other sockets are told once
// that there is a new token, but not the token itself.
func TestRotated(t *testing.T) {
	stores(t, matrix, func(t *testing.T, r run, keep options) {
		d := play(t, r, "rotated", serve(t, setup{options: keep}).url, nil)
		d.entersConfirming("first")
		d.hears("first", "reply to echo", "in")
		d.entersConfirming("other")
		d.entersConfirming("second")
		d.hears("first", "reply to echo", "before")
		d.hears("second", "reply to echo", "in")
		d.hears("first", "rotated", []any{}...)
		d.offered("first")
		d.hears("first", "reply to authenticate", []any{}...)
		d.hears("first", "reply to echo", "confirmed")
		d.hears("second", "rotated", []any{}...)
		for _, socket := range []string{"first", "second", "other"} {
			d.hears(socket, "reply to echo", "end")
		}
		d.done()
	})
}

// TestYoung: a token that is younger than RefreshInterval is returned unchanged, however often it
// is presented.
func TestYoung(t *testing.T) {
	stores(t, entries, func(t *testing.T, r run, keep options) {
		a := serve(t, setup{options: func(o *socketauth.Options[string]) {
			keep(o)
			o.RefreshInterval = time.Hour
		}})
		d := play(t, r, "young", a.url, nil)
		token := d.entersConfirming("first")
		same := func(got string) {
			t.Helper()
			if got != token {
				t.Error("the token was replaced")
			}
		}
		d.hears("first", "settled", r.final())
		d.hears("first", "disconnect", "forced close")
		same(d.entersConfirming("first"))
		d.hears("first", "reply to echo", "in")
		same(d.enters("plain"))
		same(d.offered("first"))
		d.hears("first", "reply to authenticate", []any{}...)
		d.hears("plain", "reply to echo", "in")
		d.hears("first", "reply to echo", "still in")
		if rotations := a.audited(socketauth.AuditRotated); len(rotations) > 0 {
			t.Errorf("audited as replaced: %v", rotations)
		}
		d.hears("thief", "connect")
		for _, socket := range []string{"thief", "first", "plain"} {
			d.refused(socket, "token_reused")
		}
		d.done()
	})
}
