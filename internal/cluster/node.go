package cluster

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"log/slog"
	"sync"
	"time"

	"github.com/z-open/socketauth/internal/logonce"
)

const (
	tickEvery        = 250 * time.Millisecond
	publishTimeout   = time.Second
	subscribeTimeout = 5 * time.Second
	// acquaintance is how long it takes, at most, to find the other nodes once their heartbeats are
	// heard: each of them answers the first heartbeat of a new node at once.
	acquaintance = 200 * time.Millisecond
)

// Node is this process on the bus. Use New to make one. It is safe for concurrent use.
type Node struct {
	config Config
	codec  *codec
	self   nodeID
	name   string
	inbox  Topic

	work    sync.WaitGroup  // all goroutines
	life    context.Context // ends with Close: subscriptions, answers and ticks
	endLife context.CancelFunc
	sending context.Context // ends when the goodbye was sent, or Close gives up
	endSend context.CancelFunc

	wake    chan struct{} // the sender has something to do
	slots   chan struct{} // one for each question that may wait
	listens chan struct{} // closed once control and inbox are subscribed to

	mu         sync.Mutex
	started    bool
	closed     bool
	members    members
	topics     topics
	asks       questions
	out        outbox
	control    *topic
	replies    *topic    // the inbox
	listened   time.Time // when listens was closed
	echoed     time.Time // when a heartbeat of this node came back to it last
	trouble    bool      // the last attempt to subscribe failed, before listens was closed
	toAnswer   []inquiry
	askedBytes int // of toAnswer
	workers    int
	stats      Stats

	logs struct {
		refused                                                       [verdicts]logonce.Minute
		clock, nonsense, sameAddress, publish, subscribe, full, large logonce.Minute
	}
}

// inquiry is a question of another node.
type inquiry struct {
	from  Topic // its inbox
	id    uint64
	kind  Kind
	data  []byte
	until time.Time
}

// New returns a node. It does nothing before Start.
func New(c Config) (*Node, error) {
	if c.Broker == nil {
		return nil, errNoBroker
	}
	if c.Logger == nil {
		return nil, errNoLogger
	}
	if c.Advertise != "" {
		if err := CheckAddress(c.Advertise); err != nil {
			return nil, err
		}
	}
	codec, err := newCodec(c.Key)
	if err != nil {
		return nil, err
	}
	c.Key = nil
	n := &Node{
		config:  c,
		codec:   codec,
		self:    newNodeID(),
		wake:    make(chan struct{}, 1),
		slots:   make(chan struct{}, maxAsking),
		listens: make(chan struct{}),
		asks:    questions{open: make(map[uint64]*asking)},
	}
	n.name = string(n.self.name[:])
	n.inbox = inboxOf(n.self)
	n.life, n.endLife = context.WithCancel(context.Background())
	n.sending, n.endSend = context.WithCancel(context.Background())
	n.topics = newTopics()
	n.members = newMembers(n.self, c.Keep, &n.topics)
	n.topics.subscribe, n.topics.forget = n.members.made, n.members.leave
	n.control = n.topics.join(control, codec.tag)
	n.out = newOutbox(n.self, n.control.tag, c.Advertise)
	n.replies = n.topics.join(n.inbox, codec.tag)
	return n, nil
}

// newNodeID returns a random one.
func newNodeID() (id nodeID) {
	var name [NameLength * 6 / 8]byte
	_, _ = rand.Read(name[:]) // never fails; see crypto/rand
	_, _ = rand.Read(id.run[:])
	base64.RawURLEncoding.Encode(id.name[:], name[:])
	return id
}

// inboxOf returns the topic on which a node gets answers.
func inboxOf(id nodeID) Topic { return Topic{0, string(id.name[:]) + string(id.run[:])} }

// Name returns the name of the node: 8 characters of base64url, random for each node.
func (n *Node) Name() string { return n.name }

// Start begins to send heartbeats and to subscribe to topics, in the background. It keeps trying
// while the broker is out of reach. It does nothing if the node was started or closed before.
func (n *Node) Start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.started || n.closed {
		return
	}
	n.started = true
	n.out.tick(time.Now())
	n.work.Go(n.tick)
	n.work.Go(n.send)
	n.manageLocked()
}

// Join counts one more who wants to hear the topic. The node subscribes to it in the background
// with the first one; Hears reports whether it has.
func (n *Node) Join(t Topic) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed && t.Kind != 0 {
		n.topics.join(t, n.codec.tag)
		n.manageLocked()
	}
}

// Leave takes back one call of Join. After the last one nothing is delivered any more, except what
// is being delivered.
func (n *Node) Leave(t Topic) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed && t.Kind != 0 {
		n.topics.leave(t)
		n.manageLocked()
	}
}

// Listening reports whether the node sends and hears by the broker: it does while its own
// heartbeats come back to it.
func (n *Node) Listening() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.listened.IsZero() && !n.closed && time.Since(n.echoed) <= silentAfter
}

// Hears reports whether the node has joined the topic and its subscription was made, so that what
// others send from now on is heard.
func (n *Node) Hears(t Topic) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	topic := n.topics.byTopic[t]
	return topic != nil && topic.joined > 0 && topic.state == subscribed
}

// Members returns the other nodes that may serve clients, by name: those that are living, those
// that have fallen silent, and those that do not hear this one. A silent one is listed until it
// says goodbye or Config.Keep is over.
func (n *Node) Members() []Member {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := n.members.list()
	members := make([]Member, len(list))
	for i, m := range list {
		members[i] = Member{m.name, m.address, m.since, m.heard, m.phase != living}
	}
	return members
}

// Address returns the address of a living member that advertises one.
func (n *Node) Address(name string) (string, bool) {
	if len(name) != NameLength {
		return "", false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.members.names[[NameLength]byte([]byte(name))]
	if m == nil || m.phase != living || m.address == "" {
		return "", false
	}
	return m.address, true
}

// Stats returns what the node has counted.
func (n *Node) Stats() Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := n.stats
	s.Sent, s.Dropped = n.out.sent, n.out.dropped
	s.Queued = len(n.out.queue.bulk.items) + len(n.out.queue.urgent.items)
	s.Topics = len(n.topics.byTopic)
	return s
}

// Close sends what is queued and a goodbye, ends all subscriptions, and waits until nothing of the
// node runs any more. It returns the context's error if that ends first.
func (n *Node) Close(ctx context.Context) error {
	n.mu.Lock()
	first := !n.closed
	n.closed = true
	if first {
		n.out.close()
		for _, a := range n.asks.open {
			a.fail()
		}
		n.topics.close()
		n.endLife()
		n.manageLocked()
		n.wakeSender()
	}
	n.mu.Unlock()
	done := make(chan struct{})
	go func() {
		n.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		n.endSend()
		return nil
	case <-ctx.Done():
		n.endSend()
		return ctx.Err()
	}
}

// tick passes the time to the state machines.
func (n *Node) tick() {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-n.life.Done():
			return
		}
		now := time.Now()
		var gaps []Topic
		n.mu.Lock()
		n.members.tick(now, func(t Topic) { gaps = append(gaps, t) })
		n.membersLeftLocked()
		if n.out.tick(now) {
			n.wakeSender()
		}
		n.manageLocked()
		n.stats.Gaps += uint64(len(gaps))
		n.mu.Unlock()
		for _, t := range gaps {
			n.gap(t)
		}
	}
}

// membersLeftLocked stops questions from waiting for members that are not living any more.
func (n *Node) membersLeftLocked() {
	for _, m := range n.members.left {
		n.asks.left(m)
	}
	n.members.left = n.members.left[:0]
}

func (n *Node) gap(t Topic) {
	if n.config.Gap != nil && (t.Kind != 0 || t == control) {
		n.config.Gap(t)
	}
}

// manageLocked starts what has to be done about subscriptions.
func (n *Node) manageLocked() {
	if !n.started {
		return
	}
	for {
		t := n.topics.next(time.Now())
		if t == nil {
			return
		}
		if t.state == asked {
			n.members.begin(t)
			n.work.Go(func() { n.subscribe(t) })
		} else {
			n.work.Go(func() { n.cancel(t) })
		}
	}
}

// subscribe makes the subscription to a topic.
func (n *Node) subscribe(t *topic) {
	ctx, stop := context.WithTimeout(n.life, subscribeTimeout)
	defer stop()
	cancel, err := n.config.Broker.Subscribe(ctx, t.tag.String(),
		func(data []byte) { n.receive(t, data) }, func() { n.lost(t) })
	n.mu.Lock()
	t.cancel = cancel
	n.topics.done(t, time.Now(), err == nil)
	n.listeningLocked(err == nil)
	n.manageLocked()
	n.mu.Unlock()
	if err != nil && n.life.Err() == nil {
		n.logOnce(&n.logs.subscribe, "socketauth: cannot listen to the other processes; that is tried again", slog.Any("cause", err))
	}
}

// listeningLocked notes whether this node can hear what others are there.
func (n *Node) listeningLocked(ok bool) {
	if !n.listened.IsZero() {
		return
	}
	n.trouble = !ok
	if n.control.state == subscribed && n.replies.state == subscribed {
		n.listened = time.Now()
		close(n.listens)
		n.out.beatSoon = true
		n.out.newUntil = n.listened.Add(acquaintance)
		n.wakeSender()
	}
}

// cancel ends the subscription to a topic.
func (n *Node) cancel(t *topic) {
	t.cancel()
	n.mu.Lock()
	defer n.mu.Unlock()
	t.cancel = nil
	n.topics.cancelled(t)
	n.manageLocked()
}

// lost is called by the broker if messages on a topic may have been lost.
func (n *Node) lost(t *topic) {
	n.mu.Lock()
	concerned := !n.closed && t.joined > 0
	if concerned {
		n.stats.Gaps++
	}
	n.mu.Unlock()
	if concerned {
		n.gap(t.Topic)
	}
}

// logOnce logs a warning once a minute.
func (n *Node) logOnce(m *logonce.Minute, message string, attrs ...any) {
	if unsaid, now := m.Allow(); now {
		n.config.Logger.Warn(message, append(attrs, slog.Int("more_since_last", unsaid))...)
	}
}
