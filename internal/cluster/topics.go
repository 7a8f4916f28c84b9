package cluster

import (
	"container/list"
	"time"
)

// topics are the subscriptions that this node has and wants. It is a state machine without I/O: the
// caller carries out what next returns, and says how it went.
//
//	           next                ok
//	none -------------> asked -----------> subscribed
//	 ^  <-------------   |                     |
//	 |      failed       |                     | next, once nobody is joined
//	 |                   v                     v
//	 +---------------------------------- cancelling
//	              cancelled
type topics struct {
	byTopic   map[Topic]*topic
	byTag     map[tag]*topic
	wanted    list.List // of *topic: to be subscribed to, the one that waits longest first
	unwanted  list.List // of *topic: to be cancelled
	asked     int       // how many subscriptions are being made
	ending    int       // how many are being cancelled
	failures  int       // in a row
	retryAt   time.Time
	closed    bool
	subscribe func(time.Time, *topic) // called when one has been made
	forget    func(*topic)            // called when one has been cancelled, or could not be made
}

// topic is one topic that the node has joined, or is about to leave.
type topic struct {
	Topic
	tag    tag
	joined int
	state  subscription
	queue  *list.List    // wanted or unwanted, if it is in one of them
	place  *list.Element // there

	// The events at which the subscription began to be made, and was made. See members.
	begun, made uint64
	madeAt      time.Time

	cancel func()        // the shell's
	ready  chan struct{} // closed by settled; nil if nobody awaits the topic
}

type subscription uint8

const (
	none subscription = iota
	asked
	subscribed
	cancelling
)

const (
	maxAsked   = 8 // subscriptions that are made at the same time; 1 after a failure
	maxEnding  = 8
	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

func newTopics() topics {
	return topics{byTopic: make(map[Topic]*topic), byTag: make(map[tag]*topic)}
}

// join counts one more who wants to hear the topic. tagOf is called if it is new.
func (s *topics) join(name Topic, tagOf func(Topic) tag) *topic {
	t := s.byTopic[name]
	if t == nil {
		t = &topic{Topic: name, tag: tagOf(name)}
		s.byTopic[name], s.byTag[t.tag] = t, t
	}
	t.joined++
	s.consider(t)
	return t
}

// leave counts one less. It does nothing if nobody has joined.
func (s *topics) leave(name Topic) {
	t := s.byTopic[name]
	if t == nil || t.joined == 0 {
		return
	}
	if t.joined--; t.joined == 0 {
		t.settled()
	}
	s.consider(t)
}

// consider puts the topic into the queue where it belongs, and forgets it if nothing has to be done
// about it any more.
func (s *topics) consider(t *topic) {
	var queue *list.List
	switch {
	case t.state == none && t.joined > 0 && !s.closed:
		queue = &s.wanted
	case t.state == subscribed && (t.joined == 0 || s.closed):
		queue = &s.unwanted
	case t.state == none:
		delete(s.byTopic, t.Topic)
		delete(s.byTag, t.tag)
	}
	if t.queue == queue {
		return
	}
	if t.queue != nil {
		t.queue.Remove(t.place)
	}
	if t.queue = queue; queue != nil {
		t.place = queue.PushBack(t)
	}
}

// next returns a topic to subscribe to, whose state then is asked, or to cancel, whose state then
// is cancelling. It returns nil if there is none for now.
func (s *topics) next(now time.Time) *topic {
	if e := s.unwanted.Front(); e != nil && s.ending < maxEnding {
		t := e.Value.(*topic)
		t.state = cancelling
		s.ending++
		s.consider(t)
		return t
	}
	e := s.wanted.Front()
	if e == nil || s.asked >= maxAsked || s.failures > 0 && (s.asked > 0 || now.Before(s.retryAt)) {
		return nil
	}
	t := e.Value.(*topic)
	t.state = asked
	s.asked++
	s.consider(t)
	return t
}

// done says how the subscription to a topic went that next returned.
func (s *topics) done(t *topic, now time.Time, ok bool) {
	s.asked--
	if ok {
		t.state = subscribed
		s.failures = 0
		s.subscribe(now, t)
	} else {
		t.state = none
		s.forget(t)
		s.retryAt = now.Add(min(firstRetry<<min(s.failures, 16), lastRetry))
		s.failures++
	}
	t.settled()
	s.consider(t)
}

// cancelled says that the subscription to a topic has been cancelled that next returned.
func (s *topics) cancelled(t *topic) {
	s.ending--
	t.state = none
	s.forget(t)
	s.consider(t)
}

// close has next return all subscriptions to be cancelled, and no other topics.
func (s *topics) close() {
	s.closed = true
	for _, t := range s.byTopic {
		s.consider(t)
	}
}
