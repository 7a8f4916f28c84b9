package forward

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	dialTimeout = 3 * time.Second

	// idleTimeout is shorter than the time for which an http.Server keeps a connection open that is
	// not used. A POST that is sent while the server closes the connection fails.
	idleTimeout = time.Second

	// clientTimeout is for one write to a client, and processTimeout for one to another process. An
	// engine reads nothing more from a client while much waits to be sent to it.
	clientTimeout  = 10 * time.Second
	processTimeout = 5 * time.Minute

	bufferSize = 4 << 10
)

// newTransport returns the transport for requests to other processes. It never asks the environment
// for a proxy.
func newTransport(c Config) *http.Transport {
	dial := c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	var http1 http.Protocols
	http1.SetHTTP1(true) // websockets need it
	return &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, dialTimeout)
			defer cancel()
			conn, err := dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return boundedConn{conn}, nil
		},
		TLSClientConfig:        &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    dialTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    64,
		DisableCompression:     true, // what is compressed is passed on as it is
		MaxResponseHeaderBytes: 64 << 10,
		ReadBufferSize:         bufferSize,
		WriteBufferSize:        bufferSize,
		Protocols:              &http1,
	}
}

// boundedConn is a connection whose writes have a deadline each. A process that hangs must not hold
// up requests for ever.
type boundedConn struct{ net.Conn }

// Write implements io.Writer.
func (c boundedConn) Write(b []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(processTimeout))
	return c.Conn.Write(b)
}

// clientConn is the connection to a client whose websocket is handed on. It has no CloseWrite, so
// that the end of either connection is the end of both.
type clientConn struct {
	net.Conn
	r       *bufio.Reader // may have read more than the handshake
	buffers *sync.Pool
}

// Read implements io.Reader.
func (c clientConn) Read(b []byte) (int, error) { return c.r.Read(b) }

// Write implements io.Writer. A client that does not read must not hold up the end of its
// connection.
func (c clientConn) Write(b []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(clientTimeout))
	return c.Conn.Write(b)
}

// ReadFrom implements io.ReaderFrom, for which io.Copy would take a larger buffer.
func (c clientConn) ReadFrom(r io.Reader) (int64, error) {
	return copyBuffer(struct{ io.Writer }{c}, r, c.buffers)
}

// WriteTo implements io.WriterTo, for which io.Copy would take a larger buffer.
func (c clientConn) WriteTo(w io.Writer) (int64, error) {
	return copyBuffer(w, struct{ io.Reader }{c}, c.buffers)
}

func copyBuffer(w io.Writer, r io.Reader, pool *sync.Pool) (int64, error) {
	buf := (*buffers)(pool).Get()
	defer (*buffers)(pool).Put(buf)
	return io.CopyBuffer(w, r, buf)
}

// buffers is an httputil.BufferPool.
type buffers sync.Pool

// Get implements httputil.BufferPool.
func (p *buffers) Get() []byte {
	if b, ok := (*sync.Pool)(p).Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, bufferSize)
}

// Put implements httputil.BufferPool.
func (p *buffers) Put(b []byte) { (*sync.Pool)(p).Put(&b) }
