package servers

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/gorilla/websocket"
)

// Bare websockets on the libraries that an engine could be built on. Each connection has one
// goroutine, which reads whole messages up to a limit, checks that they are UTF-8 and sends them
// back as a single frame, with a deadline. There is no session and no protocol above the websocket.

const (
	bareLimit   = 1 << 20
	bareTimeout = 10 * time.Second
)

var errMessage = errors.New("not text, not UTF-8, or too long")

// serveGorilla keeps a small buffer for reading in each connection, and none for writing.
func serveGorilla(mux *http.ServeMux, _ []byte) (app, error) {
	upgrader := websocket.Upgrader{ReadBufferSize: 512, WriteBufferPool: new(sync.Pool)}
	buffers := sync.Pool{New: func() any { return new([]byte) }}
	mux.HandleFunc("/websocket", func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		conn.SetReadLimit(bareLimit)
		go func() { // without the stack of net/http
			defer conn.Close()
			for gorillaEcho(conn, &buffers) == nil {
			}
		}()
	})
	return app{}, nil
}

func gorillaEcho(conn *websocket.Conn, buffers *sync.Pool) error {
	kind, r, err := conn.NextReader()
	if err != nil {
		return err
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	*buf, err = readAll((*buf)[:0], r)
	if err != nil {
		return err
	}
	if kind != websocket.TextMessage || !utf8.Valid(*buf) {
		return errMessage
	}
	if err := conn.SetWriteDeadline(time.Now().Add(bareTimeout)); err != nil {
		return err
	}
	return conn.WriteMessage(kind, *buf)
}

// readAll appends what r has to buf.
func readAll(buf []byte, r io.Reader) ([]byte, error) {
	if cap(buf) == 0 {
		buf = make([]byte, 0, 512)
	}
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

// serveGobwas keeps no buffers at all in a connection: it reads the header of a frame from the
// socket, then the rest of the frame into a buffer of a pool.
func serveGobwas(mux *http.ServeMux, _ []byte) (app, error) {
	buffers := sync.Pool{New: func() any { return new([]byte) }}
	mux.HandleFunc("/websocket", func(w http.ResponseWriter, r *http.Request) {
		conn, _, _, err := ws.UpgradeHTTP(r, w)
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			for gobwasEcho(conn, &buffers) == nil {
			}
		}()
	})
	return app{}, nil
}

func gobwasEcho(conn net.Conn, buffers *sync.Pool) error {
	h, err := ws.ReadHeader(conn)
	if err != nil {
		return err
	}
	if err := ws.CheckHeader(h, ws.StateServerSide); err != nil {
		return err
	}
	if h.OpCode != ws.OpText || !h.Fin || h.Length > bareLimit { // the clients here send nothing else
		return errMessage
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	const head = 10 // the longest header of a frame without a mask
	if n := head + int(h.Length); cap(*buf) < n {
		*buf = make([]byte, n)
	}
	payload := (*buf)[head : head+int(h.Length)]
	if _, err := io.ReadFull(conn, payload); err != nil {
		return err
	}
	ws.Cipher(payload, h.Mask, 0)
	if !utf8.Valid(payload) {
		return errMessage
	}
	// The header is written in front of the payload, so that one Write suffices.
	answer := ws.Header{Fin: true, OpCode: ws.OpText, Length: h.Length}
	size := ws.HeaderSize(answer)
	if err := ws.WriteHeader(&prefix{(*buf)[head-size : head]}, answer); err != nil {
		return err
	}
	if err := conn.SetWriteDeadline(time.Now().Add(bareTimeout)); err != nil {
		return err
	}
	_, err = conn.Write((*buf)[head-size : head+int(h.Length)])
	return err
}

// prefix is a Writer that fills a slice.
type prefix struct{ left []byte }

func (p *prefix) Write(b []byte) (int, error) {
	if len(b) > len(p.left) {
		return 0, io.ErrShortWrite
	}
	p.left = p.left[copy(p.left, b):]
	return len(b), nil
}
