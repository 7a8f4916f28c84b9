package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// This file has the Socket.IO protocol, revision 5, in the root namespace over one websocket.

const (
	openTimeout  = 10 * time.Second // for the first packet of the server
	writeTimeout = 10 * time.Second
	maxMessage   = 1 << 20
)

// conn is one connection. One goroutine of its own reads it; one other may call its methods.
type conn struct {
	ws     *websocket.Conn
	frames chan string   // what the server sends; closed when the connection ends
	err    error         // why it ended; must be read only once frames is closed
	closed chan struct{} // closed by close
}

// dial opens a connection.
func dial(ctx context.Context, dialer *websocket.Dialer, server *url.URL) (*conn, error) {
	u := server.JoinPath("socket.io/")
	u.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	u.RawQuery = "EIO=4&transport=websocket"
	ws, response, err := dialer.DialContext(ctx, u.String(), nil)
	if response != nil && err != nil {
		err = fmt.Errorf("%w: %s", err, response.Status)
	}
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(maxMessage)
	c := &conn{ws: ws, frames: make(chan string), closed: make(chan struct{})}
	go c.read()
	return c, nil
}

// read receives frames until the connection ends, or the server has been silent for longer than its
// heartbeat allows.
func (c *conn) read() {
	defer close(c.frames)
	timeout := openTimeout
	for {
		_ = c.ws.SetReadDeadline(time.Now().Add(timeout)) // if it fails, so does the read
		kind, data, err := c.ws.ReadMessage()
		if err != nil {
			c.err = err
			return
		}
		if kind != websocket.TextMessage {
			continue // an attachment of a binary event, which this client ignores
		}
		if p := parse(string(data)); p.kind == "0" {
			var open struct{ PingInterval, PingTimeout int64 } // ms
			if c.err = json.Unmarshal(p.data, &open); c.err != nil {
				return
			}
			timeout = time.Duration(open.PingInterval+open.PingTimeout) * time.Millisecond
		}
		select {
		case c.frames <- string(data):
		case <-c.closed:
			return
		}
	}
}

// send writes one packet. If data is nil, the packet has none.
func (c *conn) send(kind, id string, data any) error {
	var text []byte
	if data != nil {
		var err error
		if text, err = json.Marshal(data); err != nil {
			return err
		}
	}
	_ = c.ws.SetWriteDeadline(time.Now().Add(writeTimeout))
	return c.ws.WriteMessage(websocket.TextMessage, append([]byte(kind+id), text...))
}

// close ends the connection and waits for the reading goroutine.
func (c *conn) close() {
	close(c.closed)
	_ = c.ws.Close() // its error no longer matters
	for range c.frames {
	}
}

// packet is the parts of a frame: 427["chat","hi"] is of kind "42" and asks for the acknowledgement
// "7".
type packet struct {
	kind string // the digit of Engine.IO and, after a "4", that of Socket.IO
	id   string
	data json.RawMessage
}

// parse splits a frame into its parts.
func parse(frame string) packet {
	n := min(1, len(frame))
	if n == 1 && frame[0] == '4' {
		n = min(2, len(frame))
	}
	data := strings.TrimLeft(frame[n:], "0123456789")
	return packet{frame[:n], frame[n : len(frame)-len(data)], json.RawMessage(data)}
}
