package redisstore

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// bus is what the store hears from Redis: one connection for all subscriptions, of Watch and of
// Subscribe. It is made with the first of them and closed after the last, and made again as often
// as it breaks. It is safe for concurrent use.
//
// go-redis would reconnect and subscribe again without telling, and messages would be missed. To
// prevent that, each call is given a context that has ended already, with which no new connection
// can be made, and a connection that has failed once is given up.
type bus struct {
	client redis.UniversalClient
	ping   time.Duration // how often a sign of life is asked for
	quiet  time.Duration // after which the connection is taken for dead
	broken func()        // called when the connection has failed
	life   context.Context
	end    context.CancelFunc // of life

	mu       sync.Mutex
	channels map[string]*channel
	ponged   []*listener        // those with a function for pongs
	conn     *connection        // nil: none
	stop     context.CancelFunc // ends the goroutines; nil: none run
	cause    error              // why there is no connection
	closed   bool
	work     sync.WaitGroup
}

// channel is a channel of Redis that somebody listens to.
type channel struct{ listeners []*listener }

// listener hears a channel. Its functions are called by the goroutine that receives, and return at
// once.
type listener struct {
	message func(payload string)
	// subscribed is called whenever Redis has confirmed a new subscription; again reports that it
	// is not the first one, so that messages may have been lost.
	subscribed func(again bool)
	pong       func(ping uint64) // may be nil
	// refused is called if Redis does not let this client subscribe.
	refused func(error)

	conn  *connection // on which it has been confirmed; guarded by bus.mu
	heard bool        // whether it ever was; guarded by bus.mu
}

var errClosed = errors.New("redisstore: the store is closed")

// minQuiet is for how long a connection may be quiet at least, however often is polled.
const minQuiet = 300 * time.Millisecond

func newBus(client redis.UniversalClient, poll time.Duration) *bus {
	life, end := context.WithCancel(context.Background())
	return &bus{
		client: client, broken: func() {}, ping: poll / 2, quiet: max(poll+poll/2, minQuiet), life: life, end: end,
		channels: make(map[string]*channel),
	}
}

// add has a listener hear a channel.
func (b *bus) add(name string, l *listener) error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return errClosed
	}
	c := b.channels[name]
	if c == nil {
		c = new(channel)
		b.channels[name] = c
	}
	c.listeners = append(slices.Clip(c.listeners), l) // who receives may be using the old array
	if l.pong != nil {
		b.ponged = append(slices.Clip(b.ponged), l)
	}
	conn := b.conn
	switch {
	case b.stop == nil:
		ctx, stop := context.WithCancel(b.life)
		b.stop = stop
		b.work.Go(func() { b.run(ctx) })
	case conn != nil:
		conn.want(name)
	}
	b.mu.Unlock()
	if conn != nil {
		conn.settle(name) // if Redis has confirmed the channel already
	}
	return nil
}

// remove takes a listener off a channel.
func (b *bus) remove(name string, l *listener) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.channels[name]
	if c == nil {
		return
	}
	c.listeners = without(c.listeners, l)
	b.ponged = without(b.ponged, l)
	if len(c.listeners) > 0 {
		return
	}
	delete(b.channels, name)
	if len(b.channels) == 0 && b.stop != nil {
		b.stop()
		b.stop, b.conn = nil, nil
	} else if b.conn != nil {
		b.conn.want(name)
	}
}

func without(all []*listener, l *listener) []*listener {
	return slices.DeleteFunc(slices.Clone(all), func(other *listener) bool { return other == l })
}

// close ends all, and waits for it. No listener is called any more.
func (b *bus) close() {
	b.mu.Lock()
	b.closed = true
	clear(b.channels)
	b.ponged = nil
	b.stop, b.conn = nil, nil
	b.mu.Unlock()
	b.end()
	b.work.Wait()
}

// goes runs a function in the background, which returns once the bus is closed. close waits for it.
func (b *bus) goes(run func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.work.Go(run)
	}
}

// reconnect gives up the connection, on which something was lost.
func (b *bus) reconnect() {
	b.mu.Lock()
	conn := b.conn
	b.mu.Unlock()
	if conn != nil {
		_ = conn.pubsub.Close()
	}
}

// fence asks Redis for a sign of life on the connection and returns its number. Whatever Redis had
// sent on the connection by now is heard before it.
func (b *bus) fence() (ping uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn == nil {
		return 0
	}
	b.conn.asked = b.conn.pings + 1
	b.conn.wakeUp()
	return b.conn.asked
}

// why returns why there is no connection. It is nil if there is one.
func (b *bus) why() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil {
		return nil
	}
	return b.cause
}

// firstPause and lastPause are how long to wait before a connection is made again.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// run keeps a connection until ctx ends.
func (b *bus) run(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		began := time.Now()
		err := b.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		b.broken()
		b.failed(ctx, err)
		if time.Since(began) > b.quiet { // it has worked
			pause = firstPause
		}
		sleep(ctx, pause)
		pause = min(2*pause, lastPause)
	}
}

// failed notes why there is no connection, and tells those who wait for one if it is of no use to
// wait.
func (b *bus) failed(ctx context.Context, err error) {
	if cluster, ok := b.client.(*redis.ClusterClient); ok {
		cluster.ReloadState(ctx) // in the background
	}
	b.mu.Lock()
	b.cause = err
	var refused []*listener
	if isRefusal(err) {
		for _, c := range b.channels {
			for _, l := range c.listeners {
				if !l.heard {
					refused = append(refused, l)
				}
			}
		}
	}
	b.mu.Unlock()
	for _, l := range refused {
		l.refused(err)
	}
}

// isRefusal reports whether Redis does not let this client do what it asks for.
func isRefusal(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return false
	}
	code, _, _ := strings.Cut(reply.Error(), " ")
	return code == "NOPERM" || code == "NOAUTH" || code == "WRONGPASS" || strings.HasPrefix(reply.Error(), "ERR unknown command")
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
