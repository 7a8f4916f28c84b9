// Package eio3 is a server for Socket.IO protocol 4 over Engine.IO protocol 3, which clients 1.x and 2.x speak. Its
// engine is github.com/googollee/go-socket.io, with a guard around it.
//
// It says what these have to themselves; the rest is in packages eio and sio. packet.go is how packets are written and
// read, link.go how a session opens, reads and upgrades, socket.go the way into a namespace.
//
// Of that library it uses the Engine.IO half: handshake, session table, heartbeat, and the steps of an upgrade. What
// the library reads and writes are transports of ours (transport.go), so that nothing reaches it that the protocol does
// not allow, and it never waits for a peer. Its Socket.IO half cannot be used: it knows only events that were named
// with the types of their arguments before, breaks on names with a comma, dies of an attachment count, and has no
// bound on what waits for a slow client. Package sio stands in for that.
package eio3

import (
	"net/http"
	"net/url"
	"sync"

	"github.com/googollee/go-socket.io/engineio"
	"github.com/googollee/go-socket.io/engineio/transport"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/engine"
)

// New makes an engine for Socket.IO.
func New(o engine.Options) *eio.Engine { return NewRaw(o, newClient) }

// NewRaw makes an engine for bare Engine.IO. accept is told of each new session before anything of it is read; it may
// send to it already.
func NewRaw(o engine.Options, accept func(s *eio.Session) eio.Receiver) *eio.Engine {
	return eio.New(o, newProtocol(o), accept)
}

// protocol is Engine.IO 3.
type protocol struct {
	lib *engineio.Server

	mu      sync.Mutex
	opening map[string]*link // the sessions that the library has not handed over yet
}

var _ eio.Protocol = (*protocol)(nil)

func newProtocol(o engine.Options) *protocol {
	o = o.WithDefaults()
	p := &protocol{opening: make(map[string]*link)}
	p.lib = engineio.NewServer(&engineio.Options{
		PingInterval:       o.PingInterval,
		PingTimeout:        o.PingTimeout,
		Transports:         []transport.Transport{pollingTransport, websocketTransport},
		SessionIDGenerator: ids{},
		ConnInitor:         func(*http.Request, engineio.Conn) { p.handOver() },
	})
	return p
}

func (*protocol) Refuse(query url.Values) *eio.Refusal {
	if query.Has("EIO") && query.Get("EIO") != "3" {
		return eio.ErrVersion
	}
	if query.Has("j") {
		return eio.ErrRequest // JSONP, which lets any page read the answers
	}
	return nil
}

func (p *protocol) NewLink(s *eio.Session) eio.Link {
	k := &link{Session: s, p: p}
	k.changed.L = &k.mu
	return k
}

// opens lets handOver find the session, whose id the library has just made.
func (p *protocol) opens(k *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opening[k.id] = k
}

// handOver takes one new session from the library, whichever is next, and starts it. It is called once for each that
// the library makes, so that none waits there and no goroutine has to; the library has it in its table by then, so that
// it can be removed from there.
func (p *protocol) handOver() {
	lib, err := p.lib.Accept()
	if err != nil {
		return // cannot be: the library's server is never closed, since a handshake would then panic
	}
	p.mu.Lock()
	k := p.opening[lib.ID()]
	delete(p.opening, lib.ID())
	p.mu.Unlock()
	k.start(lib)
}

// ids are the library's session ids. Its own are 1, 2, 3, and who knows one can read what its client is sent.
type ids struct{}

func (ids) NewID() string { return eio.NewID() }
