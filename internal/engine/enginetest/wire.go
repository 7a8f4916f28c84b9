package enginetest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf16"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/engine"
)

// Version is a version of the Engine.IO protocol.
type Version int

// The versions that there are engines for.
const (
	V3 Version = 3
	V4 Version = 4
)

// transports are all ways to be connected. "upgrade" begins with polling and goes on over a
// websocket; "unprobed" does so without a probe, as some clients in C# and PHP do.
var transports = []string{"websocket", "polling", "upgrade", "unprobed"}

func upgrades(transport string) bool { return transport == "upgrade" || transport == "unprobed" }

// frame is one Engine.IO message, without what says that it is one.
type frame struct {
	text   string
	binary []byte
}

func (f frame) String() string {
	if f.binary != nil {
		return fmt.Sprintf("<% x>", f.binary)
	}
	return f.text
}

// Client is a client on the wire. It keeps the heartbeat up and knows no more of Socket.IO than it
// is told.
type Client struct {
	t         *testing.T
	w         *World
	version   Version
	transport string
	sid       string          // as the query has it
	ws        *websocket.Conn // nil while polling
	turn      chan struct{}   // of capacity 1: whoever holds it sends
	frames    chan frame      // closed at the end
	stop      context.CancelFunc
	ctx       context.Context
	mute      atomic.Bool // no heartbeat
	deaf      atomic.Bool // reads nothing more
	told      atomic.Bool // the server has said CLOSE
	work      sync.WaitGroup
}

// Dial connects a client, without joining a namespace.
func (w *World) Dial(transport string) *Client {
	w.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	c := &Client{
		t: w.t, w: w, version: w.version, transport: transport,
		turn: make(chan struct{}, 1), frames: make(chan frame, 1<<14), stop: stop, ctx: ctx,
	}
	w.atEnd = append(w.atEnd, c.leave)
	if transport == "websocket" {
		c.ws = c.dialWebsocket()
		_, data, err := c.ws.ReadMessage()
		if err != nil {
			w.t.Fatal(err)
		}
		c.opened(string(data))
		c.work.Go(c.readWebsocket)
		return c
	}
	status, payload := c.request(http.MethodGet, nil)
	if status != http.StatusOK {
		w.t.Fatalf("handshake: %d %s", status, payload)
	}
	packets := c.split(payload)
	c.opened(packets[0])
	c.handle(packets[1:])
	if upgrades(transport) {
		c.upgrade()
	} else {
		c.work.Go(c.poll)
	}
	return c
}

func (c *Client) dialWebsocket() *websocket.Conn {
	c.t.Helper()
	ws, err := c.w.Websocket(c.sid)
	if err != nil {
		c.t.Fatal(err)
	}
	return ws
}

// opened reads the OPEN packet.
func (c *Client) opened(packet string) {
	c.t.Helper()
	var open struct {
		SID          string
		PingInterval int
	}
	if packet[0] != '0' || json.Unmarshal([]byte(packet[1:]), &open) != nil || len(open.SID) < 20 {
		c.t.Fatalf("no OPEN: %q", packet)
	}
	c.sid = "&sid=" + open.SID
	if c.version == V3 {
		c.work.Go(func() { c.heartbeat(time.Duration(open.PingInterval) * time.Millisecond) })
	}
}

// heartbeat is for version 3, where the client begins.
func (c *Client) heartbeat(interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-ticker.C:
			if !c.mute.Load() {
				_ = c.Post("2")
			}
		}
	}
}

// upgrade goes through the upgrade as clients do: a poll is pending, and ends, before the last
// step.
func (c *Client) upgrade() {
	c.t.Helper()
	polled := make(chan []string, 1)
	go func() {
		status, payload := c.request(http.MethodGet, nil)
		if status != http.StatusOK {
			c.t.Errorf("the poll that was pending: %d %s", status, payload)
			payload = ""
		}
		polled <- c.split(payload)
	}()
	ws := c.dialWebsocket()
	write := func(text string) { _ = ws.WriteMessage(websocket.TextMessage, []byte(text)) }
	if c.transport == "upgrade" {
		write("2probe")
		if _, data, err := ws.ReadMessage(); err != nil || string(data) != "3probe" {
			c.t.Fatalf("probe: %q %v", data, err)
		}
		c.handle(<-polled)
	} else {
		synctest.Wait() // so that the poll is pending
	}
	c.turn <- struct{}{}
	write("5")
	c.ws = ws
	<-c.turn
	if c.transport == "unprobed" {
		c.handle(<-polled)
	}
	c.work.Go(c.readWebsocket)
}

func (c *Client) readWebsocket() {
	defer close(c.frames)
	for !c.deaf.Load() {
		kind, data, err := c.ws.ReadMessage()
		if err != nil {
			return
		}
		if kind == websocket.BinaryMessage {
			c.frames <- frame{binary: c.attachment(data)}
			continue
		}
		c.handle([]string{string(data)})
	}
	<-c.ctx.Done()
}

func (c *Client) poll() {
	defer close(c.frames)
	for !c.deaf.Load() {
		status, payload := c.request(http.MethodGet, nil)
		if status != http.StatusOK {
			return
		}
		c.handle(c.split(payload))
		if c.told.Load() {
			return
		}
	}
	<-c.ctx.Done()
}

// attachment is what a binary frame holds.
func (c *Client) attachment(data []byte) []byte {
	if c.version == V3 {
		return data[1:]
	}
	return data
}

// handle takes packets of the server.
func (c *Client) handle(packets []string) {
	for _, p := range packets {
		switch {
		case p == "":
		case p[0] == '4':
			c.frames <- frame{text: p[1:]}
		case p[0] == 'b':
			data, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(p[1:], map[Version]string{V3: "4"}[c.version]))
			c.frames <- frame{binary: data}
		case p == "2" && c.version == V4 && !c.mute.Load():
			c.work.Go(func() { _ = c.Post("3") })
		case p[0] == '1':
			c.told.Store(true)
		}
	}
}

// request makes one request of polling.
func (c *Client) request(method string, body []byte) (int, string) {
	return c.w.Request(c.ctx, method, "transport=polling&b64=1"+c.sid, "text/plain;charset=UTF-8", bytes.NewReader(body))
}

// Request makes any request. The status is 0 where there was no whole answer.
func (w *World) Request(ctx context.Context, method, query, contentType string, body io.Reader) (status int, answer string) {
	return w.RequestSized(ctx, method, query, contentType, body, 0)
}

// RequestSized makes a request that announces how long its body is, with -1 not even that.
func (w *World) RequestSized(ctx context.Context, method, query, contentType string, body io.Reader, length int64) (status int, answer string) {
	r, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://wire.test/?EIO=%d&%s", w.version, query), body)
	if err != nil {
		w.t.Error(err)
		return 0, ""
	}
	r.Header.Set("Content-Type", contentType)
	if length != 0 {
		r.ContentLength = length
	}
	res, err := w.client.Do(r)
	if err != nil {
		return 0, ""
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, ""
	}
	return res.StatusCode, string(data)
}

// SID is the session's id as a query has it, with an ampersand before it.
func (c *Client) SID() string { return c.sid }

// Websocket dials a websocket, closed when the world ends.
func (w *World) Websocket(query string) (*websocket.Conn, error) {
	d := websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return w.net.dial(ctx) }}
	ws, _, err := d.DialContext(context.Background(), fmt.Sprintf("ws://wire.test/?EIO=%d&transport=websocket%s", w.version, query), nil)
	if err == nil {
		w.atEnd = append(w.atEnd, func() { _ = ws.Close() })
	}
	return ws, err
}

// Post sends packets, together where the transport can.
func (c *Client) Post(packets ...string) error {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if c.ws != nil {
		for _, p := range packets {
			kind, data := websocket.TextMessage, []byte(p)
			if p[0] == 'b' {
				kind = websocket.BinaryMessage
				data, _ = base64.StdEncoding.DecodeString(p[1:])
				if c.version == V3 {
					data = append([]byte{4}, data...)
				}
			}
			if err := c.ws.WriteMessage(kind, data); err != nil {
				return err
			}
		}
		return nil
	}
	if status, answer := c.request(http.MethodPost, []byte(c.join(packets))); status != http.StatusOK {
		return fmt.Errorf("POST: %d %s", status, answer)
	}
	return nil
}

// join makes a payload of packets, where those that begin with a "b" are attachments.
func (c *Client) join(packets []string) string {
	if c.version == V4 {
		return strings.Join(packets, "\x1e")
	}
	var b strings.Builder
	for _, p := range packets {
		if p[0] == 'b' {
			p = "b4" + p[1:]
		}
		fmt.Fprintf(&b, "%d:%s", len(utf16.Encode([]rune(p))), p)
	}
	return b.String()
}

// split is the opposite of join, but for the "4" of an attachment.
func (c *Client) split(payload string) []string {
	if c.version == V4 {
		return strings.Split(payload, "\x1e")
	}
	var packets []string
	for payload != "" {
		length, rest, _ := strings.Cut(payload, ":")
		n, err := strconv.Atoi(length)
		text := utf16.Encode([]rune(rest))
		if err != nil || n > len(text) {
			c.t.Errorf("malformed payload %q", payload)
			return packets
		}
		packets = append(packets, string(utf16.Decode(text[:n])))
		payload = string(utf16.Decode(text[n:]))
	}
	return packets
}

// Send sends one Socket.IO packet and its attachments, which must arrive.
func (c *Client) Send(text string, attachments ...[]byte) {
	c.t.Helper()
	packets := []string{"4" + text}
	for _, data := range attachments {
		packets = append(packets, "b"+base64.StdEncoding.EncodeToString(data))
	}
	if err := c.Post(packets...); err != nil {
		c.t.Fatal(err)
	}
}

// Want waits for these frames, and no others between them.
func (c *Client) Want(frames ...string) {
	c.t.Helper()
	for _, want := range frames {
		select {
		case f, ok := <-c.frames:
			if !ok {
				c.t.Fatalf("the connection ended, %q should have come", want)
			}
			if got := f.String(); got != want && plain(got) != want {
				c.t.Fatalf("%q came, %q should have", got, want)
			}
		case <-time.After(patience):
			c.t.Fatalf("nothing came, %q should have", want)
		}
	}
}

// plain undoes the escapes of JSON, in which engines are free.
func plain(packet string) string {
	i := strings.IndexByte(packet, '[')
	if i < 0 {
		return packet
	}
	var v any
	if json.Unmarshal([]byte(packet[i:]), &v) != nil {
		return packet
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v)
	return packet[:i] + strings.TrimSpace(b.String())
}

// WantEnd waits for the end, before which nothing may come.
func (c *Client) WantEnd() {
	c.t.Helper()
	select {
	case f, ok := <-c.frames:
		if ok {
			c.t.Fatalf("%q came, the end should have", f)
		}
	case <-time.After(patience):
		c.t.Fatal("the connection did not end")
	}
}

// untilEnd waits for the end, whatever comes before.
func (c *Client) untilEnd() {
	c.t.Helper()
	for {
		select {
		case _, ok := <-c.frames:
			if !ok {
				return
			}
		case <-time.After(patience):
			c.t.Fatal("the connection did not end")
		}
	}
}

// JoinRoot joins the root namespace.
func (c *Client) JoinRoot() *Client {
	c.t.Helper()
	if c.version == V3 {
		c.Want("0")
		return c
	}
	c.Send("0")
	select {
	case f := <-c.frames:
		if !strings.HasPrefix(f.text, `0{"sid":"`) {
			c.t.Fatalf("%q came, CONNECT should have", f)
		}
	case <-time.After(patience):
		c.t.Fatal("no CONNECT")
	}
	return c
}

// Silence has the client poll no more, once the poll that is pending was answered; it is, by a
// heartbeat.
func (c *Client) Silence() {
	c.t.Helper()
	c.deaf.Store(true)
	if err := c.Post("2"); err != nil {
		c.t.Fatal(err)
	}
	synctest.Wait()
}

// deafen has the client read nothing more, nor poll.
func (c *Client) deafen(conn engine.Conn) {
	c.t.Helper()
	synctest.Wait()
	c.deaf.Store(true)
	if err := conn.Emit(event(c.t, "last")); err != nil { // for which it waits already
		c.t.Fatal(err)
	}
	c.Want(`2["last"]`)
	synctest.Wait()
}

// vanish cuts the connection without a word.
func (c *Client) vanish() {
	c.stop()
	if c.ws != nil {
		_ = c.ws.Close()
	}
}

// leave ends the client, and what it does in the background.
func (c *Client) leave() {
	c.vanish()
	c.work.Wait()
}
