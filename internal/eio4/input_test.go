package eio4

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/engine/enginetest"
)

// onSockets runs a test with an engine that echoes, over connections of the operating system and
// over TLS, which are read in different ways.
func onSockets(t *testing.T, f func(t *testing.T, dial func() *websocket.Conn)) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%t", secure), func(t *testing.T) {
			e := New(engine.Options{Namespaces: map[string]engine.Accept{"/": enginetest.Echo}, MaxPayload: 300_000})
			server := httptest.NewUnstartedServer(e)
			if server.Start(); secure {
				server.Close()
				server = httptest.NewUnstartedServer(e)
				server.StartTLS()
			}
			defer server.Close()
			f(t, func() *websocket.Conn {
				d := websocket.Dialer{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
				ws, _, err := d.Dial("ws"+strings.TrimPrefix(server.URL, "http")+"/?EIO=4&transport=websocket", nil)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = ws.Close() })
				_ = ws.SetReadDeadline(time.Now().Add(time.Minute))
				receive(t, ws)
				send(t, ws, websocket.TextMessage, "40")
				receive(t, ws)
				return ws
			})
			if err := e.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// clientFrame encodes a frame of a client.
func clientFrame(first byte, payload string) []byte {
	n := len(payload)
	frame := []byte{first, 0x80 | byte(n)}
	if n > 0xFFFF {
		frame = binary.BigEndian.AppendUint64([]byte{first, 0xFF}, uint64(n))
	} else if n > 125 {
		frame = binary.BigEndian.AppendUint16([]byte{first, 0xFE}, uint16(n))
	}
	mask := "\x5A\x01\xFE\x77"
	frame = append(frame, mask...)
	for i := range n {
		frame = append(frame, payload[i]^mask[i%len(mask)])
	}
	return frame
}

func TestInputParts(t *testing.T) {
	// Guards that every message is handled, in order, in whatever parts it reaches the server: less
	// than a header, more than one message, longer than a buffer, in fragments with a ping between.
	onSockets(t, func(t *testing.T, dial func() *websocket.Conn) {
		ws := dial()
		pongs := 0
		ws.SetPongHandler(func(string) error { pongs++; return nil })
		var data []byte
		var want []string
		for i, size := range []int{0, 1, 100, 126, 4090, 4096, 70_000, 5, 250_000, 3} {
			text := fmt.Sprintf(`["%d","%s"]`, i, strings.Repeat("x", size))
			want = append(want, text)
			whole := "42" + text
			data = append(data, clientFrame(0x01, whole[:3])...)
			data = append(data, clientFrame(0x89, "ping")...)
			data = append(data, clientFrame(0x00, whole[3:len(whole)/2])...)
			data = append(data, clientFrame(0x80, whole[len(whole)/2:])...)
			data = append(data, clientFrame(0x81, whole)...)
		}
		go func() {
			random := rand.New(rand.NewPCG(1, 2))
			for rest := data; len(rest) > 0; {
				n := min(len(rest), 1+random.IntN(10))
				if random.IntN(2) == 0 {
					n = min(len(rest), 1+random.IntN(20_000))
				}
				if _, err := ws.NetConn().Write(rest[:n]); err != nil {
					return
				}
				rest = rest[n:]
			}
		}()
		for _, text := range want {
			for range 2 {
				if got := receive(t, ws); !strings.Contains(got, text[1:len(text)-1]) {
					t.Fatalf("received %.50q instead of %.50q", got, text)
				}
			}
		}
		// The latest ping may be the only one that is answered, after all replies.
		send(t, ws, websocket.TextMessage, `42["last"]`)
		receive(t, ws)
		if pongs == 0 {
			t.Error("no ping was answered")
		}
	})
}

func TestInputBusy(t *testing.T) {
	// Guards that a client that sends many messages, and so is served in another way, gets all
	// answers.
	onSockets(t, func(t *testing.T, dial func() *websocket.Conn) {
		ws := dial()
		for i := range 100 {
			send(t, ws, websocket.TextMessage, fmt.Sprintf(`42["%d"]`, i))
			if got := receive(t, ws); !strings.Contains(got, fmt.Sprintf(`"%d"`, i)) {
				t.Fatalf("received %q as answer %d", got, i)
			}
			if i == 50 {
				send(t, ws, websocket.TextMessage, "3") // a heartbeat
			}
		}
	})
}

func TestInputClose(t *testing.T) {
	// Guards that a close frame is answered with its status, and that a client which breaks the
	// protocol, or sends too much, is told with the right one.
	onSockets(t, func(t *testing.T, dial func() *websocket.Conn) {
		for name, c := range map[string]struct{ sent, want []byte }{
			"status":    {clientFrame(0x88, "\x0F\xA1bye"), []byte{0x88, 2, 0x0F, 0xA1}},
			"no status": {clientFrame(0x88, ""), []byte{0x88, 0}},
			"opcode":    {clientFrame(0x83, ""), []byte{0x88, 2, 0x03, 0xEA}},
			"too long":  {clientFrame(0x81, strings.Repeat("x", 300_001))[:14], []byte{0x88, 2, 0x03, 0xF1}},
		} {
			conn := dial().NetConn()
			if _, err := conn.Write(c.sent); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
			if got := readToEnd(conn); !bytes.Equal(got, c.want) {
				t.Errorf("%s: received %x instead of %x", name, got, c.want)
			}
		}
	})
}

// readToEnd returns what a connection receives before its end.
func readToEnd(conn net.Conn) []byte {
	data, _ := io.ReadAll(conn) // a reset is an end too
	return data
}
