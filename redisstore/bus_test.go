package redisstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/z-open/socketauth/redisstore/internal/redistest"
)

// TestInbox guards that the functions of a subscription are called in order, that a gap comes after
// what was lost, and that end waits for the function that runs and drops the rest.
func TestInbox(t *testing.T) {
	var mu sync.Mutex
	var heard []string
	enter, leave := make(chan struct{}), make(chan struct{})
	said := func(what string) {
		mu.Lock()
		heard = append(heard, what)
		mu.Unlock()
		enter <- struct{}{}
		<-leave
	}
	in := newInbox(said, func() { said("gap") })
	in.put("1", 1)
	<-enter // the first is being told, and all others wait
	in.put("2", 1)
	in.put("large", maxInbox-10*sizeOfLetter)
	in.put("small", 1)
	in.put("lost", 10*sizeOfLetter)
	in.put("lost", 10*sizeOfLetter)
	in.put("3", 1)
	for range 5 {
		leave <- struct{}{}
		select {
		case <-enter:
		case <-time.After(20 * time.Second):
			t.Fatalf("no more than %q is heard", heard)
		}
	}
	in.put("dropped", 1)
	in.putGap()
	done := make(chan struct{})
	go func() {
		defer close(done)
		in.end()
	}()
	for {
		in.mu.Lock()
		ended := in.ended
		in.mu.Unlock()
		if ended {
			break
		}
		time.Sleep(time.Millisecond)
	}
	select {
	case <-done:
		t.Error("end does not wait for the function that runs")
	default:
	}
	leave <- struct{}{}
	<-done
	in.put("late", 1)
	in.putGap()
	if want := []string{"1", "2", "large", "small", "gap", "3"}; !slices.Equal(heard, want) {
		t.Errorf("heard %q, want %q", heard, want)
	}
}

// TestLargeMessage guards that a message that is larger than what may wait is heard all the same.
func TestLargeMessage(t *testing.T) {
	s := open(t, redistest.Start(t).Client(), Options{})
	heard := make(chan int, 10)
	cancel, err := s.Subscribe(t.Context(), "topic", func(data []byte) { heard <- len(data) }, func() { heard <- -1 })
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	for range 2 {
		if err := s.Publish(t.Context(), "topic", make([]byte, 2*maxInbox)); err != nil {
			t.Fatal(err)
		}
		if n := <-heard; n != 2*maxInbox {
			t.Errorf("heard %d", n)
		}
	}
}

// TestPublishedOnce guards that a client that repeats its commands publishes nothing twice when a
// reply is lost.
func TestPublishedOnce(t *testing.T) {
	server := redistest.Start(t)
	p := redistest.NewProxy(t, server.Addr)
	client := redis.NewClient(&redis.Options{Addr: p.Addr, ContextTimeoutEnabled: true, MaxRetries: 5, ReadTimeout: 200 * time.Millisecond})
	defer client.Close()
	prefix := newPrefix()
	s, other := open(t, client, Options{Prefix: prefix}), open(t, server.Client(), Options{Prefix: prefix})
	var heard []string
	last := make(chan struct{})
	cancel, err := other.Subscribe(t.Context(), "topic", func(data []byte) {
		if heard = append(heard, string(data)); string(data) == "last" {
			close(last)
		}
	}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer cancel()
	// The first call makes a connection.
	if err := s.Publish(t.Context(), "topic", []byte("first")); err != nil {
		t.Fatal(err)
	}
	p.LoseReplies()
	var passes sync.WaitGroup
	passes.Go(func() {
		redistest.Eventually(t, "a reply is lost", func() bool { return p.Lost() > 0 })
		p.Pass() // so that a second attempt would succeed
	})
	if err := s.Publish(t.Context(), "topic", []byte("once")); err == nil {
		t.Error("Publish without a reply returns no error")
	}
	passes.Wait()
	if err := other.Publish(t.Context(), "topic", []byte("last")); err != nil {
		t.Fatal(err)
	}
	<-last
	if !slices.Equal(heard, []string{"first", "once", "last"}) {
		t.Errorf("heard %q", heard)
	}
}

// TestManyTopics guards that a process with many topics subscribes to all of them, and again after
// its connection was cut, by either protocol of Redis. Topics may be any bytes.
func TestManyTopics(t *testing.T) {
	const n = 5000
	server := redistest.Start(t)
	for _, protocol := range []int{2, 3} {
		t.Run(fmt.Sprintf("RESP%d", protocol), func(t *testing.T) {
			p := redistest.NewProxy(t, server.Addr)
			client := redis.NewClient(&redis.Options{Addr: p.Addr, ContextTimeoutEnabled: true, Protocol: protocol})
			defer client.Close()
			s := open(t, client, Options{})
			topic := func(i int) string { return fmt.Sprintf("\x00 é*[%d]\r\n{}", i) }
			var gaps, heard atomic.Int64
			cancels := make([]func(), n)
			var all sync.WaitGroup
			for i := range n {
				all.Go(func() {
					var err error
					cancels[i], err = s.Subscribe(t.Context(), topic(i), func(data []byte) {
						if bytes.Equal(data, strconv.AppendInt(nil, int64(i), 10)) {
							heard.Add(1)
						}
					}, func() { gaps.Add(1) })
					if err != nil {
						t.Errorf("Subscribe: %v", err)
						cancels[i] = func() {}
					}
				})
			}
			all.Wait()
			p.CutOnce()
			redistest.Eventually(t, "all are subscribed again", func() bool { return gaps.Load() == n })
			pipe := s.client.Pipeline()
			for i := range n {
				pipe.Publish(t.Context(), s.topic(topic(i)), i)
			}
			redistest.Eventually(t, "the messages are published", func() bool { _, err := pipe.Exec(t.Context()); return err == nil })
			redistest.Eventually(t, "all hear", func() bool { return heard.Load() >= n })
			for i := range n - 1 {
				all.Go(cancels[i])
			}
			all.Wait()
			left := func() int64 {
				return server.Do("PUBSUB", "NUMPAT").(int64) + int64(len(server.Do("PUBSUB", "CHANNELS", s.o.Prefix+"*").([]any)))
			}
			redistest.Eventually(t, "one subscription is left", func() bool { return left() == 1 })
			cancels[n-1]()
			redistest.Eventually(t, "none is left", func() bool { return left() == 0 })
		})
	}
}

// TestSubscribeAnewAtOnce guards that a topic that is left and subscribed to again while Redis has
// not answered yet is heard from the moment on at which Subscribe returns.
func TestSubscribeAnewAtOnce(t *testing.T) {
	server := redistest.Start(t)
	s, other, p := pair(t, server)
	keep, err := s.Subscribe(t.Context(), "keep", func([]byte) {}, func() {}) // keeps the connection
	if err != nil {
		t.Fatal(err)
	}
	defer keep()
	for round := range 100 {
		if round%10 == 0 {
			p.Stall() // so that answers are late, and come together
		}
		ctx, stop := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if cancel, err := s.Subscribe(ctx, "topic", func([]byte) {}, func() {}); err == nil {
					cancel()
				}
			})
		}
		time.Sleep(time.Millisecond)
		stop()
		all.Wait()
		time.AfterFunc(time.Millisecond, p.Pass)
		heard := make(chan struct{}, 10)
		cancel, err := s.Subscribe(t.Context(), "topic", func([]byte) { heard <- struct{}{} }, func() { heard <- struct{}{} })
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Publish(t.Context(), "topic", []byte("x")); err != nil {
			t.Fatal(err)
		}
		select {
		case <-heard:
		case <-time.After(20 * time.Second):
			t.Fatalf("round %d: a message that was published after Subscribe had returned is not heard", round)
		}
		cancel()
	}
}
