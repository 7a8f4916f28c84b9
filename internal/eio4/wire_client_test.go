package eio4_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/engine"
)

const (
	base      = "http://wire.test"
	polling   = "/engine.io/?EIO=4&transport=polling"
	webSocket = "/engine.io/?EIO=4&transport=websocket"
	rs        = "\x1e" // separates the packets of a payload
)

// reply is one complete HTTP answer.
type reply struct {
	status int
	header http.Header
	body   string
	err    error
}

// want checks status and body.
func (r reply) want(t *testing.T, status int, body string) {
	t.Helper()
	if r.err != nil || r.status != status || r.body != body {
		t.Fatalf("got %d %q (error %v), want %d %q", r.status, clip(r.body), r.err, status, clip(body))
	}
}

// wantError checks that the answer is a 400 with that code.
func (r reply) wantError(t *testing.T, code int) {
	t.Helper()
	messages := map[int]string{
		0: "Transport unknown",
		1: "Session ID unknown",
		2: "Bad handshake method",
		3: "Bad request",
		5: "Unsupported protocol version",
	}
	var got map[string]any
	if r.err != nil || r.status != http.StatusBadRequest || json.Unmarshal([]byte(r.body), &got) != nil ||
		len(got) != 2 || got["code"] != float64(code) || got["message"] != messages[code] {
		t.Fatalf("got %d %q (error %v), want 400 with code %d, %q", r.status, clip(r.body), r.err, code, messages[code])
	}
}

// do makes one request. Every answer must forbid caching.
func (s *server) do(method, path, contentType string, body io.Reader) reply {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := s.client.Do(req)
	if err != nil {
		return reply{err: err}
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if got := res.Header.Get("Cache-Control"); got != "no-store" {
		s.t.Errorf("%s %s: Cache-Control %q, want no-store", method, path, got)
	}
	return reply{res.StatusCode, res.Header, string(data), err}
}

func (s *server) get(path string) reply { s.t.Helper(); return s.do(http.MethodGet, path, "", nil) }

func (s *server) post(path, body string) reply {
	s.t.Helper()
	return s.do(http.MethodPost, path, "text/plain;charset=UTF-8", strings.NewReader(body))
}

// later makes a request while the test goes on.
func later(f func() reply) <-chan reply {
	c := make(chan reply, 1)
	go func() { c <- f() }()
	return c
}

// answer waits for the answer to a request of later.
func answer(t *testing.T, c <-chan reply) reply {
	t.Helper()
	select {
	case r := <-c:
		return r
	case <-time.After(patience):
		t.Fatal("no answer")
		return reply{}
	}
}

// open is the payload of the OPEN packet.
type open struct {
	SID          string   `json:"sid"`
	Upgrades     []string `json:"upgrades"`
	PingInterval int      `json:"pingInterval"`
	PingTimeout  int      `json:"pingTimeout"`
	MaxPayload   int      `json:"maxPayload"`
}

func parseOpen(t *testing.T, packet string) open {
	t.Helper()
	var o open
	if !strings.HasPrefix(packet, "0") || json.Unmarshal([]byte(packet[1:]), &o) != nil || o.SID == "" {
		t.Fatalf("not an OPEN packet: %q", clip(packet))
	}
	return o
}

// poller is a client over polling.
type poller struct {
	s    *server
	sid  string
	path string // of every request after the handshake
}

// open makes the handshake over polling.
func (s *server) open() *poller {
	s.t.Helper()
	r := s.get(polling)
	if r.err != nil || r.status != http.StatusOK {
		s.t.Fatalf("handshake: %d %q %v", r.status, r.body, r.err)
	}
	sid := parseOpen(s.t, r.body).SID
	return &poller{s, sid, polling + "&sid=" + url.QueryEscape(sid)}
}

func (p *poller) poll() reply             { p.s.t.Helper(); return p.s.get(p.path) }
func (p *poller) post(body string) reply  { p.s.t.Helper(); return p.s.post(p.path, body) }
func (p *poller) pollLater() <-chan reply { return later(func() reply { return p.s.get(p.path) }) }
func (p *poller) send(packets ...string) {
	p.s.t.Helper()
	p.post(strings.Join(packets, rs)).want(p.s.t, 200, "ok")
}
func (p *poller) want(packets ...string) {
	p.s.t.Helper()
	p.poll().want(p.s.t, 200, strings.Join(packets, rs))
}
func (p *poller) wantUnknown()        { p.s.t.Helper(); p.poll().wantError(p.s.t, 1) }
func (p *poller) upgradePath() string { return webSocket + "&sid=" + url.QueryEscape(p.sid) }
func (p *poller) webSocket() *socket  { p.s.t.Helper(); return p.s.dial(p.upgradePath()) }

// upgrade moves the session to a websocket.
func (p *poller) upgrade() *socket {
	p.s.t.Helper()
	w := p.webSocket()
	w.send("2probe")
	w.want("3probe")
	w.send("5")
	return w
}

// frame is one websocket message.
type frame struct {
	binary bool
	data   string
}

// socket is a websocket that is read in a goroutine of its own.
type socket struct {
	t      *testing.T
	conn   *websocket.Conn
	frames chan frame // closed at the end
	err    error      // how it ended; read it after frames was closed
}

// dialRefused asks for a websocket that must be refused, and returns the answer.
func (s *server) dialRefused(path string) reply {
	s.t.Helper()
	conn, res, err := s.tryDial(path)
	if err == nil {
		_ = conn.Close()
		s.t.Fatalf("websocket %s was accepted", path)
	}
	if res == nil {
		s.t.Fatalf("websocket %s: %v", path, err)
	}
	defer res.Body.Close()
	return reply{status: res.StatusCode, header: res.Header, body: readAll(res.Body)}
}

func (s *server) tryDial(path string) (*websocket.Conn, *http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	d := websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return s.net.dial(ctx) }}
	return d.DialContext(ctx, "ws"+strings.TrimPrefix(base, "http")+path, nil)
}

// dial opens a websocket, closed at the end of the test.
func (s *server) dial(path string) *socket {
	s.t.Helper()
	conn, _, err := s.tryDial(path)
	if err != nil {
		s.t.Fatalf("websocket %s: %v", path, err)
	}
	return s.read(conn)
}

// read reads a websocket until its end.
func (s *server) read(conn *websocket.Conn) *socket {
	w := &socket{t: s.t, conn: conn, frames: make(chan frame, 1<<14)}
	go func() {
		defer close(w.frames)
		for {
			kind, data, err := conn.ReadMessage()
			if err != nil {
				w.err = err
				return
			}
			w.frames <- frame{kind == websocket.BinaryMessage, string(data)}
		}
	}()
	s.t.Cleanup(w.drop)
	return w
}

// refuse opens a websocket that must be refused with 400 or closed, even if it sends packets.
func (s *server) refuse(path string, packets ...string) {
	s.t.Helper()
	conn, res, err := s.tryDial(path)
	if err != nil {
		if res == nil || res.StatusCode != http.StatusBadRequest {
			s.t.Fatalf("websocket %s: %v", path, err)
		}
		return
	}
	w := s.read(conn)
	w.try(packets...)
	w.wantClosed()
}

// connect makes the handshake over a websocket.
func (s *server) connect() (*socket, open) {
	s.t.Helper()
	w := s.dial(webSocket)
	return w, parseOpen(s.t, w.next().data)
}

// drop closes the connection without telling the server.
func (w *socket) drop() { _ = w.conn.Close() }

// send sends each packet in a text frame of its own.
func (w *socket) send(packets ...string) {
	w.t.Helper()
	for _, packet := range packets {
		w.write(websocket.TextMessage, packet)
	}
}

func (w *socket) sendBinary(data string) { w.t.Helper(); w.write(websocket.BinaryMessage, data) }

func (w *socket) write(kind int, data string) {
	w.t.Helper()
	_ = w.conn.SetWriteDeadline(time.Now().Add(patience))
	if err := w.conn.WriteMessage(kind, []byte(data)); err != nil {
		w.t.Fatalf("sending %q: %v", clip(data), err)
	}
}

// try sends text frames and ignores errors, since the server may have closed the connection.
func (w *socket) try(packets ...string) {
	for _, packet := range packets {
		_ = w.conn.SetWriteDeadline(time.Now().Add(patience))
		_ = w.conn.WriteMessage(websocket.TextMessage, []byte(packet))
	}
}

func (w *socket) tryBinary(data string) {
	_ = w.conn.SetWriteDeadline(time.Now().Add(patience))
	_ = w.conn.WriteMessage(websocket.BinaryMessage, []byte(data))
}

// next waits for the next frame.
func (w *socket) next() frame {
	w.t.Helper()
	select {
	case f, ok := <-w.frames:
		if !ok {
			w.t.Fatalf("websocket ended: %v", w.err)
		}
		return f
	case <-time.After(patience):
		w.t.Fatal("no frame")
		return frame{}
	}
}

// want waits for these text frames, and no others between them.
func (w *socket) want(packets ...string) {
	w.t.Helper()
	for _, packet := range packets {
		if f := w.next(); f.binary || f.data != packet {
			w.t.Fatalf("got frame %q (binary %v), want text %q", clip(f.data), f.binary, clip(packet))
		}
	}
}

// wantNow checks, in a bubble, that this text frame was sent before now.
func (w *socket) wantNow(packet string) {
	w.t.Helper()
	synctest.Wait()
	if len(w.frames) == 0 {
		w.t.Fatalf("no frame, want %q", packet)
	}
	w.want(packet)
}

func (w *socket) wantBinary(data string) {
	w.t.Helper()
	if f := w.next(); !f.binary || f.data != data {
		w.t.Fatalf("got frame %q (binary %v), want binary %q", clip(f.data), f.binary, clip(data))
	}
}

// wantClosed waits for the end. No frame may come before it.
func (w *socket) wantClosed() {
	w.t.Helper()
	select {
	case f, ok := <-w.frames:
		if ok {
			w.t.Fatalf("got frame %q, want the end", clip(f.data))
		}
		if e, ok := errors.AsType[net.Error](w.err); ok && e.Timeout() {
			w.t.Fatalf("websocket ended with %v", w.err)
		}
	case <-time.After(patience):
		w.t.Fatal("the websocket is open, want the end")
	}
}

// wantSilence checks, in a bubble, that nothing was sent and the websocket is open.
func (w *socket) wantSilence() {
	w.t.Helper()
	synctest.Wait()
	select {
	case f, ok := <-w.frames:
		w.t.Fatalf("got frame %q (open %v, %v), want nothing", clip(f.data), ok, w.err)
	default:
	}
}

func splitPayload(body string) []string {
	if body == "" {
		return nil
	}
	return strings.Split(body, rs)
}

func wantEqual(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("got %q\nwant %q", got, want)
	}
}

// readAll reads to the end, and appends an error to the text.
func readAll(r io.Reader) string {
	data, err := io.ReadAll(r)
	if err != nil {
		return string(data) + " (" + err.Error() + ")"
	}
	return string(data)
}

func base64Of(data string) string { return base64.StdEncoding.EncodeToString([]byte(data)) }

// request writes bytes to a bare connection.
func request(t *testing.T, c net.Conn, text string) {
	t.Helper()
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// muteSocket is a client over a websocket that joins and then reads nothing, but can write.
type muteSocket struct {
	t    *testing.T
	conn net.Conn
}

const upgradeHeader = " HTTP/1.1\r\nHost: wire.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"

// muteDial joins the root namespace and stops reading.
func (s *server) muteDial(app *ioApp) (*muteSocket, engine.Conn) {
	s.t.Helper()
	m := &muteSocket{s.t, s.dialRaw()}
	request(s.t, m.conn, "GET "+webSocket+upgradeHeader)
	r := bufio.NewReader(m.conn)
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != http.StatusSwitchingProtocols {
		s.t.Fatalf("%v %v", res, err)
	}
	readFrame(s.t, r) // open
	m.send("40")
	readFrame(s.t, r) // CONNECT
	app.want("connect / none")
	return m, app.connected()
}

func (s *server) mute(app *ioApp) engine.Conn { s.t.Helper(); _, c := s.muteDial(app); return c }

// send writes one short text frame. Its mask is zero, so the text is sent unchanged.
func (m *muteSocket) send(packet string) {
	m.t.Helper()
	if len(packet) > 125 {
		m.t.Fatal("too long")
	}
	request(m.t, m.conn, string([]byte{0x81, 0x80 | byte(len(packet)), 0, 0, 0, 0})+packet)
}

// readFrame reads one frame of less than 64 KB.
func readFrame(t *testing.T, r io.Reader) string {
	t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	n := int(head[1])
	if n == 126 {
		if _, err := io.ReadFull(r, head); err != nil {
			t.Fatal(err)
		}
		n = int(head[0])<<8 | int(head[1])
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		t.Fatal(err)
	}
	return string(data)
}
