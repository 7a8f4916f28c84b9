package load

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Dialect is how the clients of a candidate speak to it.
type Dialect int

const (
	EIO4       Dialect = iota // Socket.IO over Engine.IO 4, without authentication
	EIO4Token                 // the token in the handshake; "authenticated" brings the next one
	EIO4Bearer                // the token in the handshake, as @thream/socketio-jwt wants it
	EIO3                      // Socket.IO over Engine.IO 3, without authentication
	EIO3Token                 // the event "authenticate"; "authenticated" brings the next one
	EIO3Event                 // the same without a new token, as in socketio-jwt
	Centrifuge                // the JSON protocol of centrifuge, with the token in "connect"
	Raw                       // messages come back as they are
)

// payload is what echo sends: a line of chat of the usual length.
const payload = "a line of chat, of about the length that people write before they press enter"

func (d Dialect) eio() int {
	switch d {
	case EIO4, EIO4Token, EIO4Bearer:
		return 4
	case EIO3, EIO3Token, EIO3Event:
		return 3
	}
	return 0
}

func (d Dialect) path() string {
	switch d {
	case Centrifuge:
		return "/connection/websocket"
	case Raw:
		return "/websocket"
	}
	return fmt.Sprintf("/socket.io/?EIO=%d&transport=", d.eio())
}

// reply returns the answer to a packet that only keeps the connection alive, and whether it is one.
func (d Dialect) reply(packet []byte) (answer string, alive bool) {
	switch {
	case d.eio() == 4 && string(packet) == "2":
		return "3", true
	case d.eio() == 3 && string(packet) == "3":
		return "", true
	case d == Centrifuge && string(packet) == "{}":
		return "{}", true
	}
	return "", false
}

// enter authenticates, if the dialect does, and returns when the server has answered. It returns
// the token to present next time.
func (d Dialect) enter(c *Conn, token string) (string, error) {
	switch d {
	case EIO4, EIO4Token, EIO4Bearer:
		if _, err := c.expect("0{"); err != nil {
			return "", err
		}
		if err := c.t.write("40" + map[Dialect]string{
			EIO4Token:  `{"token":"` + token + `"}`,
			EIO4Bearer: `{"token":"Bearer ` + token + `"}`,
		}[d]); err != nil {
			return "", err
		}
		if _, err := c.expect(`40{"sid":`); err != nil {
			return "", err
		}
	case EIO3, EIO3Token, EIO3Event:
		if _, err := c.expect("0{"); err != nil {
			return "", err
		}
		if _, err := c.expect("40"); err != nil {
			return "", err
		}
		if d != EIO3 {
			if err := c.t.write(`42["authenticate",{"token":"` + token + `"}]`); err != nil {
				return "", err
			}
		}
	case Centrifuge:
		if err := c.t.write(`{"id":1,"connect":{"token":"` + token + `"}}`); err != nil {
			return "", err
		}
		_, err := c.expect(`{"id":1,"connect":{"client":`)
		return token, err
	case Raw:
		return token, c.Echo()
	}
	switch d {
	case EIO4Token, EIO3Token:
		rest, err := c.expect(`42["authenticated","`)
		next := strings.TrimSuffix(string(rest), `"]`)
		if err == nil && strings.Count(next, ".") != 2 {
			err = fmt.Errorf("%q is no token", next)
		}
		return next, err
	case EIO3Event:
		_, err := c.expect(`42["authenticated"]`)
		return token, err
	}
	return token, nil
}

// echo returns a message and what has to come back.
func (d Dialect) echo(id int) (message, answer string) {
	n := strconv.Itoa(id)
	switch d {
	case Centrifuge:
		return `{"id":` + n + `,"rpc":{"method":"echo","data":"` + payload + `"}}`, `{"id":` + n + `,"rpc":{"data":"` + payload + `"}}`
	case Raw:
		return n + " " + payload, n + " " + payload
	}
	return `42` + n + `["echo","` + payload + `"]`, `43` + n + `["` + payload + `"]`
}

// news returns the text of a broadcast.
func (d Dialect) news(packet []byte) (string, error) {
	switch d {
	case Raw:
		return string(packet), nil
	case Centrifuge:
		var m struct {
			Push struct {
				Channel string
				Pub     struct{ Data string }
			}
		}
		if err := json.Unmarshal(packet, &m); err != nil || m.Push.Channel != "news" {
			return "", fmt.Errorf("%q instead of news", packet)
		}
		return m.Push.Pub.Data, nil
	}
	text, ok := bytes.CutPrefix(packet, []byte(`42["news","`))
	text, end := bytes.CutSuffix(text, []byte(`"]`))
	if !ok || !end {
		return "", fmt.Errorf("%q instead of news", packet)
	}
	return string(text), nil
}
