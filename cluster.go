package socketauth

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/z-open/socketauth/internal/cluster"
	"github.com/z-open/socketauth/internal/deadline"
	"github.com/z-open/socketauth/internal/hub"
	"github.com/z-open/socketauth/internal/logonce"
	"github.com/z-open/socketauth/internal/serialqueue"
	"github.com/z-open/socketauth/internal/throttle"
	"github.com/z-open/socketauth/internal/workers"
)

// Cluster joins the processes of one app, so that emits, receipts and limits on guessing reach
// across them. Its zero value is an app of one process.
type Cluster struct {
	// Broker carries messages between the processes. All of them must use the same one, and share
	// Options.Blacklist, which must be set. Every message is authenticated with a key that is
	// derived from Key or Options.Secret; all others are ignored. If nil, the process is on its own.
	Broker Broker

	// Advertise is the URL at which the other processes reach this one directly, past the load
	// balancer, such as "http://10.0.0.5:8080": a scheme, a host and perhaps a port, and nothing
	// else. A process that is sent a polling request of another's connection, or the handshake of its
	// websocket, passes it on to there. The second process takes the client's address from the first
	// instead of asking ClientIP.
	// If empty, requests are not passed on to this process; clients that poll then need a load
	// balancer that sends each of them to the same process.
	Advertise string

	// Key is at least 32 random bytes, the same in all processes, from which the keys of the cluster
	// are derived. If nil, they are derived from Options.Secret. It is required with Broker
	// if Secret is not set.
	Key []byte

	// MaxStale is for how long the process may hear nothing of the blacklist before it disconnects
	// its sockets, whose sessions may have ended meanwhile. Clients reconnect by themselves. It is at
	// least 3 seconds. The default is 0: the sockets stay.
	MaxStale time.Duration

	// ReceiptTimeout is for how long a revocation waits for the other processes to say what they
	// have closed. The default is 500 milliseconds.
	ReceiptTimeout time.Duration
}

// LogValue keeps the key out of logs.
func (c Cluster) LogValue() slog.Value { return slog.StringValue("socketauth.Cluster") }

// Format keeps the key out of the output of package fmt.
func (c Cluster) Format(f fmt.State, _ rune) { fmt.Fprint(f, "socketauth.Cluster") }

// MarshalJSON keeps the key out of logs in JSON.
func (c Cluster) MarshalJSON() ([]byte, error) { return json.Marshal("socketauth.Cluster") }

// Broker carries messages between the processes of one app: each at most once, and those of one
// publisher on one topic in order. It stores nothing: who has not subscribed when a message is
// published does not get it. An implementation needs nothing of this package; package brokertest
// has the tests that each has to pass. The library does not close it. A Broker is safe for
// concurrent use.
type Broker interface {
	// Publish sends data, of at most 1 MiB, to all who have subscribed to the topic, in this process
	// too. Topics are at most 64 letters, digits, "-" and "_". ctx bounds this call. Publish does not
	// keep data.
	Publish(ctx context.Context, topic string, data []byte) error

	// Subscribe calls message with what is published on the topic from now on, and gap whenever
	// messages may have been lost, such as after the connection broke, or if too many were waiting
	// for message. It returns once nothing is missed any more. ctx bounds this call alone; cancel
	// ends the subscription, and waits for a call that is running.
	//
	// The functions of one subscription are called one at a time. They return soon, and data is
	// theirs to keep. cancel is not called within them.
	Subscribe(ctx context.Context, topic string, message func(data []byte), gap func()) (cancel func(), err error)
}

// A Receipt says what a revocation has ended, or what a refresh has reached. Of several revocations
// of a session at the same time, one counts it, and each of its sockets is counted by one.
type Receipt struct {
	Sessions int `json:"sessions"` // sessions that were alive; after RevokeAll, at least so many
	Sockets  int `json:"sockets"`  // sockets that were closed or held, in the processes that have answered
	Nodes    int `json:"nodes"`    // the processes that have answered, this one included

	// Unheard names the processes that have not answered within ReceiptTimeout, as Stats.Nodes does.
	// They may have sockets of the sessions that are still open. It has "unknown" if this process
	// has not found the others yet, or the Broker cannot be reached.
	Unheard []string `json:"unheard,omitempty"`
}

// Peer is a socket that is connected to one of the processes of the app.
type Peer struct {
	UserID    string    `json:"userId"`
	SessionID string    `json:"sessionId"`
	Since     time.Time `json:"since"` // when it connected, by the clock of its process

	// Node names the process, as Stats.Nodes does. It is empty without Options.Cluster.
	Node string `json:"node,omitempty"`
}

// clusterConfig is Cluster, checked and with defaults.
type clusterConfig struct {
	broker         Broker
	advertise      string
	key            []byte // 32 bytes, which other keys are derived from; nil without a Broker
	maxStale       time.Duration
	receiptTimeout time.Duration
}

// minMaxStale is more than the 2 seconds within which a store that processes share says that it has
// missed nothing.
const minMaxStale = 3 * time.Second

// check returns the configuration with its defaults, and calls fault for each option that is not
// valid. duration does so for durations, and returns the default for zero.
func (c Cluster) check(
	secret []byte, shared bool, fault func(format string, args ...any),
	duration func(name string, d, standard time.Duration) time.Duration,
) clusterConfig {
	config := clusterConfig{
		broker:         c.Broker,
		advertise:      c.Advertise,
		maxStale:       duration("Cluster.MaxStale", c.MaxStale, 0),
		receiptTimeout: duration("Cluster.ReceiptTimeout", c.ReceiptTimeout, 500*time.Millisecond),
	}
	if time.Millisecond <= c.MaxStale && c.MaxStale < minMaxStale {
		fault("Cluster.MaxStale is %v, less than %v: sockets would end although nothing is wrong", c.MaxStale, minMaxStale)
	}
	if c.Advertise != "" {
		if err := cluster.CheckAddress(c.Advertise); err != nil {
			fault("Cluster.Advertise %q: %w", c.Advertise, err)
		}
	}
	if c.Key != nil && len(c.Key) < 32 {
		fault("Cluster.Key has %d bytes and needs at least 32 random ones", len(c.Key))
	}
	switch {
	case c.Broker == nil:
		return config
	case isNilPointer(c.Broker):
		fault("Cluster.Broker is a nil %T, not nil", c.Broker)
	}
	if !shared {
		fault("Cluster.Broker is set without Blacklist: the processes must share a store that is not in memory")
	}
	if c.Key == nil && secret == nil {
		fault("Cluster.Broker needs Cluster.Key, because Secret is not set: 32 random bytes that all processes share")
	}
	if c.Key != nil {
		secret = c.Key
	}
	// Other uses in the cluster derive their keys from this one, each with an info of its own.
	key, err := hkdf.Key(sha256.New, secret, nil, "socketauth cluster v1", sha256.Size) // RFC 5869
	if err != nil {
		fault("deriving the key of the cluster: %w", err)
	}
	config.key = key
	return config
}

// isNilPointer reports whether an interface holds a nil pointer, which its methods cannot use.
func isNilPointer(v any) bool {
	of := reflect.ValueOf(v)
	return of.Kind() == reflect.Pointer && of.IsNil()
}

// The kinds of messages between processes and of questions.
const (
	kindEmit      cluster.Kind = iota + 1 // an event for sockets
	kindRevoked                           // asks what was closed because sessions were revoked
	kindSockets                           // asks which sockets are in a target
	kindCounts                            // asks how many sockets sessions have
	kindFailures                          // tells what has failed
	kindRefreshed                         // asks which sockets were told that their claims are out of date
	kindVolatile                          // an event for sockets that are not slow
)

// bus reaches the other processes of the app.
type bus struct {
	config  cluster.Config
	deliver func(m cluster.Message)
	timeout time.Duration // for questions

	failures failures

	run  atomic.Pointer[busRun] // nil before the first start
	full logonce.Minute         // limits how often it is logged that an inbox is full

	mu     sync.Mutex
	closed bool
	joined map[cluster.Topic]int
}

// busRun is what runs of a bus from start to close.
type busRun struct {
	*cluster.Node
	inbox  serialqueue.Queue  // messages of others, so that the broker does not wait for their delivery
	runner serialqueue.Runner // runs inbox
	work   sync.WaitGroup     // counts the goroutine of inbox, and that which exchanges failures
	stop   context.CancelFunc // ends the latter
}

// inboxLimits is how much may wait to be delivered to this process's sockets.
var inboxLimits = serialqueue.Limits{Items: 4096, Cost: 16 << 20}

// newBus returns a bus that calls deliver with the messages of other processes, in order for each
// of them and topic, and answer with their questions. It does nothing before it is started.
func newBus(
	c clusterConfig, log *slog.Logger, attempts *throttle.Guard, deliver func(m cluster.Message),
	answer func(ctx context.Context, kind cluster.Kind, data []byte) []byte,
) *bus {
	return &bus{
		config: cluster.Config{
			Broker: c.broker, Key: c.key, Advertise: c.advertise, Keep: c.maxStale, Logger: log, Answer: answer,
		},
		deliver:  deliver,
		timeout:  c.receiptTimeout,
		failures: failures{guard: attempts, log: log},
		joined:   make(map[cluster.Topic]int),
	}
}

// start has the bus listen. If it was closed, it is only started if again is set, and then has
// another name. It returns nil if it is closed.
func (b *bus) start(again bool) (*busRun, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	run := b.run.Load()
	switch {
	case b.closed && !again:
		return nil, nil
	case run != nil && !b.closed:
		return run, nil
	}
	run = new(busRun)
	run.runner.Work = &run.work
	config := b.config
	config.Deliver = func(m cluster.Message) { b.take(run, m) }
	var err error
	if run.Node, err = cluster.New(config); err != nil {
		return nil, err
	}
	for topic, n := range b.joined {
		if n > 0 {
			run.Join(topic)
		}
	}
	run.Join(failuresTopic)
	b.run.Store(run)
	b.closed = false
	run.Start()
	var ctx context.Context
	ctx, run.stop = context.WithCancel(context.Background())
	run.work.Go(func() { b.failures.exchange(ctx, run.Node) })
	return run, nil
}

// take queues a message of another process. If too many wait, it is lost.
func (b *bus) take(run *busRun, m cluster.Message) {
	if m.Kind == kindFailures { // at once, whatever else waits
		b.failures.hear(m)
		return
	}
	if run.inbox.Push(&run.runner, inboxLimits, len(m.Data), workers.Func(func() { b.deliver(m) })) == nil {
		return
	}
	if unsaid, now := b.full.Allow(); now {
		b.config.Logger.Warn("socketauth: other processes send more than this one can pass on to its sockets; some of it is lost",
			slog.Int("more_since_last", unsaid))
	}
}

// close ends what runs in the background, and waits for that or for the end of ctx. It does nothing
// if the bus is used.
func (b *bus) close(ctx context.Context, used func() bool) error {
	b.mu.Lock()
	run := b.run.Load()
	if used() {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	b.mu.Unlock()
	if run == nil {
		return nil
	}
	run.stop()
	err := run.Close(ctx)
	if err == nil {
		err = deadline.Wait(ctx, &run.work)
	}
	return err
}

// join counts one more group of a server with members, so that what others send to it is heard.
func (b *bus) join(g hub.Group) { b.count(cluster.Topic(g), 1) }

// leave undoes one join. If both happen at the same time, it may be called first.
func (b *bus) leave(g hub.Group) { b.count(cluster.Topic(g), -1) }

func (b *bus) count(t cluster.Topic, by int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before := b.joined[t]
	n := before + by
	if n == 0 {
		delete(b.joined, t)
	} else {
		b.joined[t] = n
	}
	switch run := b.run.Load(); {
	case run == nil:
	case before == 0 && n == 1:
		run.Join(t)
	case before == 1 && n == 0:
		run.Leave(t)
	}
}

// joinWait is how long await waits at most.
const joinWait = 500 * time.Millisecond

// await waits until what others send to the groups is heard, if this process has members of them.
// It does not wait while the broker is out of reach.
func (b *bus) await(ctx context.Context, groups []hub.Group) {
	if run := b.run.Load(); run != nil {
		ctx, cancel := context.WithTimeout(ctx, joinWait)
		defer cancel()
		run.Await(ctx, topicsOf(groups)...)
	}
}

func topicsOf(groups []hub.Group) []cluster.Topic {
	topics := make([]cluster.Topic, len(groups))
	for i, g := range groups {
		topics[i] = cluster.Topic(g)
	}
	return topics
}

// send sends a message to the processes that have sockets in the groups.
func (b *bus) send(kind cluster.Kind, data []byte, groups []hub.Group) {
	if run := b.run.Load(); run != nil {
		run.Send(kind, data, topicsOf(groups)...)
	}
}

// ask asks all other processes, for at most ReceiptTimeout, and returns their answers and the names
// of those that have not answered. take is called with each answer, and returns false if it cannot
// be read.
func (b *bus) ask(ctx context.Context, kind cluster.Kind, data []byte, take func(node string, data []byte) bool) (heard int, unheard []string) {
	run, err := b.start(false)
	if err != nil || run == nil {
		return 0, []string{cluster.Unknown}
	}
	ctx, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	answers, unheard := run.Ask(ctx, kind, data)
	for _, a := range answers {
		if take(a.Node, a.Data) {
			heard++
		} else {
			unheard = append(unheard, a.Node)
		}
	}
	slices.Sort(unheard)
	return heard, unheard
}

// name returns the name of this process.
func (b *bus) name() string {
	if run := b.run.Load(); run != nil {
		return run.Name()
	}
	return ""
}

// addTo adds the processes and what was sent between them to s.
func (b *bus) addTo(s *Stats) {
	node := b.run.Load()
	if node == nil {
		return
	}
	self := cluster.Member{Name: node.Name(), Address: b.config.Advertise, Heard: time.Now()}
	for _, m := range append([]cluster.Member{self}, node.Members()...) {
		s.Nodes = append(s.Nodes, struct {
			Name      string    `json:"name"`
			Advertise string    `json:"advertise,omitempty"`
			Prefix    string    `json:"prefix,omitempty"` // of the ids of its connections in requests; depends on Advertise and the key alone
			Heard     time.Time `json:"heard"`
			Silent    bool      `json:"silent"`
		}{m.Name, m.Address, "", m.Heard, m.Silent})
	}
	n := node.Stats()
	s.Bus.Sent, s.Bus.Dropped, s.Bus.Received = n.Sent, n.Dropped, n.Received
	s.Bus.Rejected, s.Bus.Gaps, s.Bus.Queued = n.Rejected, n.Gaps, n.Queued
}
