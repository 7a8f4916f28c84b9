//go:build unix

package processes

import (
	"testing"
)

// TestKit checks the clients and the processes that the other tests use: a client logs in and comes
// back, its replaced token is refused, and a revocation closes its socket. It needs no Redis.
func TestKit(t *testing.T) {
	p := start(t, config{})
	first := p.login("anna")
	one := first.stored()
	second := p.enter(one)
	two := second.stored()
	if _, err := first.wait(t.Context(), "rotated"); err != nil {
		t.Errorf("the first socket did not hear of the rotation: %v", err)
	}
	if reply, err := second.call(t.Context(), "echo", "hello"); string(reply) != `["hello"]` {
		t.Errorf("echo: %s, %v", reply, err)
	}
	if status := p.me(two); status != 200 {
		t.Errorf("the middleware answered %d", status)
	}
	if receipt := p.must("revoke-user", order{User: "anna"}).Receipt; receipt.Sessions != 1 || receipt.Sockets != 2 {
		t.Errorf("receipt %+v", receipt)
	}
	for n, s := range []*socket{first, second} {
		if code, err := s.waitEnd(t.Context()); code != "session_revoked" {
			t.Errorf("socket %d ended with %q, %v", n, code, err)
		}
	}
	if _, err := enter(t.Context(), p.url, two); refused(err) != "session_revoked" {
		t.Errorf("the token after its session: %v", err)
	}

	reused := p.login("bert")
	next := p.enter(reused.stored())
	if _, err := enter(t.Context(), p.url, reused.stored()); refused(err) != "token_reused" {
		t.Errorf("a replaced token: %v", err)
	}
	if code, err := next.waitEnd(t.Context()); code != "token_reused" {
		t.Errorf("the socket of a session that was copied ended with %q, %v", code, err)
	}
}
