package interop

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/z-open/socketauth"
)

// TestSession: a code and each token can be used once, and reuse is treated as ReusePolicy says.
func TestSession(t *testing.T) {
	policies := map[string]socketauth.ReusePolicy{"EndSession": socketauth.EndSession, "RejectOnly": socketauth.RejectOnly}
	entries(t, func(t *testing.T, r run) {
		for name, policy := range policies {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				a := serve(t, setup{options: func(o *socketauth.Options[string]) { o.ReusePolicy = policy }})
				d := play(t, r, "session", a.url, map[string]any{"policy": name})

				byCode := d.enters("first")
				d.hears("first", "settled", r.final())
				a.listener.cut()
				d.ignore("connect_error")
				d.lost("first")
				a.listener.mend()
				byToken := d.enters("first")
				d.hears("first", "disconnect", "io client disconnect")
				last := d.enters("second")
				if byCode == byToken || byToken == last {
					t.Error("a token was not replaced when it was used")
				}

				d.hears("third", "connect")
				if policy == socketauth.EndSession {
					d.refused("third", "token_reused")
					d.refused("second", "token_reused")
				} else {
					d.refused("third", "no_longer_valid")
					d.hears("second", "reply to echo", "alive")
				}
				d.done()
			})
		}
	})
}

// TestRefusals: used codes, tokens of ended sessions and invalid tokens are refused.
func TestRefusals(t *testing.T) {
	entries(t, func(t *testing.T, r run) {
		d := play(t, r, "refusals", serve(t, setup{}).url, nil)

		d.enters("first")
		d.hears("replayed", "connect")
		d.refused("replayed", "token_reused")
		d.refused("first", "token_reused")

		d.enters("leaver")
		d.hears("leaver", "logged_out")
		d.ends("leaver")
		d.hears("returner", "connect")
		d.refused("returner", "no_longer_valid")

		d.hears("garbage", "connect")
		d.refused("garbage", "invalid_token")
		d.done()
	})
}

// TestShapes: values that are not tokens at all are refused like wrong tokens, and do no harm.
func TestShapes(t *testing.T) {
	matrix(t, func(t *testing.T, r run) {
		d := play(t, r, "shapes", serve(t, setup{}).url, nil)
		for _, socket := range []string{"nothing", "null", "number", "empty", "list", "field"} {
			d.hears(socket, "connect")
			d.hears(socket, "reply to authenticate", fault("invalid_token"))
			d.refused(socket, "invalid_token")
		}
		d.done()
	})
}

// TestStrays: presenting another session's token, or logging out with it, changes neither session.
func TestStrays(t *testing.T) {
	matrix(t, func(t *testing.T, r run) {
		d := play(t, r, "strays", serve(t, setup{}).url, nil)
		d.enters("alice")
		d.enters("bob")
		d.unauthorized("alice", "wrong_session")
		d.hears("alice", "reply to logout", fault("wrong_session"))
		d.unauthorized("alice", "wrong_session")
		var who struct{ User string }
		if l := d.hears("alice", "reply to who am I"); len(l.Args) != 1 || json.Unmarshal(l.Args[0], &who) != nil || who.User != "alice" {
			t.Errorf("%v, this should be alice", l)
		}
		d.hears("bob", "reply to echo", "alive")
		d.done()
	})
}

// TestSilence: a client that does not authenticate in time is told so and disconnected.
func TestSilence(t *testing.T) {
	matrix(t, func(t *testing.T, r run) {
		a := serve(t, setup{options: func(o *socketauth.Options[string]) { o.Timeout = 2 * time.Second }})
		d := play(t, r, "silence", a.url, nil)
		d.hears("silent", "connect")
		d.refused("silent", "timeout")
		d.done()
	})
}

// TestExpiry: a socket is closed when its newest token expires, and not before.
func TestExpiry(t *testing.T) {
	const life = 6 * time.Second
	matrix(t, func(t *testing.T, r run) {
		a := serve(t, setup{options: func(o *socketauth.Options[string]) { o.TokenLifetime = life }})
		d := play(t, r, "expiry", a.url, map[string]any{"life": life.Milliseconds()})
		d.enters("careless")
		first := d.enters("careful")
		if renewed := d.token(d.hears("careful", "authenticated")); renewed == first {
			t.Error("the token was not replaced")
		}
		d.hears("careful", "reply to authenticate", []any{}...)
		d.refused("careless", "token_expired")
		d.hears("careful", "reply to echo", "still here")
		d.refused("careful", "token_expired")
		d.done()
	})
}

// TestLogout: all sockets of the session end, and no others. The socket that asked gets its
// acknowledgement first.
func TestLogout(t *testing.T) {
	matrix(t, func(t *testing.T, r run) {
		d := play(t, r, "logout", serve(t, setup{}).url, nil)
		d.enters("first")
		d.enters("sibling")
		d.hears("first", "rotated", []any{}...)
		d.enters("other")
		for _, socket := range []string{"sibling", "first"} {
			d.hears(socket, "logged_out")
			d.ends(socket)
		}
		d.hears("other", "reply to echo", "alive")
		d.hears("other", "reply to logout", []any{}...)
		d.hears("other", "logged_out")
		d.ends("other")
		d.done()
	})
}

// lost expects a socket's connection to break in a way after which its client reconnects by itself.
func (d *driver) lost(socket string) {
	d.t.Helper()
	l := d.hears(socket, "disconnect")
	if len(l.Args) != 1 || string(l.Args[0]) != `"transport close"` && string(l.Args[0]) != `"transport error"` {
		d.t.Fatalf("%s: %v came, a broken connection should have", socket, l)
	}
}
