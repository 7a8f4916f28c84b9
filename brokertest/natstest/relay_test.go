package natstest

import (
	"net"
	"sync"
	"testing"
)

// relay passes on what comes to its address. It can be cut and stalled.
type relay struct {
	listener net.Listener
	target   string
	work     sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond
	stalled bool
	closed  bool
	open    map[net.Conn]struct{}
}

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: listener, target: target, open: make(map[net.Conn]struct{})}
	r.changed = sync.NewCond(&r.mu)
	r.work.Go(r.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		r.mu.Lock()
		r.closed = true
		r.mu.Unlock()
		r.stall(false)
		r.cut()
		r.work.Wait()
	})
	return r
}

func (r *relay) accept() {
	for {
		from, err := r.listener.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", r.target)
		if err != nil {
			_ = from.Close()
			continue
		}
		r.mu.Lock()
		r.open[from], r.open[to] = struct{}{}, struct{}{}
		if r.closed {
			_, _ = from.Close(), to.Close()
		}
		r.mu.Unlock()
		r.work.Go(func() { r.pass(from, to) })
		r.work.Go(func() { r.pass(to, from) })
	}
}

func (r *relay) pass(from, to net.Conn) {
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, conn := range [...]net.Conn{from, to} {
			_ = conn.Close()
			delete(r.open, conn)
		}
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		r.mu.Lock()
		for r.stalled {
			r.changed.Wait()
		}
		r.mu.Unlock()
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// cut closes all connections. New ones can be made.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.open {
		_ = conn.Close()
	}
}

// stall passes on nothing until it is called again with false.
func (r *relay) stall(is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stalled = is
	r.changed.Broadcast()
}
