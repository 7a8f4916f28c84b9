package eio

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	readBuffer = 512      // of each websocket, while it is open; longer messages bypass it
	writeSize  = 16 << 10 // frames that wait are written when they have so many bytes

	// lingerTimeout is how long a client may take to answer a close frame. To close earlier, while
	// something that it sent is unread, would reset the connection, and the client could lose the
	// last messages.
	lingerTimeout = 2 * time.Second
)

// past is a deadline that makes reads and writes return at once.
var past = time.Unix(1, 0)

// WebSocket is the server's end of a websocket. Only this file knows which library implements it.
type WebSocket websocket.Conn

func (ws *WebSocket) conn() *websocket.Conn { return (*websocket.Conn)(ws) }

// Close closes the connection without a close frame.
func (ws *WebSocket) Close() { _ = ws.conn().Close() }

// nextReader waits for the next message and returns a reader of it.
func (ws *WebSocket) nextReader() (binary bool, r io.Reader, err error) {
	kind, r, err := ws.conn().NextReader()
	return kind == websocket.BinaryMessage, r, err
}

// setReadTimeout bounds all reads from now on; 0 removes the bound.
func (ws *WebSocket) setReadTimeout(d time.Duration) {
	var deadline time.Time
	if d > 0 {
		deadline = time.Now().Add(d)
	}
	_ = ws.conn().SetReadDeadline(deadline)
}

func (ws *WebSocket) setPingHandler(f func(data string) error) { ws.conn().SetPingHandler(f) }

// writeText writes one message. No other write may be in progress.
func (ws *WebSocket) writeText(text string) error {
	_ = ws.conn().SetWriteDeadline(time.Now().Add(lingerTimeout))
	return ws.conn().WriteMessage(websocket.TextMessage, []byte(text))
}

// writeFrames writes whole encoded frames with a single Write.
func (ws *WebSocket) writeFrames(frames []byte, within time.Duration) error {
	conn := ws.conn().NetConn()
	_ = conn.SetWriteDeadline(time.Now().Add(within))
	_, err := conn.Write(frames)
	return err
}

// writeClose sends a close frame. If that fails, the client sees the connection end.
func (ws *WebSocket) writeClose() {
	_ = ws.conn().WriteControl(websocket.CloseMessage, nil, time.Now().Add(lingerTimeout))
}

// reject closes a websocket that belongs to no session.
func (ws *WebSocket) reject() {
	defer ws.Close()
	ws.writeClose()
	ws.setReadTimeout(lingerTimeout)
	for {
		if _, _, err := ws.conn().NextReader(); err != nil {
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
	_ = ws.conn().NetConn().SetDeadline(past)
}

// isProtocolError reports whether gorilla/websocket rejected a frame, for which it has no error
// type, or a message for its length.
func isProtocolError(err error) bool {
	if errors.Is(err, websocket.ErrReadLimit) {
		return true
	}
	var closed *websocket.CloseError
	var network net.Error
	return !errors.As(err, &closed) && !errors.As(err, &network) && strings.HasPrefix(err.Error(), "websocket: ")
}

// appendFrame encodes a packet as one unmasked, unfragmented frame.
func appendFrame(dst []byte, p Packet) []byte {
	const final = 0x80
	opcode := byte(websocket.TextMessage)
	switch {
	case p.Binary:
		opcode = websocket.BinaryMessage
	case p.pong:
		opcode = websocket.PongMessage
	}
	dst = append(dst, final|opcode)
	switch n := len(p.Head) + len(p.Data); {
	case n <= 125:
		dst = append(dst, byte(n))
	case n <= math.MaxUint16:
		dst = binary.BigEndian.AppendUint16(append(dst, 126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 127), uint64(n))
	}
	return append(append(dst, p.Head...), p.Data...)
}

// upgrader makes websockets of requests.
type upgrader struct{ websocket.Upgrader }

func newUpgrader(timeout time.Duration) upgrader {
	return upgrader{websocket.Upgrader{
		HandshakeTimeout: timeout,
		ReadBufferSize:   readBuffer,
		WriteBufferPool:  new(sync.Pool), // without it each connection would have a buffer
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
		conn.SetReadLimit(int64(e.o.MaxPayload))
		return (*WebSocket)(conn), nil
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
