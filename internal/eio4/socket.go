package eio4

import (
	"errors"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/sio"
)

var errTwice = errors.New("second CONNECT to one namespace")

// newClient returns the Socket.IO 5 side of a session.
func newClient(s *eio.Session) eio.Receiver { return sio.NewClient(s, connect) }

// connect handles the client's CONNECT.
func connect(c *sio.Client, p *sio.Packet) error {
	if !c.Knows(p.Namespace) {
		c.Refuse(p.Namespace, `{"message":"Invalid namespace"}`)
		return nil
	}
	if !c.Join(p.Namespace, p.Auth, func(id string) []byte { return []byte(`{"sid":"` + id + `"}`) }) {
		return errTwice
	}
	return nil
}
