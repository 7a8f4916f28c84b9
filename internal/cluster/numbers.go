package cluster

import (
	"encoding/binary"
	"time"
)

// numbers are what this node says of the order of its messages. Each message has a number, which
// rises, and the number of the message before it on its topic, so that a receiver sees what it has
// missed. Heartbeats tell the last numbers of the topics used since the heartbeat before, for what
// nothing follows.
type numbers struct {
	last   uint64
	told   uint64 // the number of the last heartbeat that the broker has taken
	copied uint64 // the last number of a message on several topics
	topics map[tag]usedTopic
}

type usedTopic struct {
	number uint64
	at     time.Time
	inbox  bool // answers are not told of in heartbeats: who asks knows what is missing
}

const (
	// maxUsedTopics bounds what is remembered of topics. A topic that is forgotten too early loses
	// no message: what is lost on it at that moment is not noticed.
	maxUsedTopics = 1 << 16
	// usedFor is for how long a topic is remembered that heartbeats have told of.
	usedFor = 10 * time.Second
)

// next returns the number of a message on the topic, and of the one before it.
func (n *numbers) next(t tag, now time.Time, inbox bool) (number, previous uint64) {
	used, ok := n.topics[t]
	if !ok && len(n.topics) >= maxUsedTopics {
		n.forgetOne()
	}
	n.last++
	n.topics[t] = usedTopic{n.last, now, inbox}
	return n.last, used.number
}

// nextControl returns the number of a message on the control topic. The one before it is known to
// the caller, because only what the broker has taken counts: the next heartbeat repeats the others.
func (n *numbers) nextControl() uint64 {
	n.last++
	return n.last
}

// nextCopied returns the number that the copies of one message share.
func (n *numbers) nextCopied() uint64 {
	n.copied++
	return n.copied
}

// forgetOne forgets a topic, one that needs no heartbeat if that is found soon.
func (n *numbers) forgetOne() {
	var any tag
	tries := 0
	for t, used := range n.topics {
		any = t
		if tries++; used.number <= n.told || tries == 16 {
			break
		}
	}
	delete(n.topics, any)
}

// counters returns the topics used since the last heartbeat that the broker has taken, in the form
// of a heartbeat, and forgets those that have not been used for long.
func (n *numbers) counters(now time.Time) (b []byte) {
	for t, used := range n.topics {
		switch {
		case used.number > n.told && !used.inbox:
			b = append(b, t[:]...)
			b = binary.BigEndian.AppendUint64(b, used.number)
		case now.Sub(used.at) > usedFor:
			delete(n.topics, t)
		}
	}
	return b
}
