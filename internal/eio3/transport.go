package eio3

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/googollee/go-socket.io/engineio/frame"
	libpacket "github.com/googollee/go-socket.io/engineio/packet"
	"github.com/googollee/go-socket.io/engineio/payload"
	"github.com/googollee/go-socket.io/engineio/session"
	"github.com/googollee/go-socket.io/engineio/transport"

	"github.com/z-open/socketauth/internal/eio"
)

// The library's names of the transports.
const (
	pollingName   = "polling"
	websocketName = "websocket"
)

var (
	_ transport.Conn = pollingConn{}
	_ transport.Conn = (*websocketConn)(nil)
)

// libConn is what both transports have in common.
type libConn struct{ k *link }

func (libConn) URL() url.URL              { return url.URL{} }
func (libConn) LocalAddr() net.Addr       { return nil }
func (libConn) RemoteAddr() net.Addr      { return nil }
func (libConn) RemoteHeader() http.Header { return nil }

// SetReadDeadline ignores the library's deadline: that would end clients that ping in time, since
// PingInterval is longer than PingTimeout. Session.ExpectPing sets the deadline.
func (libConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing: what the library writes is queued.
func (libConn) SetWriteDeadline(time.Time) error { return nil }

// NextWriter is for the packets that the library sends by itself, OPEN and PONG. Messages do not go
// through it: a message is queued together with its attachments, and its sender has to know whether
// the queue is full. NextWriter must not fail, because the library would log that.
func (c libConn) NextWriter(_ frame.Type, kind libpacket.Type) (io.WriteCloser, error) {
	return &libWriter{k: c.k, kind: kind.StringByte()}, nil
}

type libWriter struct {
	bytes.Buffer
	k    *link
	kind byte
}

func (w *libWriter) Close() error {
	if w.kind == eio.Open {
		w.k.openWritten(w.Bytes())
		return nil
	}
	_ = w.k.Send(eio.Packet{Head: string(w.kind), Data: w.Bytes()})
	return nil
}

// libPacket returns a packet of the client in the form that the library reads.
func libPacket(p eio.Incoming) (frame.Type, libpacket.Type, io.ReadCloser, error) {
	ft := frame.String
	if p.Binary {
		ft = frame.Binary
	}
	return ft, libpacket.ByteToPacketType(p.Kind, frame.String), &libReader{*bytes.NewReader(p.Data), p, false}, nil
}

// nothing is what the library reads when nothing has arrived: a message, so that it returns.
var nothing = &libReader{nothing: true}

// libReader is a packet that the library reads. The library returns that of a message unchanged.
type libReader struct {
	bytes.Reader
	p       eio.Incoming
	nothing bool // it is no packet
}

func (*libReader) Close() error { return nil }

// refuseUpgrade makes the library close a transport that it is trying. An error would do the same,
// but would be logged.
func refuseUpgrade() (frame.Type, libpacket.Type, io.ReadCloser, error) {
	return libPacket(eio.Incoming{Kind: eio.Noop})
}

// pollingConn is the library's view of a session's polling transport.
type pollingConn struct{ libConn }

var _ session.Pauser = pollingConn{}

// NextReader waits for a packet of a POST.
func (c pollingConn) NextReader() (frame.Type, libpacket.Type, io.ReadCloser, error) {
	p, err := c.k.nextPosted()
	if err != nil {
		return 0, 0, nil, err
	}
	return libPacket(p)
}

// Pause does nothing: polls and POSTs are served until the upgrade is done, because clients send
// meanwhile.
func (pollingConn) Pause() {}

// Resume does nothing either.
func (pollingConn) Resume() {}

// Close is called when the library has switched to the websocket, or after NextReader has failed.
func (c pollingConn) Close() error {
	c.k.librarySwitched()
	return nil
}

// errUpgraded makes the library read again, from the transport that it has switched to.
type errUpgraded struct{}

func (errUpgraded) Error() string   { return "eio3: upgraded" }
func (errUpgraded) Temporary() bool { return true }

var _ payload.Error = errUpgraded{}

// websocketConn is the library's view of a session's websocket.
type websocketConn struct {
	libConn
	ws  *eio.WebSocket
	b64 bool // the client takes no binary frames

	step step // used only by the goroutine that reads
}

// step is how far the upgrade to a websocket has come.
type step uint8

const (
	probing  step = iota // waiting for the probe
	probed               // waiting for the upgrade
	unprobed             // the client left out the probe; the library has not got the upgrade yet
	active               // it is the transport
)

func (c *websocketConn) NextReader() (frame.Type, libpacket.Type, io.ReadCloser, error) {
	switch c.step {
	case probing:
		return c.probe()
	case probed, unprobed:
		return c.takeOver()
	}
	return c.read()
}

// probe reads the client's probe, which the library answers. The library requires one, so it gets
// one even if the client left it out.
func (c *websocketConn) probe() (frame.Type, libpacket.Type, io.ReadCloser, error) {
	switch c.k.NextStep(c.ws) {
	case eio.StepProbe:
		c.step = probed
	case eio.StepUpgrade:
		c.step = unprobed
	default:
		return refuseUpgrade()
	}
	return libPacket(eio.Incoming{Kind: eio.Ping, Data: []byte("probe")})
}

// takeOver reads the last step of the upgrade, if it has not come yet, and switches the transport.
func (c *websocketConn) takeOver() (frame.Type, libpacket.Type, io.ReadCloser, error) {
	if c.step == probed && c.k.NextStep(c.ws) != eio.StepUpgrade || !c.k.switchTransport(c) {
		return refuseUpgrade()
	}
	c.step = active
	return libPacket(eio.Incoming{Kind: eio.Upgrade})
}

// read returns one packet from the websocket, when that is the transport, or nothing.
func (c *websocketConn) read() (frame.Type, libpacket.Type, io.ReadCloser, error) {
	for {
		data, binary, ok := c.k.Read(c.ws)
		if !ok {
			return frame.String, libpacket.MESSAGE, nothing, nil
		}
		p, err := parseFrame(data, binary)
		if err == nil {
			err = c.k.check(p)
		}
		switch {
		case err != nil:
			c.k.Fail(err)
		case p.Kind == eio.Close:
			c.k.Leave()
		default:
			return libPacket(p)
		}
	}
}

// NextWriter writes directly to the websocket during an upgrade, when what is queued still goes to
// the polling transport.
func (c *websocketConn) NextWriter(ft frame.Type, kind libpacket.Type) (io.WriteCloser, error) {
	switch c.step {
	case probed:
		return probeWriter{c}, nil
	case unprobed:
		return noWriter{}, nil
	}
	return c.libConn.NextWriter(ft, kind)
}

// noWriter discards the library's answer to a probe that the client did not send.
type noWriter struct{}

func (noWriter) Write(p []byte) (int, error) { return len(p), nil }
func (noWriter) Close() error                { return nil }

// probeWriter writes the answer to the probe in place of the library, whose answer is the same.
type probeWriter struct{ c *websocketConn }

func (probeWriter) Write(p []byte) (int, error) { return len(p), nil }

// Close writes the answer. If that fails, the library's next read fails too.
func (w probeWriter) Close() error {
	w.c.k.Probe(w.c.ws)
	return nil
}

// Close is called when an upgrade has failed, or after NextReader has failed. It returns no error,
// because the library would log it.
func (c *websocketConn) Close() error {
	if c.step != active {
		c.k.GiveUp(c.ws)
	} else {
		c.ws.Close()
	}
	return nil
}
