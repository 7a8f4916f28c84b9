// Package load has the clients that the comparison uses for every candidate. They allocate little,
// and check each answer.
package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/sys/unix"
)

const (
	pingEvery = 10 * time.Second // often enough for any server here
	patience  = time.Minute      // for one packet
)

// transport carries packets as text.
type transport interface {
	write(packet string) error
	read() ([]byte, error) // returns the next packet, which is valid until the next read
	wait()                 // from now on read waits without a limit
	leave() error          // closes the connection in the proper way, and waits for the server
	close()                // closes it at once, also while another goroutine reads
}

// Conn is a client's connection. Only Close may be called while another method runs. Whoever is
// done with it calls Close or Leave.
type Conn struct {
	t    transport
	d    Dialect
	id   int
	rest []byte      // of the last message of centrifuge, which may hold several
	ping *time.Timer // in Engine.IO 3 over a websocket the client sends the pings
}

// LocalAddress returns the loopback address of client i. Clients use several, because one address
// has too few ports for many connections to one server.
func LocalAddress(i int) *net.TCPAddr {
	i %= 200
	return &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i))}
}

// Dial returns a function that opens TCP connections from a local address.
func Dial(from *net.TCPAddr) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{LocalAddr: from, Timeout: patience, Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) {
			// The port is chosen when the server is known, so that it need be free for that only.
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		}), err)
	}}
	return d.DialContext
}

// Open connects client i over a websocket, authenticates, and returns the token for the next time.
func Open(ctx context.Context, base string, d Dialect, i int, token string) (*Conn, string, error) {
	dialer := websocket.Dialer{
		NetDialContext: Dial(LocalAddress(i)), HandshakeTimeout: patience,
		ReadBufferSize: 512, WriteBufferSize: 512,
	}
	path := d.path()
	if d.eio() != 0 {
		path += "websocket"
	}
	ws, answer, err := dialer.DialContext(ctx, "ws"+strings.TrimPrefix(base, "http")+path, nil)
	if err != nil {
		if answer != nil {
			err = fmt.Errorf("%w: %s", err, answer.Status)
		}
		return nil, "", err
	}
	return enter(&websocketTransport{ws: ws}, d, token)
}

func enter(t transport, d Dialect, token string) (*Conn, string, error) {
	c := &Conn{t: t, d: d}
	next, err := d.enter(c, token)
	if err != nil {
		t.close()
		return nil, "", err
	}
	if _, polls := t.(*pollingTransport); d.eio() == 3 && !polls {
		// A timer, because a client that waits for a broadcast has to send them too.
		c.ping = time.AfterFunc(time.Hour, c.sendPing)
		c.ping.Reset(pingEvery) // only now, because sendPing uses c.ping
	}
	return c, next, nil
}

// next returns the next packet that is not only there to keep the connection alive.
func (c *Conn) next() ([]byte, error) {
	for {
		packet := c.rest
		if len(packet) == 0 {
			var err error
			if packet, err = c.t.read(); err != nil {
				return nil, err
			}
		}
		if c.d == Centrifuge {
			packet, c.rest, _ = bytes.Cut(packet, []byte("\n"))
		} else if c.d != Raw {
			packet = bytes.TrimSuffix(packet, []byte("\n")) // some encoders end JSON with a line feed
		}
		answer, alive := c.d.reply(packet)
		if !alive {
			return packet, nil
		}
		if answer != "" {
			if err := c.t.write(answer); err != nil {
				return nil, err
			}
		}
	}
}

// expect reads a packet that has to begin with prefix, and returns the rest of it.
func (c *Conn) expect(prefix string) ([]byte, error) {
	packet, err := c.next()
	if err != nil {
		return nil, fmt.Errorf("instead of %q: %w", prefix, err)
	}
	rest, ok := bytes.CutPrefix(packet, []byte(prefix))
	if !ok {
		return nil, fmt.Errorf("%q instead of %q", packet, prefix)
	}
	return rest, nil
}

// Echo sends a message and waits for its answer.
func (c *Conn) Echo() error {
	c.id = c.id%1000 + 1
	if c.id == 1 && c.d == Centrifuge {
		c.id++ // 1 was connect
	}
	message, answer := c.d.echo(c.id)
	if err := c.t.write(message); err != nil {
		return err
	}
	rest, err := c.expect(answer)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%q after the answer", rest)
	}
	return err
}

// News waits for a broadcast and returns its text.
func (c *Conn) News() (string, error) {
	packet, err := c.next()
	if err != nil {
		return "", err
	}
	return c.d.news(packet)
}

// KeepAlive answers pings until the connection ends. Anything else that comes is an error.
func (c *Conn) KeepAlive() error {
	c.t.wait()
	packet, err := c.next()
	if err != nil {
		return err
	}
	return fmt.Errorf("%q came to an idle client", packet)
}

// Leave ends the connection as clients do, and waits until the server has done so too.
func (c *Conn) Leave() error {
	c.stopPings()
	return c.t.leave()
}

// Close closes the connection at once.
func (c *Conn) Close() {
	c.stopPings()
	c.t.close()
}

func (c *Conn) stopPings() {
	if c.ping != nil {
		c.ping.Stop()
	}
}

// sendPing runs when the timer fires, and sets it again while the connection is open.
func (c *Conn) sendPing() {
	if c.t.write("2") == nil {
		c.ping.Reset(pingEvery)
	}
}

// websocketTransport uses a websocket from the start.
type websocketTransport struct {
	mu       sync.Mutex // held by writers
	ws       *websocket.Conn
	buf      bytes.Buffer
	extended time.Time // when the read deadline was last moved
	waits    bool      // there is none
}

func (t *websocketTransport) write(packet string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ws.WriteMessage(websocket.TextMessage, []byte(packet))
}

func (t *websocketTransport) read() ([]byte, error) {
	if now := time.Now(); !t.waits && now.Sub(t.extended) > pingEvery {
		t.extended = now
		if err := t.ws.SetReadDeadline(now.Add(patience)); err != nil {
			return nil, err
		}
	}
	_, r, err := t.ws.NextReader()
	if err != nil {
		return nil, err
	}
	t.buf.Reset()
	if _, err := t.buf.ReadFrom(r); err != nil {
		return nil, err
	}
	return t.buf.Bytes(), nil
}

func (t *websocketTransport) wait() {
	t.waits = true
	_ = t.ws.SetReadDeadline(time.Time{}) // if the connection is closed, read says so
}

func (t *websocketTransport) leave() error {
	defer t.close()
	closing := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	if err := t.ws.WriteControl(websocket.CloseMessage, closing, time.Now().Add(patience)); err != nil {
		return err
	}
	for {
		_, err := t.read()
		var closed *websocket.CloseError
		switch {
		case errors.As(err, &closed):
			// The server has to close the connection.
			if _, err := t.ws.NetConn().Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				return fmt.Errorf("after the close frame: %v", err)
			}
			return nil
		case err != nil:
			return err
		}
	}
}

func (t *websocketTransport) close() { _ = t.ws.Close() }
