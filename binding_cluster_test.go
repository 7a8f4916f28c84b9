package socketauth_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/z-open/socketauth/internal/dpop/dpoptest"
)

// TestBoundAcrossProcesses guards that a bound session goes on at another process with its key and
// nowhere without it, that a proof for a connection of one process is worth nothing at another one,
// and that a code which a thief has traded at one process is reuse at another.
func TestBoundAcrossProcesses(t *testing.T) {
	key := dpoptest.NewKey()
	onBothEngines(t, func(t *testing.T, version string) {
		withCluster(t, 2, nil, func(p []*process) {
			first, token := p[0].bound(version, key)
			stolen := key.Socket(first.engineID, token)
			thief := p[1].dialAs(version)
			p[1].expectUntouched(func() {
				thief.emit("authenticate", map[string]any{"token": token, "proof": stolen})
				thief.expectRefused("invalid_proof")
			})
			thief = p[1].dialAs(version)
			p[1].expectUntouched(func() {
				thief.emit("logout", map[string]any{"token": token})
				thief.expectRefused("proof_required")
			})
			second := p[1].dialAs(version)
			second.presentBound(key, token)
			p[1].expectBoundTo(key, second.expectToken())
			first.expect(`42["rotated"]`)
			first.expectAuthenticated()

			code := p[0].code()
			thief = p[0].dialAs(version)
			o := thief.presentBoundConfirming(dpoptest.NewKey(), code)
			o.confirm()
			thief.expectAuthenticated()
			time.Sleep(time.Second)
			owner := p[1].dialAs(version)
			owner.presentBound(key, code)
			owner.expectRefused("token_reused")
			thief.expectRefused("token_reused")
			second.expectAuthenticated()
		})
	})
}

// TestBoundBehindBalancer guards that the Engine.IO id which a client has been sent is that which
// its proofs are checked with, when its requests come by way of other processes.
func TestBoundBehindBalancer(t *testing.T) {
	key := dpoptest.NewKey()
	withBalancer(t, 2, nil, func(b *balanced) {
		for _, version := range []string{"3", "4"} {
			conn, err := b.dial("", version, "polling", "192.0.2.1")
			if err == nil {
				_, err = conn.Join("")
			}
			if err != nil {
				t.Fatal(err)
			}
			code, err := b.processes[0].Auth().IssueCode(b.Context(), claimsOf("anna"))
			if err != nil {
				t.Fatal(err)
			}
			in, _ := json.Marshal(map[string]string{"token": code, "proof": key.Socket(conn.Opened().SID, code)})
			if err = conn.Write(`42["authenticate",` + string(in) + `]`); err == nil {
				_, err = conn.Expect(`42["authenticated",`)
			}
			if err != nil {
				t.Errorf("engine %s: %v", version, err)
			}
			_ = conn.Close()
		}
		if b.forwarded() == 0 {
			t.Error("no request came by way of another process")
		}
	})
}
