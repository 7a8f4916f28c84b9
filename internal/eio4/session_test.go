package eio4

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/engine"
)

// tape is an eio.Receiver that records its calls.
type tape struct {
	s         *eio.Session
	messages  []string
	closed    []engine.Reason
	onMessage func(data []byte, binary bool)
}

func (r *tape) Message(data []byte, binary bool) {
	r.messages = append(r.messages, string(data))
	if r.onMessage != nil {
		r.onMessage(data, binary)
	}
}

func (r *tape) Closed(reason engine.Reason) { r.closed = append(r.closed, reason) }

// inBubble runs a test in fake time with an engine whose only session is recorded, and checks that
// nothing is left at the end.
func inBubble(t *testing.T, o engine.Options, f func(t *testing.T, e *eio.Engine, r *tape)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := new(tape)
		e := NewRaw(o, func(s *eio.Session) eio.Receiver { r.s = s; return r })
		f(t, e, r)
		wantNothingLeft(t, e)
	})
}

func wantNothingLeft(t *testing.T, e *eio.Engine) {
	t.Helper()
	if err := e.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if sessions, tasks := e.Left(); tasks != 0 || sessions != 0 {
		t.Errorf("%d tasks and %d sessions are left", tasks, sessions)
	}
}

// serve makes one request, without a network.
func serve(e *eio.Engine, method, query, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequest(method, "/?EIO=4&"+query, strings.NewReader(body)))
	return w
}

// openPoll opens a session with polling and returns the query of its requests.
func openPoll(t *testing.T, e *eio.Engine) string {
	t.Helper()
	w := serve(e, "GET", "transport=polling", "")
	var open struct{ SID string }
	if w.Code != 200 || json.Unmarshal(w.Body.Bytes()[1:], &open) != nil {
		t.Fatalf("handshake: %d %s", w.Code, w.Body)
	}
	return "transport=polling&sid=" + open.SID
}

// pipeWriter is a ResponseWriter on one end of a pipe.
type pipeWriter struct {
	http.ResponseWriter
	conn net.Conn
}

func (w pipeWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

// dialPipe opens a websocket over a pipe. The caller has to close it.
func dialPipe(t *testing.T, e *eio.Engine, query string) *websocket.Conn {
	t.Helper()
	client, server := net.Pipe()
	go func() {
		r, err := http.ReadRequest(bufio.NewReader(server))
		if err != nil {
			return
		}
		e.ServeHTTP(pipeWriter{httptest.NewRecorder(), server}, r)
	}()
	dialer := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return client, nil }}
	ws, _, err := dialer.Dial("ws://test/?EIO=4&"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	return ws
}

func receive(t *testing.T, ws *websocket.Conn) string {
	t.Helper()
	_, data, err := ws.ReadMessage()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func send(t *testing.T, ws *websocket.Conn, kind int, data string) {
	t.Helper()
	if err := ws.WriteMessage(kind, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

// brokenWriter is a ResponseWriter that fails as a connection does.
type brokenWriter struct {
	http.ResponseWriter
	err error
}

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

func TestPollWriteError(t *testing.T) {
	// Guards that a session ends if the answer to a poll cannot be written.
	for err, want := range map[error]engine.Reason{net.ErrClosed: engine.TransportClose, os.ErrDeadlineExceeded: engine.SlowPeer} {
		t.Run(err.Error(), func(t *testing.T) {
			inBubble(t, engine.Options{}, func(t *testing.T, e *eio.Engine, r *tape) {
				session := openPoll(t, e)
				if err := r.s.Send(eio.NewMessage([]byte("x"), false)); err != nil {
					t.Fatal(err)
				}
				e.ServeHTTP(brokenWriter{httptest.NewRecorder(), err}, httptest.NewRequest("GET", "/?EIO=4&"+session, nil))
				synctest.Wait()
				if !slices.Equal(r.closed, []engine.Reason{want}) {
					t.Errorf("closed: %q", r.closed)
				}
				if w := serve(e, "GET", session, ""); w.Code != 400 {
					t.Errorf("the next poll gets %d", w.Code)
				}
			})
		})
	}
}

func TestHandshakeWriteError(t *testing.T) {
	// Guards that a session ends if its handshake cannot be written.
	inBubble(t, engine.Options{}, func(t *testing.T, e *eio.Engine, r *tape) {
		e.ServeHTTP(brokenWriter{httptest.NewRecorder(), net.ErrClosed}, httptest.NewRequest("GET", "/?EIO=4&transport=polling", nil))
		synctest.Wait()
		if !slices.Equal(r.closed, []engine.Reason{engine.TransportClose}) {
			t.Errorf("closed: %q", r.closed)
		}
	})
}

func TestPollDuringUpgrade(t *testing.T) {
	// Guards that a poll is refused that is pending when the upgrade is completed.
	inBubble(t, engine.Options{}, func(t *testing.T, e *eio.Engine, r *tape) {
		session := openPoll(t, e)
		ws := dialPipe(t, e, strings.Replace(session, "polling", "websocket", 1))
		defer ws.Close()
		send(t, ws, websocket.TextMessage, "2probe")
		if got := receive(t, ws); got != "3probe" {
			t.Fatalf("probe answered with %q", got)
		}
		polled := make(chan int)
		go func() { polled <- serve(e, "GET", session, "").Code }()
		synctest.Wait()
		send(t, ws, websocket.TextMessage, "5")
		if code := <-polled; code != http.StatusBadRequest {
			t.Errorf("the poll gets %d", code)
		}
		if err := r.s.Send(eio.NewMessage([]byte("x"), false)); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, ws); got != "4x" {
			t.Errorf("after the upgrade got %q", got)
		}
	})
}

func TestFastSender(t *testing.T) {
	// Guards that a client is not closed as slow for the answers to what it sent before it read.
	const count = 300
	o := engine.Options{MaxQueue: 20_000} // much less than the answers
	inBubble(t, o, func(t *testing.T, e *eio.Engine, r *tape) {
		r.onMessage = func(data []byte, binary bool) { _ = r.s.Send(eio.NewMessage(data, binary)) }
		ws := dialPipe(t, e, "transport=websocket")
		defer ws.Close()
		receive(t, ws) // OPEN
		sent := make(chan error, 1)
		go func() {
			for n := range count {
				if err := ws.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, "4%0100d", n)); err != nil {
					sent <- err
					return
				}
			}
			sent <- nil
		}()
		time.Sleep(5 * time.Second) // in fake time; less than WriteTimeout
		for n := range count {
			if got, want := receive(t, ws), fmt.Sprintf("4%0100d", n); got != want {
				t.Fatalf("answer %d is %q", n, got)
			}
		}
		if err := <-sent; err != nil {
			t.Error(err)
		}
	})
}

func TestFrameSizes(t *testing.T) {
	// Guards the three forms of the length of a frame.
	inBubble(t, engine.Options{}, func(t *testing.T, e *eio.Engine, r *tape) {
		r.onMessage = func(data []byte, binary bool) { _ = r.s.Send(eio.NewMessage(data, binary)) }
		ws := dialPipe(t, e, "transport=websocket")
		defer ws.Close()
		receive(t, ws) // OPEN
		for _, size := range []int{1, 125, 126, 127, 65535, 65536, 65537, 1 << 20} {
			data := "4" + strings.Repeat("x", size-1)
			send(t, ws, websocket.TextMessage, data)
			if got := receive(t, ws); got != data {
				t.Errorf("text of %d bytes came back with %d", size, len(got))
			}
			data = strings.Repeat("\xff", size)
			send(t, ws, websocket.BinaryMessage, data)
			if got := receive(t, ws); got != data {
				t.Errorf("%d bytes came back as %d", size, len(got))
			}
		}
	})
}

func TestWebsocketPing(t *testing.T) {
	// Guards that ping frames are answered, between messages.
	inBubble(t, engine.Options{}, func(t *testing.T, e *eio.Engine, r *tape) {
		ws := dialPipe(t, e, "transport=websocket")
		defer ws.Close()
		receive(t, ws) // OPEN
		var pong string
		ws.SetPongHandler(func(data string) error { pong = data; return nil })
		if err := ws.WriteControl(websocket.PingMessage, []byte("are you there"), time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if err := r.s.Send(eio.NewMessage([]byte("x"), false)); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, ws); got != "4x" || pong != "are you there" {
			t.Errorf("got %q, pong %q", got, pong)
		}
	})
}

func TestPongsAreNotQueued(t *testing.T) {
	// Guards that the server does not keep an answer to each ping of a client that does not read.
	inBubble(t, engine.Options{MaxQueue: 1 << 10}, func(t *testing.T, e *eio.Engine, r *tape) {
		ws := dialPipe(t, e, "transport=websocket")
		defer ws.Close()
		receive(t, ws) // OPEN
		var pongs []string
		ws.SetPongHandler(func(data string) error { pongs = append(pongs, data); return nil })
		for n := range 1000 {
			if err := ws.WriteControl(websocket.PingMessage, fmt.Append(nil, n), time.Now().Add(time.Second)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		for _, text := range []string{"x", "y"} {
			if err := r.s.Send(eio.NewMessage([]byte(text), false)); err != nil {
				t.Fatal(err)
			}
			if got := receive(t, ws); got != "4"+text {
				t.Errorf("got %q", got)
			}
		}
		if len(pongs) > 2 || pongs[len(pongs)-1] != "999" { // one of them was being written
			t.Errorf("pongs %.200q", pongs)
		}
	})
}

func TestSmallMessages(t *testing.T) {
	// Guards that small messages do not keep the memory of the large payload that they came in.
	inBubble(t, engine.Options{}, func(t *testing.T, e *eio.Engine, r *tape) {
		largest := 0
		r.onMessage = func(data []byte, _ bool) { largest = max(largest, cap(data)) }
		filler := strings.Repeat("6\x1e", 50_000)
		serve(e, "POST", openPoll(t, e), "4first\x1e"+filler+"4middle\x1e"+filler+"4last")
		if len(r.messages) != 3 || largest > 64 {
			t.Errorf("received %q, which keep up to %d bytes", r.messages, largest)
		}
	})
}

// stalled is a ResponseWriter whose Write blocks until the test lets it return.
type stalled struct {
	*httptest.ResponseRecorder
	writing, goOn chan struct{}
}

func (w *stalled) Write(p []byte) (int, error) {
	close(w.writing)
	<-w.goOn
	return w.ResponseRecorder.Write(p)
}

func TestLatePostAnswer(t *testing.T) {
	// Guards that a POST whose answer is written late does not end the next one, so that never two
	// are read at a time.
	inBubble(t, engine.Options{}, func(t *testing.T, e *eio.Engine, r *tape) {
		serve := func(w http.ResponseWriter, method, query string, body io.Reader) {
			e.ServeHTTP(w, httptest.NewRequest(method, "/?EIO=4&transport=polling"+query, body))
		}
		sid := strings.TrimPrefix(openPoll(t, e), "transport=polling")

		first := &stalled{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}
		answered := make(chan struct{})
		go func() { serve(first, http.MethodPost, sid, strings.NewReader("4one")); close(answered) }()
		<-first.writing
		body, feed := io.Pipe()
		second := httptest.NewRecorder()
		ended := make(chan struct{})
		go func() { serve(second, http.MethodPost, sid, body); close(ended) }()
		synctest.Wait() // it is being read
		close(first.goOn)
		<-answered
		third := httptest.NewRecorder()
		serve(third, http.MethodPost, sid, strings.NewReader("4three"))
		if third.Code != http.StatusBadRequest {
			t.Errorf("a concurrent POST: %d", third.Code)
		}
		_ = feed.CloseWithError(errors.New("gone"))
		<-ended
	})
}
