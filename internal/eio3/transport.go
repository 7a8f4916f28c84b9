package eio3

import (
	"bytes"
	"context"
	"errors"
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
	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/eio"
)

var errDial = errors.New("eio3: is a server")

// libTransport is a transport as go-socket.io knows them. Our requests bring the connection that it accepts.
type libTransport string

const (
	pollingTransport   libTransport = "polling"
	websocketTransport libTransport = "websocket"
)

var _ transport.Transport = pollingTransport

func (t libTransport) Name() string { return string(t) }

func (libTransport) Accept(_ http.ResponseWriter, r *http.Request) (transport.Conn, error) {
	p := r.Context().Value(passageKey{}).(*passage)
	p.accepted = true
	return p.conn, nil
}

func (libTransport) Dial(*url.URL, http.Header) (transport.Conn, error) { return nil, errDial }

// passage takes a transport through the library's ServeHTTP.
type passage struct {
	conn     transport.Conn
	accepted bool
}

type passageKey struct{}

// offer gives the library a transport for a handshake, or for the upgrade of the session that the request names, and
// says whether it took it. It gets nothing to write to: our handlers answer all requests.
func (p *protocol) offer(r *http.Request, conn transport.Conn) bool {
	through := &passage{conn: conn}
	p.lib.ServeHTTP(noResponse{}, r.WithContext(context.WithValue(r.Context(), passageKey{}, through)))
	return through.accepted
}

type noResponse struct{}

func (noResponse) Header() http.Header         { return http.Header{} }
func (noResponse) Write(p []byte) (int, error) { return len(p), nil }
func (noResponse) WriteHeader(int)             {}

// libConn is what both transports have in common.
type libConn struct{ k *link }

func (libConn) URL() url.URL              { return url.URL{} }
func (libConn) LocalAddr() net.Addr       { return nil }
func (libConn) RemoteAddr() net.Addr      { return nil }
func (libConn) RemoteHeader() http.Header { return nil }

// SetReadDeadline is not the library's to choose: it would end a client that pings in time, PingInterval being longer
// than PingTimeout. Heard moves the deadline.
func (libConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline has nothing to bound: the library's writes end in a queue.
func (libConn) SetWriteDeadline(time.Time) error { return nil }

// NextWriter is for the packets that the library makes by itself, OPEN and PONG. Messages do not go through it: one and
// its attachments enter the queue together, and whether it had room is the sender's to know. It must not fail, since
// the library logs that by itself.
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
		w.k.opened(w.Bytes())
		return nil
	}
	_ = w.k.Send(eio.Packet{Head: string(w.kind), Data: w.Bytes()})
	return nil
}

// hand is a packet of the client as the library takes it.
func hand(p eio.Incoming) (frame.Type, libpacket.Type, io.ReadCloser, error) {
	ft := frame.String
	if p.Binary {
		ft = frame.Binary
	}
	return ft, libpacket.ByteToPacketType(p.Kind, frame.String), &libReader{*bytes.NewReader(p.Data), p}, nil
}

// libReader is what the library reads of a packet. It hands that of a message on as it is.
type libReader struct {
	bytes.Reader
	p eio.Incoming
}

func (*libReader) Close() error { return nil }

// refuseUpgrade has the library close a transport that it is trying. An error would do the same, but is logged.
func refuseUpgrade() (frame.Type, libpacket.Type, io.ReadCloser, error) {
	return hand(eio.Incoming{Kind: eio.Noop})
}

// pollingConn is the polling transport of a session, for the library.
type pollingConn struct{ libConn }

var _ session.Pauser = pollingConn{}

// NextReader waits for a packet that a POST brings.
func (c pollingConn) NextReader() (frame.Type, libpacket.Type, io.ReadCloser, error) {
	p, err := c.k.takePosted()
	if err != nil {
		return 0, 0, nil, err
	}
	return hand(p)
}

// Pause does nothing: polls and POSTs are served until the upgrade is done, since clients send meanwhile.
func (pollingConn) Pause() {}

// Resume does nothing either.
func (pollingConn) Resume() {}

// Close comes when the library has gone over to the websocket, or after NextReader has failed.
func (c pollingConn) Close() error {
	c.k.goneOver()
	return nil
}

// errUpgraded sends the library's reader to the transport that has taken over.
type errUpgraded struct{}

func (errUpgraded) Error() string   { return "eio3: upgraded" }
func (errUpgraded) Temporary() bool { return true }

var _ payload.Error = errUpgraded{}

// websocketConn is the websocket transport of a session, for the library.
type websocketConn struct {
	libConn
	ws  *websocket.Conn
	b64 bool // its client takes no binary frames

	// Of whoever reads.
	step step
}

// step is how far a websocket is.
type step uint8

const (
	probing  step = iota // the probe is due
	probed               // the upgrade is due
	unprobed             // the upgrade came without a probe, which the library is yet to be told of
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

// probe reads the client's probe, which the library answers. The library insists on one: it is given it also where the
// client has left it out.
func (c *websocketConn) probe() (frame.Type, libpacket.Type, io.ReadCloser, error) {
	switch c.k.NextStep(c.ws) {
	case eio.StepProbe:
		c.step = probed
	case eio.StepUpgrade:
		c.step = unprobed
	default:
		return refuseUpgrade()
	}
	return hand(eio.Incoming{Kind: eio.Ping, Data: []byte("probe")})
}

// takeOver reads the client's last step of the upgrade, if it has not come already.
func (c *websocketConn) takeOver() (frame.Type, libpacket.Type, io.ReadCloser, error) {
	if c.step == probed && c.k.NextStep(c.ws) != eio.StepUpgrade || !c.k.move(c) {
		return refuseUpgrade()
	}
	c.step = active
	return hand(eio.Incoming{Kind: eio.Upgrade})
}

// read reads one packet of the transport.
func (c *websocketConn) read() (frame.Type, libpacket.Type, io.ReadCloser, error) {
	for {
		data, binary, err := c.k.Read(c.ws)
		if err != nil {
			return 0, 0, nil, err
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
			return hand(p)
		}
	}
}

// NextWriter writes to the websocket itself while it is tried: the queue is still the other transport's.
func (c *websocketConn) NextWriter(ft frame.Type, kind libpacket.Type) (io.WriteCloser, error) {
	switch c.step {
	case probed:
		return probeWriter{c}, nil
	case unprobed:
		return noWriter{}, nil
	}
	return c.libConn.NextWriter(ft, kind)
}

// noWriter takes the library's answer to a probe that there was not.
type noWriter struct{}

func (noWriter) Write(p []byte) (int, error) { return len(p), nil }
func (noWriter) Close() error                { return nil }

// probeWriter is the library's answer to the probe, which is always the same.
type probeWriter struct{ c *websocketConn }

func (probeWriter) Write(p []byte) (int, error) { return len(p), nil }

// Close writes the answer. If that fails, so does the read that the library goes on with.
func (w probeWriter) Close() error {
	w.c.k.Probe(w.c.ws)
	return nil
}

// Close comes when an upgrade has come to nothing, or after NextReader has failed. The library would log an error.
func (c *websocketConn) Close() error {
	if c.step != active {
		c.k.GiveUp(c.ws)
	} else {
		_ = c.ws.Close()
	}
	return nil
}
