package cluster

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"time"
)

const (
	beatEvery   = time.Second
	silentAfter = 3 * time.Second
	standardAge = 10 * time.Minute // Keep, if that is not set
	// window is how far the time of a message may be from this node's clock.
	window = 30 * time.Second
	// replayable is for how long a message that somebody has recorded may be in the window, if the
	// clocks of its sender and this node are as far apart as they may be. It is a little more.
	replayable = 2*window + 5*time.Second
	// settling is how long a message may be on its way after the heartbeat that tells of it. The
	// broker keeps the order of messages on one topic only.
	settling = time.Second

	maxMembers = 1024
	maxOverdue = 4096
	// marks and markEvery are how many numbers of earlier heartbeats are remembered, and how far
	// they are apart. They reach back farther than anything can be replayed.
	marks     = 80
	markEvery = 900 * time.Millisecond
)

// phase is what a member is to this node.
type phase uint8

const (
	// candidate: it was heard, but has not named this node yet. What is heard may be a recording.
	candidate phase = iota
	// living: it has named this node's run, so it runs.
	living
	// silent: it was living and was not heard for silentAfter. It may still serve clients.
	silent
	// expired: it was silent for as long as this node is to remember it. If it is heard again, with
	// higher numbers, it is a candidate again.
	expired
	// gone: it has said goodbye.
	gone
)

// members are the other nodes, as this one sees them. They are a state machine without I/O.
//
//	           named us          3 s               keep
//	candidate ---------> living -----> silent -----------> expired
//	    ^                   ^  <-----     |                   |
//	    |                        heard    |                   |
//	    +-----------------------------------------------------+   any: goodbye -> gone
//
// A node that is expired, gone, or a candidate that does not become living, is forgotten when
// nothing that was recorded of it can be in the window any more.
type members struct {
	self   nodeID
	keep   time.Duration
	all    map[nodeID]*member
	names  map[[NameLength]byte]*member // of those that are neither expired nor gone
	topics *topics

	// events counts heartbeats heard and subscriptions begun and made, so that it is known which of
	// two was earlier.
	events uint64

	left []*member // since the caller has last looked: those that are not living any more
}

// member is one other node.
type member struct {
	id      nodeID
	name    string
	phase   phase
	since   time.Time // when it became living
	heard   time.Time
	until   time.Time // when it is forgotten, if it is expired or gone
	address string    // valid, or ""
	claimed string    // the address as it was heard
	greeted bool      // a heartbeat that names it has been asked for

	last     uint64 // the highest number heard
	floor    uint64 // lower numbers are from before it has named us
	beat     mark   // the last complete heartbeat
	marked   time.Time
	earlier  [marks]mark // earlier heartbeats, a ring
	marks    int         // how many there were
	progress map[tag]progress
	overdue  []overdue // in the order in which they are due
	copies   copies
}

// mark is the number of a heartbeat, and the event that it was.
type mark struct{ event, number uint64 }

// progress is how far a member was heard on one topic.
type progress struct {
	heard    uint64 // the number of the last message
	reported uint64 // up to here it is known that what was not heard is missing
}

// overdue is a message that a heartbeat has told of and that was not heard yet.
type overdue struct {
	topic  *topic
	number uint64
	due    time.Time
}

// heard is what follows from a message.
type heard struct {
	verdict  verdict
	member   *member
	gap      bool          // messages on its topic are missing
	gaps     bool          // messages on any topic may be missing
	answer   bool          // a heartbeat should follow soon
	off      time.Duration // by how much its time differs from now, if it is stale
	nonsense bool          // the address that it advertises is not valid
}

func newMembers(self nodeID, keep time.Duration, t *topics) members {
	if keep <= 0 {
		keep = standardAge
	}
	return members{
		self: self, keep: max(keep, silentAfter), topics: t,
		all: make(map[nodeID]*member), names: make(map[[NameLength]byte]*member),
	}
}

// hear decides about a verified message that came on a topic.
func (s *members) hear(now time.Time, t *topic, h *header, body []byte) (r heard) {
	if h.from == s.self {
		return heard{verdict: own}
	}
	if h.from.name == s.self.name {
		return heard{verdict: clash}
	}
	if off := now.Sub(time.UnixMilli(h.sent)); off > window || off < -window {
		return heard{verdict: stale, off: off}
	}
	var b heartbeat
	if !belongs(h.form, t.Topic) {
		return heard{verdict: malformed}
	}
	if h.form == beat {
		var ok bool
		if b, ok = readHeartbeat(body); !ok {
			return heard{verdict: malformed}
		}
	}
	m, v := s.find(now, h)
	if v != accepted {
		return heard{verdict: v}
	}
	r.member = m
	if m.phase == candidate && h.form != beat && h.form != goodbye {
		return heard{verdict: unknown}
	}
	if h.number < m.floor {
		return heard{verdict: unknown}
	}
	gap, ok := m.advance(t, h)
	if !ok {
		return heard{verdict: repeated}
	}
	m.last = max(m.last, h.number)
	m.heard = now
	if m.phase == silent {
		m.phase = living
	}
	switch h.form {
	case beat:
		r.gaps, r.answer = gap && m.phase == living, !m.greeted
		m.greeted = true
		s.hearBeat(now, m, h, &b, &r)
	case goodbye:
		s.bury(m, gone, now)
	case question:
		r.gaps = gap
	case news:
		r.gap = gap
		if h.copied == 0 {
			break
		}
		switch fresh, known := m.copies.add(h.copied); {
		case !known:
			r.verdict, r.gap = copied, true
		case !fresh:
			r.verdict = copied
		}
	}
	return r
}

// belongs reports whether a message of the form may come on the topic.
func belongs(f form, t Topic) bool {
	switch f {
	case beat, goodbye, question:
		return t == control
	case answer:
		return t.Kind == 0 && t != control
	}
	return t.Kind != 0
}

// find returns the member that has sent a message. It makes one if that is a heartbeat.
func (s *members) find(now time.Time, h *header) (*member, verdict) {
	m := s.all[h.from]
	if m != nil && m.phase < expired {
		return m, accepted
	}
	if m != nil && m.phase == gone {
		return nil, departed
	}
	if h.form != beat {
		return nil, unknown
	}
	if s.names[h.from.name] != nil {
		return nil, clash
	}
	if m != nil { // expired
		if h.number <= m.last {
			return nil, repeated
		}
		m.phase, m.floor = candidate, m.last
	} else {
		if len(s.all) >= maxMembers && !s.makeRoom() {
			return nil, crowded
		}
		m = &member{id: h.from, name: string(h.from.name[:]), progress: make(map[tag]progress)}
		s.all[h.from] = m
	}
	s.names[h.from.name] = m
	return m, accepted
}

// makeRoom forgets the member that would be forgotten first, if any would.
func (s *members) makeRoom() bool {
	var first *member
	for _, m := range s.all {
		if m.phase >= expired && (first == nil || m.until.Before(first.until)) {
			first = m
		}
	}
	if first != nil {
		delete(s.all, first.id)
	}
	return first != nil
}

// hearBeat takes what a heartbeat says.
func (s *members) hearBeat(now time.Time, m *member, h *header, b *heartbeat, r *heard) {
	if m.phase == candidate && hasRun(b.nodes, s.self.run) {
		m.phase, m.since, m.floor = living, now, h.number
	}
	if b.first && string(b.address) != m.claimed {
		m.claimed = string(b.address)
		m.address = ""
		if CheckAddress(m.claimed) == nil {
			m.address = m.claimed
		}
	}
	r.nonsense = m.claimed != m.address
	if m.phase != living {
		return
	}
	for c := b.counters; len(c) >= counterSize; c = c[counterSize:] {
		if t := s.topics.byTag[tag(c)]; t != nil && t.Kind != 0 {
			r.gaps = !m.expect(now, t, binary.BigEndian.Uint64(c[len(tag{}):])) || r.gaps
		}
	}
	if b.last {
		s.events++
		m.mark(now, mark{s.events, h.number})
	}
}

func hasRun(nodes []byte, run [16]byte) bool {
	for ; len(nodes) >= len(run); nodes = nodes[len(run):] {
		if bytes.Equal(nodes[:len(run)], run[:]) {
			return true
		}
	}
	return false
}

// mark remembers a complete heartbeat.
func (m *member) mark(now time.Time, k mark) {
	m.beat = k
	if m.marks == 0 || now.Sub(m.marked) >= markEvery {
		m.earlier[m.marks%marks] = k
		m.marks++
		m.marked = now
	}
}

// lowest returns a number of which it is known that the member's messages up to it were sent before
// the subscription to the topic.
func (m *member) lowest(t *topic) uint64 {
	since := t.made
	if since == 0 {
		since = t.begun
	}
	for i := 1; i <= min(m.marks, marks); i++ {
		if k := m.earlier[(m.marks-i)%marks]; k.event < since {
			return max(k.number, m.floor)
		}
	}
	return m.floor
}

// known returns how far the member was heard on the topic, and from which number on everything must
// be heard. If sure is false, that is not known: the subscription is too new.
func (m *member) known(t *topic) (p progress, sure bool) {
	p, ok := m.progress[t.tag]
	if ok {
		return p, true
	}
	p.heard = m.lowest(t)
	if t.made != 0 && t.made < m.beat.event {
		p.reported = m.beat.number
		return p, true
	}
	return p, false
}

// advance takes a message on a topic. It reports whether messages before it are missing, and whether
// it is a new one.
func (m *member) advance(t *topic, h *header) (gap, ok bool) {
	p, sure := m.known(t)
	if h.number <= p.heard {
		return false, false
	}
	if sure && h.previous > max(p.heard, p.reported) {
		gap = true
		p.reported = h.previous
	}
	p.heard = h.number
	m.progress[t.tag] = p
	return gap, true
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
		if !ok || s.topics.byTag[o.topic.tag] != o.topic || o.number <= max(p.heard, p.reported) {
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

// tick does what time brings. gap is called for topics on which messages are missing. paused is for
// how long this process itself did not run: the others could not be heard meanwhile.
func (s *members) tick(now time.Time, paused time.Duration, gap func(Topic)) {
	for _, m := range s.all {
		if m.heard = m.heard.Add(paused); m.heard.After(now) {
			m.heard = now
		}
		quiet := now.Sub(m.heard)
		s.missing(now, m, gap)
		switch m.phase {
		case candidate:
			if quiet > replayable {
				s.forget(m)
			}
		case living:
			if quiet >= silentAfter {
				m.phase = silent
				s.left = append(s.left, m)
			}
		case silent:
			if quiet >= s.keep {
				s.bury(m, expired, now)
			}
		case expired, gone:
			if now.After(m.until) {
				s.forget(m)
			}
		}
	}
}

// bury makes a member one that is expired or gone.
func (s *members) bury(m *member, p phase, now time.Time) {
	delete(s.names, m.id.name)
	*m = member{
		id: m.id, name: m.name, phase: p, last: m.last, heard: m.heard,
		until: now.Add(replayable), progress: make(map[tag]progress),
	}
	s.left = append(s.left, m)
}

func (s *members) forget(m *member) {
	delete(s.all, m.id)
	if s.names[m.id.name] == m {
		delete(s.names, m.id.name)
	}
}

// begin notes that the subscription to a topic begins to be made.
func (s *members) begin(t *topic) {
	s.events++
	t.begun, t.made = s.events, 0
}

// made notes that the subscription to a topic was made.
func (s *members) made(t *topic) {
	s.events++
	t.made = s.events
}

// leave forgets what was heard on a topic.
func (s *members) leave(t *topic) {
	for _, m := range s.all {
		delete(m.progress, t.tag)
	}
}

// runs returns the runs of the nodes that a heartbeat names, in its form.
func (s *members) runs() (b []byte) {
	for _, m := range s.all {
		if m.phase < expired {
			b = append(b, m.id.run[:]...)
		}
	}
	return b
}

// list returns the members that may serve clients, by name.
func (s *members) list() (list []*member) {
	for _, m := range s.all {
		if m.phase == living || m.phase == silent {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b *member) int { return strings.Compare(a.name, b.name) })
	return list
}

// copies remembers which of a member's messages on several topics were heard, as far as they are
// among the last ones.
type copies struct {
	top  uint64
	seen *[copiesKept / 64]uint64
}

const copiesKept = 16384

// add takes the number of a message. fresh reports whether it was not heard before. If known is
// false, it is too old to tell.
func (c *copies) add(n uint64) (fresh, known bool) {
	if c.seen == nil {
		c.seen, c.top = new([copiesKept / 64]uint64), n
	}
	if n > c.top {
		if n-c.top >= copiesKept {
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
	if c.top-n >= copiesKept {
		return false, false
	}
	word, bit := &c.seen[n/64%uint64(len(c.seen))], uint64(1)<<(n%64)
	fresh = *word&bit == 0
	*word |= bit
	return fresh, true
}
