package histories

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/gorilla/websocket"
)

// wire is a socket's connection to a real server: a websocket on which the test writes and reads
// the bytes of Socket.IO itself.
type wire struct {
	r   *realServer
	s   *socket
	out chan out // what is to be written; closed at the end

	joined, ended bool // used in the history's goroutine only
}

// out is a message to write. If torn is true, only a part of it is written, then the connection
// ends.
type out struct {
	text string
	torn bool
}

// open connects to the server, which then answers that the connection is open. The client sends its
// token after that.
func (r *realServer) open(s *socket) {
	c := &wire{r: r, s: s, out: make(chan out, 100)}
	s.state = c
	r.calls.Go(func() {
		var pipe *tornConn
		dial := r.lis.dialer(s.name)
		d := websocket.Dialer{NetDialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			pipe = &tornConn{Conn: conn}
			return pipe, err
		}}
		ws, res, err := d.Dial("ws://server/socket.io/?EIO=4&transport=websocket", nil)
		if err != nil {
			r.tell(func() { s.answer(frame{kind: closed}) })
			return
		}
		_ = res.Body.Close()
		r.calls.Go(func() { c.write(ws, pipe) })
		c.read(ws)
	})
}

// write writes the messages from c.out, until that is closed or the history is over.
func (c *wire) write(ws *websocket.Conn, pipe *tornConn) {
	defer ws.Close()
	for {
		select {
		case o, more := <-c.out:
			if !more {
				return
			}
			if o.torn {
				pipe.tear(len(o.text) / 2)
			}
			if ws.WriteMessage(websocket.TextMessage, []byte(o.text)) != nil {
				return
			}
		case <-c.r.over:
			return
		}
	}
}

func (c *wire) read(ws *websocket.Conn) {
	defer c.r.tell(func() { c.s.answer(frame{kind: closed}) })
	for {
		_, data, err := ws.ReadMessage()
		if err != nil {
			return
		}
		if f, ok := c.s.w.readFrame(string(data)); ok {
			c.r.tell(func() {
				if f.kind == opened {
					c.s.w.ids[c.s.name] = f.id
				}
				c.s.answer(f)
			})
		} else if string(data) == "2" {
			c.r.tell(func() {
				if !c.s.up.cut {
					c.send(out{text: "3"})
				}
			})
		}
	}
}

// readFrame reads a frame from the server. ok is false if the histories have no use for it.
func (w *world) readFrame(data string) (f frame, ok bool) {
	switch {
	case strings.HasPrefix(data, "0{"):
		var open struct{ Sid string }
		_ = json.Unmarshal([]byte(data[1:]), &open)
		return frame{kind: opened, id: open.Sid}, true
	case strings.HasPrefix(data, "41"):
		return frame{kind: closed}, true
	case !strings.HasPrefix(data, "42"):
		return frame{}, false
	}
	n := strings.IndexByte(data, '[')
	if n < 0 {
		return frame{}, false
	}
	var args []json.RawMessage
	if json.Unmarshal([]byte(data[n:]), &args) != nil || len(args) == 0 {
		return frame{}, false
	}
	f.ack = data[2:n]
	_ = json.Unmarshal(args[0], &f.kind)
	switch f.kind {
	case authenticated:
		var text string
		_ = json.Unmarshal(args[1], &text)
		f.token = w.readToken(text)
	case news:
		for _, arg := range args[1:] {
			var least int
			_ = json.Unmarshal(arg, &least)
			f.least = append(f.least, least)
		}
	case unauthorized:
		var u struct {
			Code     string
			Terminal bool
		}
		_ = json.Unmarshal(args[1], &u)
		f.code, f.terminal = u.Code, u.Terminal
	}
	return f, true
}

// frames returns the messages that a client sends for a frame of the history. A token is sent in
// the handshake, or in an event after it.
func (c *wire) frames(f frame) []string {
	more := ""
	if f.stepUp.text != "" {
		more = fmt.Sprintf(`,"step_up":%q`, f.stepUp.text)
	}
	if f.proof.key != "" {
		more += fmt.Sprintf(`,"proof":%q`, c.s.w.textOf(f.proof))
	}
	object := fmt.Sprintf(`{"token":%q,"confirm":%v%s}`, f.token.text, f.confirm, more)
	switch {
	case f.kind == act:
		return []string{fmt.Sprintf(`42["act",%d]`, c.r.enforced.of(f.token.ref.UserID))}
	case f.kind == authenticate && !c.joined && c.s.w.chance(0.7):
		return []string{"40" + object}
	case f.kind == authenticate && !c.joined:
		return []string{"40", `42["authenticate",` + object + `]`}
	case f.kind == authenticate:
		return []string{`42["authenticate",` + object + `]`}
	case f.kind == acknowledge:
		return []string{"43" + f.ack + "[]"}
	}
	text := `42["logout"]`
	if f.proof.key != "" {
		text = fmt.Sprintf(`42["logout",{"token":%q%s}]`, f.token.text, more)
	} else if f.token.text != "" {
		text = fmt.Sprintf(`42["logout",%q]`, f.token.text)
	}
	if !c.joined {
		return []string{"40", text}
	}
	return []string{text}
}

func (r *realServer) receive(s *socket, f frame) {
	c := s.state.(*wire)
	for _, text := range c.frames(f) {
		c.send(out{text: text})
	}
	c.joined = true
}

func (r *realServer) tear(s *socket, f frame) {
	c := s.state.(*wire)
	frames := c.frames(f)
	for n, text := range frames {
		c.send(out{text: text, torn: n == len(frames)-1})
	}
	r.hangUp(s)
}

func (r *realServer) hangUp(s *socket) {
	if c, ok := s.state.(*wire); ok && !c.ended {
		c.ended = true
		close(c.out)
	}
}

// send is called by the history's goroutine, which must never wait for a server: if the channel is
// full, the message is lost.
func (c *wire) send(o out) {
	if c.ended {
		return
	}
	select {
	case c.out <- o:
	default:
	}
}

// listener is a network in memory. The remote address of a connection is its client's name.
type listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newListener() *listener {
	return &listener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *listener) Addr() net.Addr { return named("server") }

func (l *listener) dialer(name string) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		select {
		case l.conns <- namedConn{theirs, named(name)}:
			return ours, nil
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
}

type named string

func (n named) Network() string { return "pipe" }
func (n named) String() string  { return string(n) }

type namedConn struct {
	net.Conn
	name net.Addr
}

func (c namedConn) RemoteAddr() net.Addr { return c.name }

// tornConn is a connection that can break in the middle of a write. It must have only one writer.
type tornConn struct {
	net.Conn
	torn bool
	left int
}

func (c *tornConn) tear(after int) { c.torn, c.left = true, after }

func (c *tornConn) Write(b []byte) (int, error) {
	if !c.torn {
		return c.Conn.Write(b)
	}
	n, _ := c.Conn.Write(b[:min(len(b), c.left)])
	_ = c.Conn.Close()
	return n, net.ErrClosed
}
