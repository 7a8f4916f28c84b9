package cluster

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"time"
)

const (
	silentAfter = 3 * time.Second
	standardAge = 10 * time.Minute // Keep, if that is not set
	pausedAfter = 2 * time.Second
	// window is how far the time of a message may be from this node's clock.
	window = 30 * time.Second
	// replayable is for how long a message that somebody has recorded may be in the window, if the
	// clocks of its sender and this node are as far apart as they may be. It is a little more.
	replayable = 2*window + 5*time.Second
	// settling is how long a message may be on its way. The broker keeps the order of messages on one
	// topic only, so one that a heartbeat tells of may come after it; and a heartbeat that comes just
	// after a subscription was made may have been sent before.
	settling = time.Second

	maxMembers = 1024
	maxOverdue = 4096
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

	ticked time.Time // when tick was called

	left []*member // since the caller has last looked: those that are not living any more
}

// member is one other node.
type member struct {
	id      nodeID
	name    string
	phase   phase
	found   time.Time // when it was first heard
	since   time.Time // when it became living
	heard   time.Time
	until   time.Time // when it is forgotten, if it is expired or gone
	address string    // valid, or ""
	claimed string    // the address as it was heard
	greeted bool      // a heartbeat that names it has been asked for

	last     uint64 // the highest number heard
	floor    uint64 // lower numbers are from before it has named us
	beat     uint64 // the number of the last complete heartbeat
	beatAt   time.Time
	history  history
	progress map[tag]progress
	overdue  []overdue // in the order in which they are due
	seen     recent    // by number
	copies   recent    // by copied
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

	sameAddress bool // it advertises the address of this process
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
	gap, v := m.advance(t, h)
	if v != accepted {
		return heard{verdict: v}
	}
	m.last = max(m.last, h.number)
	m.heard = now
	if m.phase == silent {
		m.phase = living
	}
	switch h.form {
	case beat:
		r.gaps = gap && m.phase == living
		r.answer = !m.greeted || b.hello && b.first && !hasRun(b.nodes, s.self.run)
		m.greeted = true
		s.hearBeat(now, m, h, &b, &r)
	case goodbye:
		s.bury(m, gone, now)
	case question:
		r.gaps = gap
	case news:
		if t.joined == 0 {
			return heard{verdict: left} // another copy may be on a topic that is still joined
		}
		if r.gap = gap; h.copied == 0 {
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

// find returns the member that has sent a message. It adds a new one if the message is a heartbeat.
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
		m.phase, m.found = candidate, now
	} else {
		if len(s.all) >= maxMembers && !s.makeRoom() {
			return nil, crowded
		}
		m = &member{id: h.from, name: string(h.from.name[:]), found: now, progress: make(map[tag]progress)}
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
		m.beat, m.beatAt = h.number, now
		m.history.add(now, mark{s.events, h.number})
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

// tick moves members to the phases that are due at a time. It is called several times a second; if
// it was not, this process did not run, and could not hear the others meanwhile. gap is called for
// topics on which messages are missing.
func (s *members) tick(now time.Time, gap func(Topic)) {
	paused := now.Sub(s.ticked)
	if s.ticked.IsZero() || paused < pausedAfter {
		paused = 0
	}
	s.ticked = now
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

// bury moves a member to the phase expired or gone.
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
func (s *members) made(now time.Time, t *topic) {
	s.events++
	for _, m := range s.all {
		if m.phase < expired {
			m.history.add(now, mark{s.events, m.last})
		}
	}
	s.events++
	t.made, t.madeAt = s.events, now
}

// leave forgets what was heard on a topic.
func (s *members) leave(t *topic) {
	t.begun, t.made = 0, 0
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

// deaf reports whether a node goes on without naming this one: it does not hear this one, or
// somebody repeats what it has said before.
func (m *member) deaf() bool { return m.phase == candidate && m.heard.Sub(m.found) >= settling }

// list returns the members that may serve clients, by name.
func (s *members) list() (list []*member) {
	for _, m := range s.all {
		if m.phase == living || m.phase == silent || m.deaf() {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b *member) int { return strings.Compare(a.name, b.name) })
	return list
}
