package interop

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
)

// texts are texts that break code which expects ASCII, Latin, UTF-16, or lines.
var texts = []string{
	"plain", "", "naïve café", "مرحبا بالعالم", "你好，世界", "नमस्ते", "👩‍👩‍👧‍👦 🏳️‍🌈", "𝄞", "nul \x00 in the middle",
	"line \u2028 and paragraph \u2029", "record \x1e separator", "unit \x1f, delete \x7f, \u0085", `quotes " ' \ / <script>&amp;`,
	"\ufeffmark", "b64 bAAAA", "4", "42[\"news\"]", "tab\tnewline\r\n",
}

// app is a server that uses the library as an app does.
type app struct {
	*socketauth.Server
	url      string
	http     *http.Server
	listener *listener
	served   chan struct{}

	mu     sync.Mutex
	audits []socketauth.AuditEvent
}

// setup is what a test can change in its app.
type setup struct {
	options func(*socketauth.Options[string])
	server  func(*http.Server)
	on      *listener // the listener of an earlier app, to be used again
}

// serve starts an app. It is stopped at the end of the test, and must leave nothing running.
func serve(t *testing.T, s setup) *app {
	t.Helper()
	mux := http.NewServeMux()
	a := &app{http: &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}, listener: s.on, served: make(chan struct{})}
	if s.server != nil {
		s.server(a.http)
	}
	options := socketauth.Options[string]{
		Secret: []byte("a secret that is used for tests alone"),
		FindUserByCredentials: func(_ context.Context, c socketauth.Credentials) (string, error) {
			if c.Get("password") != "secret" {
				return "", socketauth.ErrInvalidCredentials
			}
			return c.Get("username"), nil
		},
		Claim:   func(user string) (jwt.MapClaims, error) { return jwt.MapClaims{"sub": user}, nil },
		Timeout: 30 * time.Second, // tests of other things must not fail on a busy machine
		Audit:   a.note,
		Logger:  slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if s.options != nil {
		s.options(&options)
	}
	var err error
	if a.Server, err = socketauth.Infrastructure(a.http, mux, options); err != nil {
		t.Fatal(err)
	}
	a.handle()
	if a.listener == nil {
		a.listener = listen(t)
	}
	a.url = "http://" + a.listener.Addr().String()
	a.listener.open()
	go func() {
		defer close(a.served)
		_ = a.http.Serve(a.listener)
	}()
	t.Cleanup(func() { a.stop(t) })
	return a
}

// stop shuts the app down in the documented order, the library first. It may be called more than
// once.
func (a *app) stop(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := a.Shutdown(ctx); err != nil {
		t.Errorf("the library's Shutdown: %v", err)
	}
	_ = a.http.Close()
	<-a.served
}

func (a *app) note(_ context.Context, e socketauth.AuditEvent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.audits = append(a.audits, e)
}

// audited returns the audit events of a kind.
func (a *app) audited(kind socketauth.AuditKind) (events []socketauth.AuditEvent) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.audits {
		if e.Kind == kind {
			events = append(events, e)
		}
	}
	return events
}

// handle sets the app's event handlers.
func (a *app) handle() {
	type args = socketauth.Args
	on := func(event string, f func(ctx context.Context, s *socketauth.Socket, in args) (any, error)) {
		a.On(event, f)
	}

	on("echo", func(_ context.Context, _ *socketauth.Socket, in args) (any, error) {
		var text string
		err := in.Decode(&text)
		return text, err
	})
	on("nothing", func(context.Context, *socketauth.Socket, args) (any, error) { return nil, nil })
	on("refuse", func(context.Context, *socketauth.Socket, args) (any, error) {
		return nil, &socketauth.PublicError{Code: "OUT_OF_STOCK", Err: errors.New("a cause for the log")}
	})
	on("break", func(context.Context, *socketauth.Socket, args) (any, error) {
		return nil, errors.New("a cause for the log")
	})
	on("add", func(_ context.Context, _ *socketauth.Socket, in args) (any, error) {
		var x, y int
		err := in.Decode(&x, &y)
		return x + y, err
	})
	on("who am I", func(_ context.Context, s *socketauth.Socket, _ args) (any, error) {
		return map[string]string{"user": s.UserID(), "session": s.SessionID()}, nil
	})
	on("ask me", func(ctx context.Context, s *socketauth.Socket, in args) (any, error) {
		var text string
		if err := in.Decode(&text); err != nil {
			return nil, err
		}
		answers, err := s.EmitWithAck(ctx, "question", text)
		if err != nil {
			return nil, err
		}
		var answer string
		var more struct{ Of string }
		err = answers.Decode(&answer, &more)
		return answer + " of the " + more.Of, err
	})
	on("join", func(_ context.Context, s *socketauth.Socket, in args) (any, error) {
		var room string
		err := in.Decode(&room)
		s.Join(room)
		return nil, err
	})
	on("leave", func(_ context.Context, s *socketauth.Socket, in args) (any, error) {
		var room string
		err := in.Decode(&room)
		s.Leave(room)
		return nil, err
	})
	on("speak", func(_ context.Context, _ *socketauth.Socket, in args) (any, error) {
		var kind, name, text string
		if err := in.Decode(&kind, &name, &text); err != nil {
			return nil, err
		}
		switch kind {
		case "all":
			return nil, a.Emit("news", text)
		case "room":
			return nil, a.To(name).Emit("news", text)
		case "user":
			return nil, a.ToUser(name).Emit("news", text)
		case "session":
			return nil, a.ToSession(name).Emit("news", text)
		}
		return nil, socketauth.ErrBadArguments
	})
	a.handlePayloads()
	a.handleStored()
}

var errGarbled = &socketauth.PublicError{Code: "GARBLED"}

// handlePayloads sets the handlers that compare what arrives byte by byte, reply, and send it back.
func (a *app) handlePayloads() {
	a.On("text", func(_ context.Context, s *socketauth.Socket, in socketauth.Args) (any, error) {
		var n int
		var text string
		if err := in.Decode(&n, &text); err != nil {
			return nil, err
		}
		if n < 0 || n >= len(texts) || text != texts[n] {
			return nil, errGarbled
		}
		return text, s.Emit("text", text, map[string]string{text: text})
	})
	a.On("binary", func(_ context.Context, s *socketauth.Socket, in socketauth.Args) (any, error) {
		var about struct{ Size int }
		var first, second []byte
		if err := in.Decode(&about, &first, &second); err != nil {
			return nil, err
		}
		if string(first) != string(pattern(about.Size)) || string(second) != string(pattern(3)) {
			return nil, errGarbled
		}
		return pattern(about.Size + 1), s.Emit("binary", first, about.Size, second)
	})
	a.On("large", func(_ context.Context, s *socketauth.Socket, in socketauth.Args) (any, error) {
		var text string
		if err := in.Decode(&text); err != nil {
			return nil, err
		}
		if strings.Trim(text, "x") != "" {
			return nil, errGarbled
		}
		return strings.ToUpper(text), s.Emit("large", text)
	})
	a.On("ask for an attachment", func(ctx context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		answers, err := s.EmitWithAck(ctx, "attachment", pattern(5))
		if err != nil {
			return nil, err
		}
		var first, second []byte
		err = answers.Decode(&first, &second)
		if string(first) != string(pattern(5)) || string(second) != string(pattern(7)) {
			err = errors.Join(err, errGarbled)
		}
		return "received", err
	})
}

// stored holds JSON that users may have stored, and whether it can be sent beside a picture.
var stored = []struct {
	about json.RawMessage
	alone bool
}{
	{json.RawMessage(`{"_placeholder":true,"num":7}`), true},
	{json.RawMessage(`{"_placeholder":true,"num":0}`), true},
	{json.RawMessage(`[{"a":[{"\u005fplaceholder":true}]}]`), true},
	{json.RawMessage(`{"_placeholder":1,"num":7}`), true},
	{json.RawMessage(strings.Repeat("[", 7000) + strings.Repeat("]", 7000)), true},
	{json.RawMessage("\"not UTF-8: \xff\""), false},
	{json.RawMessage(`{"_placeholder":false,"text":"_placeholder"}`), false},
}

// printable reports whether the driver can print a value. It cannot if the value is nested too
// deeply.
func printable(about json.RawMessage) bool { return len(about) < 1000 }

// handleStored sets the handler that sends what is stored: without a picture, with one, and with
// eleven.
func (a *app) handleStored() {
	a.On("show", func(_ context.Context, s *socketauth.Socket, in socketauth.Args) (any, error) {
		var n int
		if err := in.Decode(&n); err != nil {
			return nil, err
		}
		if printable(stored[n].about) {
			if err := s.Emit("news", stored[n].about); err != nil {
				return nil, err
			}
		}
		many := make([]any, 11)
		for i := range many {
			many[i] = pattern(3)
		}
		alone := s.Emit("binary", stored[n].about, pattern(3)) != nil
		return map[string]bool{"alone": alone, "few": s.Emit("binary", many...) != nil}, nil
	})
}

// pattern returns bytes that both sides can compute.
func pattern(size int) []byte {
	b := make([]byte, size)
	for n := range b {
		b[n] = byte(n % 251)
	}
	return b
}

// printed returns what the driver prints for binary data.
func printed(b []byte) map[string]any {
	return map[string]any{"bytes": len(b), "sha256": hash(b)}
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// listener keeps its port while several servers use it one after the other. It can break its
// connections as a network failure does.
type listener struct {
	*net.TCPListener
	mu    sync.Mutex
	conns []net.Conn
	down  bool
}

func listen(t *testing.T) *listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &listener{TCPListener: l.(*net.TCPListener)}
}

func (l *listener) open() { _ = l.SetDeadline(time.Time{}) }

// Close ends Accept but keeps the port: new connections wait for the next server.
func (l *listener) Close() error { return l.SetDeadline(time.Unix(1, 0)) }

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	c, err := l.TCPListener.Accept()
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		_ = c.Close()
	}
	l.conns = append(l.conns, c)
	return c, nil
}

// cut breaks every connection, old and new, until mend is called.
func (l *listener) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns, l.down = nil, true
}

func (l *listener) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}
