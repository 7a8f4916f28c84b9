package blacklist

import (
	"context"
	"testing"
	"time"
)

// TestMemorySessionBytes guards that a session takes at most 128 bytes, with its user, device and
// address: each of those by which a store grows to twice as many.
func TestMemorySessionBytes(t *testing.T) {
	sessions := 100_000
	if raceDetector {
		sessions /= 5
	}
	for name, userID := range map[string]func(int) string{"short": shortIDs, "uuid": uuids} {
		p := newPopulation(userID)
		fill := func(from int) {
			for n := range sessions {
				token := p.begin(from + n)
				if n%10 == 0 { // some come back at once
					p.trade(p.trade(token, p.address(), p.agent()), p.address(), p.agent())
				}
			}
		}
		fill(0)
		bytes := heapGrowth(func() { fill(sessions) }) / float64(sessions)
		if t.Logf("user ids %s: %.1f bytes a session", name, bytes); bytes > 128 {
			t.Errorf("user ids %s: %.1f bytes a session, want at most 128", name, bytes)
		}
		if n := p.store.size(); n != 2*sessions {
			t.Errorf("%d sessions", n)
		}
	}
}

// TestMemoryStepAllocatesNothing guards that a step on a session that is known allocates nothing.
func TestMemoryStepAllocatesNothing(t *testing.T) {
	ctx, runs := context.Background(), 2000
	for _, c := range []struct {
		address string
		confirm bool
	}{{"192.0.2.1", false}, {"192.0.2.1", true}, {"2001:db8::1", false}, {"2001:db8::1", true}, {"unix:@", true}, {"", false}} {
		p := newPopulation(shortIDs)
		for n := range 2 { // others have the user agents too
			p.trade(p.code(n), "", p.agents[n])
		}
		token := p.begin(2)
		next := make([]TokenRef, runs+2)
		for n := range next {
			next[n] = token
			next[n].Generation, next[n].TokenID = token.Generation+uint64(n+1), p.id()
		}
		n := 0
		if got := testing.AllocsPerRun(runs, func() {
			now := time.Now()
			r, err := p.store.Present(ctx, Presentation{
				Token: token, SuccessorID: next[n].TokenID, SuccessorExpiresAt: now.Add(24 * time.Hour), Confirming: c.confirm,
				PresentedAt: now, SocketOpenedAt: now, SupersededWithin: 5 * time.Second, EndOnReuse: true,
				Address: c.address, UserAgent: p.agents[n%2],
			})
			if err != nil || r.Verdict != Accepted {
				t.Fatalf("step %d: verdict %d, %v", n, r.Verdict, err)
			}
			token, n = next[n], n+1
			if r, err := p.store.Confirm(ctx, token); err != nil || r.Verdict != Accepted {
				t.Fatalf("step %d: verdict %d, %v", n, r.Verdict, err)
			}
			if r, err := p.store.Check(ctx, token, 0, 0); err != nil || r.Verdict != Accepted {
				t.Fatalf("step %d: verdict %d, %v", n, r.Verdict, err)
			}
		}); got != 0 {
			t.Errorf("%+v: %v allocations to present, confirm and check", c, got)
		}
	}
}
