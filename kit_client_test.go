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

// client is a client on a websocket, of the server's version of Engine.IO. Its methods that begin
// with expect end the test where the next packet is another.
type client struct {
	*siotest.Client
	srv      *testServer
	sid      string // the socket's ID
	engineID string // of the Engine.IO session
	acks     int
	current  string // the last token received
}

// dial connects and joins the root namespace. auth is the handshake's, "" for none. Where the
// version of Engine.IO has none, it is the argument of the event "authenticate".
func (srv *testServer) dial(auth string) *client {
	srv.Helper()
	c := srv.connect()
	if srv.version == "3" {
		c.sid = c.engineID
		c.expect("40")
		if auth != "" {
			c.send(`42["authenticate",` + auth + `]`)
		}
		return c
	}
	c.send("40" + auth)
	c.sid = strings.Trim(c.expect(`40{"sid":`), `"}`)
	return c
}

// connect connects and leaves joining the namespace to the caller.
func (srv *testServer) connect() *client { srv.Helper(); return srv.connectTo("") }

// connectTo is connect to the server's routes of that host.
func (srv *testServer) connectTo(host string) *client {
	srv.Helper()
	d := siotest.Dialer{Version: srv.version, Host: host, Net: srv.DialContext}
	conn, err := d.Dial(srv.Context(), "websocket")
	if err != nil {
		srv.Fatal(err)
	}
	c := &client{srv: srv, engineID: conn.Opened().SID}
	if c.Client, err = conn.Start(srv.Context()); err != nil {
		srv.Fatal(err)
	}
	return c
}

// authenticated returns a client that is authenticated as anna, and its token.
func (srv *testServer) authenticated() (*client, string) {
	return srv.authenticatedAs(jwt.MapClaims{"sub": "anna"})
}

// authenticatedAs is authenticated for a user with these claims.
func (srv *testServer) authenticatedAs(claims jwt.MapClaims) (*client, string) {
	srv.Helper()
	c := srv.dial(fmt.Sprintf(`{"token":%q}`, srv.codeFor(claims)))
	token := c.expectToken()
	synctest.Wait() // the client gets the token a moment before the socket is authenticated
	return c, token
}

// confirmed returns a confirming client that presented token, confirmed the next and is
// authenticated, and that next token.
func (srv *testServer) confirmed(token string) (*client, string) {
	srv.Helper()
	c := srv.dial("")
	o := c.offerFor(token)
	o.confirm()
	c.expectAuthenticated()
	return c, o.token
}

// expectTokenRefused presents a token on a new connection and checks that it is refused with code.
func (srv *testServer) expectTokenRefused(token, code string) unauthorized {
	srv.Helper()
	return srv.dial(fmt.Sprintf(`{"token":%q}`, token)).expectRefused(code)
}

// socketOf returns the server's side of a client that is authenticated.
func (srv *testServer) socketOf(c *client) *socketauth.Socket {
	srv.Helper()
	srv.capture.Do(func() {
		srv.On("capture", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
			srv.captured <- s
			return nil, nil
		})
	})
	if got := c.call("capture"); got != "[]" {
		srv.Fatalf("capture: %s", got)
	}
	return <-srv.captured
}

// sessionOf returns the session of a client that has a token.
func (srv *testServer) sessionOf(c *client) string {
	srv.Helper()
	var sid string
	if err := json.Unmarshal(payloadOf(srv.T, c.current)["sid"], &sid); err != nil || sid == "" {
		srv.Fatalf("no sid in %q: %v", c.current, err)
	}
	return sid
}

// authenticatedSocket returns an authenticated client and the server's side of it.
func (srv *testServer) authenticatedSocket(claims jwt.MapClaims) (*client, *socketauth.Socket) {
	srv.Helper()
	c, _ := srv.authenticatedAs(claims)
	return c, srv.socketOf(c)
}

// expect returns what follows prefix in the next packet.
func (c *client) expect(prefix string) string {
	c.srv.Helper()
	frame, ok := c.packetWithin(time.Minute)
	rest, found := strings.CutPrefix(frame, prefix)
	if !ok || !found {
		c.srv.Fatalf("got frame %.200q, %v, want %q...\nof %s\nlog: %s", frame, ok, prefix, c.sid, c.srv.logs)
	}
	return rest
}

// packetWithin returns the next packet, and false if the connection has ended or none comes in
// time.
func (c *client) packetWithin(d time.Duration) (string, bool) {
	select {
	case frame, ok := <-c.Packets():
		return frame, ok
	case <-time.After(d):
		return "nothing came", false
	}
}

func (c *client) send(frame string) {
	c.srv.Helper()
	if err := c.Write(frame); err != nil {
		c.srv.Fatalf("sending %.100q: %v", frame, err)
	}
}

func (c *client) emit(event string, args ...any) {
	c.srv.Helper()
	c.send("42" + eventJSON(event, args))
}

func eventJSON(event string, args []any) string {
	b, _ := json.Marshal(append([]any{event}, args...))
	return string(b)
}

// call emits with an acknowledgement and returns the answer.
func (c *client) call(event string, args ...any) string {
	c.srv.Helper()
	c.acks++
	c.send("42" + strconv.Itoa(c.acks) + eventJSON(event, args))
	return c.expect("43" + strconv.Itoa(c.acks))
}

// authenticate presents a token as a client does that does not confirm.
func (c *client) authenticate(token string) {
	c.srv.Helper()
	c.emit("authenticate", map[string]string{"token": token})
}

// expectToken returns the token that the server sends next.
func (c *client) expectToken() string {
	c.srv.Helper()
	var args []string
	if err := json.Unmarshal([]byte(c.expect("42")), &args); err != nil || len(args) != 2 || args[0] != "authenticated" {
		c.srv.Fatalf("got %v, %v, want authenticated", args, err)
	}
	c.current = args[1]
	return args[1]
}

// offer is a token that the server wants confirmed.
type offer struct {
	c     *client
	id    string // of the acknowledgement
	token string
}

// expectOffer returns the token that the server sends next, with an acknowledgement.
func (c *client) expectOffer() offer {
	c.srv.Helper()
	id, rest, found := strings.Cut(c.expect("42"), "[")
	var args []string
	if err := json.Unmarshal([]byte("["+rest), &args); err != nil || id == "" || !found || len(args) != 2 || args[0] != "authenticated" {
		c.srv.Fatalf("got 42%s[%s, %v, want authenticated with an acknowledgement", id, rest, err)
	}
	c.current = args[1]
	return offer{c, id, args[1]}
}

func (o offer) confirm() {
	o.c.srv.Helper()
	o.c.send("43" + o.id + "[]")
}

// offerFor presents a token as a confirming client does and returns what it is offered.
func (c *client) offerFor(token string) offer {
	c.srv.Helper()
	c.emit("authenticate", map[string]any{"token": token, "confirm": true})
	return c.expectOffer()
}

// unauthorized is the argument of the event of that name.
type unauthorized struct {
	Message    string
	Code       string
	Type       string
	Terminal   bool
	RetryAfter int
	Data       struct{ Message, Code, Type string }
}

// expectUnauthorized returns the "unauthorized" that the server sends next, which has that code.
func (c *client) expectUnauthorized(code string) unauthorized {
	c.srv.Helper()
	var args []json.RawMessage
	var name string
	var u unauthorized
	if err := json.Unmarshal([]byte(c.expect("42")), &args); err != nil || len(args) != 2 ||
		json.Unmarshal(args[0], &name) != nil || json.Unmarshal(args[1], &u) != nil || name != "unauthorized" || u.Code != code {
		c.srv.Fatalf("got %s, %v, want unauthorized with %s\nlog: %s", args, err, code, c.srv.logs)
	}
	return u
}

// expectDisconnected checks that the server disconnects the client next, with a packet that says
// so.
func (c *client) expectDisconnected() {
	c.srv.Helper()
	c.expect("41")
	c.expectClosed()
}

// expectClosed checks that the connection ends next.
func (c *client) expectClosed() {
	c.srv.Helper()
	if frame, ok := c.packetWithin(time.Minute); ok || frame != "" {
		c.srv.Fatalf("got %.200q, want the connection to end", frame)
	}
}

// expectRefused is expectUnauthorized followed by expectDisconnected.
func (c *client) expectRefused(code string) unauthorized {
	c.srv.Helper()
	u := c.expectUnauthorized(code)
	c.expectDisconnected()
	return u
}

// expectNothing checks that no packet comes.
func (c *client) expectNothing() {
	c.srv.Helper()
	synctest.Wait()
	select {
	case frame, ok := <-c.Packets():
		c.srv.Fatalf("got %.200q, %v, want nothing", frame, ok)
	default:
	}
}

// expectAuthenticated checks that the server answers this client as an authenticated one.
func (c *client) expectAuthenticated() {
	c.srv.Helper()
	if got := c.call("nobody handles this"); got != `[{"error":{"code":"unknown_event"}}]` {
		c.srv.Errorf("got %s", got)
	}
}

// expectUnauthenticated checks that the server answers this client as an unauthenticated one.
func (c *client) expectUnauthenticated() {
	c.srv.Helper()
	if got := c.call("anything"); got != `[{"error":{"code":"unauthorized"}}]` {
		c.srv.Errorf("got %s", got)
	}
}

func (c *client) close() { c.Close() }
