package eio

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	writeSize = 16 << 10 // frames that wait are written when they have so many bytes

	// lingerTimeout is how long a client may take to answer a close frame. To close earlier, while
	// something that it sent is unread, would reset the connection, and the client could lose the
	// last messages.
	lingerTimeout = 2 * time.Second
)

// past is a deadline that makes reads and writes return at once.
var past = time.Unix(1, 0)

// WebSocket is the server's end of a websocket. What it receives is in input.go.
type WebSocket struct {
	conn  net.Conn
	input input

	writing sync.Mutex  // held from the first byte of a frame to its last
	accept  string      // the response to the handshake, until it is written before the first frame; guarded by writing
	closed  bool        // nothing more is written, after a close frame or a part of a frame; guarded by writing
	leaving atomic.Bool // no frame is begun any more, except a close frame
}

// Close closes the connection without a close frame.
func (ws *WebSocket) Close() { _ = ws.conn.Close() }

// setReadTimeout bounds all reads from now on; 0 removes the bound.
func (ws *WebSocket) setReadTimeout(d time.Duration) {
	var deadline time.Time
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	_ = ws.conn.SetReadDeadline(deadline)
}

// writeText writes one message. No other write may be in progress.
func (ws *WebSocket) writeText(text string) error {
	ws.writing.Lock()
	defer ws.writing.Unlock()
	return ws.write(appendFrame(nil, Packet{Head: text}), lingerTimeout)
}

// writeClose sends a close frame, unless one was sent. If that fails, the client sees the
// connection end. A write in progress ends first, and soon; what waits to be written is dropped.
func (ws *WebSocket) writeClose(status uint16) {
	ws.leaving.Store(true)
	_ = ws.conn.SetWriteDeadline(time.Now().Add(lingerTimeout))
	ws.writing.Lock()
	defer ws.writing.Unlock()
	if !ws.closed {
		ws.closed = true
		_ = ws.write(closeFrame(status), lingerTimeout)
	}
}

// writeAccept writes the response to the handshake, unless it was written.
func (ws *WebSocket) writeAccept(within time.Duration) error {
	ws.writing.Lock()
	defer ws.writing.Unlock()
	if ws.accept == "" || ws.closed {
		return nil
	}
	return ws.write(nil, within)
}

// takeAccept returns the response to the handshake if it has not been written. The caller holds
// writing, and writes it.
func (ws *WebSocket) takeAccept() string {
	accept := ws.accept
	ws.accept = ""
	return accept
}

// write writes encoded frames, or the rest of them. The caller holds writing.
func (ws *WebSocket) write(frames []byte, within time.Duration) error {
	if ws.accept != "" {
		frames = append([]byte(ws.takeAccept()), frames...)
	}
	_ = ws.conn.SetWriteDeadline(time.Now().Add(within))
	if ws.leaving.Load() { // writeClose may have set its deadline before
		_ = ws.conn.SetWriteDeadline(time.Now().Add(lingerTimeout))
	}
	_, err := ws.conn.Write(frames)
	switch {
	case err != nil:
		ws.closed = true // a part of a frame may have been written
	case ws.input.raw != nil:
		_ = ws.conn.SetWriteDeadline(time.Time{}) // for writes that do not wait
	}
	return err
}

// reject closes a websocket that belongs to no session. What its client sends is read, but a
// message may be no longer than an unauthenticated client's.
func (e *Engine) reject(ws *WebSocket) {
	defer ws.Close()
	ws.writeClose(0)
	ws.setReadTimeout(lingerTimeout)
	for {
		if _, _, err := ws.nextMessage(e.o.FirstPayload); err != nil {
			return
		}
	}
}

// interrupt makes reads and writes fail at once. If linger is not 0, only reads fail, and only
// after that time, in which the client can answer a close frame. The goroutine that reads the
// websocket closes it.
func (ws *WebSocket) interrupt(linger time.Duration) {
	if linger > 0 {
		ws.setReadTimeout(linger)
		return
	}
	_ = ws.conn.SetDeadline(past)
}
