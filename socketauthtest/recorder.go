package socketauthtest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/testhook"
)

// Args returns arguments as a client's event brings them: each went through JSON, and a []byte is
// an attachment. It panics if JSON cannot hold a value.
func Args(values ...any) socketauth.Args {
	m, err := engine.NewReply(values...)
	if err != nil {
		panic(fmt.Sprintf("socketauthtest: Args: %v", err))
	}
	return argsOf(received(m))
}

// received returns what a client makes of a message.
func received(m *engine.Message) engine.Args {
	args := engine.Args{Attachments: m.Attachments, Size: len(m.Text)}
	_ = json.Unmarshal(m.Text, &args.Values) // it was made as JSON
	return args
}

// Recorder is a socket for the test of a handler by itself: authenticated, on no network, and it
// records what it is sent. Its methods may be called from any goroutine.
type Recorder struct {
	// Socket is what to hand to the handler.
	Socket *socketauth.Socket

	// Server is the socket's, for handlers that emit to all, to rooms or to users. It serves nobody
	// else.
	Server *socketauth.Server

	recv engine.Receiver
	left func()
	work sync.WaitGroup

	id      string
	mu      sync.Mutex
	ready   bool // recv is set
	events  []event
	replies map[string][]any
	waiting map[int]func(engine.Args, error) // for acknowledgements
	asked   int
	reason  engine.Reason // empty while the connection stands
	told    bool          // recv knows the reason
}

// NewSocket returns a socket of a user with these claims, of which "sub" is required. It is closed
// by the end of the test.
func NewSocket(t testing.TB, claims jwt.MapClaims) *Recorder {
	t.Helper()
	output := &testLog{t: t}
	server, err := socketauth.SocketServe(nil, http.NewServeMux(), socketauth.Options[any]{
		Secret: newSecret(),
		Logger: slog.New(slog.NewTextHandler(output, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		t.Fatalf("socketauthtest: NewSocket: %v", err)
	}
	r := &Recorder{Server: server, id: rand.Text(), replies: make(map[string][]any), waiting: make(map[int]func(engine.Args, error))}
	t.Cleanup(func() {
		r.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := server.Shutdown(ctx); err != nil {
			t.Errorf("socketauthtest: the server of the socket did not end within %v; does a handler or a hook not return? %v", patience, err)
		}
		output.close()
	})
	code, err := server.Auth().IssueCode(t.Context(), claims)
	if err != nil {
		t.Fatalf("socketauthtest: NewSocket: a code for %v: %v", claims, err)
	}
	if err := r.enter(code); err != nil {
		t.Fatalf("socketauthtest: NewSocket: %v", err)
	}
	return r
}

// enter connects the socket and authenticates it, by the ways that every client's takes.
func (r *Recorder) enter(code string) error {
	sockets := make(chan *socketauth.Socket, 1)
	r.Server.OnAuthenticated(func(_ context.Context, s *socketauth.Socket) error { sockets <- s; return nil })
	recv, left := testhook.Accept(r.Server, recorderConn{r}, httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=4&transport=websocket", nil))
	r.mu.Lock()
	r.recv, r.left, r.ready = recv, left, true
	r.mu.Unlock()
	r.disconnected()

	m, err := engine.NewReply(map[string]string{"token": code})
	if err != nil {
		return err
	}
	answered := make(chan []any, 1)
	recv.Event("authenticate", received(m), func(reply ...any) error { answered <- reply; return nil })
	select {
	case reply := <-answered:
		if len(reply) > 0 {
			return fmt.Errorf("the socket was refused: %v", reply)
		}
	case <-time.After(patience):
		return fmt.Errorf("the socket was not authenticated within %v", patience)
	}
	r.Socket = <-sockets
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = nil // of which the test knows nothing: "authenticated"
	return nil
}

// Context returns a context as handlers get it: it carries the claims and ends with the socket.
func (r *Recorder) Context() context.Context { return testhook.Context(r.Socket) }

// Emitted returns the arguments of the events of that name that the socket was sent, in order: by
// its Emit and EmitWithAck, and by those of Server that reach it.
func (r *Recorder) Emitted(event string) []socketauth.Args {
	r.mu.Lock()
	defer r.mu.Unlock()
	var emitted []socketauth.Args
	for _, e := range r.events {
		if e.name == event {
			emitted = append(emitted, argsOf(e.args))
		}
	}
	return emitted
}

// Events returns the names of the events that the socket was sent, in order.
func (r *Recorder) Events() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := make([]string, len(r.events))
	for n, e := range r.events {
		names[n] = e.name
	}
	return names
}

// Reply has each EmitWithAck of that event from now on answered with values. One of another event
// waits for its context. It panics if JSON cannot hold a value.
func (r *Recorder) Reply(event string, values ...any) {
	if _, err := engine.NewReply(values...); err != nil {
		panic(fmt.Sprintf("socketauthtest: Reply %q: %v", event, err))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.replies[event] = values
}

// Closed reports whether the socket's connection has ended: by Disconnect, or by Close.
func (r *Recorder) Closed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reason != ""
}

// Close ends the socket as a client does that loses its connection. It may be called again.
func (r *Recorder) Close() {
	r.end(engine.TransportClose, nil)
	r.work.Wait()
}

// end ends the connection, once.
func (r *Recorder) end(reason engine.Reason, last *engine.Message) {
	r.mu.Lock()
	if r.reason != "" {
		r.mu.Unlock()
		return
	}
	r.recordLocked(last)
	r.reason = reason
	for _, done := range r.waiting {
		r.work.Go(func() { done(engine.Args{}, engine.ErrClosed) })
	}
	r.waiting = nil
	r.mu.Unlock()
	r.disconnected()
}

// disconnected tells the receiver that the connection has ended, once both are known.
func (r *Recorder) disconnected() {
	r.mu.Lock()
	due := r.ready && r.reason != "" && !r.told
	r.told = r.told || due
	r.mu.Unlock()
	if due {
		r.recv.Disconnected(r.reason)
		r.left()
	}
}

func (r *Recorder) recordLocked(m *engine.Message) (name string) {
	if m == nil {
		return ""
	}
	args := received(m)
	_ = json.Unmarshal(args.Values[0], &name)
	args.Values = args.Values[1:]
	r.events = append(r.events, event{name, args})
	return name
}

// recorderConn is the connection of a Recorder, as an engine has it.
type recorderConn struct{ r *Recorder }

func (c recorderConn) ID() string        { return c.r.id }
func (c recorderConn) SessionID() string { return c.r.id }
func (c recorderConn) Trust()            {}
func (c recorderConn) Reconnect()        { c.r.end(engine.Shutdown, nil) }

func (c recorderConn) Close(last *engine.Message) { c.r.end(engine.ServerDisconnect, last) }

func (c recorderConn) Emit(m *engine.Message) error {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	if c.r.reason != "" {
		return engine.ErrClosed
	}
	c.r.recordLocked(m)
	return nil
}

func (c recorderConn) EmitShared(m *engine.Message, _ bool) error { return c.Emit(m) }

func (c recorderConn) EmitAck(m *engine.Message, done func(engine.Args, error)) (forget func(), err error) {
	r := c.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reason != "" {
		return nil, engine.ErrClosed
	}
	if values, ok := r.replies[r.recordLocked(m)]; ok {
		reply, err := engine.NewReply(values...)
		if err != nil {
			return nil, err
		}
		r.work.Go(func() { done(received(reply), nil) })
		return func() {}, nil
	}
	r.asked++
	id := r.asked
	r.waiting[id] = done
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.waiting, id)
	}, nil
}
