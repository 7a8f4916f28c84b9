package eio

import (
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"net/http"
	"strings"
	"time"
)

// The handshake of a websocket (RFC 6455 section 4.2). Origins are checked before the engine is
// called, and no extension is offered.

// keyGUID is what a server appends to the client's key.
const keyGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// The names of header fields, as net/http has them.
const (
	headerKey         = "Sec-Websocket-Key"
	headerVersion     = "Sec-Websocket-Version"
	headerSubprotocol = "Sec-Websocket-Protocol"
)

// refuseHandshake returns what is wrong with a handshake, or nil.
func refuseHandshake(r *http.Request) *Refusal {
	h := r.Header
	switch {
	case !lists(h["Connection"], "upgrade") || !lists(h["Upgrade"], "websocket"):
		return ErrRequest
	case !lists(h[headerVersion], "13"): // clients may list several
		return errWebsocketVersion
	case r.Method != http.MethodGet || !isKey(first(h[headerKey])):
		return ErrRequest
	}
	if _, ok := firstSubprotocol(h); !ok {
		return ErrRequest
	}
	return nil
}

// lists reports whether a header field lists a token, in upper or lower case. It reads each line up
// to the first element that is not a token.
func lists(lines []string, token string) bool {
	for _, line := range lines {
		for more := true; more; {
			var element string
			element, line, more = strings.Cut(line, ",")
			if element = strings.Trim(element, " \t"); !isToken(element) {
				break
			}
			if strings.EqualFold(element, token) {
				return true
			}
		}
	}
	return false
}

// isToken reports whether s is a token of RFC 9110, which is never empty.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && !('0' <= c && c <= '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// askForVersion13 asks the client to try again with that version (RFC 6455 section 4.4, RFC 9110
// section 15.5.22).
func askForVersion13(h http.Header) {
	h.Set("Sec-WebSocket-Version", "13")
	h.Set("Upgrade", "websocket")
	h.Set("Connection", "Upgrade")
}

// isKey reports whether s is the encoding of 16 bytes.
func isKey(s string) bool {
	var key [18]byte
	if len(s) != base64.StdEncoding.EncodedLen(16) {
		return false
	}
	n, err := base64.StdEncoding.Decode(key[:], []byte(s))
	return err == nil && n == 16
}

// firstSubprotocol returns the first subprotocol that a client offers, or "" if it offers none. It
// returns false if that is not a valid name by RFC 6455.
func firstSubprotocol(h http.Header) (name string, ok bool) {
	name, rest, more := strings.Cut(first(h[headerSubprotocol]), ",")
	if name = strings.Trim(name, " \t"); name == "" {
		return "", !more && rest == ""
	}
	return name, isToken(name)
}

func first(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return lines[0]
}

// acceptance returns the response to a handshake that was not refused.
func acceptance(h http.Header) string {
	sum := sha1.Sum([]byte(first(h[headerKey]) + keyGUID))
	var accept [28]byte
	base64.StdEncoding.Encode(accept[:], sum[:])
	field := "" // of the subprotocol
	if subprotocol, _ := firstSubprotocol(h); subprotocol != "" {
		// A client that offers some fails the connection if the server chooses none.
		field = "\r\nSec-WebSocket-Protocol: " + subprotocol
	}
	return "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + string(accept[:]) + field + "\r\nCache-Control: no-store\r\n\r\n"
}

// upgrade makes a websocket of a request whose handshake was not refused. The response is written
// before the first frame, or by WebSocket.writeAccept. If the connection has been closed, both results
// are nil.
func (e *Engine) upgrade(w http.ResponseWriter, r *http.Request) (*WebSocket, *Refusal) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	switch {
	case errors.Is(err, http.ErrNotSupported):
		if _, now := e.unsupported.Allow(); now {
			e.o.Logger.Warn("engine: websockets are impossible behind this middleware",
				"fix", "its ResponseWriter must have Unwrap or Hijack; "+
					"http.TimeoutHandler and the like must leave the socket path alone")
		}
		return nil, ErrRequest
	case err != nil:
		return nil, ErrRequest
	}
	if rw.Reader.Buffered() > 0 {
		e.o.Logger.Debug("engine: the client did not wait for the answer to its websocket handshake")
		_ = conn.Close()
		return nil, nil
	}
	_ = conn.SetDeadline(time.Time{}) // the HTTP server may have set one
	return e.newWebSocket(conn, acceptance(r.Header)), nil
}

// acceptTimeout is how long it may take to write the response to a handshake.
func (e *Engine) acceptTimeout() time.Duration { return min(e.o.WriteTimeout, e.o.FlushTimeout) }
