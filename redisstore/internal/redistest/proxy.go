//go:build unix

package redistest

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// A Proxy passes on what comes to its address, and the replies, until it is told otherwise. It can
// stand between a process and Redis, and between a replica and its master.
//
// In a cluster a client learns the servers' own addresses from the servers, so a proxy needs a
// client with a Dialer of its own there.
type Proxy struct {
	Addr string

	t        testing.TB
	listener net.Listener
	wait     sync.WaitGroup

	mu      sync.Mutex
	target  string
	changed *sync.Cond
	state   state
	conns   map[net.Conn]struct{}
	lost    int64
}

type state uint8

const (
	passing state = iota
	refusing
	stalled
	losingReplies
	losingAll
	closed
)

// NewProxy returns a proxy to the server at target. It ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: listener.Addr().String(), t: t, listener: listener, target: target, conns: make(map[net.Conn]struct{})}
	p.changed = sync.NewCond(&p.mu)
	p.wait.Go(p.accept)
	t.Cleanup(func() {
		p.enter(closed, true)
		_ = listener.Close()
		p.wait.Wait()
	})
	return p
}

// Cut closes all connections, and new ones as soon as they are made, until Pass.
func (p *Proxy) Cut() { p.enter(refusing, true) }

// CutOnce closes all connections. New ones are passed on.
func (p *Proxy) CutOnce() { p.enter(passing, true) }

// Stall passes on nothing until Pass, which then passes on all that was held up. Connections stay
// open, and new ones can be made.
func (p *Proxy) Stall() { p.enter(stalled, false) }

// LoseReplies passes on what comes to the server, and loses its replies, until Pass. A connection
// that has lost one is of no use after that: Pass closes them all.
func (p *Proxy) LoseReplies() { p.enter(losingReplies, false) }

// LoseAll loses what is sent either way, as a network does that is cut without a word, until Pass.
// Pass closes all connections if something was lost.
func (p *Proxy) LoseAll() { p.enter(losingAll, false) }

// Pass passes on everything from now on.
func (p *Proxy) Pass() {
	p.mu.Lock()
	lost := p.lost > 0
	p.lost = 0
	p.mu.Unlock()
	p.enter(passing, lost)
}

// Lost returns how many bytes were lost since the last Pass.
func (p *Proxy) Lost() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// Open returns how many connections are open.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns) / 2
}

// SwitchTo closes all connections. New ones are passed on to the server at target, as after a
// failover.
func (p *Proxy) SwitchTo(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.CutOnce()
}

func (p *Proxy) enter(s state, cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == closed {
		return
	}
	p.state = s
	if cut {
		for conn := range p.conns {
			_ = conn.Close()
		}
		clear(p.conns)
	}
	p.changed.Broadcast()
}

// keep notes an open connection, unless connections are refused.
func (p *Proxy) keep(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == refusing || p.state == closed {
		_ = conn.Close()
		return false
	}
	p.conns[conn] = struct{}{}
	return true
}

func (p *Proxy) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		_ = conn.Close()
		delete(p.conns, conn)
	}
}

func (p *Proxy) accept() {
	for {
		from, err := p.listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				p.t.Errorf("the proxy accepts no more: %v", err)
			}
			return
		}
		p.wait.Go(func() { p.serve(from) })
	}
}

func (p *Proxy) serve(from net.Conn) {
	if !p.keep(from) {
		return
	}
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	to, err := net.Dial("tcp", target)
	if err != nil || !p.keep(to) {
		p.drop(from)
		return
	}
	defer p.drop(from, to)
	var back sync.WaitGroup
	back.Go(func() {
		p.copy(from, to, true)
		p.drop(from, to)
	})
	p.copy(to, from, false)
	p.drop(from, to)
	back.Wait()
}

func (p *Proxy) copy(to io.Writer, from io.Reader, reply bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		switch passes, open := p.passes(n, err != nil, reply); {
		case err != nil || !open:
			return
		case !passes:
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// passes reports whether n bytes are passed on, and whether the proxy is open. It waits as long as
// the proxy is stalled, and at the end of a connection also as long as it loses all.
func (p *Proxy) passes(n int, end, reply bool) (passes, open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.state == stalled || end && p.state == losingAll {
		p.changed.Wait()
	}
	if p.state == losingAll || p.state == losingReplies && reply {
		p.lost += int64(n)
		return false, true
	}
	return true, p.state == passing || p.state == losingReplies
}
