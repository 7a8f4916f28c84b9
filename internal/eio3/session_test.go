package eio3

import (
	"encoding/json"
	"net/http/httptest"
	"testing"

	"github.com/z-open/socketauth/internal/engine"
)

func TestOpenWaitsForTheLibrary(t *testing.T) {
	// Guards against an OPEN that is sent before requests can find the session, which had early polls refused.
	e := New(engine.Options{Namespaces: map[string]engine.Accept{"/": echoing}})
	s := e.newSession(httptest.NewRequest("GET", "/?transport=polling", nil), nil, nil)
	parameters, err := json.Marshal(map[string]any{"sid": "x", "upgrades": []string{"websocket"}, "pingInterval": 25000, "pingTimeout": 20000})
	if err != nil {
		t.Fatal(err)
	}
	s.opened(parameters)
	p, refusal := s.attachPoll()
	if refusal != nil {
		t.Fatal(refusal)
	}
	if len(p.answer) != 0 {
		t.Error("OPEN was sent though the library does not have the session yet")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = true
	s.kickLocked()
	if len(p.answer) != 1 {
		t.Error("OPEN was not sent")
	}
}
