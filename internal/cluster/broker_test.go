package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
)

// memory is a broker of one process. It delivers within Publish, and may lose messages.
type memory struct {
	mu      sync.Mutex
	subs    map[string][]*sub
	carried []carried // everything that was published, if record is set
	record  bool
	lose    func(topic string, data []byte) (lost bool) // may be nil
}

type carried struct {
	topic string
	data  []byte
}

type sub struct {
	mu      sync.Mutex
	ended   bool
	message func([]byte)
	gap     func()
}

var errDown = errors.New("the broker is down")

func (b *memory) Publish(_ context.Context, topic string, data []byte) error {
	b.mu.Lock()
	if b.record {
		b.carried = append(b.carried, carried{topic, slices.Clone(data)})
	}
	lost := b.lose != nil && b.lose(topic, data)
	b.mu.Unlock()
	if !lost {
		b.inject(topic, data)
	}
	return nil
}

func (b *memory) subscriptions(topic string) []*sub {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.subs[topic])
}

// inject has all who have subscribed to the topic hear data.
func (b *memory) inject(topic string, data []byte) {
	for _, s := range b.subscriptions(topic) {
		s.mu.Lock()
		if !s.ended {
			s.message(slices.Clone(data))
		}
		s.mu.Unlock()
	}
}

func (b *memory) Subscribe(_ context.Context, topic string, message func([]byte), gap func()) (func(), error) {
	s := &sub{message: message, gap: gap}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.subs == nil {
		b.subs = make(map[string][]*sub)
	}
	b.subs[topic] = append(b.subs[topic], s)
	return func() {
		b.mu.Lock()
		b.subs[topic] = slices.DeleteFunc(b.subs[topic], func(x *sub) bool { return x == s })
		if len(b.subs[topic]) == 0 {
			delete(b.subs, topic)
		}
		b.mu.Unlock()
		s.mu.Lock()
		s.ended = true
		s.mu.Unlock()
	}, nil
}

// set changes the broker.
func (b *memory) set(change func(b *memory)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(b)
}

// topicCount returns how many topics are subscribed to.
func (b *memory) topicCount() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.subs)
}

// port is a broker as one node reaches it. It can be harmed apart from the others'.
type port struct {
	*memory
	mu   sync.Mutex
	deaf bool          // nothing is heard
	mute bool          // what is published is lost
	down bool          // calls fail
	hang bool          // calls wait for their context
	slow time.Duration // what calls take
	late time.Duration // what Subscribe takes
}

func (p *port) state() (deaf, mute, down, hang bool, slow time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.deaf, p.mute, p.down, p.hang, p.slow
}

func (p *port) set(change func(p *port)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// trouble returns how a call fails.
func (p *port) trouble(ctx context.Context) error {
	_, _, down, hang, slow := p.state()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if slow > 0 {
		time.Sleep(slow)
	}
	if down {
		return errDown
	}
	return ctx.Err()
}

func (p *port) Publish(ctx context.Context, topic string, data []byte) error {
	if err := p.trouble(ctx); err != nil {
		return err
	}
	if _, mute, _, _, _ := p.state(); mute {
		return nil
	}
	return p.memory.Publish(ctx, topic, data)
}

func (p *port) Subscribe(ctx context.Context, topic string, message func([]byte), gap func()) (func(), error) {
	if err := p.trouble(ctx); err != nil {
		return nil, err
	}
	time.Sleep(p.late)
	return p.memory.Subscribe(ctx, topic, func(data []byte) {
		if deaf, _, _, _, _ := p.state(); !deaf {
			message(data)
		}
	}, gap)
}

var testKey = []byte("0123456789abcdef0123456789abcdef")

// process is a node of a test, and what it was told.
type process struct {
	*Node
	t      *testing.T
	port   *port
	mu     sync.Mutex
	heard  []Message
	gaps   []Topic
	answer func(ctx context.Context, kind Kind, data []byte) []byte
}
