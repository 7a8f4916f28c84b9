package eio

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/engine"
)

// hijackable is a response whose connection can be taken over.
type hijackable struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// recorded keeps each write, and has nothing to read.
type recorded struct {
	net.Conn
	writes []string
}

func (r *recorded) Write(b []byte) (int, error) {
	r.writes = append(r.writes, string(b))
	return len(b), nil
}
func (*recorded) Read([]byte) (int, error)         { return 0, io.EOF }
func (*recorded) Close() error                     { return nil }
func (*recorded) SetDeadline(time.Time) error      { return nil }
func (*recorded) SetReadDeadline(time.Time) error  { return nil }
func (*recorded) SetWriteDeadline(time.Time) error { return nil }

// shaken returns the response of gorilla/websocket to a handshake, or "" if it refuses it.
func shaken(r *http.Request, subprotocol string) string {
	header := http.Header{"Cache-Control": {"no-store"}}
	if subprotocol != "" {
		header.Set("Sec-WebSocket-Protocol", subprotocol)
	}
	conn := new(recorded)
	u := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	if _, err := u.Upgrade(hijackable{httptest.NewRecorder(), conn}, r, header); err != nil {
		return ""
	}
	return strings.Join(conn.writes, "")
}

func FuzzHandshake(f *testing.F) {
	// Guards that what gorilla/websocket refuses is refused, and that a handshake is answered as
	// gorilla/websocket answers it.
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	for _, seed := range [][7]string{
		{}, // which changes nothing of a good handshake
		{0: "POST"},
		{1: "keep-alive, Upgrade", 2: "h2c,WebSocket", 3: "8, 13", 6: "chat, superchat"},
		{1: "keep alive, Upgrade"},
		{1: ", Upgrade", 5: "upgrade,"},
		{1: ", Upgrade"},
		{1: "Upgrade;q=1"},
		{2: "websoc\u212aet"},
		{2: "websocket/13"},
		{2: "\twebsocket "},
		{3: "013"},
		{3: "13.0, 13"},
		{3: "a b, 13"},
		{4: "dGhlIHNhbXBsZSBub25j"},
		{4: "dGhlIHNhbXBsZSBub25jZR=="},
		{4: "dGhlIHNhbXBsZSBub25jZQ=a"},
		{4: "dGhlIHNhbXBsZSBub25jZWVl"},
		{6: "a b"},
		{6: ","},
		{6: "chat,"},
	} {
		for i, good := range []string{"GET", "Upgrade", "websocket", "13", key} {
			if seed[i] == "" {
				seed[i] = good
			}
		}
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4], seed[5], seed[6])
	}
	f.Fuzz(func(t *testing.T, method, connection, upgrade, version, key, more, subprotocol string) {
		for _, s := range []string{connection, upgrade, version, key, more, subprotocol} {
			if strings.ContainsAny(s, "\r\n\x00") {
				return // net/http accepts no such field
			}
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Method = method
		r.Header["Connection"] = []string{connection, more}
		r.Header["Upgrade"] = []string{upgrade}
		r.Header["Sec-Websocket-Version"] = []string{version}
		r.Header["Sec-Websocket-Key"] = []string{key}
		if subprotocol != "" {
			r.Header["Sec-Websocket-Protocol"] = []string{subprotocol}
		}
		chosen, valid := firstSubprotocol(r.Header)
		want := shaken(r, chosen)
		switch accepted := refuseHandshake(r) == nil; {
		case accepted && (want == "" || !valid):
			t.Fatal("accepted")
		case !accepted && want != "" && valid:
			t.Fatal("refused")
		case accepted && acceptance(r.Header) != want:
			t.Fatalf("answered with\n%s\nand not with\n%s", acceptance(r.Header), want)
		}
	})
}

func TestHandshakeRefusals(t *testing.T) {
	// Guards what a client is told that makes a wrong handshake.
	for _, test := range []struct {
		field, value string
		want         int
	}{
		{"Connection", "keep-alive", http.StatusBadRequest},
		{"Upgrade", "h2c", http.StatusBadRequest},
		{"Sec-WebSocket-Version", "8", http.StatusUpgradeRequired},
		{"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j", http.StatusBadRequest},
		{"Connection", "Upgrade", http.StatusBadRequest}, // the response cannot be hijacked
	} {
		e := New(engine.Options{}, bare{}, nil)
		r := websocketHandshake()
		r.Header.Set(test.field, test.value)
		w := httptest.NewRecorder()
		e.ServeHTTP(w, r)
		asks := w.Header().Get("Sec-WebSocket-Version") == "13"
		if w.Code != test.want || asks != (test.want == http.StatusUpgradeRequired) {
			t.Errorf("%s: %s is answered with %d %v", test.field, test.value, w.Code, w.Header())
		}
		if err := e.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// opened is a session that a handshake has opened, and its client's end of the connection.
type opened struct {
	*Session
	client net.Conn
	ended  ender
}

// handshake makes one between the ends of a connection, and calls accepted before the session
// begins.
func handshake(t *testing.T, client, server net.Conn, accepted func(e *Engine, s *Session)) *opened {
	t.Helper()
	_ = client.SetReadDeadline(time.Now().Add(10 * time.Second)) // a test that fails must end
	o := &opened{client: client, ended: ender{done: make(chan struct{})}}
	var e *Engine
	e = New(engine.Options{}, bare{}, func(s *Session) Receiver {
		o.Session = s
		if accepted != nil {
			accepted(e, s)
		}
		return &o.ended
	})
	r := websocketHandshake()
	w := hijackable{httptest.NewRecorder(), server}
	e.ServeHTTP(w, r)
	if w.Body.Len() > 0 {
		t.Fatalf("refused: %s", w.Body)
	}
	t.Cleanup(func() {
		o.Evict()
		<-o.ended.done
		_, _ = server.Close(), client.Close()
		if err := e.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return o
}

// response reads the response to a handshake and returns what follows it.
func response(t *testing.T, r *bufio.Reader) (rest io.Reader) {
	t.Helper()
	answer, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if answer.StatusCode != http.StatusSwitchingProtocols {
		t.Errorf("status %s", answer.Status)
	}
	return r
}

func TestOpenComesWithResponse(t *testing.T) {
	// Guards that the response to a handshake, OPEN and what is sent at once are written in one go.
	network := "tcp"
	if runtime.GOOS == "linux" {
		network = "unixpacket" // a read returns one write, where TCP may join two
	}
	for name, wrap := range kinds {
		t.Run(name, func(t *testing.T) {
			client, server := socketsOf(t, network)
			o := handshake(t, client, wrap(server), func(_ *Engine, s *Session) {
				if err := s.Send(Packet{Head: "first"}); err != nil {
					t.Error(err)
				}
			})
			got := make([]byte, 4096)
			n, err := o.client.Read(got)
			if err != nil {
				t.Fatal(err)
			}
			rest, _ := io.ReadAll(response(t, bufio.NewReader(bytes.NewReader(got[:n]))))
			if want := "\x81\x04open\x81\x05first"; string(rest) != want {
				t.Errorf("%q comes with the response, want %q", rest, want)
			}
		})
	}
}

func TestResponseComesFirst(t *testing.T) {
	// Guards that a client gets the response to its handshake before anything else, and also if the
	// session ends before it has begun: because of Shutdown, because another client needs its place,
	// because too much is sent to the client, or because accept takes too long to return.
	ends := map[string]struct {
		end  func(e *Engine, s *Session)
		then string // what the client gets after the response
	}{
		"evicted": {func(_ *Engine, s *Session) { s.Evict() }, ""},
		"shutdown": {func(e *Engine, _ *Session) {
			stopped, cancel := context.WithCancel(t.Context())
			cancel()
			_ = e.Shutdown(stopped) // it ends the sessions, and does not wait for this one
		}, "\x81\x04open\x88\x00"},
		"slow": {func(_ *Engine, s *Session) {
			half := Packet{Data: make([]byte, s.maxQueue()/2+1)}
			if err := errors.Join(s.Send(half), s.Send(half)); !errors.Is(err, engine.ErrSlow) {
				t.Error(err)
			}
		}, ""},
		"late": {func(_ *Engine, s *Session) {
			s.CloseAfter(Packet{Head: "last"})
			s.mu.Lock()
			defer s.mu.Unlock()
			s.alarms.due[flushDue] = 1 // the time is over
			s.checkAlarmsLocked()
		}, ""},
		"left": {func(_ *Engine, s *Session) { s.ws.writeClose(1000) }, "\x88\x02\x03\xe8"},
	}
	for name, wrap := range kinds {
		for reason, test := range ends {
			t.Run(name+" "+reason, func(t *testing.T) {
				client, server := sockets(t)
				o := handshake(t, client, wrap(server), test.end)
				got := make([]byte, len(test.then))
				if _, err := io.ReadFull(response(t, bufio.NewReader(o.client)), got); err != nil || string(got) != test.then {
					t.Errorf("the response is followed by %q %v, want %q", got, err, test.then)
				}
			})
		}
	}
}
