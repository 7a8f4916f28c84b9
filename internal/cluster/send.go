package cluster

import (
	"context"
	"encoding/binary"
	"log/slog"
	"time"
)

// Send sends a message to the other nodes that have joined one of the topics. A node that has
// joined several of them gets it once, on one of them. Send does not wait: the message is queued.
// It is dropped, counted and logged if the queue is full or the broker out of reach. data and
// topics must not be changed afterwards.
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
	ok := n.pushLocked(i)
	n.mu.Unlock()
	switch {
	case len(data) > MaxData:
		n.logOnce(&n.logs.large, "socketauth: a message is too large for the other processes, and is not sent to them",
			slog.Int("bytes", len(data)), slog.Int("limit", MaxData))
	case !ok:
		n.logOnce(&n.logs.full, "socketauth: too many messages wait for the broker; the others are not sent to the other processes")
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
		if ctx.Err() != nil || !n.pushLocked(i) {
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
	ok := n.out.push(i)
	if ok {
		n.wakeSender()
	}
	return ok
}

func (n *Node) wakeSender() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// send publishes what is in the outbox, until the goodbye.
func (n *Node) send() {
	for n.sending.Err() == nil {
		n.mu.Lock()
		o, wait := n.out.next(time.Now(), n.members.runs)
		n.mu.Unlock()
		if o.header.form == 0 {
			n.pause(wait)
			continue
		}
		ctx, stop := context.WithTimeout(n.sending, publishTimeout)
		err := n.config.Broker.Publish(ctx, o.tag.String(), n.codec.seal(o.tag, &o.header, o.body))
		stop()
		n.mu.Lock()
		n.out.published(&o, err == nil)
		n.mu.Unlock()
		if err != nil && n.sending.Err() == nil {
			n.logOnce(&n.logs.publish, "socketauth: cannot send to the other processes", slog.Any("cause", err))
		}
		if o.header.form == goodbye {
			return
		}
	}
}

// pause waits until there is something to send.
func (n *Node) pause(wait time.Duration) {
	var timer <-chan time.Time
	if wait > 0 {
		timer = time.After(wait)
	}
	select {
	case <-n.wake:
	case <-timer:
	}
}
