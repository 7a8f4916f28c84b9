package sio

import (
	"encoding/json"
	"errors"
	"slices"
	"sync"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/engine"
)

var (
	errNotConnected = errors.New("packet for a namespace that was not joined")
	errText         = errors.New("text in the middle of attachments")
	errBinary       = errors.New("attachment without its packet")
	errTooMuch      = errors.New("attachments are too large")
)

// Client is the Socket.IO side of one session: its connections to namespaces.
type Client struct {
	s       *eio.Session
	connect func(c *Client, p *Packet) error

	// Of whoever has the session's turn.
	partial *partial

	mu    sync.Mutex
	conns []*conn // one for each namespace that was joined and not left by the client
}

// partial is a packet that waits for its attachments, which may take long. It is kept as the text that it came in: the
// list of its values can take 15 times as much memory.
type partial struct {
	text      []byte
	namespace string
	due       int // attachments
	came      [][]byte
	size      int // bytes of those
}

var _ eio.Receiver = (*Client)(nil)

// NewClient is the client of a session. connect handles its CONNECT packets, by which the versions of the protocol
// differ; an error is the client's breach of it.
func NewClient(s *eio.Session, connect func(c *Client, p *Packet) error) *Client {
	s.JoinBy(s.Options().ConnectTimeout)
	return &Client{s: s, connect: connect}
}

// Message is called by the session.
func (c *Client) Message(data []byte, binary bool) {
	if err := c.receive(data, binary); err != nil {
		c.s.Fail(err)
	}
}

// Closed is called by the session.
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
		return c.connect(c, &p)
	}
	conn := c.conn(p.Namespace)
	switch {
	case conn == nil:
		return errNotConnected // also before the client waits for attachments of nobody
	case p.Attachments > 0:
		c.partial = &partial{text: data, namespace: conn.namespace, due: p.Attachments}
	default:
		conn.receive(&p)
	}
	return nil
}

// receiveAttachment completes the packet that waits, once it is the last.
func (c *Client) receiveAttachment(data []byte) error {
	p := c.partial
	if p == nil {
		return errBinary
	}
	if p.size += len(data); p.size > 4*c.s.MaxPayload() {
		return errTooMuch
	}
	if p.came = append(p.came, data); len(p.came) < p.due {
		return nil
	}
	c.partial = nil
	conn := c.conn(p.namespace)
	if conn == nil {
		return nil
	}
	whole, err := c.parse(p.text)
	if err != nil {
		return err // cannot be: it was parsed when it came
	}
	whole.Buffers = p.came
	conn.receive(&whole)
	return nil
}

func (c *Client) parse(text []byte) (Packet, error) {
	return Parse(text, c.s.Options().MaxAttachments, c.s.Options().MaxDepth)
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

// Knows says whether there is such a namespace.
func (c *Client) Knows(namespace string) bool {
	_, ok := c.s.Options().Namespaces[namespace]
	return ok
}

// Refuse answers a CONNECT to a namespace that there is not.
func (c *Client) Refuse(namespace, payload string) {
	_ = c.s.Send(encodeControl(Error, namespace, []byte(payload)))
}

// Join puts the client in a namespace, answers with what answer makes of the connection's id, and tells who is told of
// it. False: the client is there already.
func (c *Client) Join(namespace string, auth json.RawMessage, answer func(id string) []byte) bool {
	// The id is not the session's: apps tell others about it, and who knows the session's can read what this client polls
	// for.
	k := &conn{c: c, namespace: namespace, id: eio.NewID(), recv: nobody{}}
	if !c.add(k) {
		return false
	}
	c.s.JoinBy(0)
	_ = c.s.Send(encodeControl(Connect, namespace, answer(k.id)))
	c.s.Contain(func() {
		if recv := c.s.Options().Namespaces[namespace](k, engine.Handshake{Auth: auth, Request: c.s.Request()}); recv != nil {
			k.recv = recv
		}
	})
	return true
}

// add fails if the client is in the namespace already. One that the server has ended may be joined again.
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

// joinedLocked says whether the client is in a namespace.
func (c *Client) joinedLocked() bool {
	return slices.ContainsFunc(c.conns, func(conn *conn) bool { return !conn.ended })
}
