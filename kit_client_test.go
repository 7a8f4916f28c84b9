package socketauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/z-open/socketauth"
	"github.com/z-open/socketauth/internal/siotest"
)

// client is a client for version 4 on a websocket.
type client struct {
	*siotest.Client
	w       *world
	sid     string // the socket's
	acks    int
	current string // the last token that it was sent
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
func (w *world) open() *client { w.Helper(); return w.openAt("") }

func (w *world) openAt(host string) *client {
	w.Helper()
	d := siotest.Dialer{Host: host, Net: w.DialContext}
	conn, err := d.Dial(w.Context(), "websocket")
	if err != nil {
		w.Fatal(err)
	}
	c := &client{w: w}
	if c.Client, err = conn.Start(w.Context()); err != nil {
		w.Fatal(err)
	}
	return c
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

// stays is a confirming client that is in.
func (w *world) stays(token string) (*client, string) {
	w.Helper()
	c := w.dial("")
	o := c.confirms(token)
	o.confirm()
	c.alive()
	return c, o.token
}

// refuses presents a token on a new connection, for which it is refused.
func (w *world) refuses(token, code string) unauthorized {
	w.Helper()
	return w.dial(fmt.Sprintf(`{"token":%q}`, token)).refusedAndGone(code)
}

// socketOf returns the server's side of a client that is authenticated.
func (w *world) socketOf(c *client) *socketauth.Socket {
	w.Helper()
	w.capture.Do(func() {
		w.On("capture", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
			w.captured <- s
			return nil, nil
		})
	})
	if got := c.ask("capture"); got != "[]" {
		w.Fatalf("capture: %s", got)
	}
	return <-w.captured
}

// sessionOf returns the session of a client that has a token.
func (w *world) sessionOf(c *client) string {
	w.Helper()
	var sid string
	if err := json.Unmarshal(payloadOf(w.T, c.current)["sid"], &sid); err != nil || sid == "" {
		w.Fatalf("no sid in %q: %v", c.current, err)
	}
	return sid
}

// inWithSocket is in, with the server's side of it.
func (w *world) inWithSocket(claims jwt.MapClaims) (*client, *socketauth.Socket) {
	w.Helper()
	c, _ := w.inAs(claims)
	return c, w.socketOf(c)
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
	c.current = args[1]
	return args[1]
}

// offer is a token that the server wants to see confirmed.
type offer struct {
	c     *client
	id    string // of the acknowledgement
	token string
}

// offered is the token that the server sends now, with an acknowledgement that it waits for.
func (c *client) offered() offer {
	c.w.Helper()
	id, rest, found := strings.Cut(c.next("42"), "[")
	var args []string
	if err := json.Unmarshal([]byte("["+rest), &args); err != nil || id == "" || !found || len(args) != 2 || args[0] != "authenticated" {
		c.w.Fatalf("got 42%s[%s, %v, want authenticated with an acknowledgement", id, rest, err)
	}
	c.current = args[1]
	return offer{c, id, args[1]}
}

func (o offer) confirm() {
	o.c.w.Helper()
	o.c.send("43" + o.id + "[]")
}

// confirms presents a token as a confirming client does, and waits for what it is offered.
func (c *client) confirms(token string) offer {
	c.w.Helper()
	c.emit("authenticate", map[string]any{"token": token, "confirm": true})
	return c.offered()
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

// nobody makes sure that the server takes this client for one that has not authenticated.
func (c *client) nobody() {
	c.w.Helper()
	if got := c.ask("anything"); got != `[{"error":{"code":"unauthorized"}}]` {
		c.w.Errorf("got %s", got)
	}
}

func (c *client) close() { c.Close() }
