package socketauth

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/gorilla/websocket"
)

// wire is a client of either engine over any transport, by the bytes: one thing at a time, so that a test says at which
// byte it breaks off.
type wire struct {
	w       *world
	version string // of Engine.IO
	address string // that it comes from, as a proxy would say
	sid     string // as a query has it
	conn    net.Conn
	answers *bufio.Reader   // of conn, by polling
	ws      *websocket.Conn // nil while polling
	packets []string        // that came and were not read
}

// wireTransports are all ways to be connected; "upgrade" begins with polling.
var wireTransports = []string{"websocket", "polling", "upgrade"}

// begin makes the handshake, which for "upgrade" leaves the client polling.
func (w *world) begin(version, transport, address string) (*wire, error) {
	c := &wire{w: w, version: version, address: address}
	var err error
	if transport == "websocket" {
		if c.ws, err = c.websocket(); err == nil {
			c.conn = c.ws.NetConn()
		}
	} else if c.conn, err = w.lis.dial(w.Context(), "", ""); err == nil {
		c.answers = bufio.NewReader(c.conn)
	}
	if err != nil {
		return nil, err
	}
	open, err := c.read()
	if err != nil {
		return nil, err
	}
	var in struct{ SID string }
	if !strings.HasPrefix(open, "0{") || json.Unmarshal([]byte(open[1:]), &in) != nil || in.SID == "" {
		return nil, fmt.Errorf("%.200q instead of OPEN", open)
	}
	c.sid = "&sid=" + in.SID
	return c, nil
}

// enter joins the root namespace, with the handshake's auth where the version has one.
func (c *wire) enter(auth string) error {
	if c.version == "4" {
		if err := c.write("40" + auth); err != nil {
			return err
		}
	}
	_, err := c.expect("40")
	return err
}

func (c *wire) websocket() (*websocket.Conn, error) {
	d := websocket.Dialer{NetDialContext: c.w.lis.dial}
	ws, _, err := d.Dial("ws://server/socket.io/?EIO="+c.version+"&transport=websocket"+c.sid, http.Header{"X-Address": {c.address}})
	return ws, err
}

// probe takes an upgrade as far as its last step.
func (c *wire) probe() (*websocket.Conn, error) {
	ws, err := c.websocket()
	if err != nil {
		return nil, err
	}
	_ = ws.WriteMessage(websocket.TextMessage, []byte("2probe"))
	if _, data, err := ws.ReadMessage(); err != nil || string(data) != "3probe" {
		return ws, fmt.Errorf("the probe was answered %q, %w", data, err)
	}
	return ws, nil
}

// moveTo takes the last step of an upgrade.
func (c *wire) moveTo(ws *websocket.Conn) error {
	_ = c.conn.Close()
	c.ws, c.conn = ws, ws.NetConn()
	return ws.WriteMessage(websocket.TextMessage, []byte("5"))
}

// head is a request of polling up to its body.
func (c *wire) head(method string, length int) string {
	return method + " /socket.io/?EIO=" + c.version + "&transport=polling&b64=1" + c.sid + " HTTP/1.1\r\nHost: server\r\nX-Address: " + c.address +
		"\r\nContent-Type: text/plain;charset=UTF-8\r\nContent-Length: " + strconv.Itoa(length) + "\r\n\r\n"
}

func (c *wire) request(method, body string) (string, error) {
	if _, err := io.WriteString(c.conn, c.head(method, len(body))+body); err != nil {
		return "", err
	}
	res, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", method, res.StatusCode, text)
	}
	return string(text), err
}

// body is packets as a POST has them.
func (c *wire) body(packets ...string) string {
	if c.version == "4" {
		return strings.Join(packets, "\x1e")
	}
	var b strings.Builder
	for _, p := range packets {
		fmt.Fprintf(&b, "%d:%s", len(p), p)
	}
	return b.String()
}

func (c *wire) write(packets ...string) error {
	if c.ws == nil {
		_, err := c.request(http.MethodPost, c.body(packets...))
		return err
	}
	for _, p := range packets {
		if err := c.ws.WriteMessage(websocket.TextMessage, []byte(p)); err != nil {
			return err
		}
	}
	return nil
}

// read is the next packet. It answers pings.
func (c *wire) read() (string, error) {
	for {
		for len(c.packets) == 0 {
			if err := c.fetch(); err != nil {
				return "", err
			}
		}
		p := c.packets[0]
		c.packets = c.packets[1:]
		switch {
		case p == "2" && c.version == "4":
			if err := c.write("3"); err != nil {
				return "", err
			}
		case p != "6":
			return p, nil
		}
	}
}

func (c *wire) fetch() error {
	if c.ws != nil {
		_, data, err := c.ws.ReadMessage()
		c.packets = append(c.packets, string(data))
		return err
	}
	text, err := c.request(http.MethodGet, "")
	if c.version == "4" {
		c.packets = append(c.packets, strings.Split(text, "\x1e")...)
		return err
	}
	for text != "" && err == nil {
		length, rest, _ := strings.Cut(text, ":") // in units of UTF-16, but all text here is ASCII
		n, malformed := strconv.Atoi(length)
		if malformed != nil || n > len(rest) {
			return fmt.Errorf("malformed payload %.200q", text)
		}
		c.packets = append(c.packets, rest[:n])
		text = rest[n:]
	}
	return err
}

// expect is the rest of the next packet, which begins as it says.
func (c *wire) expect(prefix string) (string, error) {
	p, err := c.read()
	rest, ok := strings.CutPrefix(p, prefix)
	if err == nil && !ok {
		err = fmt.Errorf("%.200q instead of %q", p, prefix)
	}
	return rest, err
}

// untilEnd reads whatever comes until the server has ended the connection.
func (c *wire) untilEnd() error {
	for {
		p, err := c.read()
		if p == "1" { // polling: nothing more is due
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

// cut breaks the connection without a word.
func (c *wire) cut() { _ = c.conn.Close() }
