// Package siotest is a Socket.IO client for tests that works on the level of bytes: Engine.IO 3 and
// 4, over websocket and polling. A Conn does one thing at a time, so that a test can break off at
// any byte. A Client, made from a Conn, reads in a goroutine of its own.
//
// A packet is an Engine.IO packet as a string: its type, then its data. A binary message is a "b"
// followed by its data in base64, whatever the transport and the version.
package siotest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/gorilla/websocket"
)

// Transports are all transports; "upgrade" begins with polling and moves to a websocket.
var Transports = []string{"websocket", "polling", "upgrade"}

// Dialer connects to a server.
type Dialer struct {
	// Version is the version of Engine.IO, "3" or "4". The default is "4".
	Version string

	// Host is the server's host and port. The default is "server".
	Host string

	// Path is the path of Socket.IO. The default is "/socket.io/".
	Path string

	// Header is sent with each request.
	Header http.Header

	// Net connects to the server. The default is TCP.
	Net func(ctx context.Context, network, address string) (net.Conn, error)
}

// Dial makes the Engine.IO handshake. For "upgrade" the transport is polling until Upgrade is
// called.
func (d Dialer) Dial(ctx context.Context, transport string) (*Conn, error) {
	if d.Version == "" {
		d.Version = "4"
	}
	if d.Host == "" {
		d.Host = "server"
	}
	if d.Path == "" {
		d.Path = "/socket.io/"
	}
	if d.Net == nil {
		d.Net = new(net.Dialer).DialContext
	}
	c := &Conn{dialer: d}
	if err := c.open(ctx, transport); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// Open is the data of the packet that opens a session.
type Open struct {
	SID          string
	Upgrades     []string
	PingInterval int // in milliseconds, as is PingTimeout
	PingTimeout  int
	MaxPayload   int
}

// Conn is one connection. Its methods must not be called concurrently.
type Conn struct {
	dialer  Dialer
	opened  Open
	sid     string          // the session's id, as in a query
	http    *line           // nil over a websocket
	ws      *websocket.Conn // nil while polling
	packets []string        // received but not read
}

func (c *Conn) open(ctx context.Context, transport string) (err error) {
	switch transport {
	case "websocket":
		c.ws, err = c.Websocket(ctx)
	case "polling", "upgrade":
		c.http, err = c.dialer.line(ctx)
	default:
		err = fmt.Errorf("siotest: no transport %q", transport)
	}
	if err != nil {
		return err
	}
	packet, err := c.Read()
	if err != nil {
		return err
	}
	if !strings.HasPrefix(packet, "0{") || json.Unmarshal([]byte(packet[1:]), &c.opened) != nil || c.opened.SID == "" {
		return fmt.Errorf("siotest: got %.200q, want the packet that opens a session", packet)
	}
	c.sid = "&sid=" + c.opened.SID
	return nil
}

// Opened returns what the server said when it opened the session.
func (c *Conn) Opened() Open { return c.opened }

// Version returns the version of Engine.IO.
func (c *Conn) Version() string { return c.dialer.Version }

// Polling reports whether the transport is polling.
func (c *Conn) Polling() bool { return c.ws == nil }

// NetConn returns the connection that is read from.
func (c *Conn) NetConn() net.Conn {
	switch {
	case c.ws != nil:
		return c.ws.NetConn()
	case c.http != nil:
		return c.http.conn
	}
	return nil
}

// Join joins the root namespace and returns the socket's id, which Engine.IO 3 does not send. auth
// is the JSON object of the handshake, which Engine.IO 3 does not have; it may be empty.
func (c *Conn) Join(auth string) (id string, err error) {
	if c.dialer.Version == "4" {
		if err := c.Write("40" + auth); err != nil {
			return "", err
		}
	}
	text, err := c.Expect("40")
	if err != nil || c.dialer.Version != "4" {
		return "", err
	}
	var in struct{ SID string }
	if json.Unmarshal([]byte(text), &in) != nil || in.SID == "" {
		return "", fmt.Errorf("siotest: got %.200q, want the socket's id", text)
	}
	return in.SID, nil
}

// Websocket opens a websocket, for a new session or to upgrade this one.
func (c *Conn) Websocket(ctx context.Context) (*websocket.Conn, error) {
	d := websocket.Dialer{NetDialContext: c.dialer.Net}
	ws, res, err := d.DialContext(ctx, "ws://"+c.dialer.Host+c.target("websocket"), c.dialer.Header)
	if err != nil && res != nil {
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		err = fmt.Errorf("siotest: websocket: %s %s", res.Status, body)
	}
	return ws, err
}

// Probe makes all steps of an upgrade but the last.
func (c *Conn) Probe(ctx context.Context) (*websocket.Conn, error) {
	ws, err := c.Websocket(ctx)
	if err != nil {
		return nil, err
	}
	_ = ws.WriteMessage(websocket.TextMessage, []byte("2probe"))
	if _, data, err := ws.ReadMessage(); err != nil || string(data) != "3probe" {
		_ = ws.Close()
		return nil, fmt.Errorf("siotest: the probe was answered %q, %w", data, err)
	}
	return ws, nil
}

// MoveTo makes the last step of an upgrade.
func (c *Conn) MoveTo(ws *websocket.Conn) error {
	if c.http != nil {
		_ = c.http.conn.Close()
		c.http = nil
	}
	c.ws = ws
	return ws.WriteMessage(websocket.TextMessage, []byte("5"))
}

// Upgrade moves from polling to a websocket.
func (c *Conn) Upgrade(ctx context.Context) error {
	ws, err := c.Probe(ctx)
	if err != nil {
		return err
	}
	return c.MoveTo(ws)
}

func (c *Conn) target(transport string) string {
	return c.dialer.Path + "?EIO=" + c.dialer.Version + "&transport=" + transport + c.sid
}

// Head returns a polling request up to its body.
func (c *Conn) Head(method string, length int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s&b64=1 HTTP/1.1\r\nHost: %s\r\n", method, c.target("polling"), c.dialer.Host)
	_ = c.dialer.Header.Write(&b)
	fmt.Fprintf(&b, "Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %d\r\n\r\n", length)
	return b.String()
}

// Body returns packets as the body of a POST has them.
func (c *Conn) Body(packets ...string) string { return Payload(c.dialer.Version, packets...) }

// Write sends packets, by polling in one request.
func (c *Conn) Write(packets ...string) error {
	if c.ws == nil {
		_, err := c.http.do(c.Head, http.MethodPost, c.Body(packets...))
		return err
	}
	for _, p := range packets {
		if err := WriteFrame(c.ws, c.dialer.Version, p); err != nil {
			return err
		}
	}
	return nil
}

// Read returns the next packet. It answers pings and ignores NOOPs.
func (c *Conn) Read() (string, error) {
	for {
		p, err := c.ReadAny()
		switch {
		case err != nil:
			return "", err
		case c.isPing(p):
			if err := c.Write("3"); err != nil {
				return "", err
			}
		case p != "6":
			return p, nil
		}
	}
}

func (c *Conn) isPing(packet string) bool { return packet == "2" && c.dialer.Version == "4" }

// ReadAny returns the next packet, whatever it is.
func (c *Conn) ReadAny() (string, error) {
	for len(c.packets) == 0 {
		if err := c.fetch(); err != nil {
			return "", err
		}
	}
	p := c.packets[0]
	c.packets = c.packets[1:]
	return p, nil
}

func (c *Conn) fetch() error {
	if c.ws == nil {
		payload, err := c.http.do(c.Head, http.MethodGet, "")
		if err != nil {
			return err
		}
		c.packets, err = SplitPayload(c.dialer.Version, payload)
		return err
	}
	p, err := ReadFrame(c.ws, c.dialer.Version)
	if err != nil {
		return err
	}
	c.packets = append(c.packets, p)
	return nil
}

// Expect returns the rest of the next packet, which must begin with prefix.
func (c *Conn) Expect(prefix string) (string, error) {
	p, err := c.Read()
	if err != nil {
		return "", err
	}
	rest, ok := strings.CutPrefix(p, prefix)
	if !ok {
		return "", fmt.Errorf("siotest: got %.200q, want %q", p, prefix)
	}
	return rest, nil
}

// UntilEnd reads packets until the server has ended the connection.
func (c *Conn) UntilEnd() error {
	for {
		p, err := c.Read()
		if p == "1" { // by polling this is the last packet
			return nil
		}
		if err == nil {
			continue
		}
		var network net.Error
		if errors.As(err, &network) && network.Timeout() {
			return err
		}
		return nil
	}
}

// Close closes the connection without telling the server.
func (c *Conn) Close() error {
	if conn := c.NetConn(); conn != nil {
		return conn.Close()
	}
	return nil
}

// line is a connection that carries one HTTP request after another.
type line struct {
	conn    net.Conn
	answers *bufio.Reader
}

func (d Dialer) line(ctx context.Context) (*line, error) {
	conn, err := d.Net(ctx, "tcp", d.Host)
	if err != nil {
		return nil, err
	}
	return &line{conn, bufio.NewReader(conn)}, nil
}

func (l *line) do(head func(method string, length int) string, method, body string) (string, error) {
	if _, err := io.WriteString(l.conn, head(method, len(body))+body); err != nil {
		return "", err
	}
	res, err := http.ReadResponse(l.answers, nil)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("siotest: %s: %d %s", method, res.StatusCode, text)
	}
	return string(text), err
}
