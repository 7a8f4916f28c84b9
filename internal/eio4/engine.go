// Package eio4 is a server for Socket.IO protocol 5 over Engine.IO protocol 4, which clients 3.x and 4.x speak.
//
// It says what these have to themselves; the rest is in packages eio and sio. packet.go is how packets are written and
// read, link.go how a session opens, reads and upgrades, socket.go the way into a namespace.
package eio4

import (
	"net/url"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/engine"
)

// New makes an engine for Socket.IO.
func New(o engine.Options) *eio.Engine { return NewRaw(o, newClient) }

// NewRaw makes an engine for bare Engine.IO. accept is told of each new session before anything of it is read; it may
// send to it already.
func NewRaw(o engine.Options, accept func(s *eio.Session) eio.Receiver) *eio.Engine {
	return eio.New(o, protocol{}, accept)
}

// protocol is Engine.IO 4.
type protocol struct{}

var _ eio.Protocol = protocol{}

func (protocol) Refuse(query url.Values) *eio.Refusal {
	if query.Get("EIO") != "4" {
		return eio.ErrVersion
	}
	return nil
}

func (protocol) NewLink(s *eio.Session) eio.Link { return link{s} }
