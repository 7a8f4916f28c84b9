package eio3

import (
	"bytes"
	"errors"
	"io"

	"github.com/googollee/go-socket.io/engineio"
	"github.com/googollee/go-socket.io/engineio/transport"

	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/sio"
)

// opened is the library's OPEN. It waits until the session has begun, so that no request comes too early.
func (s *Session) opened(parameters []byte) {
	p, err := transport.ReadConnParameters(bytes.NewReader(parameters))
	if err != nil {
		return // cannot be: the library has just encoded them
	}
	s.mu.Lock()
	s.id = p.SID
	s.queue = append(s.queue, packet{head: string(typeOpen), data: bytes.TrimSpace(parameters)})
	s.mu.Unlock()
	s.e.opens(s)
}

// start is called when the library has the session, and tells accept of it.
func (s *Session) start(lib engineio.Conn) {
	s.lib = lib
	s.turn.Lock()
	defer s.turn.Unlock()
	defer s.begin() // also if accept panics
	s.heard()
	if s.e.register(s) {
		s.recv = s.e.accept(s)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked(engine.Shutdown, 0)
}

func (s *Session) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun, s.reading = true, true
	s.e.tasks.Add(1)
	go s.readLoop()
	s.kickLocked()
}

// readLoop is the goroutine that reads, by way of the library, whichever transport there is.
func (s *Session) readLoop() {
	defer s.e.done()
	defer s.stopReading()
	for {
		_, r, err := s.lib.NextReader()
		if err != nil {
			return
		}
		if m, ok := r.(*libReader); ok {
			s.turn.Lock()
			s.deliver(m.p.data, m.p.binary)
			s.turn.Unlock()
		}
	}
}

func (s *Session) stopReading() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = false
	s.lostLocked(io.EOF) // if it has not ended
	s.reader.Broadcast()
	if s.ws != nil {
		_ = s.ws.Close()
	}
	s.e.lib.Remove(s.id)
}

var (
	errDirection = errors.New("packet that only a server sends, or an upgrade that was not probed")
	errPing      = errors.New("ping with more than a word")
)

// maxPing is how long the data of a ping may be, which the library sends back as it came.
const maxPing = 64

// check is the guard before the library: it lets through only what a client may send, and counts it as a heartbeat.
func (s *Session) check(p incoming) error {
	switch p.kind {
	case typeMessage, typeClose:
	case typePing:
		if p.binary || len(p.data) > maxPing || !sio.IsASCII(p.data) {
			return errPing
		}
	default:
		return errDirection
	}
	s.heard()
	return nil
}

// give hands a packet of a POST to the library's reader, and returns when it was handled.
func (s *Session) give(p incoming) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.reading {
		return
	}
	s.posted = &p
	s.reader.Broadcast()
	for s.posted != nil && s.reading {
		s.reader.Wait()
	}
}

// takePosted is the other end of give. To ask for the next packet says that the last was handled.
func (s *Session) takePosted() (incoming, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken {
		s.posted, s.taken = nil, false
		s.reader.Broadcast()
	}
	for {
		switch {
		case s.posted != nil:
			s.taken = true
			return *s.posted, nil
		case s.moved:
			return incoming{}, errUpgraded{}
		case s.state == closed && !s.moving:
			return incoming{}, io.EOF
		}
		s.reader.Wait()
	}
}

// upgraded ends what setTransport began, once the library has gone over too.
func (s *Session) upgraded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.moving {
		s.moving, s.moved = false, true
		s.reader.Broadcast()
		s.e.done()
	}
}
