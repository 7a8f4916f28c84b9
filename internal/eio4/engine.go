// Package eio4 is a server for Socket.IO protocol 5 over Engine.IO protocol 4, which clients 3.x
// and 4.x speak.
//
// It contains what these versions have to themselves; packages eio and sio do the rest. packet.go
// encodes and decodes packets, link.go opens, reads and upgrades sessions, socket.go handles
// CONNECT.
package eio4

import (
	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/query"
)

// New returns an engine for Socket.IO.
func New(o engine.Options) *eio.Engine { return NewRaw(o, newClient) }

// NewRaw returns an engine for bare Engine.IO. It calls accept with each new session before
// anything of it is read; accept may already send to it.
func NewRaw(o engine.Options, accept func(s *eio.Session) eio.Receiver) *eio.Engine {
	return eio.New(o, protocol{}, accept)
}

// protocol is Engine.IO 4.
type protocol struct{}

var _ eio.Protocol = protocol{}

func (protocol) Refuse(raw string) *eio.Refusal {
	if query.Value(raw, "EIO") != "4" {
		return eio.ErrVersion
	}
	return nil
}

func (protocol) NewLink(s *eio.Session) eio.Link { return link{s} }
