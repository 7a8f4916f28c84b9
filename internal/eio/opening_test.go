package eio

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/z-open/socketauth/internal/engine"
)

// websocketHandshake returns a request that opens a session with a websocket.
func websocketHandshake() *http.Request {
	r := httptest.NewRequest("GET", "/?transport=websocket", nil)
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	} {
		r.Header.Set(name, value)
	}
	return r
}

func TestOpeningPanics(t *testing.T) {
	// Guards that a panic while a websocket is opened reaches net/http, which ends the connection, and
	// not the end of the process.
	e := New(engine.Options{Describe: func(*http.Request) any { panic(http.ErrAbortHandler) }}, bare{}, nil)
	func() {
		defer func() {
			if p := recover(); p != http.ErrAbortHandler {
				t.Errorf("panic %v", p)
			}
		}()
		e.ServeHTTP(httptest.NewRecorder(), websocketHandshake())
		t.Error("no panic")
	}()
	if err := e.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if _, tasks := e.Left(); tasks != 0 {
		t.Errorf("%d tasks are left", tasks)
	}
}

func TestOpeningRefused(t *testing.T) {
	// Guards that the refusal of a websocket is the answer to its request.
	e := New(engine.Options{Admit: func(any, func()) bool { return false }}, bare{}, nil)
	w := httptest.NewRecorder()
	e.ServeHTTP(w, websocketHandshake())
	if w.Code != http.StatusServiceUnavailable || w.Body.String() != errFull.body {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	if err := e.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}
