package cluster

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
)

// memory is a broker of one process. It delivers within Publish, and can be harmed.
type memory struct {
	mu      sync.Mutex
	subs    map[string][]*sub
	carried []carried // everything that was published, if record is set
	record  bool
	down    bool                                        // Publish and Subscribe fail
	hang    bool                                        // they wait for their context
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

func (b *memory) trouble(ctx context.Context) error {
	b.mu.Lock()
	down, hang := b.down, b.hang
	b.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	if down {
		return errDown
	}
	return ctx.Err()
}

func (b *memory) Publish(ctx context.Context, topic string, data []byte) error {
	if err := b.trouble(ctx); err != nil {
		return err
	}
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

// inject has all who have subscribed to the topic hear data.
func (b *memory) inject(topic string, data []byte) {
	b.mu.Lock()
	subs := slices.Clone(b.subs[topic])
	b.mu.Unlock()
	for _, s := range subs {
		s.mu.Lock()
		if !s.ended {
			s.message(slices.Clone(data))
		}
		s.mu.Unlock()
	}
}

func (b *memory) Subscribe(ctx context.Context, topic string, message func([]byte), gap func()) (func(), error) {
	if err := b.trouble(ctx); err != nil {
		return nil, err
	}
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

// topics returns how many topics are subscribed to.
func (b *memory) topicCount() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.subs)
}

var testKey = []byte("0123456789abcdef0123456789abcdef")

// process is a node of a test, and what it was told.
type process struct {
	*Node
	t      *testing.T
	mu     sync.Mutex
	heard  []Message
	gaps   []Topic
	answer func(ctx context.Context, kind Kind, data []byte) []byte
}

func (p *process) messages() []Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.heard)
}

func (p *process) texts() (texts []string) {
	for _, m := range p.messages() {
		texts = append(texts, string(m.Data))
	}
	return texts
}

func (p *process) lostOn() []Topic {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.gaps)
}
