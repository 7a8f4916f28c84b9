package enginetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/id"
)

// SessionIDs guards that the ids of sessions begin with the prefix that is asked for, and have 128
// random bits behind it; and that the ids of sockets, which apps publish, have no prefix.
func SessionIDs(t *testing.T, version Version, start func(engine.Options) engine.Engine) {
	for _, prefix := range []string{"", "abcdefgh"} {
		In(t, version, start, engine.Options{IDPrefix: prefix}, func(t *testing.T, w *World) {
			seen := make(map[string]bool)
			for _, transport := range append(transports, transports...) {
				c, conn := w.Member(transport)
				sid := strings.TrimPrefix(c.SID(), "&sid=")
				random, ok := strings.CutPrefix(sid, prefix)
				if _, valid := id.Parse(random); !ok || !valid || seen[random] {
					t.Errorf("the id is %q, want %q and 128 random bits", sid, prefix)
				}
				seen[random] = true
				if _, valid := id.Parse(conn.ID()); !valid {
					t.Errorf("the id of the socket is %q", conn.ID())
				}
			}
		})
	}
}

// Handshakes tests the answers to websocket handshakes.
func Handshakes(t *testing.T, version Version, start func(engine.Options) engine.Engine) {
	// Guards that a subprotocol is chosen if the client offers some, without which clients end the
	// connection, and that a client with another websocket version is told the supported one.
	In(t, version, start, engine.Options{}, func(t *testing.T, w *World) {
		begin := w.Dial("polling")
		for _, session := range []string{"", begin.SID()} {
			for _, c := range []struct {
				headers  string
				status   int
				protocol string
			}{
				{"Sec-WebSocket-Version: 13\r\n", 101, ""},
				{"Sec-WebSocket-Version: 8, 13\r\n", 101, ""},
				{"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: x\r\n", 101, "x"},
				{"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat.v1 , x\r\n", 101, "chat.v1"},
				{"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n", 101, "a"},
				{"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol:\r\n", 101, ""},
				{"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: a b\r\n", 400, ""},
				{"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: a=b\r\n", 400, ""},
				{"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: \u00e9\r\n", 400, ""},
				{"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: , a\r\n", 400, ""},
				{"Sec-WebSocket-Version: 8\r\n", 426, ""},
				{"Sec-WebSocket-Version: 130\r\n", 426, ""},
				{"", 426, ""},
			} {
				res := w.handshake(session, c.headers)
				h := res.Header
				if res.StatusCode != c.status || h.Get("Sec-WebSocket-Protocol") != c.protocol {
					t.Errorf("%q: %d with %q", c.headers, res.StatusCode, h.Get("Sec-WebSocket-Protocol"))
				}
				if c.status == 426 && (h.Get("Sec-WebSocket-Version") != "13" || h.Get("Upgrade") != "websocket" || h.Get("Connection") != "Upgrade") {
					t.Errorf("%q: answered with %v", c.headers, h)
				}
			}
		}
	})
}

// UpgradesAtOnce tests many concurrent upgrades of one session, without probes.
func UpgradesAtOnce(t *testing.T, version Version, start func(engine.Options) engine.Engine) {
	// Guards that at most one websocket becomes the transport, and that only its messages are
	// delivered, even if a client upgrades again and again during polls and POSTs.
	const sessions, websockets = 20, 8
	In(t, version, start, engine.Options{}, func(t *testing.T, w *World) {
		for n := range sessions {
			c := w.Dial("polling").JoinRoot()
			w.WantCalls("connect")
			var trying sync.WaitGroup
			alive := make(chan string, websockets)
			for i := range websockets {
				ws, err := w.Websocket(c.SID())
				if err != nil {
					t.Fatal(err)
				}
				said := fmt.Sprintf("event from %d []", i)
				trying.Go(func() {
					read := make(chan error)
					go func() {
						_ = ws.SetReadDeadline(time.Now().Add(5 * time.Second))
						_, _, err := ws.ReadMessage()
						read <- err
					}()
					_ = ws.WriteMessage(websocket.TextMessage, []byte("5"))
					_ = ws.WriteMessage(websocket.TextMessage, []byte(fmt.Sprintf(`42["from %d"]`, i)))
					var network net.Error
					if err := <-read; errors.As(err, &network) && network.Timeout() {
						alive <- said
					}
				})
			}
			posted := c.Post(`42["posted"]`) // may come too late
			trying.Wait()
			synctest.Wait()
			close(alive)
			if len(alive) > 1 {
				t.Fatalf("session %d: %d websockets are alive", n, len(alive))
			}
			want := map[string]bool{"event posted []": posted == nil}
			for said := range alive {
				want[said] = true
			}
			for len(w.lines) > 0 {
				if line := <-w.lines; !want[line] && !strings.HasPrefix(line, "disconnected: ") {
					t.Errorf("session %d: the app received %q, not only %v", n, line, want)
				}
			}
			c.close()
		}
	})
}

// handshake asks for a websocket, and closes the connection after the answer.
func (w *World) handshake(session, headers string) *http.Response {
	w.t.Helper()
	conn, err := w.net.dial(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "GET /?EIO=%d&transport=websocket%s HTTP/1.1\r\nHost: wire.test\r\nUser-Agent: Go-http-client/1.1\r\n"+
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n%s\r\n", w.version, session, headers)
	if err != nil {
		w.t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}
