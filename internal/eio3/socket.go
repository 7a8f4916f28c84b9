package eio3

import (
	"errors"
	"strings"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/sio"
)

var errPayload = errors.New("CONNECT with a payload")

// newClient returns the Socket.IO 4 side of a session. Its client joins the root namespace without
// asking for it.
func newClient(s *eio.Session) eio.Receiver {
	c := sio.NewClient(s, connect)
	join(c, sio.Root)
	return c
}

// connect handles the client's CONNECT.
func connect(c *sio.Client, p *sio.Packet) error {
	if p.Auth != nil {
		return errPayload
	}
	namespace, _, _ := strings.Cut(p.Namespace, "?") // clients may append a query
	join(c, strings.Clone(namespace))                // cloned, since it outlives the packet
	return nil
}

// join puts the client in a namespace, or refuses to. Joining one again changes nothing.
func join(c *sio.Client, namespace string) {
	if !c.Knows(namespace) {
		c.Refuse(namespace, `"Invalid namespace"`)
		return
	}
	c.Join(namespace, nil, func(string) []byte { return nil })
}
