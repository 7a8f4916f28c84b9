// Package eio3 is a server for Socket.IO protocol 4 over Engine.IO protocol 3, which clients 1.x
// and 2.x speak. It is built on github.com/googollee/go-socket.io ("the library").
//
// It contains what these versions have to themselves; packages eio and sio do the rest. packet.go
// and double.go encode and decode packets, link.go opens, reads and upgrades sessions, socket.go
// handles CONNECT.
//
// Of the library it uses the Engine.IO half: handshake, session table, heartbeat, and the steps of
// an upgrade. The library reads from and writes to transports of this package (transport.go), so
// that it sees only what the protocol allows and never waits for a client. Its Socket.IO half
// cannot be used: it needs to know events and the types of their arguments in advance, fails on
// names with a comma, panics on some attachment counts, and does not limit what waits for a slow
// client. Package sio replaces it.
package eio3

import (
	"net/http"
	"sync"

	"github.com/googollee/go-socket.io/engineio"
	"github.com/googollee/go-socket.io/engineio/transport"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/query"
)

// New returns an engine for Socket.IO.
func New(o engine.Options) *eio.Engine { return NewRaw(o, newClient) }

// NewRaw returns an engine for bare Engine.IO. It calls accept with each new session before
// anything of it is read; accept may already send to it.
func NewRaw(o engine.Options, accept func(s *eio.Session) eio.Receiver) *eio.Engine {
	return eio.New(o, newProtocol(o), accept)
}

// protocol is Engine.IO 3.
type protocol struct {
	lib *engineio.Server

	mu      sync.Mutex
	opening map[string]*link // by id, the sessions that Accept has not returned yet
}

var _ eio.Protocol = (*protocol)(nil)

func newProtocol(o engine.Options) *protocol {
	o = o.WithDefaults()
	p := &protocol{opening: make(map[string]*link)}
	p.lib = engineio.NewServer(&engineio.Options{
		PingInterval:       o.PingInterval,
		PingTimeout:        o.PingTimeout,
		Transports:         []transport.Transport{pollingTransport, websocketTransport},
		SessionIDGenerator: ids{&o},
		ConnInitor:         func(*http.Request, engineio.Conn) { p.acceptNext() },
	})
	return p
}

func (*protocol) Refuse(raw string) *eio.Refusal {
	if version, ok := query.Get(raw, "EIO"); ok && version != "3" {
		return eio.ErrVersion
	}
	if _, ok := query.Get(raw, "j"); ok {
		return eio.ErrRequest // JSONP, which lets any page read the responses
	}
	return nil
}

func (p *protocol) NewLink(s *eio.Session) eio.Link {
	k := &link{Session: s, p: p}
	k.changed.L = &k.mu
	return k
}

// addOpening lets acceptNext find the session, whose id the library has just made.
func (p *protocol) addOpening(k *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opening[k.id] = k
}

// acceptNext accepts the library's next session, whichever that is, and starts it. It is called
// once for each session, when that is in the library's table and can be removed from there. So no
// session waits to be accepted, and no goroutine waits to accept.
func (p *protocol) acceptNext() {
	lib, err := p.lib.Accept()
	if err != nil {
		return // impossible: the library's server is never closed, so that handshakes do not panic
	}
	p.mu.Lock()
	k := p.opening[lib.ID()]
	delete(p.opening, lib.ID())
	p.mu.Unlock()
	k.start(lib)
}

// ids generates session ids for the library. Its own are 1, 2, 3, and whoever knows the id of a
// session can read what its client is sent.
type ids struct{ o *engine.Options }

func (g ids) NewID() string { return g.o.NewSessionID() }
