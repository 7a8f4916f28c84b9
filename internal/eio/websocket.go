package eio

import (
	"bufio"
	"encoding/binary"
	"errors"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/engine"
)

const (
	readBuffer = 512      // of each websocket, for as long as it lives; longer messages do not go through it
	writeSize  = 16 << 10 // bytes after which frames that wait are written

	// probeTimeout is how long an upgrade may take.
	probeTimeout = 10 * time.Second

	// lingerTimeout is how long a client may take to answer a close frame. To close before it has, while something it
	// sent is unread, would reset the connection, and the client could lose what it was sent last.
	lingerTimeout = 2 * time.Second
)

// past is a deadline that makes reads and writes return at once.
var past = time.Unix(1, 0)

func newUpgrader(timeout time.Duration) websocket.Upgrader {
	return websocket.Upgrader{
		HandshakeTimeout: timeout,
		ReadBufferSize:   readBuffer,
		WriteBufferPool:  new(sync.Pool),                           // hardly used, but without it each connection would have a buffer
		CheckOrigin:      func(*http.Request) bool { return true }, // is decided before the engine
		Error:            func(http.ResponseWriter, *http.Request, int, error) {},
	}
}

// hijacker is what gorilla demands of a ResponseWriter, where middleware may have wrapped it.
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

// speaksVersion13 reports whether the handshake is for the version of the websocket protocol that there is (RFC 6455).
// Clients may name several.
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

// askForVersion13 has the client try again with that version (RFC 6455 section 4.4, RFC 9110 section 15.5.22).
func askForVersion13(h http.Header) {
	h.Set("Sec-WebSocket-Version", "13")
	h.Set("Upgrade", "websocket")
	h.Set("Connection", "Upgrade")
}

// firstSubprotocol returns the first subprotocol that a client offers, or "" if it offers none. Not ok: that is not a name
// as RFC 6455 has it.
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

// upgrade makes a websocket of a request. If it fails there may be nobody left to be told, and both results are nil.
func (e *Engine) upgrade(w http.ResponseWriter, r *http.Request) (*websocket.Conn, *Refusal) {
	h := &hijacker{ResponseWriter: w}
	header := http.Header{"Cache-Control": {"no-store"}}
	subprotocol, ok := firstSubprotocol(r.Header)
	if !ok {
		return nil, ErrRequest
	}
	if subprotocol != "" {
		header.Set("Sec-WebSocket-Protocol", subprotocol) // a client that offers some fails the connection if none is chosen
	}
	ws, err := e.upgrader.Upgrade(h, r, header)
	switch {
	case err == nil:
		ws.SetReadLimit(int64(e.o.MaxPayload))
		return ws, nil
	case h.hijacked:
		e.o.Logger.Debug("engine: websocket handshake failed", "error", err)
		return nil, nil
	}
	if errors.Is(h.err, http.ErrNotSupported) {
		if _, now := e.unsupported.Say(); now {
			e.o.Logger.Warn("engine: websockets are impossible behind this middleware",
				"fix", "its ResponseWriter must have Unwrap or Hijack; http.TimeoutHandler and the like must leave the socket path alone")
		}
	}
	return nil, ErrRequest
}

// openWebsocket is the handshake of a session that begins with a websocket.
func (e *Engine) openWebsocket(w http.ResponseWriter, r *http.Request) *Refusal {
	s := e.newSession(e.o.Describe(r))
	if !e.o.Admit(s.request, s.Evict) {
		return errFull
	}
	ws, refusal := e.upgrade(w, r)
	if ws == nil {
		e.o.Left(s.request)
		return refusal
	}
	s.ws = ws
	s.answerPings(ws)
	if !s.link.Open(r, ws) {
		e.o.Left(s.request)
		e.reject(ws)
	}
	return nil
}

// serveUpgrade is the websocket of a session that began with polling.
func (s *Session) serveUpgrade(w http.ResponseWriter, r *http.Request) *Refusal {
	ws, refusal := s.e.upgrade(w, r)
	if ws == nil {
		return refusal
	}
	if !s.setCandidate(ws) {
		s.e.reject(ws)
		return nil
	}
	s.Hold()
	s.link.Upgrade(r, ws)
	return nil
}

// reject closes a websocket that belongs to no session.
func (e *Engine) reject(ws *websocket.Conn) {
	defer ws.Close()
	writeClose(ws)
	_ = ws.SetReadDeadline(time.Now().Add(lingerTimeout))
	for {
		if _, _, err := ws.NextReader(); err != nil {
			return
		}
	}
}

// setCandidate lets a websocket try to become the transport, if it is the only one.
func (s *Session) setCandidate(ws *websocket.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checkAlarmsLocked()
	if s.state == closed || s.ws != nil || s.candidate != nil {
		return false
	}
	s.candidate = ws
	_ = ws.SetReadDeadline(time.Now().Add(probeTimeout))
	return true
}

// GiveUp ends an upgrade that has come to nothing.
func (s *Session) GiveUp(ws *websocket.Conn) {
	defer s.Done()
	s.mu.Lock()
	s.candidate, s.probed = nil, false
	s.mu.Unlock()
	s.e.reject(ws)
}

// The steps of an upgrade, as the client sends them. Some clients leave the probe out.
const (
	StepProbe   = "2probe"
	StepUpgrade = "5"
)

// NextStep reads one message of a websocket that is tried: one of the steps of an upgrade, or "" for anything else.
func (s *Session) NextStep(ws *websocket.Conn) string {
	kind, r, err := ws.NextReader()
	if err != nil || kind != websocket.TextMessage {
		return ""
	}
	data, err := s.readAll(r)
	if step := string(data); err == nil && (step == StepProbe || step == StepUpgrade) {
		return step
	}
	return ""
}

// Probe answers the probe that was read. It has the pending poll end soon, since the client waits for that before it
// goes on.
func (s *Session) Probe(ws *websocket.Conn) bool {
	if !s.setProbed() {
		return false
	}
	_ = ws.SetWriteDeadline(time.Now().Add(lingerTimeout)) // it is the first that the client is sent here
	return ws.WriteMessage(websocket.TextMessage, []byte("3probe")) == nil
}

func (s *Session) setProbed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == closed {
		return false
	}
	s.probed = true
	s.alarmLocked(noopDue, s.e.now()+probeHold)
	return true
}

// SetTransport makes a websocket the transport. A poll that came since it was probed is refused, as any from now on; one
// that was pending when the client left the probe out is ended as a probe would have. A POST cannot be going on, as
// clients wait for its answer before they take this step.
func (s *Session) SetTransport(ws *websocket.Conn, b64 bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == closed || s.finished || s.posting {
		return false
	}
	if s.poll != nil {
		last := batch{packets: []Packet{noopPacket}}
		if s.probed {
			last = batch{refusal: ErrRequest}
		}
		s.answerPollLocked(last)
	}
	s.ws, s.b64, s.candidate, s.probed = ws, b64, nil, false
	s.alarmLocked(noopDue, 0)
	s.answerPings(ws)
	_ = ws.SetReadDeadline(time.Time{})
	s.kickLocked()
	return true
}

// answerPings answers pings of the websocket's own through the queue: gorilla's way would change the deadline of a
// write that is going on.
func (s *Session) answerPings(ws *websocket.Conn) {
	ws.SetPingHandler(func(data string) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.state == open {
			s.pong = &Packet{Data: []byte(data), pong: true}
			s.kickLocked()
		}
		return nil
	})
}

// Read is the next message of the transport. When the session has ended before, it goes on until the client has closed
// too, or lingered enough. After an error the reader closes the websocket.
func (s *Session) Read(ws *websocket.Conn) (data []byte, binary bool, err error) {
	for {
		s.awaitRoom()
		kind, r, err := ws.NextReader() // here an idle connection waits
		if err == nil {
			data, err = s.readAll(r)
		}
		if err != nil {
			s.readFailed(err)
			return nil, false, err
		}
		if s.isOpen() {
			return data, kind == websocket.BinaryMessage, nil
		}
	}
}

// readFailed ends the session, if it has not ended, with what the error says of the client.
func (s *Session) readFailed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state != open:
	case errors.Is(err, errLimit):
		s.failLocked(err)
	case errors.Is(err, websocket.ErrReadLimit) || isFrameError(err):
		s.cause = err
		s.closeLocked(engine.ProtocolError, 0) // gorilla has told the client
	}
	s.lostLocked(err)
}

// isFrameError says whether gorilla found fault with a frame. It has no type for that.
func isFrameError(err error) bool {
	var closed *websocket.CloseError
	var network net.Error
	return !errors.As(err, &closed) && !errors.As(err, &network) && strings.HasPrefix(err.Error(), "websocket: ")
}

// writeLoop writes what is queued and ends when there is nothing left.
func (s *Session) writeLoop(ws *websocket.Conn) {
	defer s.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.unwrittenLocked() {
		b := s.takeLocked()
		s.mu.Unlock()
		err := s.e.writeBatch(ws, b)
		s.mu.Lock()
		s.wroteLocked(b, err)
	}
	s.writing = false
}

// writeBatch writes frames together, where gorilla would make a system call for each. A single Write is never mixed
// with the control frames that gorilla writes meanwhile.
func (e *Engine) writeBatch(ws *websocket.Conn, b batch) error {
	buf := e.buffer()
	defer e.release(buf)
	for i, p := range b.packets {
		buf.Write(appendFrame(buf.AvailableBuffer(), e.protocol.Frame(p, b.b64)))
		if i < len(b.packets)-1 && buf.Len() < writeSize {
			continue
		}
		conn := ws.NetConn()
		_ = conn.SetWriteDeadline(time.Now().Add(e.o.WriteTimeout))
		if _, err := conn.Write(buf.Bytes()); err != nil {
			return err
		}
		buf.Reset()
	}
	if b.last {
		writeClose(ws)
	}
	return nil
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

// writeClose says that nothing will follow. A client that cannot hear it sees the connection end.
func writeClose(ws *websocket.Conn) {
	_ = ws.WriteControl(websocket.CloseMessage, nil, time.Now().Add(lingerTimeout))
}

// interrupt ends the reads of a websocket, at once or after the client had time to answer a close frame, and its
// writes at once. Whoever reads it closes it.
func interrupt(ws *websocket.Conn, linger time.Duration) {
	if linger > 0 {
		_ = ws.SetReadDeadline(time.Now().Add(linger))
		return
	}
	_ = ws.NetConn().SetDeadline(past)
}
