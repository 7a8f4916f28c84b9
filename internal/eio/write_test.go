package eio

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

// ender is a receiver that reports the end.
type ender struct {
	reason engine.Reason
	done   chan struct{} // closed when reason is set
}

func (*ender) Message([]byte, bool)          {}
func (e *ender) Closed(reason engine.Reason) { e.reason = reason; close(e.done) }

// pipe is a session over a websocket on a real connection, and its client's end of that.
type pipe struct {
	*Session
	t      *testing.T
	client net.Conn
	r      *bufio.Reader
	ended  ender
}

// connect returns a session that has begun. wrap may hide what kind of connection it has.
func connect(t *testing.T, o engine.Options, wrap func(net.Conn) net.Conn) *pipe {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = client.SetReadDeadline(time.Now().Add(time.Minute)) // a test that fails must end
	p := &pipe{t: t, client: client, r: bufio.NewReader(client), ended: ender{done: make(chan struct{})}}
	e := New(o, bare{}, func(s *Session) Receiver { p.Session = s; return &p.ended })
	s := e.newSession(nil)
	s.trusted.Store(true)
	s.ws = e.newWebSocket(wrap(conn), "")
	s.Begin("id", Packet{Head: "open"}, false)
	t.Cleanup(func() {
		s.Evict()
		<-p.ended.done
		_, _ = conn.Close(), client.Close()
		if err := e.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	p.expect("open")
	return p
}

// expect reads the next frame of the client.
func (p *pipe) expect(want string) {
	p.t.Helper()
	if got := p.frame(); got != want {
		p.t.Fatalf("got %.60q of %d bytes, want %.60q of %d", got, len(got), want, len(want))
	}
}

// frame returns the payload of the next frame, or what is wrong with it.
func (p *pipe) frame() string {
	var head [2]byte
	if _, err := io.ReadFull(p.r, head[:]); err != nil {
		return err.Error()
	}
	n := int(head[1])
	switch n {
	case 126:
		var long [2]byte
		_, _ = io.ReadFull(p.r, long[:])
		n = int(long[0])<<8 | int(long[1])
	case 127:
		var long [8]byte
		_, _ = io.ReadFull(p.r, long[:])
		n = int(long[4])<<24 | int(long[5])<<16 | int(long[6])<<8 | int(long[7])
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(p.r, data); err != nil {
		return err.Error()
	}
	if head[0] == finalBit|opClose {
		return "close"
	}
	return string(data)
}

// reply sends a packet as a handler's reply is sent.
func (p *pipe) reply(packet Packet) {
	p.t.Helper()
	if err := p.Enqueue(packet); err != nil {
		p.t.Fatal(err)
	}
	p.Flush()
}

// text returns the packet that is the n-th of a test.
func text(n, size int) Packet {
	return Packet{Head: fmt.Sprint(n, " "), Data: bytes.Repeat([]byte("x"), size)}
}

// kinds are the kinds of connections between which writing differs.
var kinds = map[string]func(net.Conn) net.Conn{
	"of the system": func(c net.Conn) net.Conn { return c },
	"other":         func(c net.Conn) net.Conn { return struct{ net.Conn }{c} },
}

func TestWriteOrder(t *testing.T) {
	// Guards that all that is sent arrives whole and in order, whoever writes it: the sender, the
	// flusher or a worker that waits, because the client does not read for a while.
	for name, wrap := range kinds {
		t.Run(name, func(t *testing.T) {
			p := connect(t, engine.Options{MaxQueue: 64 << 20}, wrap)
			const packets, size = 300, 40_000 // more than the buffers of the system hold
			for n := range packets {
				packet := text(n, size*(n%3))
				switch {
				case n%5 == 0:
					packet = packet.Shared()
					fallthrough
				case n%2 == 0:
					if err := p.Send(packet); err != nil {
						t.Fatal(err)
					}
				default:
					p.reply(packet)
				}
			}
			p.CloseAfter(text(packets, 0))
			for n := range packets {
				packet := text(n, size*(n%3))
				p.expect(packet.Head + string(packet.Data))
			}
			p.expect(text(packets, 0).Head)
			p.expect("close")
		})
	}
}

func TestFlushDoesNotWait(t *testing.T) {
	// Guards that a client that does not read delays nobody who sends to it, and ends as slow.
	for name, wrap := range kinds {
		t.Run(name, func(t *testing.T) {
			p := connect(t, engine.Options{MaxQueue: 64 << 20, WriteTimeout: 300 * time.Millisecond}, wrap)
			for n := range 100 {
				if err := p.Enqueue(text(n, 200_000)); err != nil {
					break // it has ended meanwhile
				}
				p.Flush()
			}
			if <-p.ended.done; p.ended.reason != engine.SlowPeer {
				t.Errorf("ended as %q", p.ended.reason)
			}
		})
	}
}

func TestFlushInPlace(t *testing.T) {
	// Guards that a reply is written by who sends it, if the connection takes it at once, and that
	// what follows at once is left to the flusher.
	p := connect(t, engine.Options{}, kinds["of the system"])
	if p.ws.input.raw == nil {
		t.Log("not on this system")
		return
	}
	p.stopFlusher()
	for n := range 3 {
		p.mu.Lock()
		p.out.flushed = max(0, p.e.now()-2*burst)
		p.mu.Unlock()
		p.reply(text(n, 0))
		p.expect(text(n, 0).Head)
	}
	p.mu.Lock()
	p.out.flushed = p.e.now() + time.Hour
	p.mu.Unlock()
	p.reply(text(3, 0))
	p.reply(text(4, 0))
	if waiting := p.waiting(); waiting != "3  4 " {
		t.Errorf("%q waits to be written", waiting)
	}
	p.startFlusher()
	p.expect(text(3, 0).Head)
	p.expect(text(4, 0).Head)
}

func TestFlusherJoins(t *testing.T) {
	// Guards that a session has one turn in the flusher for all that is queued by then, and that it
	// may end before its turn.
	p := connect(t, engine.Options{}, kinds["of the system"])
	if p.ws.input.raw == nil {
		t.Log("not on this system")
		return
	}
	p.stopFlusher()
	want := make([]string, 50)
	for n := range want {
		if err := p.Send(text(n, 0)); err != nil {
			t.Fatal(err)
		}
		want[n] = text(n, 0).Head
	}
	if turns := len(p.e.flusher.sessions); turns != 1 {
		t.Errorf("%d turns", turns)
	}
	if waiting := p.waiting(); waiting != strings.Join(want, " ") {
		t.Errorf("%q waits to be written", waiting)
	}
	p.startFlusher()
	for _, head := range want {
		p.expect(head)
	}
	p.stopFlusher()
	if err := p.Send(text(0, 0)); err != nil {
		t.Fatal(err)
	}
	p.Evict()
	p.startFlusher()
}

// waiting names the packets in the outbox.
func (p *pipe) waiting() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return heads(p.out.queue)
}

// stopFlusher waits until the flusher has nothing to do, and has it do nothing from then on.
func (p *pipe) stopFlusher() {
	f := &p.e.flusher
	for idle := false; !idle; runtime.Gosched() {
		f.mu.Lock()
		if idle = f.running == 0 && len(f.sessions) == 0; idle {
			f.most = 0
		}
		f.mu.Unlock()
	}
}

// startFlusher undoes stopFlusher.
func (p *pipe) startFlusher() {
	f := &p.e.flusher
	f.mu.Lock()
	defer f.mu.Unlock()
	f.most = 1
	f.running++
	f.pool.Go(f)
}

func TestOutboxSharedPackets(t *testing.T) {
	// Guards that packets that several sessions are sent are not changed by what one of them is sent
	// next.
	shared := append(make([]Packet, 0, 4), Packet{Head: "shared"})
	var outboxes [2]outbox
	for n := range outboxes {
		outboxes[n].add(shared)
	}
	for n := range outboxes {
		outboxes[n].add([]Packet{{Head: fmt.Sprint(n)}})
		outboxes[n].pong = &Packet{Head: "pong"}
	}
	for n := range outboxes {
		if got, want := heads(outboxes[n].take(false, false).packets), fmt.Sprintf("shared %d pong", n); got != want {
			t.Errorf("%q is written, want %q", got, want)
		}
	}
	var o outbox
	o.add(shared)
	o.pong = &Packet{Head: "pong"}
	o.take(false, false)
	if extra := shared[:2][1]; extra.Head != "" {
		t.Errorf("%q was written behind the shared packets", extra.Head)
	}
}

func TestReplyAfterWait(t *testing.T) {
	// Guards that the deadline of a write that had to wait does not end a later one that need not.
	const timeout = time.Second
	p := connect(t, engine.Options{MaxQueue: 64 << 20, WriteTimeout: timeout}, kinds["of the system"])
	large := text(0, 8<<20)
	p.reply(large)
	p.expect(large.Head + string(large.Data))
	<-time.After(timeout + timeout/10)
	p.reply(text(1, 0))
	p.expect(text(1, 0).Head)
}

func TestCloseWhileWriting(t *testing.T) {
	// Guards that a client which breaks the protocol while much waits for it is told at once: after
	// the frames that are being written, and before all others. Nothing follows the close frame.
	for name, wrap := range kinds {
		t.Run(name, func(t *testing.T) {
			p := connect(t, engine.Options{MaxQueue: 64 << 20, WriteTimeout: time.Minute}, wrap)
			p.Hold()
			go func() {
				defer p.Done()
				p.Attend(p.ws)
			}()
			const packets, size = 500, 40_000 // more than the buffers of the system hold
			for n := range packets {
				p.reply(text(n, size))
			}
			if _, err := p.client.Write(maskedFrame(finalBit|3, "")); err != nil {
				t.Fatal(err)
			}
			for !p.ws.leaving.Load() {
				runtime.Gosched()
			}
			n := 0
			for got := p.frame(); got != "close"; got = p.frame() {
				if packet := text(n, size); got != packet.Head+string(packet.Data) {
					t.Fatalf("got %.60q of %d bytes after %d packets", got, len(got), n)
				}
				n++
			}
			if n == packets {
				t.Error("all that waited was written")
			}
			if got := p.frame(); got != "EOF" {
				t.Errorf("%.60q follows the close frame", got)
			}
			if <-p.ended.done; p.ended.reason != engine.ProtocolError {
				t.Errorf("ended as %q", p.ended.reason)
			}
		})
	}
}

func TestNothingAfterHalfAFrame(t *testing.T) {
	// Guards that after a write that has failed within a frame nothing more is written: the client
	// would take that for the rest of the frame.
	for name, wrap := range kinds {
		t.Run(name, func(t *testing.T) {
			p := connect(t, engine.Options{MaxQueue: 64 << 20, WriteTimeout: 100 * time.Millisecond}, wrap)
			p.reply(text(0, 32<<20)) // more than the buffers of the system hold
			if <-p.ended.done; p.ended.reason != engine.SlowPeer {
				t.Errorf("ended as %q", p.ended.reason)
			}
			rest := make(chan []byte)
			go func() {
				data, _ := io.ReadAll(p.r)
				rest <- data
			}()
			p.ws.writeClose(statusProtocolError)
			p.ws.Close()
			if data := <-rest; !bytes.HasSuffix(data, []byte("xxxxxxxx")) {
				t.Errorf("%d bytes end in %x", len(data), data[max(0, len(data)-8):])
			}
		})
	}
}

func TestFlusherMovesLittle(t *testing.T) {
	// Guards that a long list of sessions is not moved for each one that is added.
	const sessions, turns = 1 << 12, 1 << 12
	f := flusher{sessions: make([]*Session, sessions)} // it runs nowhere
	for n := range f.sessions {
		f.sessions[n] = new(Session)
	}
	moves := 0
	for range turns {
		s := f.take()
		if f.add(s); f.next == 0 {
			moves++
		}
	}
	if waiting := len(f.sessions) - f.next; moves > 2 || waiting != sessions {
		t.Errorf("moved %d times in %d turns; %d wait", moves, turns, waiting)
	}
}

func TestFlushSoon(t *testing.T) {
	// Guards that what waits for more is written together with it, that it does not wait for long, and
	// that Shutdown leaves no timer.
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		e := New(engine.Options{}, bare{}, func(*Session) Receiver { return noopReceiver{} })
		s := e.newSession(nil)
		s.ws = e.newWebSocket(server, "")
		s.Begin("id", Packet{Head: "open"}, false)
		expect := func(want string, after time.Duration) {
			t.Helper()
			start, got := time.Now(), make([]byte, 100)
			n, err := client.Read(got)
			if took := time.Since(start); err != nil || string(got[:n]) != want || took != after {
				t.Errorf("got %q %v after %v, want %q after %v", got[:n], err, took, want, after)
			}
			synctest.Wait() // until the writer is done
		}
		enqueue := func(head string) {
			t.Helper()
			if err := s.Enqueue(Packet{Head: head}); err != nil {
				t.Error(err)
			}
		}
		expect("\x81\x04open", 0)
		enqueue("alone")
		s.FlushSoon()
		expect("\x81\x05alone", flushDelay)
		enqueue("first")
		s.FlushSoon()
		enqueue("second")
		s.Flush()
		expect("\x81\x05first\x81\x06second", 0)
		s.Evict()
		if err := e.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if sessions, tasks := e.Left(); sessions+tasks > 0 {
			t.Errorf("left: %d sessions, %d tasks", sessions, tasks)
		}
		_, _ = client.Close(), server.Close()
	})
}
