package interop

import (
	"context"
	"sync"
	"testing"

	"github.com/z-open/socketauth"
)

// TestRefuseMany: every refused client receives the refusal, and after it the server's disconnect.
func TestRefuseMany(t *testing.T) {
	entries(t, func(t *testing.T, r run) {
		times := soaking(150, 500) // for each entry and client: at least 600 on each transport
		d := play(t, r, "refuseMany", serve(t, setup{}).url, map[string]any{"times": times, "atOnce": 10})
		d.hears("client", "outcomes", map[string]int{"invalid_token, disconnect: io server disconnect": times})
		d.done()
	})
}

// TestEnterMany: nothing is lost that a client sends while it moves from polling to a websocket,
// and the app is told of the end of each socket exactly once.
func TestEnterMany(t *testing.T) {
	entries(t, func(t *testing.T, r run) {
		times := soaking(100, 500)
		a := serve(t, setup{})
		var mu sync.Mutex
		ends := make(map[string]int) // by socket
		a.OnDisconnect(func(_ context.Context, s *socketauth.Socket, _ string) {
			mu.Lock()
			defer mu.Unlock()
			ends[s.ID()]++
		})
		if r.entry == "handshake" {
			a.OnAuthenticated(func(_ context.Context, s *socketauth.Socket) error { return s.Emit("news", "welcome") })
		}
		d := play(t, r, "enterMany", a.url, map[string]any{"times": times, "atOnce": 40})
		d.hears("client", "outcomes", map[string]int{"authenticated, " + r.final(): times})
		d.done()

		a.stop(t)
		for id, n := range ends {
			if n != 1 {
				t.Errorf("the end of %s was told %d times", id, n)
			}
		}
		if len(ends) != times {
			t.Errorf("the ends of %d sockets were told, of %d", len(ends), times)
		}
	})
}
