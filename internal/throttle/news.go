package throttle

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
)

// Interval is how often a process calls Exchange.
const Interval = time.Second

// The form of news: a version, and for each budget its kind, how many failures took a part of it,
// and its key.
const (
	newsVersion = 1
	entrySize   = 1 + 2 + 8
)

const (
	maxEntries = 1 << 10 // of one message
	maxTaken   = 1 << 13 // how many budgets are watched for what attempts took since the last exchange
	maxDebt    = 7       // how many tokens a budget may miss for what other processes have let through
	maxShares  = 4       // in how many parts a burst is divided
)

// news is what a Guard tells the guards of other processes, and what it knows about them. Its
// methods do nothing on nil. They are called with the guard's lock held.
type news struct {
	others int               // how many other processes there are
	failed map[budget]uint16 // what they will be told

	// What attempts have taken, also those in progress, since the others were told last, and between
	// that and the time before: when this process tells its news, it may have to wait for theirs for
	// another Interval.
	now, before taken
}

type taken struct {
	since time.Duration
	by    map[budget]int
}

func newNews() *news {
	return &news{failed: make(map[budget]uint16), now: taken{by: make(map[budget]int)}}
}

// add adds a failure, or a success of a pair, to what is told next. If there is no room, one with
// the fewest failures, of eight, is left out.
func (n *news) add(b budget) {
	if n == nil {
		return
	}
	count := n.failed[b]
	if count == 0 && len(n.failed) >= maxEntries {
		n.drop()
	}
	n.failed[b] = uint16(min(int(count)+1, math.MaxUint16))
}

// drop removes the entry with the fewest failures of eight that are chosen at random.
func (n *news) drop() {
	var least budget
	looked, fewest := 0, math.MaxInt
	for b, count := range n.failed { // in random order
		if int(count) < fewest {
			least, fewest = b, int(count)
		}
		if looked++; looked == ways {
			break
		}
	}
	delete(n.failed, least)
}

// took counts what an attempt has taken, where that matters for pause.
func (n *news) took(b budget) {
	if n == nil || b.kind != ofAccount && b.kind != ofPair {
		return
	}
	if _, watched := n.now.by[b]; watched || len(n.now.by) < maxTaken {
		n.now.by[b]++
	}
}

// gaveBack undoes took for an attempt that began at the time at.
func (n *news) gaveBack(b budget, at time.Duration) {
	if n == nil {
		return
	}
	for _, t := range [...]taken{n.now, n.before} {
		if at < t.since {
			continue
		}
		if t.by[b] > 0 {
			t.by[b]--
		}
		return
	}
}

// pause returns how long an attempt has to wait because this process has let through its share of a
// budget since it heard from the others last. Otherwise a guesser would have the burst of a budget
// at each process before the news of the first failures arrive.
func (g *Guard) pause(at time.Duration, b budget) time.Duration {
	n := g.news
	if n == nil || n.others == 0 || b.key == 0 {
		return 0
	}
	shares := min(n.others+1, maxShares)
	if n.now.by[b]+n.before.by[b] < (g.rate(b.kind).Burst+shares-1)/shares {
		return 0
	}
	const late = Interval / 5 // the timer's, and until the news have arrived
	return max(0, n.now.since+Interval+late-at)
}

// Exchange returns what the guards of the other processes have to hear: the failures and successes
// since the last call. It is nil if there are none, or if the guard was made by New. others is how
// many other processes there are now. Exchange is called once in each Interval; each result is
// given to Hear once in each of the other processes.
func (g *Guard) Exchange(others int) []byte {
	n := g.news
	if n == nil {
		return nil
	}
	g.mu.Lock()
	failed := n.failed
	n.others = max(0, others)
	n.failed = make(map[budget]uint16)
	n.before, n.now = n.now, taken{since: g.now(), by: make(map[budget]int)}
	g.mu.Unlock()
	if len(failed) == 0 {
		return nil
	}
	data := append(make([]byte, 0, 1+len(failed)*entrySize), newsVersion)
	for b, count := range failed {
		data = append(data, byte(b.kind))
		data = binary.BigEndian.AppendUint16(data, count)
		data = binary.BigEndian.AppendUint64(data, b.key)
	}
	return data
}

// errNews is returned for what Exchange does not return.
var errNews = errors.New("throttle: malformed news")

// Hear counts what Exchange has returned in another process. Each must be given once, and be known
// to come from there. If it is malformed, nothing of it is counted.
func (g *Guard) Hear(data []byte) error {
	if g.news == nil || len(data) == 0 || data[0] != newsVersion ||
		(len(data)-1)%entrySize != 0 || len(data) > 1+maxEntries*entrySize {
		return errNews
	}
	entries := data[1:]
	for e := entries; len(e) > 0; e = e[entrySize:] {
		if b, count := entry(e); b.kind < ofAddress || b.kind >= kinds || b.key == 0 || count == 0 {
			return errNews
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	debt := min(max(1, g.news.others), maxDebt)
	now := g.now()
	for e := entries; len(e) > 0; e = e[entrySize:] {
		b, count := entry(e)
		if b.kind == ofKnown {
			known := g.known.get(b.key)
			known.free = max(known.free, now+g.limits.KnownFor)
			continue
		}
		bucket, rate := g.bucket(b, true)
		bucket.add(now, rate, min(count, rate.Burst), debt) // no more can fail in an Interval
	}
	return nil
}

// entry decodes one entry.
func entry(e []byte) (b budget, count int) {
	return budget{kind(e[0]), binary.BigEndian.Uint64(e[3:])}, int(binary.BigEndian.Uint16(e[1:]))
}
