package interop

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// TestStorm: wherever a connection breaks, a confirming client keeps its session: it is never
// refused for good, and is never taken for a thief.
func TestStorm(t *testing.T) {
	storms := func(t *testing.T, f func(*testing.T, run)) {
		entries(t, func(t *testing.T, r run) {
			if v := r.client.version; v == "2.5.0" || v == "4.8.4" {
				f(t, r)
			}
		})
	}
	stores(t, storms, func(t *testing.T, r run, keep options) {
		breaks := soaking(40, 400)
		a := serve(t, setup{options: func(o *socketauth.Options[string]) {
			keep(o)
			o.CodeLifetime = patience // the first token may need many connections
		}})
		n := newNetwork(t, a.listener.Addr().String(), breaks)
		a.On("weather", func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) {
			if n.calm() {
				return "calm", nil
			}
			return "storm", nil
		})
		code, err := a.Auth().IssueCode(t.Context(), jwt.MapClaims{"sub": "alice"})
		if err != nil {
			t.Fatal(err)
		}
		d := play(t, r, "storm", "http://"+n.listener.Addr().String(), map[string]any{"code": code})
		l := d.hears("client", "outcomes")
		d.done()
		t.Logf("%d breaks: %v", breaks, l)

		var outcomes map[string]int
		if len(l.Args) != 1 || json.Unmarshal(l.Args[0], &outcomes) != nil || !n.calm() {
			t.Fatalf("%v came before the network was calm", l)
		}
		for outcome, times := range outcomes {
			if strings.HasSuffix(outcome, ", terminal") {
				t.Errorf("refused with %s, %d times", outcome, times)
			}
		}
		if reuse := a.audited(socketauth.AuditReuse); len(reuse) > 0 {
			t.Errorf("audited as theft: %v", reuse)
		}
		sessions(t, a, "alice", 1)
	})
}

// network passes connections on to a server, and several times breaks all of them at a random byte.
type network struct {
	t        *testing.T
	listener net.Listener
	server   string
	work     sync.WaitGroup

	mu     sync.Mutex
	rand   *rand.Rand
	breaks int // number of breaks to come
	left   int // number of bytes, in both directions, until the next break
	conns  map[*net.TCPConn]bool
	closed bool
}

func newNetwork(t *testing.T, server string, breaks int) *network {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	n := &network{t: t, listener: l, server: server, breaks: breaks, rand: rand.New(rand.NewPCG(seed, 0)), conns: make(map[*net.TCPConn]bool)}
	n.draw()
	n.work.Go(n.accept)
	t.Cleanup(func() {
		_ = l.Close()
		n.mu.Lock()
		n.closed = true
		n.sever(false)
		n.mu.Unlock()
		n.work.Wait()
	})
	return n
}

// draw draws when the next break is: often while a client authenticates, sometimes long after.
func (n *network) draw() {
	n.left = 1 + n.rand.IntN(2000)
	if n.rand.IntN(2) == 0 {
		n.left = 1 + n.rand.IntN(12_000)
	}
}

func (n *network) calm() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.breaks == 0
}

func (n *network) accept() {
	for {
		c, err := n.listener.Accept()
		if err != nil {
			return
		}
		client := c.(*net.TCPConn)
		n.work.Go(func() { n.connect(client) })
	}
}

func (n *network) connect(client *net.TCPConn) {
	if !n.add(client) {
		return
	}
	c, err := net.DialTimeout("tcp", n.server, 10*time.Second)
	if err != nil {
		n.end(client)
		return
	}
	server := c.(*net.TCPConn)
	if !n.add(server) {
		n.end(client)
		return
	}
	n.work.Go(func() { n.carry(client, server) })
	n.carry(server, client)
}

// carry passes on what one side sends, until the connection ends or breaks.
func (n *network) carry(to, from *net.TCPConn) {
	defer n.end(to)
	defer n.end(from)
	buffer := make([]byte, 4096)
	for {
		size, err := from.Read(buffer)
		passed, broken := n.pass(size)
		if _, writeErr := to.Write(buffer[:passed]); writeErr != nil || err != nil && !broken {
			return
		}
		if broken {
			n.storm()
			return
		}
	}
}

// pass returns how many of size bytes get through, and whether the network breaks after them.
func (n *network) pass(size int) (passed int, broken bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.breaks == 0 {
		return size, false
	}
	if size < n.left {
		n.left -= size
		return size, false
	}
	passed = n.left
	n.breaks--
	n.draw()
	return passed, true
}

// storm breaks all connections. Bytes that the network has passed on arrive, or are lost with them.
func (n *network) storm() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sever(n.rand.IntN(2) == 0)
}

// sever ends all connections, abruptly or with an orderly close.
func (n *network) sever(atOnce bool) {
	for c := range n.conns {
		if atOnce {
			_ = c.SetLinger(0)
		}
		_ = c.Close()
	}
	clear(n.conns)
}

func (n *network) add(c *net.TCPConn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		_ = c.Close()
		return false
	}
	n.conns[c] = true
	return true
}

func (n *network) end(c *net.TCPConn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_ = c.Close()
	delete(n.conns, c)
}
