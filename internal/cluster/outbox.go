package cluster

import "time"

// outbox is what this node has to send, and when. It is a state machine without I/O: the caller
// publishes what next returns, one after the other, and says how it went. Heartbeats go first.
type outbox struct {
	self      nodeID
	control   tag
	advertise string
	queue     queue
	numbers   numbers

	current *item      // what is published on one topic after the other
	beats   []outgoing // the parts of a heartbeat that are left
	onBus   uint64     // the number of the last message on control that the broker has taken

	beatSoon bool // a heartbeat is due
	lastBeat time.Time
	nextBeat time.Time
	newUntil time.Time // until then, heartbeats ask others to answer

	closed  bool
	goodbye bool // it is left to be sent, once the queue is empty
	sent    uint64
	dropped uint64
}

const (
	beatEvery = time.Second
	// beatApart is how far heartbeats are apart at least.
	beatApart = 10 * time.Millisecond
)

// outgoing is one message that is about to be published.
type outgoing struct {
	tag    tag
	header header
	body   []byte
	asking *asking // of a question
	tells  bool    // it is the last part of a heartbeat
}

func newOutbox(self nodeID, control tag, advertise string) outbox {
	return outbox{self: self, control: control, advertise: advertise, numbers: numbers{topics: make(map[tag]usedTopic)}}
}

// push queues a message, and reports whether there was room. If not, it counts as dropped.
func (o *outbox) push(i *item) bool {
	if len(i.topics) > 1 {
		i.copied = o.numbers.nextCopied()
	}
	if len(i.body) > MaxData || o.closed || !o.queue.push(i) {
		o.drop(i.since, i)
		return false
	}
	return true
}

// drop counts what is not sent on the topics of a message, and has the others see that it is
// missing.
func (o *outbox) drop(now time.Time, i *item) {
	if i.asking != nil {
		i.asking.fail()
	}
	for _, t := range i.topics {
		o.dropped++
		if i.form == news {
			o.numbers.next(t, now, false)
		}
	}
}

// tick has a heartbeat sent if it is time, and drops what has waited for too long. It reports
// whether there is a heartbeat.
func (o *outbox) tick(now time.Time) bool {
	for _, f := range [...]*fifo{&o.queue.urgent, &o.queue.bulk} {
		for len(f.items) > 0 && now.Sub(f.items[0].since) > maxWait {
			o.drop(now, f.pop())
		}
	}
	if now.Before(o.nextBeat) {
		return false
	}
	if o.nextBeat = o.nextBeat.Add(beatEvery); !o.nextBeat.After(now) {
		o.nextBeat = now.Add(beatEvery)
	}
	o.beatSoon = true
	return true
}

// close has next return what is queued, and then a goodbye and nothing more.
func (o *outbox) close() { o.closed, o.goodbye = true, true }

// next returns the next message. If its form is 0, there is none for now, but if wait is not 0
// there will be one then. known returns the runs that a heartbeat names.
func (o *outbox) next(now time.Time, known func() []byte) (out outgoing, wait time.Duration) {
	if o.beatSoon && len(o.beats) == 0 && !o.closed {
		if wait = o.lastBeat.Add(beatApart).Sub(now); wait <= 0 {
			wait, o.beatSoon, o.lastBeat = 0, false, now
			o.heartbeat(now, known())
		}
	}
	if len(o.beats) > 0 {
		return pop(&o.beats), wait
	}
	if o.current != nil && now.Sub(o.current.since) > maxWait {
		o.drop(now, o.current)
		o.current = nil
	}
	if o.current == nil {
		o.current = o.take(now)
	}
	i := o.current
	if i == nil {
		return outgoing{}, wait
	}
	t := i.topics[0]
	if i.topics = i.topics[1:]; len(i.topics) == 0 {
		o.current = nil
	}
	h := header{form: i.form, kind: i.kind, from: o.self, copied: i.copied, sent: now.UnixMilli()}
	if t == o.control {
		h.number, h.previous = o.numbers.nextControl(), o.onBus
	} else {
		h.number, h.previous = o.numbers.next(t, now, i.form == answer)
	}
	return outgoing{tag: t, header: h, body: i.body, asking: i.asking}, wait
}

// take returns the next message of the queue that is not too old, or nil.
func (o *outbox) take(now time.Time) *item {
	for {
		i := o.queue.pop()
		switch {
		case i == nil && o.goodbye:
			o.goodbye = false
			return &item{form: goodbye, topics: []tag{o.control}, since: now}
		case i == nil:
			return nil
		case now.Sub(i.since) <= maxWait:
			return i
		}
		o.drop(now, i)
	}
}

// heartbeat makes the parts of a heartbeat.
func (o *outbox) heartbeat(now time.Time, known []byte) {
	counters := o.numbers.counters(now)
	previous := o.onBus
	for first := true; first || len(counters) > 0; first = false {
		size := min(len(counters), countersInPart*counterSize)
		b := heartbeat{first: first, last: size == len(counters), counters: counters[:size]}
		if first {
			b.address, b.nodes, b.hello = []byte(o.advertise), known, now.Before(o.newUntil)
		}
		counters = counters[size:]
		h := header{form: beat, from: o.self, number: o.numbers.nextControl(), previous: previous, sent: now.UnixMilli()}
		previous = h.number
		o.beats = append(o.beats, outgoing{tag: o.control, header: h, body: b.append(nil), tells: b.last})
	}
}

// published says whether the broker has taken a message.
func (o *outbox) published(out *outgoing, ok bool) {
	if !ok {
		o.dropped++
		o.beats = nil // what they tell is told again
		if out.asking != nil {
			out.asking.fail()
		}
		return
	}
	o.sent++
	if out.tag == o.control {
		o.onBus = out.header.number
	}
	if out.tells {
		o.numbers.told = out.header.number
	}
}
