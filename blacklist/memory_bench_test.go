package blacklist

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"slices"
	"testing"
	"time"

	"github.com/z-open/socketauth/internal/id"
)

var manySessions = flag.Int("sessions", 200_000, "how many sessions BenchmarkMemorySessions has")

var inOneShard = flag.Bool("inoneshard", false, "whether BenchmarkMemoryLongestStep has users of one shard only, which so is as large as in a store with 64 times as many sessions")

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
	next := p.successor(t)
	p.replace(t, next, address, agent)
	return next
}

func (p *population) successor(t TokenRef) TokenRef {
	now := time.Now()
	return TokenRef{
		SessionID: t.SessionID, TokenID: p.id(), UserID: t.UserID, Generation: t.Generation + 1,
		IssuedAt: now, AuthTime: t.AuthTime, ExpiresAt: now.Add(24 * time.Hour),
	}
}

// replace presents a token and confirms its successor.
func (p *population) replace(t, next TokenRef, address, agent string) {
	now := time.Now()
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

// stepTimes are how long each step of one kind takes, in the fastest of several rounds, which do
// the same: what the machine does beside is not the store's.
type stepTimes struct{ wall, cpu []uint32 } // nanoseconds

func newStepTimes(steps int) *stepTimes {
	none := []uint32{math.MaxUint32}
	return &stepTimes{wall: slices.Repeat(none, steps), cpu: slices.Repeat(none, steps)}
}

func (s *stepTimes) measure(n int, step func()) {
	began, cpu := time.Now(), threadTime()
	step()
	cpu, wall := threadTime()-cpu, time.Since(began)
	s.wall[n] = min(s.wall[n], uint32(min(wall, math.MaxUint32)))
	s.cpu[n] = min(s.cpu[n], uint32(min(cpu, math.MaxUint32)))
}

// token is a TokenRef without pointers: many of them are no work for the garbage collector.
type token struct {
	sessionID, tokenID id.ID
	user               int
	generation         uint64
	authTime           int64
}

func tokenOf(user int, t TokenRef) token {
	sid, _ := id.Parse(t.SessionID)
	tid, _ := id.Parse(t.TokenID)
	return token{sid, tid, user, t.Generation, t.AuthTime.UnixMicro()}
}

func (p *population) ref(t token) TokenRef {
	now := time.Now()
	return TokenRef{
		SessionID: t.sessionID.String(), TokenID: t.tokenID.String(), UserID: p.userID(t.user),
		Generation: t.generation, IssuedAt: now, AuthTime: time.UnixMicro(t.authTime), ExpiresAt: now.Add(24 * time.Hour),
	}
}

// BenchmarkMemoryLongestStep reports the longest step of each kind, while a store grows to
// -sessions sessions, has some of them replace their tokens or end, and forgets all: by the clock,
// and in processor time of its thread, which leaves out when something else ran (outside Linux,
// both are by the clock). Both have what a step does for the garbage collector, and GC-assist has
// how much that is in a round. What goes before a step, such as writing ids, is not measured. A
// step takes as long as in the fastest of b.N rounds, which are the same. Run it with -benchtime
// 3x.
func BenchmarkMemoryLongestStep(b *testing.B) {
	ctx := context.Background()
	sessions := *manySessions
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	steps := make(map[string]*stepTimes)
	assisted := markTime("assist")
	for range b.N {
		p := newPopulation(shortIDs)
		if *inOneShard {
			p.userID = usersOfOneShard(sessions)
		}
		timed := func(kind string, times int, prepare func(n int), step func()) {
			if steps[kind] == nil {
				steps[kind] = newStepTimes(times)
			}
			for n := range times {
				prepare(n)
				steps[kind].measure(n, step)
			}
		}
		var (
			some           = make([]token, 0, sessions/16+1)
			from, to       TokenRef
			address, agent string
			revocation     Revocation
			swept          *shard
		)
		client := func() { address, agent = p.address(), p.agent() }
		replace := func() { p.replace(from, to, address, agent) }
		known := func(n int) { from = p.ref(some[n]) }
		check := func() { _, _ = p.store.Check(ctx, from, 0, 0) }
		revoke := func() { _, _ = p.store.Revoke(ctx, revocation) }

		timed("nothing", sessions, func(int) {}, func() {}) // what is the machine's
		timed("log-in", sessions, func(n int) {
			user := n - n/4 // of three users, one has two sessions
			from = p.code(user)
			to = p.successor(from)
			if client(); n%16 == 0 {
				some = append(some, tokenOf(user, to))
			}
		}, replace)
		timed("replace", len(some), func(n int) {
			from = p.ref(some[n])
			to = p.successor(from)
			client()
			some[n] = tokenOf(some[n].user, to)
		}, replace)
		timed("check", len(some), known, check)
		collections := whileCollecting(func(n int) { known(n % len(some)) }, check)
		b.ReportMetric(collections.longestStep, "check-while-collecting-µs")
		b.ReportMetric(collections.mark, "GC-mark-cpu-µs")
		timed("Sessions", len(some), known, func() { _, _ = p.store.Sessions(ctx, from.UserID) })
		timed("log-out", len(some)/2, func(n int) {
			from = p.ref(some[n])
			revocation = Revocation{UserID: from.UserID, SessionID: from.SessionID, Why: LoggedOut, Keep: time.Minute}
		}, revoke)
		timed("revoke-user", len(some)/4, func(n int) {
			revocation = Revocation{UserID: p.userID(some[len(some)-1-n].user), Why: Revoked, Keep: time.Minute}
		}, revoke)
		timed("revoke-all", 1, func(int) { revocation = Revocation{All: true, Why: Revoked} }, revoke)
		timed("log-in-after", sessions/16, func(n int) {
			from = p.code(n)
			from.AuthTime = time.Now()
			to = p.successor(from)
			client()
		}, replace)
		later := time.Now().Add(26 * time.Hour)
		timed("sweep", sessions/16, func(n int) {
			if swept = &p.store.shards[n%len(p.store.shards)]; *inOneShard {
				swept = &p.store.shards[0]
			}
		},
			func() { swept.sweep(later, sweepsOfAnother) })
		if n := p.store.size(); n > sessions/100 {
			b.Errorf("%d sessions are left", n)
		}
	}
	for kind, s := range steps {
		b.ReportMetric(float64(slices.Max(s.wall))/1e3, kind+"-µs")
		b.ReportMetric(float64(slices.Max(s.cpu))/1e3, kind+"-cpu-µs")
	}
	b.ReportMetric((markTime("assist")-assisted)*1e6/float64(b.N), "GC-assist-cpu-µs")
}

// collections is what some collections of garbage take, in microseconds: the median of the longest
// steps while they run, and the processor time of one to mark what is live.
type collections struct{ longestStep, mark float64 }

// whileCollecting makes steps while garbage is collected, again and again.
func whileCollecting(prepare func(n int), step func()) (c collections) {
	var longest []time.Duration
	marked := func() float64 { return markTime("assist") + markTime("dedicated") + markTime("idle") }
	began := marked()
	for range 21 {
		ended := make(chan struct{})
		go func() {
			runtime.GC()
			close(ended)
		}()
		most := time.Duration(0)
		for n, running := 0, true; running; n++ {
			prepare(n)
			began := time.Now()
			step()
			most = max(most, time.Since(began))
			select {
			case <-ended:
				running = false
			default:
			}
		}
		longest = append(longest, most)
	}
	slices.Sort(longest)
	c.longestStep = float64(longest[len(longest)/2].Nanoseconds()) / 1e3
	c.mark = (marked() - began) * 1e6 / float64(len(longest))
	return c
}

// markTime returns how many seconds of processor time the garbage collector has spent to mark what
// is live, in one of the ways in which it does so.
func markTime(way string) float64 {
	m := []metrics.Sample{{Name: "/cpu/classes/gc/mark/" + way + ":cpu-seconds"}}
	metrics.Read(m)
	return m[0].Value.Float64()
}

// BenchmarkMemoryStep measures one presentation of a session token, at -sessions sessions in no
// order. In quiet-ns/op is what a step takes in the fastest tenth of batches of 100: what the
// machine does beside is not the store's.
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
