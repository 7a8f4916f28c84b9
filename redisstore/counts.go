package redisstore

// counts is what was heard of the counters of the buckets since the last subscription. It decides
// whether something was missed. The caller guards it with a lock.
type counts struct {
	known   bool           // last is what all counters were after the subscription, or later
	last    [buckets]int64 // the latest that was heard of, or was read
	skipped bool           // a number was left out
	again   bool           // a number came that had been reached already
	read    [buckets]int64 // the counters as they were read last
	fence   uint64         // the sign of life that comes after what was read; 0: it has come
	behind  bool           // when it came, not all that was read had been heard, and that is still so
}

// heard notes a number of a bucket that was heard. It reports whether it is the next.
func (c *counts) heard(bucket int, n int64) bool {
	before := c.last[bucket]
	c.last[bucket] = max(before, n)
	switch {
	case !c.known, n == before+1:
		return true
	case n <= before:
		c.again = true
	default:
		c.skipped = true
	}
	return false
}

// pong notes a sign of life. It reports whether it is certain now that all was heard that had been
// counted when the counters were read last.
func (c *counts) pong(ping uint64) bool {
	if c.fence == 0 || ping < c.fence {
		return false
	}
	c.fence, c.behind = 0, true
	return c.certain()
}

// certain reports whether that has become certain after all: in a cluster, a sign of life may come
// before what another server has published.
func (c *counts) certain() bool {
	if !c.behind || !c.known || c.skipped || c.again || !c.reached() {
		return false
	}
	c.behind = false
	return true
}

// reached reports whether all was heard that was read.
func (c *counts) reached() bool {
	for b, n := range c.read {
		if c.last[b] < n {
			return false
		}
	}
	return true
}

// finding is what a comparison has found.
type finding uint8

const (
	nothing  finding = iota
	baseline         // the counters are known now
	skipped          // numbers were left out
	lost             // what had been counted at the last comparison was not heard until now
	back             // a counter has gone back
)

// compare compares what was heard with the counters as they were read. before is what had been
// heard when reading began, and fence the sign of life that comes after it.
func (c *counts) compare(before, read *[buckets]int64, fence uint64) finding {
	behind, pending := c.behind && !c.reached(), c.fence != 0
	c.read, c.fence = *read, fence
	if !c.known {
		for b, n := range read {
			c.last[b] = max(c.last[b], n)
		}
		c.known = true
		return baseline
	}
	for b, n := range read {
		if n < before[b] {
			return back
		}
	}
	switch {
	case c.again:
		return back
	case c.skipped:
		c.skipped = false
		return skipped
	case behind && !pending:
		return lost
	}
	return nothing
}
