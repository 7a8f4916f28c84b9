package siotest

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// Client is a connection that is read in a goroutine of its own and keeps up the heartbeat. It is
// safe for concurrent use.
type Client struct {
	conn   *Conn
	poll   *line // of the goroutine that reads, while polling
	frames chan string
	ctx    context.Context // cancelled by Close
	stop   context.CancelFunc
	work   sync.WaitGroup
	mu     sync.Mutex // held while writing
}

// Start begins to read c, which must not be used otherwise from now on.
func (c *Conn) Start(ctx context.Context) (*Client, error) {
	a := &Client{conn: c, frames: make(chan string, 1<<14)}
	if c.Polling() {
		var err error
		if a.poll, err = c.dialer.line(ctx); err != nil {
			return nil, err
		}
	}
	a.ctx, a.stop = context.WithCancel(context.WithoutCancel(ctx))
	a.work.Go(a.read)
	if c.dialer.Version == "3" {
		a.work.Go(a.heartbeat)
	}
	return a, nil
}

// Packets returns the received packets, except heartbeats and NOOPs. It is closed when the
// connection ends.
func (c *Client) Packets() <-chan string { return c.frames }

// Write sends packets, by polling in one request.
func (c *Client) Write(packets ...string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn.Write(packets...)
}

// Close closes the connection without telling the server, and returns when the client's
// goroutines have ended.
func (c *Client) Close() {
	c.stop()
	_ = c.conn.Close()
	if c.poll != nil {
		_ = c.poll.conn.Close()
	}
	c.work.Wait()
}

func (c *Client) read() {
	defer c.stop() // the heartbeat
	defer close(c.frames)
	for {
		p, err := c.next()
		switch {
		case err != nil, p == "1": // by polling the server sends CLOSE
			return
		case p == "6", p == "3":
			continue
		case c.conn.isPing(p):
			_ = c.Write("3") // if this fails, so does the next read
			continue
		}
		select {
		case c.frames <- p:
		case <-c.ctx.Done():
			return
		}
	}
}

// next returns the next packet. For polling it uses another connection than Write.
func (c *Client) next() (string, error) {
	if c.poll == nil {
		return c.conn.ReadAny()
	}
	for len(c.conn.packets) == 0 {
		payload, err := c.poll.do(c.conn.Head, http.MethodGet, "")
		if err != nil {
			return "", err
		}
		if c.conn.packets, err = SplitPayload(c.conn.dialer.Version, payload); err != nil {
			return "", err
		}
	}
	p := c.conn.packets[0]
	c.conn.packets = c.conn.packets[1:]
	return p, nil
}

// heartbeat sends the pings of Engine.IO 3.
func (c *Client) heartbeat() {
	ticker := time.NewTicker(time.Duration(c.conn.opened.PingInterval) * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-ticker.C:
			_ = c.Write("2")
		}
	}
}
