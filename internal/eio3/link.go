package eio3

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/googollee/go-socket.io/engineio"
	"github.com/googollee/go-socket.io/engineio/transport"
	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/sio"
)

// link is a session in the terms of this version. The library has a session of its own for it, which sees the two
// transports of transport.go; the queue and the end are ours.
type link struct {
	*eio.Session
	p    *protocol
	lib  engineio.Conn
	id   string          // set when the library writes OPEN
	open eio.Packet      // that
	b64  bool            // the client took no binary data when it began
	once bool            // text in POSTs is known to be encoded once
	ws   *websocket.Conn // the transport, or nil while that is polling

	// Packets go one by one from a POST to the goroutine that reads.
	mu      sync.Mutex
	changed sync.Cond     // what follows has
	reading bool          // the goroutine is there
	posted  *eio.Incoming // the packet that is being handed over or handled
	taken   bool          // the reader has it
	moving  bool          // a websocket becomes or is the transport, but the library reads from the other one still
	moved   bool          // the library has gone over to it
	closed  bool          // the session has
}

var _ eio.Link = (*link)(nil)

// asksForBase64 says whether the client takes binary data only as text.
func asksForBase64(r *http.Request) bool { return r.URL.Query().Get("b64") != "" }

// Open is described at eio.Link.
func (k *link) Open(r *http.Request, ws *websocket.Conn) bool {
	k.b64, k.ws = asksForBase64(r), ws
	if ws == nil {
		return k.p.offer(r, pollingConn{libConn{k}})
	}
	return k.p.offer(r, &websocketConn{libConn: libConn{k}, ws: ws, step: active})
}

// opened is the library's OPEN. It waits until the session has begun, so that no request comes too early.
func (k *link) opened(parameters []byte) {
	p, err := transport.ReadConnParameters(bytes.NewReader(parameters))
	if err != nil {
		return // cannot be: the library has just encoded them
	}
	k.id, k.open = p.SID, eio.Packet{Head: string(eio.Open), Data: bytes.TrimSpace(parameters)}
	k.p.opens(k)
}

// start is called when the library has the session.
func (k *link) start(lib engineio.Conn) {
	k.lib, k.reading = lib, true
	k.Heard()
	k.Begin(k.id, k.open, k.b64)
	k.open = eio.Packet{}
	k.Go(k.read)
}

// read reads, by way of the library, whichever transport there is.
func (k *link) read() {
	defer k.stopReading()
	for {
		_, r, err := k.lib.NextReader()
		if err != nil {
			return
		}
		if m, ok := r.(*libReader); ok {
			k.Deliver(m.p.Data, m.p.Binary)
		}
	}
}

func (k *link) stopReading() {
	k.mu.Lock()
	k.reading = false
	k.changed.Broadcast()
	k.mu.Unlock()
	k.Lost(io.EOF) // if it has not ended
	if k.ws != nil {
		_ = k.ws.Close()
	}
	k.p.lib.Remove(k.id)
}

var (
	errDirection = errors.New("packet that only a server sends, or an upgrade that was not probed")
	errPing      = errors.New("ping with more than a word")
)

// maxPing is how long the data of a ping may be, which the library sends back as it came.
const maxPing = 64

// check is the guard before the library: it lets through only what a client may send, and counts it as a heartbeat.
func (k *link) check(p eio.Incoming) error {
	switch p.Kind {
	case eio.Message, eio.Close:
	case eio.Ping:
		if p.Binary || len(p.Data) > maxPing || !sio.IsASCII(p.Data) {
			return errPing
		}
	default:
		return errDirection
	}
	k.Heard()
	return nil
}

// Receive handles one packet of a POST.
func (k *link) Receive(p eio.Incoming) error {
	if err := k.check(p); err != nil {
		return err
	}
	if p.Kind == eio.Close {
		k.Leave()
	} else {
		k.give(p)
	}
	return nil
}

// give hands a packet of a POST to the library's reader, and returns when it was handled.
func (k *link) give(p eio.Incoming) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.reading {
		return
	}
	k.posted = &p
	k.changed.Broadcast()
	for k.posted != nil && k.reading {
		k.changed.Wait()
	}
}

// takePosted is the other end of give. To ask for the next packet says that the last was handled.
func (k *link) takePosted() (eio.Incoming, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.taken {
		k.posted, k.taken = nil, false
		k.changed.Broadcast()
	}
	for {
		switch {
		case k.posted != nil:
			k.taken = true
			return *k.posted, nil
		case k.moved:
			return eio.Incoming{}, errUpgraded{}
		case k.closed && !k.moving:
			return eio.Incoming{}, io.EOF
		}
		k.changed.Wait()
	}
}

// Upgrade is described at eio.Link: the library tries the websocket, in a goroutine of its own.
func (k *link) Upgrade(r *http.Request, ws *websocket.Conn) {
	if !k.p.offer(r, &websocketConn{libConn: libConn{k}, ws: ws, b64: asksForBase64(r)}) {
		k.GiveUp(ws)
	}
}

// move makes the websocket the transport, if the library can go over to it.
func (k *link) move(c *websocketConn) bool {
	if !k.setMoving(true) {
		return false
	}
	if !k.SetTransport(c.ws, c.b64) {
		k.setMoving(false)
		return false
	}
	k.ws = c.ws // the reader looks once the library has gone over
	return true
}

func (k *link) setMoving(moving bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if moving && !k.reading {
		return false
	}
	k.moving = moving
	k.changed.Broadcast()
	return true
}

// goneOver ends what move began, once the library has gone over too.
func (k *link) goneOver() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.moving {
		k.moving, k.moved = false, true
		k.changed.Broadcast()
		k.Upgraded()
	}
}

// Closed is described at eio.Link.
func (k *link) Closed() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	k.changed.Broadcast()
}
