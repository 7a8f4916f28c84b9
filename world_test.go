package socketauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/siotest"
)

// world is a server of the library behind net/http, on connections in memory, in a bubble of its own time. When its
// test returns, the server is shut down and no goroutine may be left: the bubble sees to that.
type world struct {
	*testing.T
	*Server
	logs *syncBuffer
	http *http.Server
	lis  *pipes
}

// inWorld runs a test against a server. change may adjust its options.
func inWorld(t *testing.T, change func(*Options[string]), test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, logs: new(syncBuffer), lis: &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}}
		o := apiOptions(w.logs)
		o.Logger = slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
		if change != nil {
			change(&o)
		}
		mux := http.NewServeMux()
		w.http = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.NewTextHandler(w.logs, nil), slog.LevelError)}
		var err error
		if w.Server, err = Infrastructure(w.http, mux, o); err != nil {
			t.Fatal(err)
		}
		synctest.Wait() // it watches the store
		mux.Handle("GET /api", w.Auth().Middleware(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			claims, _ := ClaimsFromContext(r.Context())
			_, _ = io.WriteString(rw, claims["sub"].(string))
		})))
		go func() { _ = w.http.Serve(w.lis) }()
		defer func() {
			if err := w.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
			if !w.hub.Empty() {
				t.Error("the hub remembers sockets that are gone")
			}
			_ = w.http.Close()
		}()
		test(w)
	})
}

// logged makes sure that the log says so, once all that is going on has come to rest.
func (w *world) logged(part string) {
	w.Helper()
	synctest.Wait()
	w.logs.has(w.T, part)
}

// pipes is a network in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, errors.New("nobody listens")
	}
}

// code is what a login of anna's gives.
func (w *world) code() string { return w.codeFor(jwt.MapClaims{"sub": "anna"}) }

func (w *world) codeFor(claims jwt.MapClaims) string {
	w.Helper()
	code, err := w.Auth().IssueCode(context.Background(), claims)
	if err != nil {
		w.Fatal(err)
	}
	return code
}

// get asks the HTTP side, through Middleware.
func (w *world) get(token string) (int, string, http.Header) {
	w.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: w.lis.dial, DisableKeepAlives: true}}
	r, _ := http.NewRequest(http.MethodGet, "http://server/api", nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(r)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(body), res.Header
}

// post asks the HTTP side to log in or to register.
func (w *world) post(path, body string) string {
	w.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: w.lis.dial, DisableKeepAlives: true}}
	res, err := client.Post("http://server"+path, "application/json", strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	answer, _ := io.ReadAll(res.Body)
	return string(answer)
}

// login is the code that anna's credentials give.
func (w *world) login() string {
	w.Helper()
	var answer struct{ Token string }
	if err := json.Unmarshal([]byte(w.post("/login", `{"username":"anna","password":"secret"}`)), &answer); err != nil || answer.Token == "" {
		w.Errorf("%+v, %v", answer, err)
	}
	return answer.Token
}

// begin makes the handshake of Engine.IO as a client at that address, which for "upgrade" is left polling.
func (w *world) begin(version, transport, address string) (*siotest.Conn, error) {
	d := siotest.Dialer{Version: version, Header: http.Header{"X-Address": {address}}, Net: w.lis.dial}
	return d.Dial(w.Context(), transport)
}

// client is a client for version 4 on a websocket.
type client struct {
	*siotest.Client
	w    *world
	sid  string // the socket's
	acks int
}

// dial connects. auth is the handshake's, "" for none.
func (w *world) dial(auth string) *client {
	w.Helper()
	c := w.open()
	c.send("40" + auth)
	c.sid = strings.Trim(c.next(`40{"sid":`), `"}`)
	return c
}

// open connects, and leaves the handshake to the caller.
func (w *world) open() *client {
	w.Helper()
	conn, err := w.begin("4", "websocket", "")
	if err != nil {
		w.Fatal(err)
	}
	c := &client{w: w}
	if c.Client, err = conn.Start(w.Context()); err != nil {
		w.Fatal(err)
	}
	return c
}

// next is the rest of the next frame, which begins as it says.
func (c *client) next(prefix string) string {
	c.w.Helper()
	frame, ok := c.frameWithin(time.Minute)
	rest, found := strings.CutPrefix(frame, prefix)
	if !ok || !found {
		c.w.Fatalf("got frame %.200q, %v, want %q...\nof %s\nlog: %s", frame, ok, prefix, c.sid, c.w.logs)
	}
	return rest
}

func (c *client) frameWithin(d time.Duration) (string, bool) {
	select {
	case frame, ok := <-c.Packets():
		return frame, ok
	case <-time.After(d):
		return "nothing came", false
	}
}

func (c *client) send(frame string) {
	c.w.Helper()
	if err := c.Write(frame); err != nil {
		c.w.Fatalf("sending %.100q: %v", frame, err)
	}
}

func (c *client) emit(event string, args ...any) { c.w.Helper(); c.send("42" + event42(event, args)) }

func event42(event string, args []any) string {
	b, _ := json.Marshal(append([]any{event}, args...))
	return string(b)
}

// ask emits with an acknowledgement, and gives what it says.
func (c *client) ask(event string, args ...any) string {
	c.w.Helper()
	c.acks++
	c.send("42" + strconv.Itoa(c.acks) + event42(event, args))
	return c.next("43" + strconv.Itoa(c.acks))
}

func (c *client) authenticate(token string) {
	c.w.Helper()
	c.emit("authenticate", map[string]string{"token": token})
}

// token is the token that the server sends now.
func (c *client) token() string {
	c.w.Helper()
	var args []string
	if err := json.Unmarshal([]byte(c.next("42")), &args); err != nil || len(args) != 2 || args[0] != "authenticated" {
		c.w.Fatalf("got %v, %v, want authenticated", args, err)
	}
	return args[1]
}

// in is a client that has traded a code of anna's for a token.
func (w *world) in() (*client, string) { return w.inAs(jwt.MapClaims{"sub": "anna"}) }

func (w *world) inAs(claims jwt.MapClaims) (*client, string) {
	w.Helper()
	c := w.dial(fmt.Sprintf(`{"token":%q}`, w.codeFor(claims)))
	token := c.token()
	synctest.Wait() // it is in a moment after it was told so
	return c, token
}

type unauthorized struct {
	Message    string
	Code       string
	Type       string
	Terminal   bool
	RetryAfter int
	Data       struct{ Message, Code, Type string }
}

// refusedWith is the unauthorized that the server sends now, with that code.
func (c *client) refusedWith(code string) unauthorized {
	c.w.Helper()
	var args []json.RawMessage
	var name string
	var u unauthorized
	if err := json.Unmarshal([]byte(c.next("42")), &args); err != nil || len(args) != 2 ||
		json.Unmarshal(args[0], &name) != nil || json.Unmarshal(args[1], &u) != nil || name != "unauthorized" || u.Code != code {
		c.w.Fatalf("got %s, %v, want unauthorized with %s\nlog: %s", args, err, code, c.w.logs)
	}
	return u
}

// gone waits until the server has disconnected the client, by a packet that says so, with nothing before it.
func (c *client) gone() {
	c.w.Helper()
	c.next("41")
	c.lost()
}

// lost waits until the connection has ended, with nothing before it.
func (c *client) lost() {
	c.w.Helper()
	if frame, ok := c.frameWithin(time.Minute); ok || frame != "" {
		c.w.Fatalf("got %.200q, want the connection to end", frame)
	}
}

func (c *client) refusedAndGone(code string) unauthorized {
	c.w.Helper()
	u := c.refusedWith(code)
	c.gone()
	return u
}

// silence makes sure that nothing comes.
func (c *client) silence() {
	c.w.Helper()
	synctest.Wait()
	select {
	case frame, ok := <-c.Packets():
		c.w.Fatalf("got %.200q, %v, want nothing", frame, ok)
	default:
	}
}

// alive makes sure that the server answers this client as one that is authenticated.
func (c *client) alive() {
	c.w.Helper()
	if got := c.ask("nobody handles this"); got != `[{"error":{"code":"unknown_event"}}]` {
		c.w.Errorf("got %s", got)
	}
}

func (c *client) close() { c.Close() }

// faultyStore forces faults on a real store.
type faultyStore struct {
	blacklist.Store
	mu     sync.Mutex
	before func(call string) error    // fails a call before it has an effect
	after  func(call string) error    // fails a call after it had its effect
	seen   func(t blacklist.TokenRef) // hears what is presented
}

func (f *faultyStore) call(name string, real func() error) error {
	f.mu.Lock()
	before, after := f.before, f.after
	f.mu.Unlock()
	if before != nil {
		if err := before(name); err != nil {
			return err
		}
	}
	if err := real(); err != nil || after == nil {
		return err
	}
	return after(name)
}

func (f *faultyStore) Present(ctx context.Context, p blacklist.Presentation) (v blacklist.Verdict, err error) {
	if f.seen != nil {
		f.seen(p.Token)
	}
	err = f.call("Present", func() error { v, err = f.Store.Present(ctx, p); return err })
	return v, err
}

func (f *faultyStore) Check(ctx context.Context, t blacklist.TokenRef, grace, branch time.Duration) (v blacklist.Verdict, err error) {
	err = f.call("Check", func() error { v, err = f.Store.Check(ctx, t, grace, branch); return err })
	return v, err
}

func (f *faultyStore) Confirm(ctx context.Context, t blacklist.TokenRef) (v blacklist.Verdict, err error) {
	err = f.call("Confirm", func() error { v, err = f.Store.Confirm(ctx, t); return err })
	return v, err
}

func (f *faultyStore) Revoke(ctx context.Context, r blacklist.Revocation) (c blacklist.Change, err error) {
	err = f.call("Revoke", func() error { c, err = f.Store.Revoke(ctx, r); return err })
	return c, err
}

func (f *faultyStore) Sessions(ctx context.Context, userID string) (s []blacklist.Session, err error) {
	err = f.call("Sessions", func() error { s, err = f.Store.Sessions(ctx, userID); return err })
	return s, err
}

func (f *faultyStore) fail(before, after func(call string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before, f.after = before, after
}

var errStoreDown = errors.New("store down")

func down(string) error { return errStoreDown }

func (s *syncBuffer) has(t *testing.T, part string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !bytes.Contains(s.b.Bytes(), []byte(part)) {
		t.Errorf("the log does not say %q:\n%s", part, s.b.String())
	}
}
