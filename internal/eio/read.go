package eio

import (
	"errors"
	"io"

	"github.com/z-open/socketauth/internal/engine"
)

// busyAfter is how many messages a client sends between two heartbeats before they are handled by
// the goroutine that waits for them. That is faster, but makes its stack grow.
const busyAfter = 16

// Attend has the link handle what the client sends over the websocket that is the transport, and
// returns when the websocket has failed and is closed. The goroutine that calls it only waits,
// unless the client is busy, so that its stack stays small. A new one has the smallest.
func (s *Session) Attend(ws *WebSocket) {
	for !ws.input.failed {
		s.awaitDrained()
		switch err := ws.await(); {
		case err != nil:
			s.readFailed(ws, err)
		case ws.input.messages > busyAfter, ws.input.raw == nil: // its Read needs a larger stack anyway
			s.link.Input(ws)
		default:
			ws.input.turn.Add(1)
			s.e.workers.Go((*turn)(s))
			ws.input.turn.Wait()
		}
	}
	ws.Close()
}

// turn is the task of handling what has arrived over the websocket.
type turn Session

// Run implements workers.Task.
func (t *turn) Run() {
	s := (*Session)(t)
	s.mu.Lock()
	ws := s.ws
	s.mu.Unlock()
	defer ws.input.turn.Done()
	s.link.Input(ws)
}

// Read returns the next message that has arrived over the transport. It returns false if there is
// none, or if nothing more may be read before the client has taken what is waiting for it; then
// Attend calls the link again when there is more. Once the session has ended, Read ignores
// messages.
func (s *Session) Read(ws *WebSocket) (data []byte, binary, ok bool) {
	for !ws.input.failed {
		if !s.readable() {
			break
		}
		kind, data, err := ws.next(s.MaxPayload())
		if err != nil {
			s.readFailed(ws, err)
			break
		}
		switch kind {
		case opContinuation:
			return nil, false, false
		case opText, opBinary:
			ws.input.count(data)
			if s.isOpen() {
				return data, kind == opBinary, true
			}
		case opPing:
			s.answerPing(data)
		case opClose:
			s.clientClosed(ws, data)
		}
	}
	return nil, false, false
}

// readable reports whether little is waiting for the client.
func (s *Session) readable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state != open || s.out.waiting <= s.lowWater()
}

// answerPing queues the answer to a websocket ping frame.
func (s *Session) answerPing(data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == open {
		s.out.pong = &Packet{Data: data, pong: true}
		s.flushLocked()
	}
}

// clientClosed answers the client's close frame with the same status.
func (s *Session) clientClosed(ws *WebSocket, payload []byte) {
	if err := checkClose(payload); err != nil {
		s.readFailed(ws, err)
		return
	}
	var status uint16
	if len(payload) >= 2 {
		status = uint16(payload[0])<<8 | uint16(payload[1])
	}
	ws.writeClose(status)
	s.readFailed(ws, io.EOF)
}

// readFailed ends the session, if it has not ended, with the reason that follows from err. Nothing
// more is read.
func (s *Session) readFailed(ws *WebSocket, err error) {
	ws.input.failed = true
	reason := engine.TransportClose
	var frame frameError
	switch {
	case errors.As(err, &frame):
		reason = engine.ProtocolError
		ws.writeClose(statusProtocolError)
	case errors.Is(err, errLimit):
		reason = engine.ProtocolError
		ws.writeClose(statusTooBig)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == open {
		s.cause = err
	}
	s.closeLocked(reason, 0)
}
