package cluster

import "time"

// mark is the number that a member had reached at an event.
type mark struct{ event, number uint64 }

// progress is how far a member was heard on one topic.
type progress struct {
	heard    uint64 // the number of the last message
	reported uint64 // up to here it is known that what was not heard is missing
	told     uint64 // the last number that a heartbeat has told of
}

// overdue is a message that a heartbeat has told of and that was not heard yet.
type overdue struct {
	topic  *topic
	number uint64
	due    time.Time
}

// history is the numbers that a member had reached at earlier events: a few of the last ones
// exactly, and further back one for about each second, for as long as anything can be replayed.
type history struct {
	near  [32]mark // a ring
	nears int      // how many there were
	far   [80]mark // a ring
	fars  int
	farAt time.Time
}

const farEvery = 900 * time.Millisecond

func (y *history) add(now time.Time, k mark) {
	if y.nears == 0 || y.near[(y.nears-1)%len(y.near)].number < k.number {
		y.near[y.nears%len(y.near)] = k
		y.nears++
	}
	if y.fars == 0 || now.Sub(y.farAt) >= farEvery && y.far[(y.fars-1)%len(y.far)].number < k.number {
		y.far[y.fars%len(y.far)] = k
		y.fars++
		y.farAt = now
	}
}

// before returns a number that the member had reached before the event, or 0 if none is remembered.
func (y *history) before(event uint64) uint64 {
	for i := 1; i <= min(y.nears, len(y.near)); i++ {
		if k := y.near[(y.nears-i)%len(y.near)]; k.event < event {
			return k.number
		}
	}
	for i := 1; i <= min(y.fars, len(y.far)); i++ {
		if k := y.far[(y.fars-i)%len(y.far)]; k.event < event {
			return k.number
		}
	}
	return 0
}

// lowest returns a number of which it is known that the member's messages up to it were sent before
// the subscription to the topic.
func (m *member) lowest(t *topic) uint64 {
	since := t.made
	if since == 0 {
		since = t.begun
	}
	return max(m.history.before(since), m.floor)
}

// known returns how far the member was heard on the topic, and from which number on everything must
// be heard. If sure is false, that is not known: the subscription is too new.
func (m *member) known(t *topic) (p progress, sure bool) {
	p, ok := m.progress[t.tag]
	if ok {
		return p, true
	}
	p.heard = m.lowest(t)
	if t.made != 0 && m.beatAt.Sub(t.madeAt) >= settling && m.beatAt.Sub(m.since) >= settling {
		p.reported = m.beat
		return p, true
	}
	return p, false
}

// advance takes a message on a topic, if it is a new one. It reports whether messages before it are
// missing.
func (m *member) advance(t *topic, h *header) (gap bool, v verdict) {
	p, sure := m.known(t)
	_, listed := m.progress[t.tag]
	switch fresh, known := m.seen.add(h.number); {
	case listed && h.number <= p.heard, known && !fresh:
		return false, repeated
	case h.number <= p.heard, !listed && !known:
		return false, unknown // from before the subscription, as far as can be told
	}
	previous := h.previous
	if previous == 0 && p.told < h.number {
		previous = p.told // the sender has forgotten the topic meanwhile
	}
	if sure && previous > max(p.heard, p.reported) {
		gap = true
	}
	p.heard = h.number
	m.progress[t.tag] = p
	return gap, accepted
}

// expect takes what a heartbeat says of the last message on a topic. If it returns false, too many
// messages are overdue to keep count of them.
func (m *member) expect(now time.Time, t *topic, number uint64) bool {
	p, sure := m.known(t)
	if !sure || number <= max(p.heard, p.reported) {
		return true
	}
	if len(m.overdue) >= maxOverdue {
		m.overdue = nil
		return false
	}
	p.told = number
	m.progress[t.tag] = p
	m.overdue = append(m.overdue, overdue{t, number, now.Add(settling)})
	return true
}

// missing calls gap for each topic on which a message is overdue.
func (s *members) missing(now time.Time, m *member, gap func(Topic)) {
	for len(m.overdue) > 0 && !now.Before(m.overdue[0].due) {
		o := m.overdue[0]
		m.overdue = m.overdue[1:]
		p, ok := m.progress[o.topic.tag]
		if !ok || s.topics.byTag[o.topic.tag] != o.topic || o.topic.joined == 0 || o.number <= max(p.heard, p.reported) {
			continue
		}
		p.reported = o.number
		m.progress[o.topic.tag] = p
		gap(o.topic.Topic)
	}
	if len(m.overdue) == 0 {
		m.overdue = nil
	}
}

// recent remembers which numbers were heard, as far as they are among the last ones.
type recent struct {
	top  uint64
	seen *[recentKept / 64]uint64
}

const recentKept = 16384

// add takes a number. fresh reports whether it was not heard before. If known is
// false, it is too old to tell.
func (c *recent) add(n uint64) (fresh, known bool) {
	if c.seen == nil {
		c.seen, c.top = new([recentKept / 64]uint64), n
	}
	if n > c.top {
		if n-c.top >= recentKept {
			clear(c.seen[:])
		} else {
			for i := c.top + 1; i < n; i++ {
				c.seen[i/64%uint64(len(c.seen))] &^= 1 << (i % 64)
			}
		}
		c.top = n
		c.seen[n/64%uint64(len(c.seen))] |= 1 << (n % 64)
		return true, true
	}
	if c.top-n >= recentKept {
		return false, false
	}
	word, bit := &c.seen[n/64%uint64(len(c.seen))], uint64(1)<<(n%64)
	fresh = *word&bit == 0
	*word |= bit
	return fresh, true
}
