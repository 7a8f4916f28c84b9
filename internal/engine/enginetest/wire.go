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

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/siotest"
)

// Version is a version of the Engine.IO protocol.
type Version int

// The versions for which there are engines.
const (
	V3 Version = 3
	V4 Version = 4
)

func (v Version) String() string { return strconv.Itoa(int(v)) }

// transports are all ways to be connected. "upgrade" begins with polling and upgrades to a
// websocket; "unprobed" does so without a probe, as some clients in C# and PHP do.
var transports = []string{"websocket", "polling", "upgrade", "unprobed"}

func upgrades(transport string) bool { return transport == "upgrade" || transport == "unprobed" }

// frame is one Engine.IO message, without its packet type.
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

// Client is a client on the level of packets. By itself it does nothing but answer, or send, pings.
type Client struct {
	t            *testing.T
	w            *World
	version      Version
	transport    string
	sid          string          // as in a query
	ws           *websocket.Conn // nil while polling
	sending      chan struct{}   // of capacity 1: holds a value while a goroutine sends
	frames       chan frame      // closed at the end
	stop         context.CancelFunc
	ctx          context.Context
	noHeartbeat  atomic.Bool // pings are not answered, or not sent
	notReading   atomic.Bool // nothing more is read
	serverClosed atomic.Bool // the server has sent CLOSE
	work         sync.WaitGroup
}

// Dial connects a client, without joining a namespace.
func (w *World) Dial(transport string) *Client {
	w.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	c := &Client{
		t: w.t, w: w, version: w.version, transport: transport,
		sending: make(chan struct{}, 1), frames: make(chan frame, 1<<14), stop: stop, ctx: ctx,
	}
	w.atEnd = append(w.atEnd, c.close)
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

// opened parses the OPEN packet.
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

// heartbeat sends the pings of version 3.
func (c *Client) heartbeat(interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-ticker.C:
			if !c.noHeartbeat.Load() {
				_ = c.Post("2")
			}
		}
	}
}

// upgrade upgrades as clients do: a poll is pending, and ends before the last step.
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
	c.sending <- struct{}{}
	write("5")
	c.ws = ws
	<-c.sending
	if c.transport == "unprobed" {
		c.handle(<-polled)
	}
	c.work.Go(c.readWebsocket)
}

func (c *Client) readWebsocket() {
	defer close(c.frames)
	for !c.notReading.Load() {
		p, err := siotest.ReadFrame(c.ws, c.version.String())
		if err != nil {
			return
		}
		c.handle([]string{p})
	}
	<-c.ctx.Done()
}

func (c *Client) poll() {
	defer close(c.frames)
	for !c.notReading.Load() {
		status, payload := c.request(http.MethodGet, nil)
		if status != http.StatusOK {
			return
		}
		c.handle(c.split(payload))
		if c.serverClosed.Load() {
			return
		}
	}
	<-c.ctx.Done()
}

// handle handles packets of the server.
func (c *Client) handle(packets []string) {
	for _, p := range packets {
		switch {
		case p == "":
		case p[0] == '4':
			c.frames <- frame{text: p[1:]}
		case p[0] == 'b':
			data, _ := base64.StdEncoding.DecodeString(p[1:])
			c.frames <- frame{binary: data}
		case p == "2" && c.version == V4 && !c.noHeartbeat.Load():
			c.work.Go(func() { _ = c.Post("3") })
		case p[0] == '1':
			c.serverClosed.Store(true)
		}
	}
}

// request makes one polling request.
func (c *Client) request(method string, body []byte) (int, string) {
	return c.w.Request(c.ctx, method, "transport=polling&b64=1"+c.sid, "text/plain;charset=UTF-8", bytes.NewReader(body))
}

// Request makes a request. The status is 0 if there was no complete answer.
func (w *World) Request(ctx context.Context, method, query, contentType string, body io.Reader) (status int, answer string) {
	return w.RequestSized(ctx, method, query, contentType, body, 0)
}

// RequestSized makes a request that announces the given length of its body; -1 means an unknown
// length.
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

// SID returns the session's id as in a query, with an ampersand before it.
func (c *Client) SID() string { return c.sid }

// Websocket dials a websocket, which is closed when the world ends.
func (w *World) Websocket(query string) (*websocket.Conn, error) {
	d := websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return w.net.dial(ctx) }}
	ws, _, err := d.DialContext(context.Background(), fmt.Sprintf("ws://wire.test/?EIO=%d&transport=websocket%s", w.version, query), nil)
	if err == nil {
		w.atEnd = append(w.atEnd, func() { _ = ws.Close() })
	}
	return ws, err
}

// Post sends packets, with polling in one request.
func (c *Client) Post(packets ...string) error {
	c.sending <- struct{}{}
	defer func() { <-c.sending }()
	if c.ws != nil {
		for _, p := range packets {
			if err := siotest.WriteFrame(c.ws, c.version.String(), p); err != nil {
				return err
			}
		}
		return nil
	}
	if status, answer := c.request(http.MethodPost, []byte(siotest.Payload(c.version.String(), packets...))); status != http.StatusOK {
		return fmt.Errorf("POST: %d %s", status, answer)
	}
	return nil
}

// split returns the packets of a poll's answer.
func (c *Client) split(payload string) []string {
	packets, err := siotest.SplitPayload(c.version.String(), payload)
	if err != nil {
		c.t.Error(err)
	}
	return packets
}

// Send sends one Socket.IO packet and its attachments. The test fails if that fails.
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
				c.t.Fatalf("the connection ended, want %q", want)
			}
			if got := f.String(); got != want && plain(got) != want {
				c.t.Fatalf("got %q, want %q", got, want)
			}
		case <-time.After(patience):
			c.t.Fatalf("got nothing, want %q", want)
		}
	}
}

// plain undoes the escapes of JSON, which engines may use or not.
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

// WantEnd waits for the end. No frame may come before it.
func (c *Client) WantEnd() {
	c.t.Helper()
	select {
	case f, ok := <-c.frames:
		if ok {
			c.t.Fatalf("got %q, want the end", f)
		}
	case <-time.After(patience):
		c.t.Fatal("the connection did not end")
	}
}

// untilEnd waits for the end. Frames may come before it.
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
			c.t.Fatalf("got %q, want CONNECT", f)
		}
	case <-time.After(patience):
		c.t.Fatal("no CONNECT")
	}
	return c
}

// StopPolling makes the client stop polling. The pending poll is answered, by a heartbeat.
func (c *Client) StopPolling() {
	c.t.Helper()
	c.notReading.Store(true)
	if err := c.Post("2"); err != nil {
		c.t.Fatal(err)
	}
	synctest.Wait()
}

// stopReading makes the client stop reading or polling.
func (c *Client) stopReading(conn engine.Conn) {
	c.t.Helper()
	synctest.Wait()
	c.notReading.Store(true)
	if err := conn.Emit(event(c.t, "last")); err != nil { // the client already waits for it
		c.t.Fatal(err)
	}
	c.Want(`2["last"]`)
	synctest.Wait()
}

// drop closes the connection without telling the server.
func (c *Client) drop() {
	c.stop()
	if c.ws != nil {
		_ = c.ws.Close()
	}
}

// close closes the connection and waits for the goroutines of the client.
func (c *Client) close() {
	c.drop()
	c.work.Wait()
}
