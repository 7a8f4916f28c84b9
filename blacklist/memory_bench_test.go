package blacklist

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"runtime"
	"slices"
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
}

// populationSeed is that of every store, so that each does the same work in the same step.
var populationSeed = maphash.MakeSeed()

func newPopulation(userID func(n int) string) *population {
	p := &population{store: newMemory(), random: rand.New(rand.NewPCG(1, 2)), userID: userID}
	p.store.seed = populationSeed
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

// id returns an id, the same in each population.
func (p *population) id() string {
	var id id.ID
	binary.LittleEndian.PutUint64(id[:], p.random.Uint64())
	binary.LittleEndian.PutUint64(id[8:], p.random.Uint64())
	return id.String()
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
		SessionID: p.id(), TokenID: p.id(), UserID: p.userID(n),
		IssuedAt: now, AuthTime: now.Add(-ago), ExpiresAt: now.Add(30 * time.Second),
	}
}

// trade presents a token and confirms its successor, and returns that.
func (p *population) trade(t TokenRef, address, agent string) TokenRef {
	now := time.Now()
	next := TokenRef{
		SessionID: t.SessionID, TokenID: p.id(), UserID: t.UserID, Generation: t.Generation + 1,
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
// its device and address.
func BenchmarkMemorySessions(b *testing.B) {
	for name, userID := range map[string]func(int) string{"short": shortIDs, "uuid": uuids} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				p := newPopulation(userID)
				bytes := heapGrowth(func() {
					for n := range *manySessions {
						p.begin(n)
					}
				})
				b.ReportMetric(bytes/float64(*manySessions), "B/session")
				runtime.KeepAlive(p)
			}
		})
	}
}

// BenchmarkMemoryLongestStep reports the longest step of each kind, while a store grows to
// -sessions sessions, has some of them replace their tokens or end, and forgets all. A step takes
// as long as in the fastest of b.N rounds, which are the same: what the machine does beside is not
// the store's. Run it with -benchtime 3x.
func BenchmarkMemoryLongestStep(b *testing.B) {
	ctx := context.Background()
	sessions := *manySessions
	steps := make(map[string][]time.Duration)
	for range b.N {
		p := newPopulation(shortIDs)
		timed := func(kind string, times int, step func(n int)) {
			if steps[kind] == nil {
				steps[kind] = slices.Repeat([]time.Duration{time.Hour}, times)
			}
			for n := range times {
				began := time.Now()
				step(n)
				steps[kind][n] = min(steps[kind][n], time.Since(began))
			}
		}
		some := make([]TokenRef, 0, sessions/16+1)
		timed("log-in", sessions, func(n int) {
			if t := p.begin(n); n%16 == 0 {
				some = append(some, t)
			}
		})
		timed("replace", len(some), func(n int) { some[n] = p.trade(some[n], p.address(), p.agent()) })
		timed("check", len(some), func(n int) { _, _ = p.store.Check(ctx, some[n], 0, 0) })
		timed("Sessions", len(some), func(n int) { _, _ = p.store.Sessions(ctx, some[n].UserID) })
		timed("log-out", len(some)/2, func(n int) {
			_, _ = p.store.Revoke(ctx, Revocation{UserID: some[n].UserID, SessionID: some[n].SessionID, Why: LoggedOut, Keep: time.Minute})
		})
		timed("revoke-user", len(some)/4, func(n int) {
			_, _ = p.store.Revoke(ctx, Revocation{UserID: some[len(some)-1-n].UserID, Why: Revoked, Keep: time.Minute})
		})
		timed("revoke-all", 1, func(int) { _, _ = p.store.Revoke(ctx, Revocation{All: true, Why: Revoked}) })
		timed("log-in-after", sessions/16, func(n int) {
			code := p.code(n)
			code.AuthTime = time.Now()
			p.trade(code, p.address(), p.agent())
		})
		later := time.Now().Add(26 * time.Hour)
		timed("sweep", sessions/16, func(n int) { p.store.shards[n%len(p.store.shards)].sweep(later, sweepsOfAnother) })
		if n := p.store.size(); n > sessions/100 {
			b.Errorf("%d sessions are left", n)
		}
	}
	for kind, all := range steps {
		b.ReportMetric(float64(slices.Max(all).Microseconds()), kind+"-µs")
	}
}

// BenchmarkMemoryStep measures one presentation of a session token, at -sessions sessions in no
// order. In quiet-ns/op is what a step takes in the fastest tenth of batches of 100: what the machine
// does beside is not the store's.
func BenchmarkMemoryStep(b *testing.B) {
	p := newPopulation(shortIDs)
	tokens := make([]TokenRef, *manySessions)
	ids := make([][3]string, len(tokens)) // for each generation the next of them
	clients := make([][2]string, len(tokens))
	for n := range tokens {
		tokens[n] = p.begin(n)
		ids[n] = [3]string{p.id(), tokens[n].TokenID, p.id()}
		clients[n] = [2]string{p.address(), p.agent()}
	}
	order := p.random.Perm(len(tokens))
	now, ctx, n := time.Now(), context.Background(), 0
	b.ReportAllocs()
	var batches []float64
	began, steps := time.Now(), 0
	for b.Loop() {
		i := order[n]
		if n++; n == len(order) {
			n = 0
		}
		t := &tokens[i]
		successor := ids[i][(t.Generation+1)%3]
		r, err := p.store.Present(ctx, Presentation{
			Token: *t, SuccessorID: successor, SuccessorExpiresAt: now.Add(24 * time.Hour),
			PresentedAt: now, SocketOpenedAt: now, SupersededWithin: 5 * time.Second, EndOnReuse: true,
			Address: clients[i][0], UserAgent: clients[i][1],
		})
		if r.Verdict != Accepted {
			b.Fatal(r, err)
		}
		t.TokenID = successor
		t.Generation++
		if steps++; steps%100 == 0 {
			batches = append(batches, float64(time.Since(began).Nanoseconds())/100)
			began = time.Now()
		}
	}
	slices.Sort(batches)
	b.ReportMetric(batches[len(batches)/10], "quiet-ns/op")
}
