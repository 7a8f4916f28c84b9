package compare

import (
	"context"
	"time"
)

// metrics are the figures of one run, by name.
type metrics map[string]float64

// A workload is one row of the comparison.
type workload struct {
	name       string
	about      string // what one operation is
	candidates []candidate
	run        func(ctx context.Context, r *run) (metrics, error)
	alone      bool // it starts no server: a store
}

// run is one run of a workload against one candidate.
type run struct {
	candidate
	*process
	scale
	dir string
}

// scale is how much a run does.
type scale struct {
	warmup, duration time.Duration // of what is repeated for a time
	workers          int           // clients at a time, where nothing else is said
	echoSockets      int
	receivers        int // of a broadcast
	burst, bursts    int // broadcasts at once, and how often
	paced            int // paced broadcasts
	pace             time.Duration
	returning        int   // clients that come back at once
	idle             []int // numbers of idle sockets at which memory is measured, ascending
	settle           time.Duration
	flooders         int // clients that log in all the time
	sessions         int // in a store
}

var full = scale{
	warmup: time.Second, duration: 4 * time.Second, workers: 32, echoSockets: 64,
	receivers: 2000, burst: 100, bursts: 5, paced: 100, pace: 50 * time.Millisecond, returning: 5000,
	idle: []int{1000, 50_000, 100_000}, settle: 5 * time.Second, flooders: 16, sessions: 1_000_000,
}

// short is for tests: it shows that everything works, and its figures mean nothing.
var short = scale{
	warmup: 20 * time.Millisecond, duration: 100 * time.Millisecond, workers: 3, echoSockets: 4,
	receivers: 10, burst: 10, bursts: 2, paced: 5, pace: 10 * time.Millisecond, returning: 20,
	idle: []int{10, 30, 60}, settle: 50 * time.Millisecond, flooders: 2, sessions: 2000,
}

// filesKept is how many files a process needs apart from its sockets.
const filesKept = 500

// limitIdle lowers the numbers of idle sockets to what files allow.
func (s *scale) limitIdle(files int) {
	most := files - filesKept
	if last := s.idle[len(s.idle)-1]; last > most {
		s.idle = []int{min(s.idle[0], most/3), most / 2, most}
	}
}

func workloads() []workload {
	return []workload{
		{name: "handshake", about: "connect over a websocket, authenticate, be answered, close", candidates: socketCandidates, run: handshake},
		{name: "polling", about: "the same over polling", candidates: pollingCandidates(), run: pollingHandshake},
		{name: "echo", about: "one event and its answer, over several websockets", candidates: bareCandidates, run: echo},
		{name: "burst", about: "broadcasts sent at once, until every websocket has all of them", candidates: socketCandidates, run: burst},
		{name: "paced", about: "broadcasts at a steady rate", candidates: socketCandidates, run: paced},
		{name: "return", about: "clients that have lost their connection come back all at once", candidates: socketCandidates, run: comeBack},
		{name: "idle", about: "memory of silent websockets, without forced collection", candidates: bareCandidates, run: idle},
		{name: "login", about: "POST /login, without hashing", candidates: httpCandidates, run: login},
		{name: "middleware", about: "GET with a token", candidates: httpCandidates, run: middleware},
		{name: "flood", about: "echo while /login is flooded, with bcrypt", candidates: floodCandidates, run: flood},
		{name: "store", about: "sessions in memory", candidates: storeCandidates, run: store, alone: true},
	}
}
