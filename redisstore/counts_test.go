package redisstore

import (
	"math/rand/v2"
	"testing"
)

// lossy is a Redis whose messages may be lost, with one connection that hears the others in order.
type lossy struct {
	t       *testing.T
	counts  counts
	counter [buckets]int64
	unheard map[int]struct{} // the changes that were neither heard nor are covered by a Gap
	made    int
	flying  []flying
	pings   uint64
	polled  int // the changes made when the counters were read last
	gaps    int
	certain int
}

// flying is a message, or a sign of life if change is 0.
type flying struct {
	bucket  int
	counter int64
	change  int
	ping    uint64
}

func (l *lossy) change(bucket int, lost bool) {
	l.counter[bucket]++
	l.made++
	l.unheard[l.made] = struct{}{}
	if !lost {
		l.flying = append(l.flying, flying{bucket: bucket, counter: l.counter[bucket], change: l.made})
	}
}

func (l *lossy) deliver() {
	if len(l.flying) == 0 {
		return
	}
	f := l.flying[0]
	l.flying = l.flying[1:]
	if f.change == 0 {
		l.sure(l.counts.pong(f.ping))
		return
	}
	delete(l.unheard, f.change)
	l.counts.heard(f.bucket, f.counter)
	l.sure(l.counts.certain())
}

// sure checks that what is said to be certain is: all changes are heard that were made before the
// counters were read.
func (l *lossy) sure(certain bool) {
	if !certain {
		return
	}
	l.certain++
	for n := range l.unheard {
		if n <= l.polled {
			l.t.Fatalf("change %d of %d was not heard", n, l.polled)
		}
	}
}

// poll reads the counters. meanwhile is what happens between the begin and the comparison.
func (l *lossy) poll(meanwhile func()) finding {
	before := l.counts.last
	read, polled := l.counter, l.made
	l.pings++
	fence := l.pings
	l.flying = append(l.flying, flying{ping: fence})
	meanwhile()
	found := l.counts.compare(&before, &read, fence)
	l.polled = polled
	switch found {
	case baseline, skipped:
		l.gap()
	case lost:
		l.subscribe()
	case back:
		l.counts = counts{}
	}
	return found
}

func (l *lossy) gap() {
	l.gaps++
	clear(l.unheard)
}

func (l *lossy) subscribe() {
	l.counts, l.flying = counts{}, nil
	l.poll(func() {})
}

// TestCountsAreCertain guards that no zero Change is sent while a change is missing that was
// neither heard nor is covered by a Gap, whatever is lost, in random histories.
func TestCountsAreCertain(t *testing.T) {
	certain, gaps := 0, 0
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 12))
		l := &lossy{t: t, unheard: make(map[int]struct{})}
		loses := r.IntN(3) == 0
		l.subscribe()
		for range 300 {
			switch r.IntN(8) {
			case 0, 1:
				l.change(r.IntN(3), loses && r.IntN(10) == 0)
			case 2:
				l.poll(func() {
					if r.IntN(2) == 0 {
						l.deliver()
					}
				})
			case 3:
				if loses && r.IntN(20) == 0 { // the subscription is cut
					l.subscribe()
				}
			default:
				l.deliver()
			}
		}
		// When nothing more happens, everything is noticed at the third poll.
		for range 3 {
			l.poll(func() {})
			for len(l.flying) > 0 {
				l.deliver()
			}
		}
		if len(l.unheard) > 0 {
			t.Fatalf("seed %d: %d changes were neither heard nor was there a Gap", seed, len(l.unheard))
		}
		if !loses && l.gaps > 1 {
			t.Fatalf("seed %d: %d Gaps although nothing was lost", seed, l.gaps)
		}
		certain, gaps = certain+l.certain, gaps+l.gaps
	}
	if certain < 10_000 || gaps < 5_000 {
		t.Errorf("certain %d times, %d Gaps: the histories test little", certain, gaps)
	}
}

// TestCountersGoneBack guards that a Redis that has lost its last writes is noticed, by what it
// counts and by what it publishes.
func TestCountersGoneBack(t *testing.T) {
	known := func() *lossy {
		l := &lossy{t: t, unheard: make(map[int]struct{})}
		for range 10 {
			l.change(5, false)
		}
		l.subscribe()
		return l
	}
	l := known()
	l.counter[5] -= 2
	if found := l.poll(func() {}); found != back {
		t.Errorf("counters that are lower: %d", found)
	}
	if found := l.poll(func() {}); found != baseline {
		t.Errorf("and then: %d", found)
	}
	l = known()
	l.counter[5] -= 2
	for range 4 { // so that it is ahead again before the next poll
		l.change(5, false)
		l.deliver()
		l.deliver()
	}
	if found := l.poll(func() {}); found != back {
		t.Errorf("numbers that come again: %d", found)
	}
}
