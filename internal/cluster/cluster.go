// Package cluster is the bus between the processes of one app. Each process has a Node. The nodes
// find each other by heartbeats, send messages on topics, and ask each other questions, through a
// broker that they do not trust: every message has a MAC.
//
// What a node knows and decides is in pure state machines (members, topics, questions, outbox):
// they do no I/O, take no lock and start no goroutine, and time is passed in. Node is the shell
// around them.
//
// # Messages
//
// A message goes on one topic of the broker, whose name is a keyed hash. It has the name and run of
// its sender, a number that rises with every message of the sender, the number of the sender's
// message before it on the topic, its time, and an HMAC-SHA256 over all that and the topic.
//
// Numbers show what was heard before and what is missing. A heartbeat, which a node sends once a
// second, tells the last numbers on the topics used since the heartbeat before, so that it also
// shows if the last message on a topic was lost. It names the runs of all nodes that its sender
// knows.
//
// # Recorded messages
//
// A node listens to another once a heartbeat of that names its own run, which is random: the other
// one is alive. From then on it takes only higher numbers, on each topic. On one that it has just
// subscribed to, they must be higher than what it had heard of the other one before. Nodes that are
// gone are remembered until no message of theirs can be in the window of time any more.
//
// # Clocks
//
// The clocks of all processes must be within 30 seconds of each other.
package cluster

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Broker carries messages between processes; see socketauth.Broker.
type Broker interface {
	Publish(ctx context.Context, topic string, data []byte) error
	Subscribe(ctx context.Context, topic string, message func(data []byte), gap func()) (cancel func(), err error)
}

// Topic is what a message is sent on. Its Kind is not 0. The broker sees neither of the two.
type Topic struct {
	Kind byte // such as 'r' for a room
	Name string
}

// control is the topic of heartbeats and questions. The inbox of a node, on which it gets answers,
// is another topic of kind 0.
var control = Topic{}

// Kind says what a message or a question is about. The caller declares its kinds.
type Kind byte

// Message is a message of another node.
type Message struct {
	Node  string // the name of the node
	Kind  Kind
	Topic Topic  // one of those that it was sent on
	Data  []byte // the receiver may keep it
}

// Answer is what another node has answered.
type Answer struct {
	Node string // its name
	Data []byte
}

// Member is another node that may serve clients.
type Member struct {
	Name    string
	Address string    // a base URL, or "" if it advertises none or no valid one
	Since   time.Time // when this node has found it; zero if it does not hear this node
	Heard   time.Time // when it was last heard
	Silent  bool      // it was not heard for 3 seconds, or does not hear this node
}

// Stats counts messages since the node was made. Messages are counted for each topic they go on.
type Stats struct {
	Sent     uint64 // taken by the broker
	Dropped  uint64 // the queue was full, or the broker was out of reach
	Received uint64 // of other nodes, heartbeats included
	Unknown  uint64 // not taken because their sender and this node have only just found each other
	Rejected uint64 // forged, too old, repeated or malformed
	Gaps     uint64 // how often messages were missing
	Queued   int    // waiting now
	Topics   int    // that are, or are about to be, subscribed to
}

// NameLength is that of the names of nodes.
const NameLength = 8

// Unknown is among those who have not answered a question if this node cannot know yet which other
// nodes there are. It is not the name of a node.
const Unknown = "unknown"

// Config configures a Node. Broker, Key and Logger are required.
type Config struct {
	Broker Broker

	// Key are 32 secret bytes, the same in all nodes of the app.
	Key []byte

	// Advertise is where the other processes reach this one: a URL that CheckAddress accepts, or "".
	Advertise string

	// Keep is for how long a silent member stays listed. The default is 10 minutes.
	Keep time.Duration

	Logger *slog.Logger

	// Deliver is called with each message of another node on a topic that this one has joined: one
	// at a time and in order for each sender and topic, as long as the topic stays joined, and at the
	// same time for others. It returns soon. If nil, messages are ignored.
	Deliver func(m Message)

	// Answer answers a question of another node. Several calls run at the same time, each in a
	// goroutine of its own. ctx ends when nobody waits for the answer any more. If nil, all answers
	// are empty.
	Answer func(ctx context.Context, kind Kind, data []byte) []byte

	// Gap is called if messages on a topic may have been lost, at any time and not for each of them.
	// The zero Topic stands for all topics. If nil, gaps are only counted.
	Gap func(topic Topic)
}

// The faults of a Config.
var (
	errNoBroker = errors.New("cluster: no broker")
	errNoLogger = errors.New("cluster: no logger")
)
