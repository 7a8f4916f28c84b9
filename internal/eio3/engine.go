// Package eio3 is a server for Socket.IO protocol 4 over Engine.IO protocol 3, which clients 1.x
// and 2.x speak. It is built on github.com/googollee/go-socket.io ("the library").
//
// It contains what these versions have to themselves; packages eio and sio do the rest. packet.go
// and double.go encode and decode packets, link.go opens, reads and upgrades sessions, socket.go
// handles CONNECT.
//
// Of the library it uses the sessions of the Engine.IO half: handshake, heartbeat, and the steps of
// an upgrade. They read from and write to transports of this package (transport.go), so that the
// library sees only what the protocol allows and never waits for a client. Its server, which keeps
// a second table of sessions and starts two goroutines for each, is not used. Its Socket.IO half
// cannot be used: it needs to know events and the types of their arguments in advance, fails on
// names with a comma, panics on some attachment counts, and does not limit what waits for a slow
// client. Package sio replaces it.
package eio3

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

// protocol is Engine.IO 3.
type protocol struct{}

var _ eio.Protocol = protocol{}

func (protocol) Refuse(raw string) *eio.Refusal {
	if version, ok := query.Get(raw, "EIO"); ok && version != "3" {
		return eio.ErrVersion
	}
	if _, ok := query.Get(raw, "j"); ok {
		return eio.ErrRequest // JSONP, which lets any page read the responses
	}
	return nil
}

func (protocol) NewLink(s *eio.Session) eio.Link {
	k := &link{Session: s}
	k.changed.L = &k.mu
	return k
}
