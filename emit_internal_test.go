package socketauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/engine"
)

// ackConn is a connection that counts the acknowledgements that were given up.
type ackConn struct {
	engine.Conn
	forgotten int
}

func (f *ackConn) EmitAck(*engine.Message, func(engine.Args, error)) (func(), error) {
	return func() { f.forgotten++ }, nil
}

// TestEmitWithAckContext checks that a wait that is over leaves no acknowledgement behind in the
// engine.
func TestEmitWithAckContext(t *testing.T) {
	conn := new(ackConn)
	server := &Server{watcher: &watcher{auth: &Auth{config: new(config)}}}
	s := &Socket{server: server, conn: conn, auth: authn.New(time.Now(), time.Second)}
	s.auth.Enter(time.Now(), &authn.Token{ExpiresAt: time.Now().Add(time.Hour)})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.EmitWithAck(ctx, "question"); !errors.Is(err, context.Canceled) || conn.forgotten != 1 {
		t.Errorf("%v, given up %d times", err, conn.forgotten)
	}
}

// toldConn is a connection whose client acts at once on each event.
type toldConn struct {
	engine.Conn
	act  func(event string)
	sent chan string
}

func (*toldConn) ID() string              { return "told" }
func (*toldConn) SessionID() string       { return "" }
func (*toldConn) Trust()                  {}
func (c *toldConn) Close(*engine.Message) { close(c.sent) }

func (c *toldConn) Emit(m *engine.Message) error {
	var packet []any
	if err := json.Unmarshal(m.Text, &packet); err != nil {
		return err
	}
	event := packet[0].(string)
	c.sent <- event
	c.act(event)
	return nil
}

func (c *toldConn) EmitShared(m *engine.Message, _ bool) error { return c.Emit(m) }

// TestBroadcastToWhoWasTold guards that a client which has been told that it is authenticated
// misses no broadcast, and gets all in order: it may make somebody else emit one at once.
func TestBroadcastToWhoWasTold(t *testing.T) {
	sent := make(chan string, 10)
	a, err := New(Options[any]{Secret: testSecret, Audit: func(_ context.Context, e AuditEvent) {
		if e.Kind == AuditAuthenticated { // when all is done
			close(sent)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := a.SocketServe(nil, http.NewServeMux())
	if err != nil {
		t.Fatal(err)
	}
	s.OnAuthenticated(func(_ context.Context, s *Socket) error { return s.Emit("welcome") })
	code, err := a.IssueCode(t.Context(), jwt.MapClaims{"sub": "anna"})
	if err != nil {
		t.Fatal(err)
	}
	conn := &toldConn{sent: sent, act: func(event string) {
		var err error
		switch event {
		case eventAuthenticated:
			err = errors.Join(s.Emit("to all"), s.ToUser("anna").Emit("to her"))
		case "welcome":
			err = s.Emit("later")
		}
		if err != nil {
			t.Error(err)
		}
	}}
	request := s.describe(httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=4&transport=websocket", nil))
	if !s.admit(request, func() {}) {
		t.Fatal("the connection was not admitted")
	}
	s.accept(conn, engine.Handshake{Request: request, Auth: json.RawMessage(`{"token":"` + code + `"}`)})
	var events []string
	for event := range sent {
		events = append(events, event)
	}
	if got, want := strings.Join(events, ", "), "authenticated, welcome, to all, to her, later"; got != want {
		t.Errorf("the client was sent %s; want %s", got, want)
	}
}

// TestEndOfWhoLeftAtOnce guards that OnDisconnect is called for a client that leaves as soon as it
// is told that it is authenticated, before the socket is let in.
func TestEndOfWhoLeftAtOnce(t *testing.T) {
	a, err := New(Options[any]{Secret: testSecret})
	if err != nil {
		t.Fatal(err)
	}
	s, err := a.SocketServe(nil, http.NewServeMux())
	if err != nil {
		t.Fatal(err)
	}
	var ends atomic.Int32
	s.OnDisconnect(func(context.Context, *Socket, string) { ends.Add(1) })
	code, err := a.IssueCode(t.Context(), jwt.MapClaims{"sub": "anna"})
	if err != nil {
		t.Fatal(err)
	}
	request := s.describe(httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=4&transport=websocket", nil))
	if !s.admit(request, func() {}) {
		t.Fatal("the connection was not admitted")
	}
	sent := make(chan string, 10)
	var client engine.Receiver
	conn := &toldConn{sent: sent, act: func(string) { client.Disconnected(engine.ClientDisconnect) }}
	client = s.accept(conn, engine.Handshake{Request: request})
	client.Event(eventAuthenticate, engine.Args{Values: []json.RawMessage{json.RawMessage(`{"token":"` + code + `"}`)}}, nil)
	if event := <-sent; event != eventAuthenticated {
		t.Fatalf("the client was sent %s", event)
	}
	s.left(request)
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := ends.Load(); n != 1 {
		t.Errorf("the end of the socket was told %d times", n)
	}
}
