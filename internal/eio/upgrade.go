package eio

import (
	"net/http"
	"time"
)

// probeTimeout is how long an upgrade may take.
const probeTimeout = 10 * time.Second

// openWebsocket serves the handshake of a session that begins with a websocket.
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
	if !s.link.Open(r, ws) {
		e.o.Left(s.request)
		e.reject(ws)
	}
	return nil
}

// serveUpgrade serves the websocket handshake of a session that began with polling.
func (s *Session) serveUpgrade(w http.ResponseWriter, r *http.Request) *Refusal {
	ws, refusal := s.e.upgrade(w, r)
	if ws == nil {
		return refusal
	}
	if err := ws.writeAccept(s.e.acceptTimeout()); err != nil {
		s.e.o.Logger.Debug("engine: websocket handshake failed", "error", err)
		ws.Close()
		return nil
	}
	if !s.setCandidate(ws) {
		s.e.reject(ws)
		return nil
	}
	s.Hold()
	s.link.Upgrade(r, ws)
	return nil
}

// setCandidate lets a websocket try to become the transport, unless there is another.
func (s *Session) setCandidate(ws *WebSocket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.checkAlarmsLocked()
	if s.state == closed || s.ws != nil || s.candidate != nil {
		return false
	}
	s.candidate = ws
	ws.setReadTimeout(probeTimeout)
	return true
}

// GiveUp ends an upgrade that failed, and closes its websocket.
func (s *Session) GiveUp(ws *WebSocket) {
	defer s.Done()
	s.mu.Lock()
	s.candidate, s.probed = nil, false
	s.mu.Unlock()
	s.e.reject(ws)
}

// The steps of an upgrade, as the client sends them. Some clients leave out the probe.
const (
	StepProbe   = "2probe"
	StepUpgrade = "5"
)

// NextStep reads one message of a candidate. It returns one of the steps of an upgrade, or "" for
// anything else.
func (s *Session) NextStep(ws *WebSocket) string {
	kind, data, err := ws.nextMessage(s.MaxPayload())
	if step := string(data); err == nil && kind == opText && (step == StepProbe || step == StepUpgrade) {
		return step
	}
	return ""
}

// Probe answers the probe that was read. It has the pending poll end soon, because the client waits
// for that before it goes on.
func (s *Session) Probe(ws *WebSocket) bool {
	if !s.setProbed() {
		return false
	}
	return ws.writeText("3probe") == nil // the first message that the client gets here
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

// SetTransport makes a websocket the transport. A poll that arrived after the probe is refused, as
// is every later one; if the client left out the probe, the pending poll gets a NOOP. There must be
// no POST in progress, since clients wait for its answer before they take this step.
func (s *Session) SetTransport(ws *WebSocket, b64 bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == closed || s.out.lastTaken || s.posting {
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
	ws.setReadTimeout(0)
	s.flushLocked()
	return true
}
