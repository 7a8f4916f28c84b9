package socketauth

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// maxNames is how many names a tally has. Codes come from the app and could be of any number.
const maxNames = 200

// tally counts by name. Once it has maxNames names, others are counted as "other".
type tally struct {
	mu     sync.Mutex
	counts map[string]uint64
}

func (t *tally) add(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = make(map[string]uint64)
	}
	if _, known := t.counts[name]; !known && len(t.counts) >= maxNames {
		name = "other"
	}
	t.counts[name]++
}

func (t *tally) all() map[string]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make(map[string]uint64, len(t.counts)) // not nil, which would be null in JSON
	maps.Copy(all, t.counts)
	return all
}

// storeTimes are the upper bounds of the histogram's buckets. Slower calls have a bucket more.
var storeTimes = [...]time.Duration{
	10 * time.Microsecond, 100 * time.Microsecond, time.Millisecond, 10 * time.Millisecond,
	100 * time.Millisecond, time.Second, 10 * time.Second,
}

// storeCounts counts the calls of the store.
type storeCounts struct {
	calls, errors atomic.Uint64
	time          atomic.Int64
	buckets       [len(storeTimes) + 1]atomic.Uint64 // not cumulative
}

// call counts one call that has returned err.
func (c *storeCounts) call(began time.Time, err error) {
	took := time.Since(began)
	c.calls.Add(1)
	c.time.Add(int64(took))
	if err != nil {
		c.errors.Add(1)
	}
	n, _ := slices.BinarySearch(storeTimes[:], took)
	c.buckets[n].Add(1)
}

// addTo sets s.Store, which must be empty.
func (c *storeCounts) addTo(s *Stats) {
	store := &s.Store
	store.Errors, store.Time = c.errors.Load(), time.Duration(c.time.Load())
	for n := range c.buckets {
		store.Calls += c.buckets[n].Load()
		if n < len(storeTimes) {
			store.Buckets = append(store.Buckets, struct {
				UpTo  time.Duration `json:"upTo"`
				Calls uint64        `json:"calls"`
			}{storeTimes[n], store.Calls})
		}
	}
}
