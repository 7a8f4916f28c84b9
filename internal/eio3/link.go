package eio3

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/googollee/go-socket.io/engineio/session"
	"github.com/googollee/go-socket.io/engineio/transport"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/query"
	"github.com/z-open/socketauth/internal/sio"
)

// link opens, reads and upgrades one session. The library has a session of its own for it, which
// uses the two transports of transport.go; package eio writes what is queued and ends the session.
type link struct {
	*eio.Session
	lib  *session.Session
	open eio.Packet     // the OPEN
	b64  bool           // the client took no binary data when the session began
	once bool           // text in POSTs is known to be encoded once
	ws   *eio.WebSocket // the transport; nil while that is polling

	// Packets go one by one from a POST to the goroutine that reads.
	mu        sync.Mutex
	changed   sync.Cond     // signals a change of the fields below
	reading   bool          // the goroutine is running
	posted    *eio.Incoming // the packet that is being passed on or handled
	taken     bool          // the goroutine has taken posted
	switching bool          // SetTransport has begun, but the library still reads polling
	switched  bool          // the library reads the websocket
	closed    bool          // the session has ended
}

var _ eio.Link = (*link)(nil)

// asksForBase64 reports whether the client takes binary data only as text.
func asksForBase64(r *http.Request) bool { return query.Value(r.URL.RawQuery, "b64") != "" }

// Open implements eio.Link.
func (k *link) Open(r *http.Request, ws *eio.WebSocket) bool {
	k.b64, k.ws = asksForBase64(r), ws
	// The library's own ids are 1, 2, 3, and whoever knows the id of a session can read what its
	// client is sent.
	id, o := k.Options().NewSessionID(), k.Options()
	parameters := transport.ConnParameters{PingInterval: o.PingInterval, PingTimeout: o.PingTimeout, Upgrades: []string{websocketName}}
	var err error
	if ws == nil {
		k.lib, err = session.New(pollingConn{libConn{k}}, id, pollingName, parameters)
	} else {
		parameters.Upgrades = []string{}
		k.lib, err = session.New(&websocketConn{libConn: libConn{k}, ws: ws, step: active}, id, websocketName, parameters)
	}
	if err != nil || k.lib.InitSession() != nil { // which calls openWritten
		return false // impossible: the transports do not fail
	}
	k.reading = true
	k.ExpectPing()
	k.Begin(id, k.open, k.b64)
	k.open = eio.Packet{}
	k.Hold()
	go k.read() // in a goroutine of its own, so that what net/http holds for this request is freed
	return true
}

// openWritten is called when the library writes OPEN. The packet is kept until the session begins,
// so that no request of the client comes too early.
func (k *link) openWritten(parameters []byte) {
	k.open = eio.Packet{Head: string(eio.Open), Data: bytes.TrimSpace(parameters)}
}

// read reads the transport until it fails.
func (k *link) read() {
	defer k.Done()
	defer k.stopReading()
	for {
		if ws := k.transport(); ws != nil {
			k.Attend(ws)
			return
		}
		// While polling is the transport, handleInput waits for the packets of POSTs.
		if !k.handleInput() {
			return
		}
	}
}

// transport returns the websocket that is the transport, or nil if that is polling. While the
// library switches it waits.
func (k *link) transport() *eio.WebSocket {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.switching {
		k.changed.Wait()
	}
	return k.ws
}

func (k *link) setTransport(ws *eio.WebSocket) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ws = ws
}

// Input implements eio.Link.
func (k *link) Input(*eio.WebSocket) { k.handleInput() }

// handleInput reads the transport, through the library, as long as something has arrived. It
// returns false if the transport failed.
func (k *link) handleInput() bool {
	for {
		_, r, err := k.lib.NextReader()
		if err != nil {
			return false
		}
		m, ok := r.(*libReader)
		if ok && m.nothing {
			return true
		}
		if ok {
			k.Deliver(m.p.Data, m.p.Binary)
		}
	}
}

func (k *link) stopReading() {
	k.mu.Lock()
	k.reading = false
	k.changed.Broadcast()
	k.mu.Unlock()
	k.TransportFailed(io.EOF) // if the session has not ended
	if ws := k.transport(); ws != nil {
		ws.Close()
	}
}

var (
	errDirection = errors.New("packet that only a server sends, or an upgrade without a probe")
	errPing      = errors.New("ping with too much or binary data")
)

// maxPing is how long the data of a ping may be. The library sends it back.
const maxPing = 64

// check lets through to the library only what a client may send, and counts it as a heartbeat.
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
	k.ExpectPing()
	return nil
}

// Receive implements eio.Link.
func (k *link) Receive(p eio.Incoming) error {
	if err := k.check(p); err != nil {
		return err
	}
	if p.Kind == eio.Close {
		k.Leave()
	} else {
		k.post(p)
	}
	return nil
}

// post passes a packet of a POST to the goroutine that reads, and returns when it has been handled.
func (k *link) post(p eio.Incoming) {
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

// nextPosted returns the next packet of a POST. A call for the next one means that the last one has
// been handled.
func (k *link) nextPosted() (eio.Incoming, error) {
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
		case k.switched:
			return eio.Incoming{}, errUpgraded{}
		case k.closed && !k.switching:
			return eio.Incoming{}, io.EOF
		}
		k.changed.Wait()
	}
}

// Upgrade implements eio.Link. The library tries the websocket in a goroutine of its own.
func (k *link) Upgrade(r *http.Request, ws *eio.WebSocket) {
	k.lib.Upgrade(websocketName, &websocketConn{libConn: libConn{k}, ws: ws, b64: asksForBase64(r)})
}

// switchTransport makes the websocket the transport, if the goroutine that reads is still running.
func (k *link) switchTransport(c *websocketConn) bool {
	if !k.setSwitching(true) {
		return false
	}
	if !k.SetTransport(c.ws, c.b64) {
		k.setSwitching(false)
		return false
	}
	k.setTransport(c.ws) // for the goroutine that reads, once the library has switched
	return true
}

func (k *link) setSwitching(switching bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if switching && !k.reading {
		return false
	}
	k.switching = switching
	k.changed.Broadcast()
	return true
}

// librarySwitched ends what switchTransport began, once the library reads the websocket too.
func (k *link) librarySwitched() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.switching {
		k.switching, k.switched = false, true
		k.changed.Broadcast()
		k.Done()
	}
}

// Closed implements eio.Link.
func (k *link) Closed() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	k.changed.Broadcast()
}
