// Package engine is the small interface behind which both Socket.IO engines stand: what the library asks of one, and
// all it knows of one. It has no notion of tokens or users.
package engine

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
)

// ErrClosed is the error of every use of a connection that has ended or has been told to.
var ErrClosed = errors.New("engine: connection closed")

// ErrSlow is the error of an emit that found the peer's queue full. The peer is dropped.
var ErrSlow = errors.New("engine: peer too slow, connection dropped")

// ErrTooLarge is the error of an emit or reply of one message that is larger than what may wait for a peer at all. The
// peer is told nothing, and stays.
var ErrTooLarge = errors.New("engine: message too large to be sent")

// Reason says why a connection ended.
type Reason string

// The reasons an engine reports.
const (
	ClientDisconnect Reason = "client disconnect" // the client left by a packet that says so
	ServerDisconnect Reason = "server disconnect" // Conn.Close
	TransportClose   Reason = "transport close"   // the network went away
	PingTimeout      Reason = "ping timeout"      // no heartbeat in time
	ProtocolError    Reason = "protocol error"    // the client sent what the protocol does not allow
	SlowPeer         Reason = "slow peer"         // the client did not read what it was sent
	Shutdown         Reason = "shutdown"          // Engine.Shutdown
	Evicted          Reason = "evicted"           // its place was given to another
)

// Engine serves one version of the Engine.IO protocol. Requests it is given are its own: origin checks, CORS and the
// choice of the version are made before it.
type Engine interface {
	http.Handler

	// Shutdown accepts nothing new, answers pending polls, closes every connection so that clients see a transport
	// close (and come back by themselves), and returns once each has been reported as disconnected and no goroutine
	// or timer is left, or with ctx's error. It may be called again, and at the same time.
	Shutdown(ctx context.Context) error
}

// Accept is told of each client that joins a namespace and returns who hears of it from then on. It is called before
// any event of that client, and may emit to it and close it already.
type Accept func(c Conn, h Handshake) Receiver

// Handshake is what a client brought when it connected.
type Handshake struct {
	Auth    json.RawMessage // the auth object of the handshake, nil where there is none
	Request any             // what the engine's Describe option made of the first HTTP request
}

// Receiver hears what one connection does. The engine calls its methods one at a time, in the order of the wire, with
// no lock held; while one runs, nothing more is read from that client, so they return soon.
type Receiver interface {
	// Event is one event of the client. ack is nil where the client asked for no acknowledgement.
	Event(name string, args Args, ack Ack)

	// Disconnected is the last call, made exactly once.
	Disconnected(reason Reason)
}

// Ack answers the client that asked for an acknowledgement. Only the first call that succeeds sends; it may be called from
// any goroutine, and never blocks.
type Ack func(reply ...any) error

// Conn is one client in one namespace. Its methods may be called at any time, from any goroutine, and never block on
// the peer: what cannot be written at once waits in a bounded queue, and a peer whose queue is full is dropped.
type Conn interface {
	// ID is 128 random bits, known to this client alone.
	ID() string

	// Emit sends an event. Errors: ErrClosed, ErrSlow, ErrTooLarge.
	Emit(m *Message) error

	// EmitAck sends an event that asks for an acknowledgement. done is called at most once, in a call of its own, with
	// the client's reply or with the error that ended the connection; forget gives up the wait, after which done is not
	// called. If EmitAck itself fails, done is not called.
	EmitAck(m *Message, done func(Args, error)) (forget func(), err error)

	// Trust lifts, for all of its connection, the limits that are for clients of whom nothing is known.
	Trust()

	// Close sends last, if any, then tells the client that the server ends the connection (it sees
	// "io server disconnect"), waits a bounded time for both to be written, and ends the connection. It returns at
	// once; from then on no event is delivered and nothing more is sent.
	Close(last *Message)
}
