package cluster

import (
	"context"
	"encoding/binary"
	"log/slog"
	"time"
)

// Send sends a message to the other nodes that have joined one of the topics. A node that has joined
// several of them gets it once, on one of them. Send does not wait: the message is queued. It is
// dropped, counted and logged if the queue is full or the broker out of reach. data and topics must
// not be changed afterwards.
func (n *Node) Send(kind Kind, data []byte, topics ...Topic) {
	tags := make([]tag, len(topics))
	for i, t := range topics {
		tags[i] = n.codec.tag(t)
	}
	i := &item{form: news, kind: kind, topics: tags, body: data, since: time.Now()}
	n.mu.Lock()
	if !n.started || n.closed || len(tags) == 0 {
		n.mu.Unlock()
		return
	}
	if len(tags) > 1 {
		i.copied = n.numbers.nextCopied()
	}
	large := len(data) > MaxData
	full := !large && !n.pushLocked(i)
	if large || full {
		n.dropLocked(i)
	}
	n.mu.Unlock()
	switch {
	case large:
		n.logOnce(&n.logs.large, "socketauth: a message is too large for the other processes, and is not sent to them",
			slog.Int("bytes", len(data)), slog.Int("limit", MaxData))
	case full:
		n.logOnce(&n.logs.full, "socketauth: too many messages wait for the broker; they are not sent to the other processes")
	}
}

// Ask asks all other nodes, and returns what they have answered, and the names of those that have
// not. It returns once all living ones have answered, and at the latest when ctx ends. It does not
// wait for silent ones. If this node cannot know yet which others there are, unheard has Unknown.
func (n *Node) Ask(ctx context.Context, kind Kind, data []byte) (answers []Answer, unheard []string) {
	known := n.acquainted(ctx)
	select {
	case n.slots <- struct{}{}:
		defer func() { <-n.slots }()
	case <-ctx.Done():
	}
	wait := longestQuestion
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(max(time.Until(deadline), 0), wait)
	}
	body := appendQuestion(make([]byte, 0, questionSize+len(data)), 0, uint32(wait.Milliseconds()))
	body = append(body, data...)

	n.mu.Lock()
	a := n.asks.ask(n.members.list())
	binary.BigEndian.PutUint64(body, a.id)
	if len(a.waiting) > 0 {
		i := &item{form: question, kind: kind, topics: []tag{n.control.tag}, body: body, since: time.Now(), asking: a}
		if ctx.Err() != nil || n.closed || len(body) > MaxData || !n.pushLocked(i) {
			a.fail()
		}
	}
	n.mu.Unlock()

	select {
	case <-a.complete:
	case <-ctx.Done():
	}
	n.mu.Lock()
	answers, unheard = n.asks.finish(a)
	n.mu.Unlock()
	if !known {
		unheard = append(unheard, Unknown)
	}
	return answers, unheard
}

// acquainted waits, if this node has only just begun to listen, until the others have had time to
// say that they are there. It does not wait while the broker is out of reach. It returns false if
// this node cannot know the others.
func (n *Node) acquainted(ctx context.Context) bool {
	n.mu.Lock()
	give := !n.started || n.closed || n.trouble
	since := n.listened
	n.mu.Unlock()
	if since.IsZero() {
		if give {
			return false
		}
		select {
		case <-n.listens:
		case <-n.life.Done():
			return false
		case <-ctx.Done():
			return false
		}
		n.mu.Lock()
		since = n.listened
		n.mu.Unlock()
	}
	wait := acquaintance - time.Since(since)
	if wait <= 0 {
		return true
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-n.life.Done():
	case <-ctx.Done():
	}
	return false
}

// pushLocked queues a message, and reports whether there was room.
func (n *Node) pushLocked(i *item) bool {
	if n.closed || !n.queue.push(i) {
		return false
	}
	n.wakeSender()
	return true
}

// dropLocked counts what is not sent on the topics of a message, and has the others see that it is
// missing.
func (n *Node) dropLocked(i *item) {
	if i.asking != nil {
		i.asking.fail()
	}
	now := time.Now()
	for _, t := range i.topics {
		n.stats.Dropped++
		if i.form == news {
			n.numbers.next(t, now, false)
		}
	}
}

func (n *Node) wakeSender() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// outgoing is one message that is about to be published.
type outgoing struct {
	tag    tag
	header header
	body   []byte
	asking *asking // of a question
	tells  bool    // it is the last part of a heartbeat
}

// send publishes what is queued, heartbeats first, until the goodbye.
func (n *Node) send() {
	var beats []outgoing // the parts of one heartbeat
	var current *item    // a message with topics that are left
	for {
		var o outgoing
		var wait time.Duration
		n.mu.Lock()
		now := time.Now()
		due := n.beatSoon && len(beats) == 0 && !n.closed
		if due {
			if wait = n.lastBeat.Add(beatApart).Sub(now); wait <= 0 {
				n.beatSoon, n.lastBeat = false, now
				beats = n.heartbeatLocked(now)
			}
		}
		switch {
		case len(beats) > 0:
			o = beats[0]
			beats = beats[1:]
		default:
			if current == nil || len(current.topics) == 0 {
				current = n.takeLocked(now)
			}
			if current != nil {
				o = n.outgoingLocked(now, current)
			}
		}
		n.mu.Unlock()
		if o.header.form == 0 {
			if !n.pause(wait, due) {
				return
			}
			continue
		}
		ctx, stop := context.WithTimeout(n.sending, publishTimeout)
		err := n.config.Broker.Publish(ctx, o.tag.String(), n.codec.seal(o.tag, &o.header, o.body))
		stop()
		if n.published(&o, err); err != nil {
			beats = nil // what they tell is told again
		}
		if o.header.form == goodbye || n.sending.Err() != nil {
			return
		}
	}
}

// pause waits until there is something to send. It returns false if the node need not wait for it.
func (n *Node) pause(wait time.Duration, due bool) bool {
	var timer <-chan time.Time
	if due {
		timer = time.After(wait)
	}
	select {
	case <-n.wake:
	case <-timer:
	case <-n.sending.Done():
		return false
	}
	return true
}

// takeLocked returns the next message of the queue that is not too old, or nil. After Close, the
// goodbye comes last.
func (n *Node) takeLocked(now time.Time) *item {
	for {
		i := n.queue.pop()
		switch {
		case i == nil:
			if n.goodbye != nil {
				i, n.goodbye = n.goodbye, nil
			}
			return i
		case now.Sub(i.since) > maxWait:
			n.dropLocked(i)
		default:
			return i
		}
	}
}

// outgoingLocked returns the message for the next topic of an item.
func (n *Node) outgoingLocked(now time.Time, i *item) outgoing {
	t := i.topics[0]
	i.topics = i.topics[1:]
	h := header{form: i.form, kind: i.kind, from: n.self, copied: i.copied, sent: now.UnixMilli()}
	if t == n.control.tag {
		h.number, h.previous = n.numbers.nextControl(), n.sentOn
	} else {
		h.number, h.previous = n.numbers.next(t, now, i.form == answer)
	}
	return outgoing{tag: t, header: h, body: i.body, asking: i.asking}
}

// heartbeatLocked returns the parts of a heartbeat.
func (n *Node) heartbeatLocked(now time.Time) (parts []outgoing) {
	counters := n.numbers.counters(now)
	previous := n.sentOn
	for first := true; first || len(counters) > 0; first = false {
		size := min(len(counters), countersInPart*counterSize)
		b := heartbeat{first: first, last: size == len(counters), counters: counters[:size]}
		if first {
			b.address, b.nodes = []byte(n.config.Advertise), n.members.runs()
		}
		counters = counters[size:]
		h := header{form: beat, from: n.self, number: n.numbers.nextControl(), previous: previous, sent: now.UnixMilli()}
		previous = h.number
		parts = append(parts, outgoing{tag: n.control.tag, header: h, body: b.append(nil), tells: b.last})
	}
	return parts
}

// published notes what became of a message.
func (n *Node) published(o *outgoing, err error) {
	n.mu.Lock()
	if err != nil {
		n.stats.Dropped++
		if o.asking != nil {
			o.asking.fail()
		}
	} else {
		n.stats.Sent++
		if o.tag == n.control.tag {
			n.sentOn = o.header.number
		}
		if o.tells {
			n.numbers.told = o.header.number
		}
	}
	n.mu.Unlock()
	if err != nil && n.sending.Err() == nil {
		n.logOnce(&n.logs.publish, "socketauth: cannot send to the other processes", slog.Any("cause", err))
	}
}
