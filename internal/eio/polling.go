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
	// probeHold is how long a poll may be pending once the upgrade has begun, before a NOOP ends
	// it. This keeps clients that poll again at once from doing so in a loop. If the client
	// finishes the upgrade while a poll is pending, that poll is refused.
	probeHold = 25 * time.Millisecond

	// pollGrace is how long a session that its client closed by a POST waits for a poll that may
	// have been sent at the same time.
	pollGrace = 50 * time.Millisecond

	// maxPooled is the size of the largest buffer that is put back into the pool.
	maxPooled = 64 << 10
)

var errOverlap = errors.New("two polls, or two POSTs, at a time")

// poll is a GET that waits for something to send.
type poll struct {
	answer chan batch // of capacity 1; at most one batch is sent
}

// openPolling serves the handshake of a session that begins with polling.
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
		return errEnded // accept closed it
	}
	return refusal
}

// servePoll serves a GET of a session: it waits for something to send.
func (s *Session) servePoll(w http.ResponseWriter, r *http.Request) *Refusal {
	p, refusal := s.attachPoll()
	if refusal != nil {
		return refusal
	}
	// The timeouts of the http.Server are for requests that do not wait. Where they cannot be
	// lifted, the poll fails.
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Time{})

	select {
	case b := <-p.answer:
		return s.writePoll(w, r, b)
	case <-r.Context().Done():
		s.detachPoll(p)
		return s.e.respondNoop(w)
	}
}

// respondNoop answers a poll with a NOOP: the client is gone, or middleware limits the time of
// requests.
func (e *Engine) respondNoop(w http.ResponseWriter) *Refusal {
	payload, contentType := e.protocol.AppendPayload(nil, []Packet{noopPacket}, true)
	_ = e.write(w, http.StatusOK, contentType, payload) // the client may be gone
	return nil
}

func (s *Session) attachPoll() (*poll, *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checkAlarmsLocked()
	switch {
	case s.state == closed || s.out.lastTaken && s.ws == nil:
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
	s.flushLocked()
	return p, nil
}

// answerPollLocked answers the pending poll.
func (s *Session) answerPollLocked(b batch) {
	s.poll.answer <- b // does not block: a poll is pending until it is answered
	s.poll = nil
}

// detachPoll removes a poll whose request has ended. What it would have been sent is queued for the
// next one.
func (s *Session) detachPoll(p *poll) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poll == p {
		s.poll = nil
		return
	}
	if b := <-p.answer; b.queued {
		s.requeueLocked(b)
	}
}

func (s *Session) writePoll(w http.ResponseWriter, r *http.Request, b batch) *Refusal {
	if b.refusal != nil {
		return b.refusal
	}
	if b.queued && r.Context().Err() != nil {
		s.requeue(b)
		return s.e.respondNoop(w)
	}
	packets := b.packets
	if b.last {
		packets = []Packet{b.lastPacket}
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

// beginAnswer sets the write deadline of a poll's answer. The end of the session shortens it to
// FlushTimeout.
func (s *Session) beginAnswer(rc *http.ResponseController) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pollWrite = rc
	within := s.e.o.WriteTimeout
	if s.state == closed {
		within = min(within, s.e.o.FlushTimeout)
	}
	_ = rc.SetWriteDeadline(time.Now().Add(within))
}

func (s *Session) endAnswer(b batch, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pollWrite = nil
	s.wroteLocked(b, err)
	s.flushLocked()
}

// servePost serves a POST of a session, which carries packets of the client.
func (s *Session) servePost(w http.ResponseWriter, r *http.Request) *Refusal {
	if refusal := s.receivePost(w, r); refusal != nil {
		return refusal
	}
	_ = s.e.write(w, http.StatusOK, ContentText, []byte("ok"))
	return nil
}

// receivePost handles a POST. It is separate from servePost so that the POST has ended before the
// client gets the answer and may send the next one.
func (s *Session) receivePost(w http.ResponseWriter, r *http.Request) *Refusal {
	rc := http.NewResponseController(w)
	if refusal := s.beginPost(rc); refusal != nil {
		return refusal
	}
	defer s.endPost()
	payload, refusal := s.readBody(r, rc)
	if refusal != nil {
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // do not read the rest of the body
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
	s.posting, s.postRead = true, rc
	// A client whose body takes longer could not answer a ping in time.
	_ = rc.SetReadDeadline(time.Now().Add(s.e.o.PingInterval + s.e.o.PingTimeout))
	return nil
}

func (s *Session) endPost() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.posting = false
}

// readBody reads the whole body. If it is larger than MaxPayload, or cannot be read, the session
// ends.
func (s *Session) readBody(r *http.Request, rc *http.ResponseController) ([]byte, *Refusal) {
	var payload []byte
	err := errLimit
	if r.ContentLength <= int64(s.MaxPayload()) {
		payload, err = s.readAll(r.Body)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.postRead = nil
	_ = rc.SetReadDeadline(time.Time{}) // net/http reads on, to notice when the client disconnects
	switch {
	case errors.Is(err, errLimit):
		s.failLocked(err)
		return nil, errTooLarge
	case err != nil:
		s.transportFailedLocked(err)
		return nil, ErrRequest
	}
	return payload, nil
}

// readAll reads until EOF and returns errLimit if that is more than MaxPayload. The result is no
// larger than needed.
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

// receivePayload handles the packets of a POST and reports whether the client kept to the protocol.
func (s *Session) receivePayload(payload []byte, contentType string) bool {
	for p, err := range s.link.Packets(payload, contentType) {
		if !s.isOpen() {
			break
		}
		if len(p.Data) < len(payload)/2 {
			// A receiver that keeps a small message must not keep the whole payload.
			p.Data = bytes.Clone(p.Data)
		}
		if err == nil {
			err = s.link.Receive(p)
		}
		if err != nil {
			s.Fail(err)
		}
		s.awaitDrained()
	}
	return !s.broken()
}

// broken reports whether the session ended because of what the client sent.
func (s *Session) broken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state != open && s.reason == engine.ProtocolError
}

// The content types of requests and responses.
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
	defer rc.SetWriteDeadline(time.Time{}) // the connection may carry further requests
	return respond(w, rc, status, contentType, body)
}

// respond writes and flushes a whole response, so that its error tells whether it was sent.
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
