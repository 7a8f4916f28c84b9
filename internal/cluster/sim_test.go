package cluster

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// world is nodes without a shell, on a simulated network. The broker keeps the order of each sender
// on each topic for each receiver, and nothing else.
type world struct {
	random *rand.Rand
	now    time.Time
	nodes  []*simNode // the last run of each
	old    []*simNode // earlier runs
	links  []*link
	record []packet // everything that was published
	sent   []*shipment
	step   int
	harm   harm
	fault  string
}

// harm is what may go wrong, as one chance in so many; 0: never.
type harm struct{ lose, double, replay, refuse, restart, pause int }

// packet is one message on one topic.
type packet struct {
	tag    tag
	header header
	body   []byte
	step   int
	at     time.Time
}

// link is what is on the way from one node to another on one topic.
type link struct {
	from, to *simNode
	tag      tag
	packets  []packet
	since    []time.Time
}

// shipment is what a node was asked to send.
type shipment struct {
	id     uint64
	from   *simNode
	topics []Topic
	step   int               // when it was queued
	owed   map[*simNode]bool // who must hear it, or must hear of a gap
}

// simNode is one run of a node.
type simNode struct {
	id       nodeID
	members  members
	topics   topics
	out      outbox
	started  int // the step
	running  bool
	joined   map[Topic]int
	pending  []*topic // subscriptions that are being made or cancelled
	on       map[tag]bool
	got      map[uint64]bool   // shipments
	lastOn   map[string]uint64 // by sender and topic: the last shipment
	gaps     map[Topic]int     // the step of the last one
	beatOn   map[string]int    // by sender and topic: the step of the first heartbeat since the subscription
	madeAt   map[tag]time.Time
	skew     time.Duration
	gapCount int
}

var simTopics = []Topic{{'r', "a"}, {'r', "b"}, {'u', "c"}}

func simTag(t Topic) (g tag) {
	g[0] = t.Kind
	copy(g[1:], t.Name)
	return g
}

func newWorld(seed uint64, nodes int, h harm) *world {
	w := &world{random: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1e9, 0), harm: h}
	for range nodes {
		w.nodes = append(w.nodes, w.start())
	}
	return w
}

func (w *world) start() *simNode {
	n := &simNode{
		started: w.step, running: true, joined: make(map[Topic]int), on: make(map[tag]bool),
		got: make(map[uint64]bool), lastOn: make(map[string]uint64), gaps: make(map[Topic]int), beatOn: make(map[string]int),
		madeAt: make(map[tag]time.Time),
		skew:   time.Duration(w.random.IntN(8000)-4000) * time.Millisecond,
	}
	copy(n.id.name[:], fmt.Sprintf("node%04d", len(w.nodes)+len(w.old)))
	binary.BigEndian.PutUint64(n.id.run[:], w.random.Uint64())
	n.topics = newTopics()
	n.members = newMembers(n.id, 20*time.Second, &n.topics)
	n.topics.subscribe, n.topics.forget = n.members.made, n.members.leave
	n.topics.join(control, simTag)
	n.out = newOutbox(n.id, simTag(control), "")
	n.out.tick(n.time(w))
	return n
}

func (n *simNode) time(w *world) time.Time { return w.now.Add(n.skew) }

func (w *world) fail(format string, args ...any) {
	if w.fault == "" {
		w.fault = fmt.Sprintf("step %d: ", w.step) + fmt.Sprintf(format, args...)
	}
}

// chance is true once in n times.
func (w *world) chance(n int) bool { return n > 0 && w.random.IntN(n) == 0 }

func (w *world) topic() Topic { return simTopics[w.random.IntN(len(simTopics))] }

// act does one thing at random.
func (w *world) act() {
	w.step++
	n := w.nodes[w.random.IntN(len(w.nodes))]
	switch w.random.IntN(12) {
	case 0:
		w.ship(n)
	case 1:
		t := w.topic()
		n.joined[t]++
		n.topics.join(t, simTag)
	case 2:
		if t := w.topic(); n.joined[t] > 0 && w.random.IntN(3) == 0 {
			n.topics.leave(t)
			if n.joined[t]--; n.joined[t] == 0 {
				w.forgive(n, t)
			}
		}
	case 3, 4:
		w.manage(n)
	case 5:
		w.advance(time.Duration(w.random.IntN(120)) * time.Millisecond)
	case 6:
		if w.chance(w.harm.replay) && len(w.record) > 0 {
			p := w.record[w.random.IntN(len(w.record))]
			if w.random.IntN(2) == 0 { // a recent one
				p = w.record[len(w.record)-1-w.random.IntN(min(len(w.record), 40))]
			}
			// One that is heard for the first time makes a gap, if others were sent before it.
			early, late := n.madeAt[p.tag], n.madeAt[p.tag]
			if m := n.members.all[p.header.from]; m != nil {
				if since := m.since.Add(-n.skew); since.After(late) {
					late = since
				} else {
					early = since
				}
			}
			old := p.at.Before(early.Add(-2*time.Second)) || p.at.After(late) && w.now.Sub(p.at) > time.Second
			old = old && n.on[p.tag] && n.topics.byTag[p.tag].state == subscribed
			if n.on[p.tag] && (w.harm.lose > 0 || old) {
				w.hear(n, p)
			}
		}
	case 7:
		if w.chance(w.harm.restart) {
			w.restart(w.random.IntN(len(w.nodes)))
		}
	case 8:
		if w.chance(w.harm.pause) {
			w.now = w.now.Add(time.Duration(w.random.IntN(25)) * time.Second) // nobody runs
		}
	case 9:
		w.publish(n)
	default:
		w.carry()
	}
}

// ship has a node send a message.
func (w *world) ship(n *simNode) {
	topics := slices.Clone(simTopics)
	w.random.Shuffle(len(topics), func(i, j int) { topics[i], topics[j] = topics[j], topics[i] })
	topics = topics[:1+w.random.IntN(len(topics))]
	s := &shipment{id: uint64(len(w.sent) + 1), from: n, topics: topics, step: w.step, owed: make(map[*simNode]bool)}
	w.sent = append(w.sent, s)
	i := &item{form: news, body: binary.BigEndian.AppendUint64(nil, s.id), since: n.time(w)}
	for _, t := range topics {
		i.topics = append(i.topics, simTag(t))
	}
	for _, to := range w.nodes {
		m := to.members.all[n.id]
		for _, t := range topics {
			beat, ok := to.beatOn[key(n, t)]
			if to != n && m != nil && m.phase == living && ok && beat < w.step && to.joined[t] > 0 && to.on[simTag(t)] {
				s.owed[to] = true
			}
		}
	}
	n.out.push(i)
}

func key(from *simNode, t Topic) string { return string(from.id.name[:]) + string(t.Kind) + t.Name }

// publish publishes what is next in a node's outbox.
func (w *world) publish(n *simNode) bool {
	o, wait := n.out.next(n.time(w), n.members.runs)
	if o.header.form == 0 {
		return wait > 0
	}
	ok := !w.chance(w.harm.refuse)
	if ok || w.random.IntN(2) == 0 { // the broker may have taken what it says it has not
		p := packet{o.tag, o.header, o.body, w.step, w.now}
		w.record = append(w.record, p)
		for _, to := range w.nodes {
			if to.on[p.tag] {
				l := w.link(n, to, p.tag)
				l.packets, l.since = append(l.packets, p), append(l.since, w.now)
			}
		}
	}
	n.out.published(&o, ok)
	return true
}

func (w *world) link(from, to *simNode, t tag) *link {
	for _, l := range w.links {
		if l.from == from && l.to == to && l.tag == t {
			return l
		}
	}
	l := &link{from: from, to: to, tag: t}
	w.links = append(w.links, l)
	return l
}

// carry delivers or loses what is first on one link.
func (w *world) carry() {
	if len(w.links) == 0 {
		return
	}
	w.carryOn(w.links[w.random.IntN(len(w.links))])
}

func (w *world) carryOn(l *link) {
	if len(l.packets) == 0 {
		return
	}
	p := pop(&l.packets)
	pop(&l.since)
	if !l.to.running || !l.to.on[l.tag] || w.chance(w.harm.lose) {
		return
	}
	w.hear(l.to, p)
	if w.chance(w.harm.double) {
		w.hear(l.to, p)
	}
}

// hear has a node hear a message, and checks what comes of it.
func (w *world) hear(n *simNode, p packet) {
	t := n.topics.byTag[p.tag]
	if t == nil {
		return
	}
	r := n.members.hear(n.time(w), t, &p.header, p.body)
	n.members.left = nil
	if r.answer {
		n.out.beatSoon = true
	}
	if r.gaps {
		n.gap(w, control)
	}
	if r.gap {
		n.gap(w, t.Topic)
	}
	if r.verdict != accepted {
		return
	}
	from := w.find(p.header.from)
	switch p.header.form {
	case beat:
		if m := n.members.all[from.id]; m.phase == living && n.time(w).Sub(m.since) >= settling {
			for _, t := range simTopics {
				if k := key(from, t); n.on[simTag(t)] && n.topics.byTopic[t].state == subscribed && w.now.Sub(n.madeAt[simTag(t)]) >= settling {
					if _, ok := n.beatOn[k]; !ok {
						n.beatOn[k] = w.step
					}
				}
			}
		}
	case news:
		if t.joined == 0 {
			return
		}
		id := binary.BigEndian.Uint64(p.body)
		s := w.sent[id-1]
		switch k := key(from, t.Topic); {
		case n.got[id]:
			w.fail("%s has heard message %d twice", n.id.name, id)
		case n.lastOn[k] >= id:
			w.fail("%s has heard message %d after %d on the same topic", n.id.name, id, n.lastOn[k])
		case p.step < n.started:
			w.fail("%s has heard message %d, which was published before it started", n.id.name, id)
		case !slices.Contains(s.topics, t.Topic):
			w.fail("message %d on a topic that it was not sent on", id)
		default:
			n.lastOn[k] = id
		}
		n.got[id] = true
		delete(s.owed, n)
	}
}

func (n *simNode) gap(w *world, t Topic) {
	n.gaps[t] = w.step
	n.gapCount++
}

func (w *world) find(id nodeID) *simNode {
	for _, n := range append(slices.Clone(w.nodes), w.old...) {
		if n.id == id {
			return n
		}
	}
	return nil
}

// manage goes on with a node's subscriptions.
func (w *world) manage(n *simNode) {
	if t := n.topics.next(n.time(w)); t != nil {
		n.pending = append(n.pending, t)
		if t.state == asked {
			n.members.begin(t)
			n.on[t.tag] = n.on[t.tag] || w.random.IntN(2) == 0
		}
	}
	if len(n.pending) == 0 || w.random.IntN(3) == 0 {
		return
	}
	i := w.random.IntN(len(n.pending))
	t := n.pending[i]
	n.pending = slices.Delete(n.pending, i, i+1)
	switch {
	case t.state == cancelling:
		w.cut(n, t.Topic)
		n.topics.cancelled(t)
	case w.chance(w.harm.refuse):
		w.cut(n, t.Topic)
		n.topics.done(t, n.time(w), false)
	default:
		n.on[t.tag] = true
		n.topics.done(t, n.time(w), true)
		n.madeAt[t.tag] = w.now
	}
}

// cut ends what a node hears on a topic.
func (w *world) cut(n *simNode, t Topic) {
	delete(n.on, simTag(t))
	for _, l := range w.links {
		if l.to == n && l.tag == simTag(t) {
			l.packets, l.since = nil, nil
		}
	}
	w.forgive(n, t)
}

// forgive has a node be owed nothing that was sent on a topic.
func (w *world) forgive(n *simNode, t Topic) {
	for _, from := range append(slices.Clone(w.nodes), w.old...) {
		delete(n.beatOn, key(from, t))
		delete(n.lastOn, key(from, t)) // there is an order only as long as the topic is joined
	}
	for _, s := range w.sent {
		if slices.Contains(s.topics, t) {
			delete(s.owed, n)
		}
	}
}

// advance lets time go by. Nothing is on its way for longer than half a second.
func (w *world) advance(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(min(50*time.Millisecond, end.Sub(w.now)))
		for _, n := range w.nodes {
			n.members.tick(n.time(w), func(t Topic) { n.gap(w, t) })
			n.members.left = nil
			n.out.tick(n.time(w))
			if w.harm.pause == 0 {
				for w.publish(n) {
					if n.out.lastBeat.Add(beatApart).After(n.time(w)) && len(n.out.beats) == 0 {
						break
					}
				}
			}
		}
		for _, l := range w.links {
			for len(l.packets) > 0 && w.now.Sub(l.since[0]) > 500*time.Millisecond {
				w.carryOn(l)
			}
		}
	}
}

// restart ends a node, with or without a goodbye, and starts it anew.
func (w *world) restart(i int) {
	n := w.nodes[i]
	if w.random.IntN(2) == 0 {
		n.out.close()
		for w.publish(n) {
		}
	}
	n.running = false
	w.old = append(w.old, n)
	w.nodes[i] = w.start()
	for _, s := range w.sent {
		delete(s.owed, n)
		if s.from == n { // what it has not published can be missed by nobody
			clear(s.owed)
		}
	}
}

// settle lets everything arrive, without harm.
func (w *world) settle() {
	w.harm = harm{}
	for range 100 {
		w.step++
		for _, n := range w.nodes {
			for range 20 {
				w.manage(n)
			}
		}
		w.advance(100 * time.Millisecond)
	}
}
