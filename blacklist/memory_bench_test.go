package blacklist

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/z-open/socketauth/internal/id"
)

var manySessions = flag.Int("sessions", 200_000, "how many sessions BenchmarkMemorySessions has")

// population is many sessions as real ones are: of users with one session or two, with a user agent
// of some thousands and an address each, that began up to 30 days ago and are confirmed by their
// clients.
type population struct {
	store  *memory
	random *rand.Rand
	agents []string
	userID func(n int) string
	prev   string
}

func newPopulation(userID func(n int) string) *population {
	p := &population{store: newMemory(), random: rand.New(rand.NewPCG(1, 2)), userID: userID}
	p.store.base -= (20 * 24 * time.Hour).Microseconds() // it has run for 20 days
	for n := range 5000 {
		p.agents = append(p.agents, fmt.Sprintf("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.%d.%d Safari/537.36", 80+n%60, 4000+n, n%200))
	}
	return p
}

func shortIDs(n int) string { return fmt.Sprintf("user-%d", 1_000_000+n) }

func uuids(n int) string {
	random := rand.New(rand.NewPCG(uint64(n), 7))
	a, b := random.Uint64(), random.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-a%03x-%012x", a>>32, a>>16&0xffff, a&0xfff, b>>48&0xfff, b&(1<<48-1))
}

// agent returns a user agent: few of them are frequent, and many rare.
func (p *population) agent() string {
	return p.agents[int(float64(len(p.agents))*p.random.Float64()*p.random.Float64()*p.random.Float64())]
}

func (p *population) address() string {
	if p.random.IntN(2) == 0 {
		return fmt.Sprintf("%d.%d.%d.%d", 1+p.random.IntN(220), p.random.IntN(256), p.random.IntN(256), p.random.IntN(256))
	}
	return fmt.Sprintf("2001:db8:%x:%x:%x:%x:%x:%x", 1+p.random.IntN(65535), p.random.IntN(65536), 1+p.random.IntN(65535), 1+p.random.IntN(65535), 1+p.random.IntN(65535), 1+p.random.IntN(65535))
}

func (p *population) code(n int) TokenRef {
	now := time.Now()
	ago := time.Duration(p.random.Int64N(int64(30 * 24 * time.Hour)))
	return TokenRef{
		SessionID: newID(), TokenID: newID(), UserID: p.userID(n),
		IssuedAt: now, AuthTime: now.Add(-ago), ExpiresAt: now.Add(30 * time.Second),
	}
}

// trade presents a token and confirms its successor, and returns that.
func (p *population) trade(t TokenRef, address, agent string) TokenRef {
	now := time.Now()
	next := TokenRef{
		SessionID: t.SessionID, TokenID: newID(), UserID: t.UserID, Generation: t.Generation + 1,
		IssuedAt: now, AuthTime: t.AuthTime, ExpiresAt: now.Add(24 * time.Hour),
	}
	r, err := p.store.Present(context.Background(), Presentation{
		Token: t, SuccessorID: next.TokenID, SuccessorExpiresAt: next.ExpiresAt, Confirming: true,
		PresentedAt: now, SocketOpenedAt: now, SupersededWithin: 5 * time.Second, EndOnReuse: true,
		Address: address, UserAgent: agent,
	})
	if err == nil && r.Verdict == Accepted {
		r, err = p.store.Confirm(context.Background(), next)
	}
	if err != nil || r.Verdict != Accepted {
		panic(fmt.Sprint(r, err))
	}
	return next
}

// begin begins the n-th session: of three users, one has two sessions.
func (p *population) begin(n int) TokenRef {
	return p.trade(p.code(n-n/4), p.address(), p.agent())
}

// heapGrowth returns what do adds to the live heap, in bytes.
func heapGrowth(do func()) float64 {
	live := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	do()
	return float64(live()) - float64(before)
}

// BenchmarkMemorySessions fills a store with -sessions sessions, and reports the bytes of each with
// its device and address, and the longest of the steps. Run it with -benchtime 1x.
func BenchmarkMemorySessions(b *testing.B) {
	for name, userID := range map[string]func(int) string{"short": shortIDs, "uuid": uuids} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				p := newPopulation(userID)
				var longest time.Duration
				bytes := heapGrowth(func() {
					for n := range *manySessions {
						code, address, agent := p.code(n-n/4), p.address(), p.agent()
						began := time.Now()
						p.trade(code, address, agent)
						longest = max(longest, time.Since(began))
					}
				})
				b.ReportMetric(bytes/float64(*manySessions), "B/session")
				b.ReportMetric(float64(longest.Microseconds()), "longest-µs")
				began := time.Now()
				if _, err := p.store.Revoke(context.Background(), Revocation{All: true, Why: Revoked}); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(time.Since(began).Microseconds()), "revoke-all-µs")
			}
		})
	}
}

var _ = id.New
