// Package wire is what the tests of the examples use to talk to their servers: a Socket.IO client
// that shares no code with the library, and a few functions for HTTP.
package wire

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

const timeout = 20 * time.Second // for everything that a test waits for

// Client is one connection in the root namespace. Its methods fail the test if what they wait for
// does not come.
type Client struct {
	tb      testing.TB
	send    func(packet string) error
	packets chan string // received, without heartbeats; closed when the connection ends
	waiting []string    // received and not returned yet
	acks    int
}

// WebSocket connects by websocket. auth is the auth object of the handshake, or nil.
func WebSocket(tb testing.TB, server string, auth any) *Client {
	tb.Helper()
	return WebSocketAt(tb, server+"/socket.io/", auth)
}

// WebSocketAt is WebSocket at a URL that ends with the path of the sockets.
func WebSocketAt(tb testing.TB, url string, auth any) *Client {
	tb.Helper()
	conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(url, "http")+"?EIO=4&transport=websocket", nil)
	if err != nil {
		tb.Fatal(err)
	}
	outgoing := make(chan string, 16)
	ended := make(chan struct{})
	c := newClient(tb, func(packet string) error {
		select {
		case outgoing <- packet:
			return nil
		case <-ended:
			return io.ErrClosedPipe
		}
	})
	run(tb, func() { // only one goroutine may write to the connection
		for {
			select {
			case packet := <-outgoing:
				_ = conn.WriteMessage(websocket.TextMessage, []byte(packet)) // a failure ends the reader
			case <-ended:
				return
			}
		}
	})
	run(tb, func() {
		defer close(c.packets)
		defer close(ended)
		for {
			_, packet, err := conn.ReadMessage()
			if err != nil || !c.receive(string(packet)) {
				return
			}
		}
	})
	tb.Cleanup(func() { _ = conn.Close() })
	c.open(auth)
	return c
}

// Polling connects by HTTP long-polling.
func Polling(tb testing.TB, server string, auth any) *Client {
	tb.Helper()
	return PollingAt(tb, server+"/socket.io/", auth)
}

// PollingAt is Polling at a URL that ends with the path of the sockets.
func PollingAt(tb testing.TB, url string, auth any) *Client {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	url += "?EIO=4&transport=polling"
	c := newClient(tb, func(packet string) error { return exchange(ctx, http.MethodPost, url, packet, nil) })
	var opening string
	if err := exchange(ctx, http.MethodGet, url, "", &opening); err != nil {
		tb.Fatal(err)
	}
	var handshake struct{ SID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(opening, "0")), &handshake); err != nil {
		tb.Fatalf("%v in %q", err, opening)
	}
	url += "&sid=" + handshake.SID
	run(tb, func() {
		defer close(c.packets)
		if !c.receive(opening) {
			return
		}
		for {
			var payload string
			if exchange(ctx, http.MethodGet, url, "", &payload) != nil {
				return
			}
			for packet := range strings.SplitSeq(payload, "\x1e") {
				if !c.receive(packet) {
					return
				}
			}
		}
	})
	tb.Cleanup(cancel)
	c.open(auth)
	return c
}

func newClient(tb testing.TB, send func(string) error) *Client {
	return &Client{tb: tb, send: send, packets: make(chan string, 1024)}
}

// run starts a goroutine for which the end of the test waits. A cleanup that stops it must be
// registered after it.
func run(tb testing.TB, f func()) {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	tb.Cleanup(func() { <-done })
}

// exchange sends one request. It returns an error if the status of the answer is not 200.
func exchange(ctx context.Context, method, url, body string, answer *string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", method, url, response.Status, text)
	}
	if answer != nil {
		*answer = string(text)
	}
	return nil
}

// receive handles one packet and reports whether the connection goes on.
func (c *Client) receive(packet string) bool {
	switch {
	case packet == "1":
		return false
	case packet == "2":
		return c.send("3") == nil
	case packet != "6":
		c.packets <- packet
	}
	return true
}

func (c *Client) open(auth any) {
	c.tb.Helper()
	c.await("an Engine.IO handshake", "0{")
	connect := "40"
	if auth != nil {
		connect += encode(c.tb, auth)
	}
	c.write(connect)
	c.await("the namespace", `40{"sid":`)
}

// Emit sends an event.
func (c *Client) Emit(event string, args ...any) {
	c.tb.Helper()
	c.write("42" + encode(c.tb, append([]any{event}, args...)))
}

// Call sends an event and decodes the first value of the reply into dst, if it has one.
func (c *Client) Call(dst any, event string, args ...any) {
	c.tb.Helper()
	c.acks++
	c.write(fmt.Sprintf("42%d%s", c.acks, encode(c.tb, append([]any{event}, args...))))
	head := fmt.Sprintf("43%d[", c.acks)
	reply := c.await("the reply to "+event, head)
	var values []json.RawMessage
	decode(c.tb, reply[len(head)-1:], &values)
	if len(values) > 0 {
		decode(c.tb, string(values[0]), dst)
	}
}

// Await waits for an event and decodes its arguments into dst.
func (c *Client) Await(event string, dst ...any) {
	c.tb.Helper()
	packet := c.await("the event "+event, "42["+encode(c.tb, event))
	var args []json.RawMessage
	decode(c.tb, packet[2:], &args)
	if len(args) <= len(dst) {
		c.tb.Fatalf("got %d arguments in %s, need %d", len(args)-1, packet, len(dst))
	}
	for i, d := range dst {
		decode(c.tb, string(args[i+1]), d)
	}
}

// AwaitToken waits for "authenticated" and returns the token.
func (c *Client) AwaitToken() (token string) {
	c.tb.Helper()
	c.Await("authenticated", &token)
	return token
}

// AwaitRefusal waits for "unauthorized" and for the end of the connection, and returns the code.
func (c *Client) AwaitRefusal() (code string) {
	c.tb.Helper()
	var refusal struct{ Code string }
	c.Await("unauthorized", &refusal)
	c.AwaitDisconnect()
	return refusal.Code
}

// AwaitDisconnect waits for the disconnect packet of the server and for the end of the connection.
func (c *Client) AwaitDisconnect() {
	c.tb.Helper()
	c.await("a disconnect by the server", "41")
	c.AwaitEnd()
}

// AwaitEnd waits until the connection has ended, on whichever side.
func (c *Client) AwaitEnd() {
	c.tb.Helper()
	late := time.After(timeout)
	for {
		select {
		case packet, ok := <-c.packets:
			if !ok {
				return
			}
			c.waiting = append(c.waiting, packet)
		case <-late:
			c.tb.Fatalf("the connection has not ended; waiting: %.300q", c.waiting)
		}
	}
}

// await returns the first packet with the prefix head. It keeps the others for later.
func (c *Client) await(what, head string) string {
	c.tb.Helper()
	for i, packet := range c.waiting {
		if strings.HasPrefix(packet, head) {
			c.waiting = append(c.waiting[:i:i], c.waiting[i+1:]...)
			return packet
		}
	}
	late := time.After(timeout)
	for {
		select {
		case packet, ok := <-c.packets:
			switch {
			case !ok:
				c.tb.Fatalf("the connection ended before %s; came: %.300q", what, c.waiting)
			case strings.HasPrefix(packet, head):
				return packet
			}
			c.waiting = append(c.waiting, packet)
		case <-late:
			c.tb.Fatalf("%s did not come; came: %.300q", what, c.waiting)
		}
	}
}

func (c *Client) write(packet string) {
	c.tb.Helper()
	if err := c.send(packet); err != nil {
		c.tb.Fatal(err)
	}
}
