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

// This file is the wire: the Socket.IO protocol, revision 5, in the root namespace over one websocket.

const (
	openPatience  = 10 * time.Second // until the server's first word
	writePatience = 10 * time.Second
	maxMessage    = 1 << 20
)

// conn is one connection. One goroutine reads it; all methods are for one other.
type conn struct {
	ws     *websocket.Conn
	frames chan string   // as they come; closed at the end, of which err is the cause
	err    error         // readable once frames is closed
	closed chan struct{} // nobody listens any more
}

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

// read hands on what comes, until the server has been silent for longer than its heartbeat allows.
func (c *conn) read() {
	defer close(c.frames)
	patience := openPatience
	for {
		_ = c.ws.SetReadDeadline(time.Now().Add(patience)) // where it fails, so does the read
		kind, data, err := c.ws.ReadMessage()
		if err != nil {
			c.err = err
			return
		}
		if kind != websocket.TextMessage {
			continue // attachments of binary events, which this client leaves out
		}
		if p := parse(string(data)); p.kind == "0" {
			var open struct{ PingInterval, PingTimeout int64 } // ms
			if c.err = json.Unmarshal(p.data, &open); c.err != nil {
				return
			}
			patience = time.Duration(open.PingInterval+open.PingTimeout) * time.Millisecond
		}
		select {
		case c.frames <- string(data):
		case <-c.closed:
			return
		}
	}
}

// send writes one packet; nil is no data.
func (c *conn) send(kind, id string, data any) error {
	var text []byte
	if data != nil {
		var err error
		if text, err = json.Marshal(data); err != nil {
			return err
		}
	}
	_ = c.ws.SetWriteDeadline(time.Now().Add(writePatience))
	return c.ws.WriteMessage(websocket.TextMessage, append([]byte(kind+id), text...))
}

// close ends the connection, and waits for its reader.
func (c *conn) close() {
	close(c.closed)
	_ = c.ws.Close() // it is given up, whatever it has to say
	for range c.frames {
	}
}

// packet is one frame taken apart: 427["chat","hi"] is a "42" that asks for the acknowledgement "7".
type packet struct {
	kind string // Engine.IO's digit, and behind a "4" Socket.IO's
	id   string
	data json.RawMessage
}

func parse(frame string) packet {
	n := min(1, len(frame))
	if n == 1 && frame[0] == '4' {
		n = min(2, len(frame))
	}
	data := strings.TrimLeft(frame[n:], "0123456789")
	return packet{frame[:n], frame[n : len(frame)-len(data)], json.RawMessage(data)}
}
