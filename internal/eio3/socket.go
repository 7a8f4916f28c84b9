package eio3

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/sio"
)

var (
	errNotConnected = errors.New("packet for a namespace that was not joined")
	errAuth         = errors.New("CONNECT with a payload")
	errText         = errors.New("text in the middle of attachments")
	errBinary       = errors.New("attachment without its packet")
	errTooMuch      = errors.New("attachments are too large")
	errAnswered     = errors.New("eio3: acknowledged already")
)

// client is the Socket.IO side of one session: its connections to namespaces.
type client struct {
	s *Session
	o *engine.Options

	// Of whoever has the session's turn.
	partial *sio.Packet // waits for its attachments
	size    int         // bytes of those that came

	mu    sync.Mutex
	conns []*conn // one for each namespace that was joined and not left by the client
}

// newClient puts the client in the root namespace, for which it does not ask.
func newClient(s *Session, o *engine.Options) *client {
	c := &client{s: s, o: o}
	s.joinBy(o.ConnectTimeout)
	c.connect(sio.Root)
	return c
}

// Message is called by the session.
func (c *client) Message(data []byte, binary bool) {
	if err := c.receive(data, binary); err != nil {
		c.s.fail(err)
	}
}

// Closed is called by the session.
func (c *client) Closed(reason engine.Reason) {
	c.mu.Lock()
	conns := c.conns
	c.conns, c.partial = nil, nil
	c.mu.Unlock()
	for _, conn := range conns {
		conn.disconnected(reason)
	}
}

func (c *client) receive(data []byte, binary bool) error {
	if binary {
		return c.receiveAttachment(data)
	}
	if c.partial != nil {
		return errText
	}
	p, err := sio.Parse(data, c.o.MaxAttachments)
	if err != nil {
		return err
	}
	if p.Kind == sio.Connect {
		if p.Auth != nil {
			return errAuth
		}
		namespace, _, _ := strings.Cut(p.Namespace, "?") // after it clients may write a query
		c.connect(strings.Clone(namespace))              // which stays for long, and must not keep the text it came in
		return nil
	}
	conn := c.conn(p.Namespace)
	switch {
	case conn == nil:
		return errNotConnected // also before the client waits for attachments of nobody
	case p.Attachments > 0:
		c.partial, c.size = &p, 0
	default:
		conn.receive(&p)
	}
	return nil
}

// receiveAttachment completes the packet that waits, once it is the last.
func (c *client) receiveAttachment(data []byte) error {
	p := c.partial
	if p == nil {
		return errBinary
	}
	if c.size += len(data); c.size > 4*c.o.MaxPayload {
		return errTooMuch
	}
	if p.Buffers = append(p.Buffers, data); len(p.Buffers) < p.Attachments {
		return nil
	}
	c.partial = nil
	if conn := c.conn(p.Namespace); conn != nil {
		conn.receive(p)
	}
	return nil
}

func (c *client) conn(namespace string) *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connLocked(namespace)
}

func (c *client) connLocked(namespace string) *conn {
	for _, conn := range c.conns {
		if conn.namespace == namespace {
			return conn
		}
	}
	return nil
}

// connect is the client's CONNECT. A second one to the same namespace changes nothing.
func (c *client) connect(namespace string) {
	accept, ok := c.o.Namespaces[namespace]
	if !ok {
		_ = c.s.send(encodeControl(sio.Error, namespace, []byte(`"Invalid namespace"`)))
		return
	}
	// The id is not the session's, though clients know no other: apps tell others about it, and who knows the
	// session's can read what this client polls for.
	conn := &conn{c: c, namespace: namespace, id: newID(), recv: nobodyHears{}}
	if !c.add(conn) {
		return
	}
	c.s.joinBy(0)
	_ = c.s.send(encodeControl(sio.Connect, namespace, nil))
	if recv := accept(conn, engine.Handshake{Request: c.s.request}); recv != nil {
		conn.recv = recv
	}
}

// add fails if the client is in the namespace already. One that the server has ended may be joined again.
func (c *client) add(conn *conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.connLocked(conn.namespace); old != nil {
		if !old.ended {
			return false
		}
		c.removeLocked(old)
	}
	c.conns = append(c.conns, conn)
	return true
}

func (c *client) removeLocked(conn *conn) {
	if i := slices.Index(c.conns, conn); i >= 0 {
		c.conns = slices.Delete(c.conns, i, i+1)
	}
}

// joinedLocked says whether the client is in a namespace.
func (c *client) joinedLocked() bool {
	return slices.ContainsFunc(c.conns, func(conn *conn) bool { return !conn.ended })
}

// conn is one client in one namespace.
type conn struct {
	c         *client
	namespace string
	id        string

	// Of whoever has the session's turn.
	recv     engine.Receiver
	reported bool // Disconnected was called

	// Under the client's lock.
	ended  bool // nothing is sent any more, and nothing received
	lastID uint64
	acks   map[uint64]func(engine.Args, error) // that wait for the client, by id; made when first needed
}

var _ engine.Conn = (*conn)(nil)

// nobodyHears stands in for the receiver until Accept has named it.
type nobodyHears struct{}

func (nobodyHears) Event(string, engine.Args, engine.Ack) {}
func (nobodyHears) Disconnected(engine.Reason)            {}

func (k *conn) ID() string { return k.id }

func (k *conn) Emit(m *engine.Message) error {
	return k.send(encodeMessage(sio.Event, k.namespace, false, 0, m))
}

func (k *conn) send(packets []packet) error {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if k.ended {
		return engine.ErrClosed
	}
	return k.c.s.send(packets...)
}

func (k *conn) EmitAck(m *engine.Message, done func(engine.Args, error)) (forget func(), err error) {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if k.ended {
		return nil, engine.ErrClosed
	}
	id := k.lastID
	if err := k.c.s.send(encodeMessage(sio.Event, k.namespace, true, id, m)...); err != nil {
		return nil, err
	}
	k.lastID++
	if k.acks == nil {
		k.acks = make(map[uint64]func(engine.Args, error))
	}
	k.acks[id] = done
	return func() { k.takeAck(id) }, nil
}

// takeAck ends the wait for an acknowledgement, and returns who waits, if anyone does.
func (k *conn) takeAck(id uint64) func(engine.Args, error) {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	done := k.acks[id]
	delete(k.acks, id)
	return done
}

// Close ends the session too, unless the client is in another namespace.
func (k *conn) Close(last *engine.Message) {
	var packets []packet
	if last != nil {
		packets = encodeMessage(sio.Event, k.namespace, false, 0, last)
	}
	packets = append(packets, encodeControl(sio.Disconnect, k.namespace, nil))

	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if k.ended {
		return
	}
	k.ended = true
	if !k.c.joinedLocked() {
		k.c.s.closeAfter(packets...)
		return
	}
	_ = k.c.s.send(packets...)
	k.c.s.inTurn(func() { k.disconnected(engine.ServerDisconnect) })
}

// receive handles a packet of the client. What comes after the server has ended the connection is dropped: the client
// did not know when it sent that.
func (k *conn) receive(p *sio.Packet) {
	switch {
	case p.Kind == sio.Disconnect:
		k.leave()
	case k.isEnded():
	case p.Kind == sio.Event:
		k.recv.Event(p.Name, p.Args(), k.answer(p))
	case p.Kind == sio.Ack:
		if done := k.takeAck(p.ID); done != nil {
			done(p.Args(), nil)
		}
	}
}

func (k *conn) isEnded() bool {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	return k.ended
}

// answer is how an event is acknowledged, nil if its client did not ask for that.
func (k *conn) answer(p *sio.Packet) engine.Ack {
	if !p.HasID {
		return nil
	}
	id := p.ID
	var used atomic.Bool
	return func(reply ...any) error {
		m, err := engine.NewReply(reply...)
		if err != nil {
			return err
		}
		if used.Swap(true) {
			return errAnswered
		}
		return k.send(encodeMessage(sio.Ack, k.namespace, true, id, m))
	}
}

// leave is the client's DISCONNECT.
func (k *conn) leave() {
	k.c.mu.Lock()
	k.ended = true
	k.c.removeLocked(k)
	joined := k.c.joinedLocked()
	k.c.mu.Unlock()
	if !joined {
		k.c.s.joinBy(k.c.o.ConnectTimeout)
	}
	k.disconnected(engine.ClientDisconnect)
}

// disconnected reports the end, first to those who wait for acknowledgements. It is the caller's turn.
func (k *conn) disconnected(reason engine.Reason) {
	if k.reported {
		return
	}
	k.reported = true
	k.c.mu.Lock()
	k.ended = true
	acks := k.acks
	k.acks = nil
	k.c.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(acks)) {
		acks[id](engine.Args{}, engine.ErrClosed)
	}
	k.recv.Disconnected(reason)
}
