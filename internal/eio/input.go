package eio

import (
	"cmp"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
)

const (
	chunkSize = 4 << 10 // what is read in one go, unless a long message is arriving
	ownSize   = 512     // the same of a connection that can only be read by waiting in Read
)

// errNothing means that nothing more can be read without waiting.
var errNothing = errors.New("eio: nothing to read")

// input is the reading side of a WebSocket. An idle one has no buffer, and the goroutine that waits
// for it has the smallest stack there is: it does nothing else, and a worker handles what has
// arrived.
type input struct {
	decoder
	raw    syscall.RawConn // nil if the connection has to be read by waiting in Read
	read   func(fd uintptr) bool
	chunks *sync.Pool
	chunk  *[chunkSize]byte // holds in, or is nil
	own    []byte           // takes the place of chunk if raw is nil
	unread bool             // next may find more in what has arrived
	failed bool             // nothing more is to be read
	err    error            // of read
	turn   sync.WaitGroup   // a worker handles what has arrived

	messages int // since the last heartbeat
}

// count counts a message. Those of a single byte are heartbeats.
func (in *input) count(message []byte) {
	if in.messages++; len(message) == 1 {
		in.messages = 0
	}
}

// newWebSocket returns the websocket of a connection. accept is written before its first frame.
func (e *Engine) newWebSocket(conn net.Conn, accept string) *WebSocket {
	ws := &WebSocket{conn: conn, accept: accept}
	in := &ws.input
	in.chunks = &e.chunks
	if in.raw = rawConn(conn); in.raw != nil {
		in.read = in.readFD
	}
	return ws
}

// await waits until there is something that next has not seen. An idle connection waits here.
func (ws *WebSocket) await() error {
	in := &ws.input
	switch {
	case in.unread:
		return nil
	case in.raw == nil:
		return ws.readOwn()
	}
	err := in.raw.Read(in.read)
	if err == nil {
		err = in.err
	}
	in.unread = err == nil
	return err
}

// readFD reads what is there, with one system call.
func (in *input) readFD(fd uintptr) (done bool) {
	chunk := in.takeChunk()
	kept := copy(chunk[:], in.in)
	var n int
	if n, in.err = readNow(fd, chunk[kept:]); in.err == errNothing {
		in.chunks.Put(chunk)
		return false // RawConn.Read waits, and calls it again
	}
	in.chunk, in.in = chunk, chunk[:kept+n]
	return true
}

func (in *input) takeChunk() *[chunkSize]byte {
	if chunk, ok := in.chunks.Get().(*[chunkSize]byte); ok {
		return chunk
	}
	return new([chunkSize]byte)
}

// readOwn reads by waiting in Read.
func (ws *WebSocket) readOwn() error {
	in := &ws.input
	if in.arriving() {
		err := in.readPartial(ws.conn.Read)
		in.unread = err == nil
		return err
	}
	if in.own == nil {
		in.own = make([]byte, ownSize)
	}
	kept := copy(in.own, in.in)
	n, err := ws.conn.Read(in.own[kept:])
	in.in = in.own[:kept+n]
	if in.unread = n > 0; in.unread {
		return nil // if there is an error, the next Read returns it again
	}
	return err
}

// next returns the next message or control frame that has arrived. If there is none, kind is
// opContinuation, and the input is ready to wait.
func (ws *WebSocket) next(limit int) (kind byte, payload []byte, err error) {
	in := &ws.input
	for {
		kind, payload, err = in.next(limit)
		if kind != opContinuation || err != nil {
			return kind, payload, err
		}
		more, err := in.readMore()
		if err != nil || !more {
			in.rest()
			return opContinuation, nil, err
		}
	}
}

// readMore reads the rest of a long message as far as it has arrived.
func (in *input) readMore() (more bool, err error) {
	if in.raw == nil || !in.arriving() {
		return false, nil
	}
	err = in.readPartial(func(b []byte) (n int, err error) {
		refused := in.raw.Read(func(fd uintptr) bool {
			n, err = readNow(fd, b)
			return true
		})
		return n, cmp.Or(refused, err)
	})
	if err == errNothing {
		return false, nil
	}
	return err == nil, err
}

// arriving reports whether all that has been read is decoded, and ends within the payload of a
// message.
func (in *input) arriving() bool {
	return in.partial != nil && in.partial.left > 0 && len(in.in) == 0
}

// readPartial reads some of a message to where it belongs. It makes no more room than twice what
// has arrived, or little: the rest may never come.
func (in *input) readPartial(read func(b []byte) (int, error)) error {
	p := in.partial
	size := cap(p.data) - len(p.data)
	if size == 0 {
		size = max(len(p.data), ownSize)
	}
	space := p.space(min(p.left, chunkSize, size))
	n, err := read(space)
	if n <= 0 {
		return err
	}
	unmask(space[:n], space[:n], p.frame.mask, p.arrived())
	p.add(n)
	return nil
}

// rest makes the input small, for a wait that may be long.
func (in *input) rest() {
	if in.unread = false; in.chunk == nil {
		return
	}
	in.in = append([]byte(nil), in.in...) // less than a control frame, and usually nothing
	in.chunks.Put(in.chunk)
	in.chunk = nil
}

// nextMessage waits for the next message.
func (ws *WebSocket) nextMessage(limit int) (kind byte, payload []byte, err error) {
	for {
		if err := ws.await(); err != nil {
			return 0, nil, err
		}
		switch kind, payload, err := ws.next(limit); {
		case err != nil:
			return 0, nil, err
		case kind == opText || kind == opBinary:
			return kind, payload, nil
		case kind == opClose:
			return 0, nil, io.EOF
		}
	}
}
