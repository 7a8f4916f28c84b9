package redisstore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Publish sends data to all who have subscribed to the topic, in this process too; see
// socketauth.Broker. A message that is published while Redis cannot be reached is lost, and one
// whose Publish has returned an error may have been sent all the same. Topics and data may be any
// bytes.
func (s *Store) Publish(ctx context.Context, topic string, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	name := s.topic(topic)
	client := s.client
	if cluster, ok := client.(*redis.ClusterClient); ok {
		// Always by the same master, which keeps the order of what is published on the topic.
		master, err := cluster.MasterForKey(ctx, name)
		if err != nil {
			return s.failed(ctx, err)
		}
		client = master
	}
	if err := client.Process(ctx, publication{redis.NewIntCmd(ctx, "publish", name, data)}); err != nil {
		return s.failed(ctx, err)
	}
	return nil
}

// publication is a PUBLISH that is not sent again if the reply is lost, so that nothing is heard
// twice.
type publication struct{ *redis.IntCmd }

// NoRetry implements redis.Cmder.
func (publication) NoRetry() bool { return true }

// topic returns the channel of a topic.
func (s *Store) topic(topic string) string { return s.o.Prefix + "topic:" + topic }

// Subscribe calls message with what is published on the topic, and gap whenever messages may have
// been lost, until cancel; see socketauth.Broker. It waits for Redis until ctx ends. gap is called
// once the subscription works again, so that whatever is published later is heard. If the functions
// are so slow that 4 MiB of messages wait for them, more are dropped, which is a gap too.
//
// cancel waits for a function that is running, so it must not be called within one of the
// subscription's own.
func (s *Store) Subscribe(ctx context.Context, topic string, message func(data []byte), gap func()) (cancel func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	in := newInbox(message, gap)
	ready, refused := make(chan struct{}), make(chan error, 1)
	l := &listener{
		message: func(payload string) { in.put([]byte(payload), len(payload)) },
		subscribed: func(again bool) {
			if again {
				in.putGap()
			} else {
				close(ready)
			}
		},
		refused: func(err error) {
			select {
			case refused <- err:
			default:
			}
		},
	}
	name := s.topic(topic)
	if err := s.bus.add(name, l); err != nil {
		return nil, err
	}
	cancel = sync.OnceFunc(func() {
		s.bus.remove(name, l)
		in.end()
	})
	select {
	case <-ready:
		return cancel, nil
	case err = <-refused:
	case <-s.bus.life.Done():
		err = errClosed
	case <-ctx.Done():
		err = fmt.Errorf("redisstore: not subscribed: %w", errors.Join(ctx.Err(), s.bus.why()))
	}
	cancel()
	return nil, err
}

// Close ends what runs in the background for Watch and Subscribe, all of which return an error from
// then on; it waits for it, but not for functions that were passed to them. Without a call of them
// nothing runs, and after the last was cancelled nothing does, so that Close is not needed then.
// The client stays the caller's to close.
func (s *Store) Close() error {
	s.bus.close()
	return nil
}
