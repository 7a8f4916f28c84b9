package eio3

import (
	"errors"
	"strings"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/sio"
)

var errPayload = errors.New("CONNECT with a payload")

// newClient makes a session one of Socket.IO 4, and puts its client in the root namespace, for which it does not ask.
func newClient(s *eio.Session) eio.Receiver {
	c := sio.NewClient(s, connect)
	join(c, sio.Root)
	return c
}

// connect is the client's CONNECT.
func connect(c *sio.Client, p *sio.Packet) error {
	if p.Auth != nil {
		return errPayload
	}
	namespace, _, _ := strings.Cut(p.Namespace, "?") // after it clients may write a query
	join(c, strings.Clone(namespace))                // which stays for long, and must not keep the text it came in
	return nil
}

// join puts the client in a namespace, or refuses that. To join it twice changes nothing.
func join(c *sio.Client, namespace string) {
	if !c.Knows(namespace) {
		c.Refuse(namespace, `"Invalid namespace"`)
		return
	}
	c.Join(namespace, nil, func(string) []byte { return nil })
}
