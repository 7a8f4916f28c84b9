package eio

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

const (
	// probeHold is how long a poll still waits once the upgrade has begun, before a NOOP ends it. A client in a hurry
	// cannot spin so, and one that ends the upgrade without regard to its poll has it refused.
	probeHold = 25 * time.Millisecond

	// pollGrace is how long a session that its client closed by a POST waits for the poll that may have been sent
	// with it.
	pollGrace = 50 * time.Millisecond

	// maxPooled is the size of the largest buffer that is kept for later.
	maxPooled = 64 << 10
)

var (
	errOverlap = errors.New("two polls, or two POSTs, at a time")
	errLimit   = errors.New("longer than MaxPayload")
)

// poll is a GET that waits for something to send.
type poll struct {
	answer chan batch // of capacity 1, and given one batch at most
}

// openPolling is the handshake of a session that begins with polling.
func (e *Engine) openPolling(w http.ResponseWriter, r *http.Request) *Refusal {
	s := e.newSession(e.o.Describe(r))
	if !e.o.Admit(s.request, s.Evict) {
		return errFull
	}
	if !s.link.Open(r, nil) {
		e.o.Left(s.request)
		return ErrRequest
	}
	refusal := s.servePoll(w, r) // OPEN, and what accept has sent
	switch {
	case refusal == errSession && e.closing.Load():
		return errShuttingDown
	case refusal == errSession:
		return errEnded // by accept
	}
	return refusal
}

// servePoll is a GET of a session: it waits for something to send.
func (s *Session) servePoll(w http.ResponseWriter, r *http.Request) *Refusal {
	p, refusal := s.attachPoll()
	if refusal != nil {
		return refusal
	}
	// The server's own timeouts are for requests that do not wait. Where they cannot be lifted, the poll fails.
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Time{})

	select {
	case b := <-p.answer:
		return s.writePoll(w, r, b)
	case <-r.Context().Done():
		s.detachPoll(p)
		return s.e.dismiss(w)
	}
}

// dismiss answers a poll with nothing. Its client is gone, or middleware has limited the time of requests.
func (e *Engine) dismiss(w http.ResponseWriter) *Refusal {
	payload, contentType := e.protocol.AppendPayload(nil, []Packet{noopPacket}, true)
	_ = e.write(w, http.StatusOK, contentType, payload) // there may be nobody to read it
	return nil
}

func (s *Session) attachPoll() (*poll, *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checkAlarmsLocked()
	switch {
	case s.state == closed || s.finished && s.ws == nil:
		return nil, errSession
	case s.ws != nil:
		return nil, ErrRequest
	case s.poll != nil:
		s.failLocked(errOverlap)
		return nil, ErrRequest
	}
	p := &poll{answer: make(chan batch, 1)}
	s.poll = p
	if s.probed {
		s.alarmLocked(noopDue, s.e.now()+probeHold)
	}
	s.kickLocked()
	return p, nil
}

// answerPollLocked gives the pending poll its answer.
func (s *Session) answerPollLocked(b batch) {
	s.poll.answer <- b // has room: a poll is pending until it is answered
	s.poll = nil
}

// detachPoll forgets a poll that came to nothing. What it was to be sent waits for the next one.
func (s *Session) detachPoll(p *poll) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poll == p {
		s.poll = nil
		return
	}
	if b := <-p.answer; b.queued {
		s.giveBackLocked(b)
	}
}

func (s *Session) writePoll(w http.ResponseWriter, r *http.Request, b batch) *Refusal {
	if b.refusal != nil {
		return b.refusal
	}
	if b.queued && r.Context().Err() != nil {
		s.giveBack(b)
		return s.e.dismiss(w)
	}
	packets := b.packets
	if b.last {
		packets = []Packet{b.farewell}
	}
	buf := s.e.buffer()
	defer s.e.release(buf)
	payload, contentType := s.e.protocol.AppendPayload(buf.AvailableBuffer(), packets, b.b64)
	buf.Write(payload)
	if !b.queued {
		_ = s.e.write(w, http.StatusOK, contentType, buf.Bytes())
		return nil
	}
	rc := http.NewResponseController(w)
	s.beginAnswer(rc)
	err := respond(w, rc, http.StatusOK, contentType, buf.Bytes())
	s.endAnswer(b, err)
	_ = rc.SetWriteDeadline(time.Time{})
	return nil
}

// beginAnswer bounds the time of a poll's answer, which the end of the session cuts to FlushTimeout.
func (s *Session) beginAnswer(rc *http.ResponseController) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = rc
	within := s.e.o.WriteTimeout
	if s.state == closed {
		within = min(within, s.e.o.FlushTimeout)
	}
	_ = rc.SetWriteDeadline(time.Now().Add(within))
}

func (s *Session) endAnswer(b batch, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = nil
	s.wroteLocked(b, err)
	s.kickLocked()
}

// servePost is a POST of a session: it brings packets.
func (s *Session) servePost(w http.ResponseWriter, r *http.Request) *Refusal {
	if refusal := s.receivePost(w, r); refusal != nil {
		return refusal
	}
	_ = s.e.write(w, http.StatusOK, ContentText, []byte("ok"))
	return nil
}

// receivePost ends before the client can know of the answer, and send the next.
func (s *Session) receivePost(w http.ResponseWriter, r *http.Request) *Refusal {
	rc := http.NewResponseController(w)
	if refusal := s.beginPost(rc); refusal != nil {
		return refusal
	}
	defer s.endPost()
	payload, refusal := s.readBody(r, rc)
	if refusal != nil {
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // what is left of the body is not worth reading
		}
		return refusal
	}
	if !s.receivePayload(payload, r.Header.Get("Content-Type")) {
		return ErrRequest
	}
	return nil
}

func (s *Session) beginPost(rc *http.ResponseController) *Refusal {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checkAlarmsLocked()
	switch {
	case s.state == closed:
		return errSession
	case s.ws != nil:
		return ErrRequest
	case s.posting:
		s.failLocked(errOverlap)
		return ErrRequest
	}
	s.posting, s.body = true, rc
	// A client whose body takes longer could not have answered a ping in time.
	_ = rc.SetReadDeadline(time.Now().Add(s.e.o.PingInterval + s.e.o.PingTimeout))
	return nil
}

func (s *Session) endPost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.posting = false
}

// readBody reads the whole body, if it is not larger than MaxPayload; otherwise the session ends.
func (s *Session) readBody(r *http.Request, rc *http.ResponseController) ([]byte, *Refusal) {
	var payload []byte
	err := errLimit
	if r.ContentLength <= int64(s.MaxPayload()) {
		payload, err = s.readAll(r.Body)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.body = nil
	_ = rc.SetReadDeadline(time.Time{}) // net/http goes on reading, to see the client leave
	switch {
	case errors.Is(err, errLimit):
		s.failLocked(err)
		return nil, errTooLarge
	case err != nil:
		s.lostLocked(err)
		return nil, ErrRequest
	}
	return payload, nil
}

// readAll reads what is at most MaxPayload long, into memory of its own that is no larger than needed.
func (s *Session) readAll(r io.Reader) ([]byte, error) {
	buf, most := s.e.buffer(), int64(s.MaxPayload())
	defer s.e.release(buf)
	n, err := buf.ReadFrom(io.LimitReader(r, most+1))
	if err != nil {
		return nil, err
	}
	if n > most {
		return nil, errLimit
	}
	return bytes.Clone(buf.Bytes()), nil
}

func (e *Engine) buffer() *bytes.Buffer {
	if buf, ok := e.buffers.Get().(*bytes.Buffer); ok {
		return buf
	}
	return new(bytes.Buffer)
}

func (e *Engine) release(buf *bytes.Buffer) {
	if buf.Cap() <= maxPooled {
		buf.Reset()
		e.buffers.Put(buf)
	}
}

// receivePayload handles the packets of a POST, and says whether the client kept to the protocol.
func (s *Session) receivePayload(payload []byte, contentType string) bool {
	for p, err := range s.link.Packets(payload, contentType) {
		if !s.isOpen() {
			break
		}
		if len(p.Data) < len(payload)/2 {
			p.Data = bytes.Clone(p.Data) // whoever keeps a small message must not keep the whole payload with it
		}
		if err == nil {
			err = s.link.Receive(p)
		}
		if err != nil {
			s.Fail(err)
		}
		s.awaitRoom()
	}
	return !s.broken()
}

// broken says whether the session ended because of what the client sent.
func (s *Session) broken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state != open && s.reason == engine.ProtocolError
}

// The types of what is read and written.
const (
	ContentText   = "text/plain; charset=UTF-8"
	ContentBinary = "application/octet-stream"
	contentJSON   = "application/json; charset=UTF-8"
)

func (e *Engine) refuse(w http.ResponseWriter, refusal *Refusal) {
	_ = e.write(w, refusal.status, contentJSON, []byte(refusal.body))
}

// write sends a response of a few bytes.
func (e *Engine) write(w http.ResponseWriter, status int, contentType string, body []byte) error {
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(min(e.o.WriteTimeout, e.o.FlushTimeout)))
	defer rc.SetWriteDeadline(time.Time{}) // of a connection that may go on with requests of others
	return respond(w, rc, status, contentType, body)
}

// respond sends a whole response, so that its error says whether it left.
func respond(w http.ResponseWriter, rc *http.ResponseController, status int, contentType string, body []byte) error {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		return err
	}
	if err := rc.Flush(); !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}
