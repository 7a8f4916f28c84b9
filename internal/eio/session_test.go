package eio

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/id"
)

// bare is a minimal Protocol for tests: it writes packets unchanged, and ignores what it reads.
type bare struct{}

func (bare) Refuse(string) *Refusal        { return nil }
func (bare) NewLink(s *Session) Link       { return bareLink{s} }
func (bare) Frame(p Packet, _ bool) Packet { return p }

func (bare) AppendPayload(dst []byte, packets []Packet, _ bool) ([]byte, string) {
	for _, p := range packets {
		dst = append(append(dst, p.Head...), p.Data...)
	}
	return dst, ContentText
}

type bareLink struct{ *Session }

func (k bareLink) Open(*http.Request, *WebSocket) bool {
	k.Begin(id.New().String(), Packet{Head: "open"}, false)
	return true
}

func (bareLink) Packets([]byte, string) iter.Seq2[Incoming, error] {
	return func(func(Incoming, error) bool) {}
}

func (k bareLink) Input(ws *WebSocket) {
	for ok := true; ok; _, _, ok = k.Read(ws) {
	}
}

func (bareLink) Receive(Incoming) error                   { return nil }
func (k bareLink) Upgrade(_ *http.Request, ws *WebSocket) { k.GiveUp(ws) }
func (bareLink) Closed()                                  {}

// inBubble runs a test in fake time with an engine and its only session, and checks that nothing is
// left at the end.
func inBubble(t *testing.T, f func(t *testing.T, e *Engine, s *Session)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var session *Session
		e := New(engine.Options{}, bare{}, func(s *Session) Receiver { session = s; return noopReceiver{} })
		e.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/?transport=polling", nil))
		f(t, e, session)
		if err := e.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if sessions, tasks := e.Left(); sessions != 0 || tasks != 0 {
			t.Errorf("%d sessions and %d tasks are left", sessions, tasks)
		}
	})
}

// doPoll polls the session once.
func doPoll(e *Engine, s *Session) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequest("GET", "/?transport=polling&sid="+s.id, nil))
	return w
}

func TestSendBeforeBegin(t *testing.T) {
	// Guards that OPEN is sent first, and not before requests can find the session: otherwise early
	// polls are refused.
	var p *poll
	e := New(engine.Options{}, bare{}, func(s *Session) Receiver {
		if err := s.Send(Packet{Head: "early"}); err != nil {
			t.Error(err)
		}
		if len(p.answer) != 0 {
			t.Error("something was sent though the session has not begun")
		}
		return noopReceiver{}
	})
	s := e.newSession(nil)
	p, _ = s.attachPoll()
	s.Begin("x", Packet{Head: "open"}, false)
	if b := <-p.answer; len(b.packets) != 2 || b.packets[0].Head != "open" || b.packets[1].Head != "early" {
		t.Errorf("%+v was sent", b.packets)
	}
}

func TestAbandonedPoll(t *testing.T) {
	// Guards that what a poll would have been sent goes to the next one if its client is gone.
	inBubble(t, func(t *testing.T, e *Engine, s *Session) {
		p, refusal := s.attachPoll()
		if refusal != nil {
			t.Fatal(refusal)
		}
		for _, text := range []string{"a", "b"} { // the first is the answer to the poll
			if err := s.Send(Packet{Head: text}); err != nil {
				t.Fatal(err)
			}
		}
		s.detachPoll(p)
		if got := doPoll(e, s).Body.String(); got != "ab" {
			t.Errorf("the next poll gets %q", got)
		}

		// The same, noticed a moment later.
		p, _ = s.attachPoll()
		if err := s.Send(Packet{Head: "c"}); err != nil {
			t.Fatal(err)
		}
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		w := httptest.NewRecorder()
		s.writePoll(w, httptest.NewRequestWithContext(gone, "GET", "/", nil), <-p.answer)
		if got := w.Body.String(); got != "6" {
			t.Errorf("the abandoned poll gets %q", got)
		}
		if got := doPoll(e, s).Body.String(); got != "c" {
			t.Errorf("the next poll gets %q", got)
		}
	})
}

func TestReadAll(t *testing.T) {
	// Guards the limit, and that what is read keeps no more memory than needed.
	s := New(engine.Options{MaxPayload: 100}, bare{}, nil).newSession(nil)
	data, err := s.readAll(bytes.NewReader(make([]byte, 100)))
	if err != nil || len(data) != 100 || cap(data) > 112 {
		t.Errorf("%d bytes of %d, %v", len(data), cap(data), err)
	}
	if _, err := s.readAll(bytes.NewReader(make([]byte, 101))); !errors.Is(err, errLimit) {
		t.Errorf("a byte too many: %v", err)
	}
}

func TestRejectedMessage(t *testing.T) {
	// Guards that a websocket that belongs to no session, and is counted nowhere, cannot have the
	// server keep more of a message than an unauthenticated client can.
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		e := New(engine.Options{FirstPayload: 100}, bare{}, nil)
		start := time.Now()
		go func() {
			_, _ = io.ReadFull(client, make([]byte, 2)) // the close frame
			_, _ = client.Write(maskedFrame(finalBit|opText, string(make([]byte, 101))))
		}()
		e.reject(e.newWebSocket(server, ""))
		if took := time.Since(start); took > 0 {
			t.Errorf("rejected after %v", took)
		}
	})
}
