package eio4_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth/internal/eio"

	"github.com/z-open/socketauth/internal/eio4"
	"github.com/z-open/socketauth/internal/engine"
)

// journal records the calls of an application, one line each.
type journal struct {
	t     *testing.T
	lines chan string
}

func newJournal(t *testing.T) *journal { return &journal{t, make(chan string, 1<<16)} }

func (j *journal) add(parts ...string) { j.lines <- strings.Join(parts, " ") }

// next waits for the next line.
func (j *journal) next() string {
	j.t.Helper()
	select {
	case line := <-j.lines:
		return line
	case <-time.After(patience):
		j.t.Fatal("the application was not called")
		return ""
	}
}

// want waits for these lines, and no others between them.
func (j *journal) want(lines ...string) {
	j.t.Helper()
	for _, line := range lines {
		if got := j.next(); got != line {
			j.t.Fatalf("the application received %q, want %q", clip(got), line)
		}
	}
}

// wantNothing checks, in a bubble, that there is no other line.
func (j *journal) wantNothing() {
	j.t.Helper()
	synctest.Wait()
	select {
	case line := <-j.lines:
		j.t.Fatalf("the application received %q, want nothing", clip(line))
	default:
	}
}

// clip shortens what is printed in failure messages.
func clip(s string) string {
	if len(s) > 300 {
		return s[:300] + "..."
	}
	return s
}

// rawApp is an application on bare Engine.IO. It echoes messages.
type rawApp struct {
	*journal
	sessions chan *eio.Session
	quiet    bool               // no echo
	onOpen   func(*eio.Session) // called while the session is being accepted
}

type rawReceiver struct {
	app     *rawApp
	session *eio.Session
}

func (a *rawApp) accept(s *eio.Session) eio.Receiver {
	if a.onOpen != nil {
		a.onOpen(s)
	}
	a.sessions <- s
	return rawReceiver{a, s}
}

func (r rawReceiver) Message(data []byte, binary bool) {
	kind := "text"
	if binary {
		kind = "binary"
	}
	r.app.add(kind, string(data))
	if !r.app.quiet {
		_ = r.session.Send(eio.NewMessage(data, binary))
	}
}

func (r rawReceiver) Closed(reason engine.Reason) { r.app.add("closed:", string(reason)) }

func newRawApp(t *testing.T) *rawApp {
	return &rawApp{journal: newJournal(t), sessions: make(chan *eio.Session, 1<<12)}
}

// serveEcho starts an engine that echoes Engine.IO messages, in memory.
func serveEcho(t *testing.T, o engine.Options, options ...func(*server)) (*server, *rawApp) {
	t.Helper()
	app := newRawApp(t)
	return serve(t, memory(), eio4.NewRaw(o, app.accept), options...), app
}

// ioApp is an application on Socket.IO. It records its calls, and answers only if onEvent does.
type ioApp struct {
	*journal
	conns     chan engine.Conn
	onConnect func(namespace string, c engine.Conn)
	onEvent   func(c engine.Conn, name string, args engine.Args, ack engine.Ack)
}

type ioReceiver struct {
	app       *ioApp
	namespace string
	conn      engine.Conn
}

func (a *ioApp) accept(namespace string) engine.Accept {
	return func(c engine.Conn, h engine.Handshake) engine.Receiver {
		auth := "none"
		if h.Auth != nil {
			auth = string(h.Auth)
		}
		if h.Request != nil {
			auth += " " + fmt.Sprint(h.Request)
		}
		a.add("connect", namespace, auth)
		if a.onConnect != nil {
			a.onConnect(namespace, c)
		}
		a.conns <- c
		return ioReceiver{a, namespace, c}
	}
}

func (r ioReceiver) Event(name string, args engine.Args, ack engine.Ack) {
	line := []string{"event", r.namespace, name, showArgs(args)}
	if ack != nil {
		line = append(line, "ack")
	}
	r.app.add(line...)
	if r.app.onEvent != nil {
		r.app.onEvent(r.conn, name, args, ack)
	}
}

func (r ioReceiver) Disconnected(reason engine.Reason) {
	r.app.add("gone", r.namespace, string(reason))
}

// showArgs formats arguments as in a packet, followed by the attachments in hex.
func showArgs(args engine.Args) string {
	values := make([]string, len(args.Values))
	for i, v := range args.Values {
		values[i] = string(v)
	}
	text := "[" + strings.Join(values, ",") + "]"
	for _, a := range args.Attachments {
		text += fmt.Sprintf(" <% x>", a)
	}
	return text
}

func newIOApp(t *testing.T) *ioApp {
	return &ioApp{journal: newJournal(t), conns: make(chan engine.Conn, 1<<12)}
}

// engine returns a Socket.IO engine with the app in the root namespace and /admin.
func (a *ioApp) engine(o engine.Options) *eio.Engine {
	if o.Namespaces == nil {
		o.Namespaces = map[string]engine.Accept{"/": a.accept("/"), "/admin": a.accept("/admin")}
	}
	return eio4.New(o)
}

// serveIO starts a Socket.IO engine, in memory.
func serveIO(t *testing.T, o engine.Options, options ...func(*server)) (*server, *ioApp) {
	t.Helper()
	app := newIOApp(t)
	return serve(t, memory(), app.engine(o), options...), app
}

// connected waits for the next connection that the application accepts.
func (a *ioApp) connected() engine.Conn {
	a.t.Helper()
	select {
	case c := <-a.conns:
		return c
	case <-time.After(patience):
		a.t.Fatal("no connection")
		return nil
	}
}

var connectPacket = regexp.MustCompile(`^40(/[^,]*,)?\{"sid":"([A-Za-z0-9_-]{22,})"\}$`)

// wantConnect checks a CONNECT packet and returns its sid.
func wantConnect(t *testing.T, namespace, packet string) string {
	t.Helper()
	prefix := ""
	if namespace != "/" {
		prefix = namespace + ","
	}
	m := connectPacket.FindStringSubmatch(packet)
	if m == nil || m[1] != prefix {
		t.Fatalf("no CONNECT to %s: %q", namespace, clip(packet))
	}
	return m[2]
}

// join joins the root namespace over a new websocket.
func (s *server) join(app *ioApp) (*socket, engine.Conn) {
	s.t.Helper()
	w, _ := s.connect()
	w.send("40")
	wantConnect(s.t, "/", w.next().data)
	app.want("connect / none")
	return w, app.connected()
}

// joinPolling joins the root namespace over polling.
func (s *server) joinPolling(app *ioApp) (*poller, engine.Conn) {
	s.t.Helper()
	p := s.open()
	p.send("40")
	wantConnect(s.t, "/", p.poll().body)
	app.want("connect / none")
	return p, app.connected()
}

// event returns a message.
func event(t *testing.T, name string, args ...any) *engine.Message {
	t.Helper()
	m, err := engine.NewMessage(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// emit emits an event. The test fails if that fails.
func emit(t *testing.T, c engine.Conn, name string, args ...any) {
	t.Helper()
	if err := c.Emit(event(t, name, args...)); err != nil {
		t.Fatalf("Emit: %v", err)
	}
}
