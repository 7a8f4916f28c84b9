// Package engine defines the interface of the two Socket.IO engines. It knows nothing of tokens or
// users.
package engine

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
)

// ErrClosed is returned by every use of a connection that has ended, or that Close was called on.
var ErrClosed = errors.New("engine: connection closed")

// ErrSlow is returned by an emit that found the client's queue full. The connection is closed,
// unless the event may be dropped.
var ErrSlow = errors.New("engine: peer too slow")

// ErrTooLarge is returned by an emit or reply of one message that is larger than the client's
// queue. The client is sent nothing, and stays connected.
var ErrTooLarge = errors.New("engine: message too large to be sent")

// Reason says why a connection ended.
type Reason string

// The reasons an engine reports.
const (
	ClientDisconnect Reason = "client disconnect" // the client sent a packet that says so
	ServerDisconnect Reason = "server disconnect" // Conn.Close
	TransportClose   Reason = "transport close"   // the network connection ended
	PingTimeout      Reason = "ping timeout"      // the heartbeat did not come in time
	ProtocolError    Reason = "protocol error"    // the client broke the protocol
	SlowPeer         Reason = "slow peer"         // the client did not read what it was sent
	Shutdown         Reason = "shutdown"          // Engine.Shutdown
	Evicted          Reason = "evicted"           // its slot was given to another connection
)

// Engine serves one version of the Engine.IO protocol. Origin checks, CORS and the choice of the
// version are made before it is called.
type Engine interface {
	http.Handler

	// Shutdown refuses new requests, answers pending polls, and closes every connection in such a
	// way that clients see a transport close and reconnect by themselves. It returns when each
	// connection has been reported as disconnected and no goroutine or timer is left, or with ctx's
	// error. It may be called more than once, and concurrently.
	Shutdown(ctx context.Context) error
}

// Accept is called with each client that joins a namespace, before any event of that client, and
// returns its receiver. It may already emit to the client and close it.
type Accept func(c Conn, h Handshake) Receiver

// Handshake is what a client sent when it connected.
type Handshake struct {
	Auth    json.RawMessage // the auth object of the handshake; nil if there is none
	Request any             // what the engine's Describe option returned for the first HTTP request
}

// Receiver is called with what happens on one connection. The engine calls its methods one at a
// time, in the order of the packets, without holding a lock. While one runs, nothing more is read
// from that client, so they must return soon.
type Receiver interface {
	// Event is called with each event of the client. ack is nil if the client did not ask for an
	// acknowledgement.
	Event(name string, args Args, ack Ack)

	// Disconnected is called exactly once, last.
	Disconnected(reason Reason)
}

// Ack sends an acknowledgement. Only the first call that succeeds sends one. It may be called from
// any goroutine, and never blocks.
type Ack func(reply ...any) error

// Conn is one client in one namespace. Its methods may be called at any time, from any goroutine,
// and never wait for the client: what cannot be written at once is queued. The queue is bounded,
// and a connection whose queue is full is closed.
type Conn interface {
	// ID returns the connection's id, 128 random bits. Only this client is sent it.
	ID() string

	// SessionID returns the id of the Engine.IO session, which the client was sent when that was
	// opened. Whoever knows it can read what the client polls for.
	SessionID() string

	// Emit sends an event. Its errors are ErrClosed, ErrSlow and ErrTooLarge.
	Emit(m *Message) error

	// EmitShared is Emit for an event that many connections are sent: it leaves the writing to
	// another goroutine, and keeps what has been encoded.
	// If mayDrop is set and much waits for the client already, the event is not sent, and
	// EmitShared returns ErrSlow; the connection stays open.
	EmitShared(m *Message, mayDrop bool) error

	// EmitAck sends an event that asks for an acknowledgement. done is called at most once, with
	// the client's reply or with the error that ended the connection, and never within EmitAck.
	// After forget, or if EmitAck itself fails, done is not called.
	EmitAck(m *Message, done func(Args, error)) (forget func(), err error)

	// Trust lifts the limits for unauthenticated clients, in all namespaces of the client.
	Trust()

	// Reconnect ends the connection, in all namespaces of the client, in such a way that the client
	// sees a transport close and reconnects by itself, as Engine.Shutdown does.
	Reconnect()

	// Close sends last, if it is not nil, then tells the client that the server disconnects it (the
	// client sees "io server disconnect"). It ends the connection when both have been written or
	// after a timeout. Close returns at once. From then on no event is delivered and nothing more
	// is sent.
	Close(last *Message)
}
