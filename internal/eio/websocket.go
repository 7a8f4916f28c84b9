package eio

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
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

// writeClose sends a close frame, unless one was sent. If that fails, the client sees the connection
// end. A write in progress ends first, and soon; what waits to be written is dropped.
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

// write writes encoded frames, or the rest of them. The caller holds writing.
func (ws *WebSocket) write(frames []byte, within time.Duration) error {
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

// reject closes a websocket that belongs to no session. What its client sends is read, but a message may
// be no longer than an unauthenticated client's.
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

// upgrader makes websockets of requests.
type upgrader struct{ websocket.Upgrader }

func newUpgrader(timeout time.Duration) upgrader {
	return upgrader{websocket.Upgrader{
		HandshakeTimeout: timeout,
		ReadBufferSize:   1, // the least: gorilla/websocket only makes the handshake
		WriteBufferPool:  new(sync.Pool),
		// Origins are checked before the engine is called.
		CheckOrigin: func(*http.Request) bool { return true },
		Error:       func(http.ResponseWriter, *http.Request, int, error) {},
	}}
}

// hijacker gives gorilla/websocket the http.Hijacker it needs when middleware has wrapped the
// ResponseWriter.
type hijacker struct {
	http.ResponseWriter
	hijacked bool
	err      error
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.hijacked, h.err = err == nil, err
	return conn, rw, err
}

// isUpgrade reports whether a request asks for a websocket.
func isUpgrade(r *http.Request) bool { return websocket.IsWebSocketUpgrade(r) }

// speaksVersion13 reports whether the handshake offers the one version of the websocket protocol
// that is in use (RFC 6455). Clients may list several.
func speaksVersion13(h http.Header) bool {
	for _, value := range h.Values("Sec-WebSocket-Version") {
		for version := range strings.SplitSeq(value, ",") {
			if strings.TrimSpace(version) == "13" {
				return true
			}
		}
	}
	return false
}

// askForVersion13 asks the client to try again with that version (RFC 6455 section 4.4, RFC 9110
// section 15.5.22).
func askForVersion13(h http.Header) {
	h.Set("Sec-WebSocket-Version", "13")
	h.Set("Upgrade", "websocket")
	h.Set("Connection", "Upgrade")
}

// firstSubprotocol returns the first subprotocol that a client offers, or "" if it offers none. It
// returns false if that is not a valid name by RFC 6455.
func firstSubprotocol(h http.Header) (name string, ok bool) {
	name, rest, more := strings.Cut(h.Get("Sec-WebSocket-Protocol"), ",")
	if name = strings.Trim(name, " \t"); name == "" {
		return "", !more && rest == ""
	}
	for _, c := range []byte(name) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && !('0' <= c && c <= '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return "", false
		}
	}
	return name, true
}

// upgrade makes a websocket of a request. If it fails after the connection was hijacked, there is
// nothing to answer, and both results are nil.
func (e *Engine) upgrade(w http.ResponseWriter, r *http.Request) (*WebSocket, *Refusal) {
	h := &hijacker{ResponseWriter: w}
	header := http.Header{"Cache-Control": {"no-store"}}
	subprotocol, ok := firstSubprotocol(r.Header)
	if !ok {
		return nil, ErrRequest
	}
	if subprotocol != "" {
		// A client that offers some fails the connection if the server chooses none.
		header.Set("Sec-WebSocket-Protocol", subprotocol)
	}
	conn, err := e.upgrader.Upgrade(h, r, header)
	switch {
	case err == nil:
		return e.newWebSocket(conn.NetConn()), nil
	case h.hijacked:
		e.o.Logger.Debug("engine: websocket handshake failed", "error", err)
		return nil, nil
	}
	if errors.Is(h.err, http.ErrNotSupported) {
		if _, now := e.unsupported.Allow(); now {
			e.o.Logger.Warn("engine: websockets are impossible behind this middleware",
				"fix", "its ResponseWriter must have Unwrap or Hijack; "+
					"http.TimeoutHandler and the like must leave the socket path alone")
		}
	}
	return nil, ErrRequest
}
