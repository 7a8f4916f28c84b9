package redisstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// connection is one connection of a bus, until it fails for the first time.
type connection struct {
	bus    *bus
	pubsub *redis.PubSub
	wake   chan struct{} // what is to be sent has changed

	// Guarded by bus.mu.
	told  map[string]*told
	dirty map[string]struct{} // the channels for which told may not be what is wanted
	pings uint64              // how many were sent
	asked uint64              // the ping that has to be sent at once
}

// told is what Redis was told of a channel.
type told struct {
	subscribed bool // what it was told last
	pending    int  // how many answers are to come
}

var (
	errConnection = errors.New("redisstore: the connection was subscribed anew")
	ended         = func() context.Context {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		return ctx
	}()
)

// connectTimeout is how long it may take to connect.
const connectTimeout = 3 * time.Second

// serve makes one connection and uses it until it fails or ctx ends.
func (b *bus) serve(ctx context.Context) error {
	conn := &connection{bus: b, wake: make(chan struct{}, 1), told: make(map[string]*told), dirty: make(map[string]struct{})}
	if err := conn.connect(ctx); err != nil {
		return err
	}
	var both sync.WaitGroup
	defer both.Wait()
	defer conn.pubsub.Close()
	b.mu.Lock()
	if ctx.Err() != nil {
		b.mu.Unlock()
		return ctx.Err()
	}
	b.conn = conn
	for name := range b.channels {
		conn.dirty[name] = struct{}{}
	}
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.conn == conn {
			b.conn = nil
		}
	}()
	life, cancel := context.WithCancel(ctx)
	defer cancel()
	both.Go(func() { conn.write(life) })
	closed := context.AfterFunc(ctx, func() { _ = conn.pubsub.Close() })
	defer closed()
	return conn.receive(ctx)
}

// connect makes the connection, in a cluster to any of its masters: they pass on to each other what
// is published.
func (c *connection) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	client := c.bus.client
	if cluster, ok := client.(*redis.ClusterClient); ok {
		master, err := cluster.MasterForKey(ctx, strconv.FormatUint(rand.Uint64(), 36))
		if err != nil {
			return fmt.Errorf("redisstore: %w", err)
		}
		client = master
	}
	c.pubsub = client.Subscribe(ctx) // to nothing: it does nothing yet
	if err := c.pubsub.Ping(ctx, "0"); err != nil {
		_ = c.pubsub.Close()
		return fmt.Errorf("redisstore: %w", err)
	}
	return nil
}

// want notes that a channel may have to be subscribed to, or not any more.
func (c *connection) want(name string) {
	c.dirty[name] = struct{}{}
	c.wakeUp()
}

func (c *connection) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// batch is how many channels one command names at most.
const batch = 500

// write sends what is wanted, and pings, until ctx ends or the connection fails.
func (c *connection) write(ctx context.Context) {
	ticker := time.NewTicker(c.bus.ping)
	defer ticker.Stop()
	for due := false; ; {
		if !c.send(due) {
			_ = c.pubsub.Close() // so that receive ends
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
			due = false
		case <-ticker.C:
			due = true
		}
	}
}

// send sends what is wanted by now, and a ping if one is due or was asked for. It reports whether
// that worked.
func (c *connection) send(due bool) bool {
	for {
		subscribe, unsubscribe, more := c.next()
		if len(subscribe) > 0 && c.pubsub.Subscribe(ended, subscribe...) != nil {
			return false
		}
		if len(unsubscribe) > 0 && c.pubsub.Unsubscribe(ended, unsubscribe...) != nil {
			return false
		}
		if !more {
			break
		}
	}
	c.bus.mu.Lock()
	due = due || c.asked > c.pings
	if due {
		c.pings++
	}
	number := c.pings
	c.bus.mu.Unlock()
	return !due || c.pubsub.Ping(ended, strconv.FormatUint(number, 10)) == nil
}

// next returns the channels to subscribe to, and those that nobody listens to any more, and notes
// that Redis is told.
func (c *connection) next() (subscribe, unsubscribe []string, more bool) {
	c.bus.mu.Lock()
	defer c.bus.mu.Unlock()
	for name := range c.dirty {
		if len(subscribe)+len(unsubscribe) == batch {
			return subscribe, unsubscribe, true
		}
		delete(c.dirty, name)
		wanted := c.bus.channels[name] != nil
		t := c.told[name]
		if t == nil {
			t = new(told)
		}
		if t.subscribed == wanted {
			continue
		}
		c.told[name] = t
		t.subscribed = wanted
		t.pending++
		if wanted {
			subscribe = append(subscribe, name)
		} else {
			unsubscribe = append(unsubscribe, name)
		}
	}
	return subscribe, unsubscribe, false
}

// receive hears what Redis sends until the connection fails or is closed.
func (c *connection) receive(ctx context.Context) error {
	for {
		reply, err := c.pubsub.ReceiveTimeout(ended, c.bus.quiet)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("redisstore: %w", err)
		}
		switch reply := reply.(type) {
		case *redis.Message:
			for _, l := range c.listeners(reply.Channel) {
				l.message(reply.Payload)
			}
		case *redis.Subscription:
			if err := c.confirmed(reply); err != nil {
				return err
			}
		case *redis.Pong:
			c.pong(reply.Payload)
		}
	}
}

func (c *connection) listeners(name string) []*listener {
	c.bus.mu.Lock()
	defer c.bus.mu.Unlock()
	if of := c.bus.channels[name]; of != nil && c.bus.conn == c {
		return of.listeners
	}
	return nil
}

// confirmed notes an answer to a command of write.
func (c *connection) confirmed(s *redis.Subscription) error {
	c.bus.mu.Lock()
	t := c.told[s.Channel]
	if t == nil || t.pending == 0 {
		c.bus.mu.Unlock()
		return errConnection
	}
	if t.pending--; t.pending > 0 {
		c.bus.mu.Unlock()
		return nil
	}
	if !t.subscribed {
		delete(c.told, s.Channel)
	}
	c.bus.mu.Unlock()
	c.settle(s.Channel)
	return nil
}

// settle tells those who listen to a channel that they hear it now, if Redis has confirmed that.
func (c *connection) settle(name string) {
	type news struct {
		l     *listener
		again bool
	}
	var all []news
	c.bus.mu.Lock()
	of, t := c.bus.channels[name], c.told[name]
	if of != nil && c.bus.conn == c && t != nil && t.subscribed && t.pending == 0 {
		for _, l := range of.listeners {
			if l.conn != c {
				all = append(all, news{l, l.heard})
				l.conn, l.heard = c, true
			}
		}
	}
	c.bus.mu.Unlock()
	for _, n := range all {
		n.l.subscribed(n.again)
	}
}

func (c *connection) pong(payload string) {
	ping, err := strconv.ParseUint(payload, 10, 64)
	if err != nil {
		return
	}
	var all []*listener
	c.bus.mu.Lock()
	if c.bus.conn == c {
		all = c.bus.ponged
	}
	c.bus.mu.Unlock()
	for _, l := range all {
		l.pong(ping)
	}
}
