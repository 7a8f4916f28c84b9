package sio

import (
	"encoding/json"
	"errors"
	"slices"
	"sync"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/id"
)

var (
	errNotConnected = errors.New("packet for a namespace that the client has not joined")
	errText         = errors.New("text packet where an attachment is due")
	errBinary       = errors.New("attachment without a packet")
	errTooMuch      = errors.New("attachments are too large")
)

// Client is the Socket.IO side of one session. It holds the connections to namespaces.
type Client struct {
	s       *eio.Session
	connect func(c *Client, p *Packet) error

	partial *partial // used only in calls from the session, which are made one at a time

	mu    sync.Mutex
	conns []*conn // one for each namespace that the client has joined and not left
}

// partial is a packet that waits for its attachments, which may take long. It is kept as text,
// since the parsed values can take 15 times as much memory.
type partial struct {
	text      []byte
	namespace string
	due       int // how many attachments there will be
	received  [][]byte
	size      int // of received, in bytes
}

var _ eio.Receiver = (*Client)(nil)

// NewClient returns the client of a session. connect handles its CONNECT packets, in which the
// versions of the protocol differ. It returns an error if the client broke the protocol.
func NewClient(s *eio.Session, connect func(c *Client, p *Packet) error) *Client {
	s.JoinBy(s.Options().ConnectTimeout)
	return &Client{s: s, connect: connect}
}

// Message implements eio.Receiver.
func (c *Client) Message(data []byte, binary bool) {
	if err := c.receive(data, binary); err != nil {
		c.s.Fail(err)
	}
}

// Closed implements eio.Receiver.
func (c *Client) Closed(reason engine.Reason) {
	c.mu.Lock()
	conns := c.conns
	c.conns, c.partial = nil, nil
	c.mu.Unlock()
	for _, conn := range conns {
		conn.disconnected(reason)
	}
}

func (c *Client) receive(data []byte, binary bool) error {
	if binary {
		return c.receiveAttachment(data)
	}
	if c.partial != nil {
		return errText
	}
	p, err := c.parse(data)
	if err != nil {
		return err
	}
	if p.Kind == Connect {
		connect := p // so that no other packet needs to be on the heap
		return c.connect(c, &connect)
	}
	conn := c.conn(p.Namespace)
	switch {
	case conn == nil:
		return errNotConnected // also if attachments are announced
	case p.Attachments > 0:
		c.partial = &partial{text: data, namespace: conn.namespace, due: p.Attachments}
	default:
		conn.receive(&p)
	}
	return nil
}

// receiveAttachment adds an attachment to the packet that waits for it. The last one completes the
// packet.
func (c *Client) receiveAttachment(data []byte) error {
	p := c.partial
	if p == nil {
		return errBinary
	}
	if p.size += len(data); p.size > 4*c.s.MaxPayload() {
		return errTooMuch
	}
	if p.received = append(p.received, data); len(p.received) < p.due {
		return nil
	}
	c.partial = nil
	conn := c.conn(p.namespace)
	if conn == nil {
		return nil
	}
	whole, err := c.parse(p.text)
	if err != nil {
		return err // impossible: the text has been parsed before
	}
	whole.Buffers = p.received
	conn.receive(&whole)
	return nil
}

func (c *Client) parse(text []byte) (Packet, error) {
	o := c.s.Options()
	return Parse(text, o.MaxAttachments, o.MaxDepth, o.EventName)
}

func (c *Client) conn(namespace string) *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connLocked(namespace)
}

func (c *Client) connLocked(namespace string) *conn {
	for _, conn := range c.conns {
		if conn.namespace == namespace {
			return conn
		}
	}
	return nil
}

// Knows reports whether the server has the namespace.
func (c *Client) Knows(namespace string) bool {
	_, ok := c.s.Options().Namespaces[namespace]
	return ok
}

// Refuse answers a CONNECT to a namespace that the server does not have.
func (c *Client) Refuse(namespace, payload string) {
	_ = c.s.Send(encodeControl(Error, namespace, []byte(payload)))
}

// Join puts the client in a namespace, sends what answer returns for the connection's id, and calls
// the namespace's Accept. It returns false if the client is in the namespace already.
func (c *Client) Join(namespace string, auth json.RawMessage, answer func(id string) []byte) bool {
	// The id is not the session's: apps publish it, and whoever knows the session's can read what
	// this client polls for.
	k := &conn{c: c, namespace: namespace, id: id.New().String(), recv: noopReceiver{}}
	if !c.add(k) {
		return false
	}
	c.s.JoinBy(0)
	_ = c.s.Enqueue(encodeControl(Connect, namespace, answer(k.id)))
	if auth == nil {
		defer c.s.Flush() // together with what Accept has sent
	} else {
		c.s.FlushSoon() // together with the answer to the client's token
	}
	c.s.Contain(func() {
		if recv := c.s.Options().Namespaces[namespace](k, engine.Handshake{Auth: auth, Request: c.s.Request()}); recv != nil {
			k.recv = recv
		}
	})
	return true
}

// add fails if the client is in the namespace already. A namespace where the server has closed the
// connection may be joined again.
func (c *Client) add(conn *conn) bool {
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

func (c *Client) removeLocked(conn *conn) {
	if i := slices.Index(c.conns, conn); i >= 0 {
		c.conns = slices.Delete(c.conns, i, i+1)
	}
}

// joinedLocked reports whether the client is in a namespace.
func (c *Client) joinedLocked() bool {
	return slices.ContainsFunc(c.conns, func(conn *conn) bool { return !conn.ended })
}
