package natstest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// broker is a socketauth.Broker on core NATS.
type broker struct {
	conn   *nats.Conn
	prefix string // of subjects

	mu   sync.Mutex
	subs map[*nats.Subscription]*subscription
	work sync.WaitGroup // the gaps that are being told
}

// subscription is one call of Subscribe. Its lock is held while a function of it is called.
type subscription struct {
	mu    sync.Mutex
	ended bool
	gap   func()
}

// connect returns a broker on a connection of its own.
func connect(url, prefix string, options ...nats.Option) (*broker, error) {
	b := &broker{prefix: prefix, subs: make(map[*nats.Subscription]*subscription)}
	options = append([]nats.Option{
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectBufSize(-1), // nothing is kept for later
		nats.PingInterval(500 * time.Millisecond),
		nats.MaxPingsOutstanding(2),
		nats.ReconnectHandler(func(*nats.Conn) { b.lost(nil) }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrSlowConsumer) && sub != nil {
				b.lost(sub)
			}
		}),
	}, options...)
	var err error
	b.conn, err = nats.Connect(url, options...)
	return b, err
}

func (b *broker) close() {
	b.conn.Close()
	b.work.Wait()
}

// flushTimeout bounds what has no deadline of its own.
const flushTimeout = 10 * time.Second

// flush waits until the server has dealt with all that was sent to it.
func (b *broker) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	return b.conn.FlushWithContext(ctx)
}

// Publish implements socketauth.Broker. Without the flush, a message could be lost with the
// connection and nobody would hear of a gap.
func (b *broker) Publish(ctx context.Context, topic string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.conn.Publish(b.prefix+topic, data); err != nil {
		return err
	}
	return b.flush(ctx)
}

// Subscribe implements socketauth.Broker.
func (b *broker) Subscribe(ctx context.Context, topic string, message func([]byte), gap func()) (func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := &subscription{gap: gap}
	b.mu.Lock()
	sub, err := b.conn.Subscribe(b.prefix+topic, func(m *nats.Msg) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if !s.ended {
			message(m.Data)
		}
	})
	if err == nil {
		b.subs[sub] = s
	}
	b.mu.Unlock()
	if err != nil {
		return nil, err
	}
	cancel := sync.OnceFunc(func() {
		_ = sub.Unsubscribe()
		b.mu.Lock()
		delete(b.subs, sub)
		b.mu.Unlock()
		s.mu.Lock() // waits for a function that is running
		s.ended = true
		s.mu.Unlock()
	})
	if err := b.flush(ctx); err != nil {
		cancel()
		return nil, err
	}
	return cancel, nil
}

// lost tells one subscription, or all, that messages may have been lost.
func (b *broker) lost(of *nats.Subscription) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for sub, s := range b.subs {
		if of != nil && sub != of {
			continue
		}
		b.work.Go(func() {
			// Whoever hears of the gap may rely on hearing what is published from then on.
			_ = b.flush(context.Background())
			s.mu.Lock()
			defer s.mu.Unlock()
			if !s.ended {
				s.gap()
			}
		})
	}
}
