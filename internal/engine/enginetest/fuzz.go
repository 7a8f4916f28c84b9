package enginetest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/engine"
)

// Fuzz sends arbitrary data to an engine, in every way that a client can: packets, which a record
// separator ends, or bytes that need not be packets.
func Fuzz(f *testing.F, version Version, start func(engine.Options) engine.Engine) {
	// Guards that, whatever one client sends, the process does not panic, arguments are what the
	// engine promises, another client is served meanwhile, and nothing is left behind.
	for n, seed := range section7() {
		f.Add(uint8(framed), []byte(seed))
		f.Add(uint8(n%ways), []byte(seed))
	}
	f.Fuzz(func(t *testing.T, way uint8, data []byte) {
		In(t, version, start, engine.Options{MaxPayload: 64 << 10, MaxDepth: 64}, func(t *testing.T, w *World) {
			other, conn := w.Member("websocket")
			transport := "websocket"
			switch way % ways {
			case upgraded:
				transport = "upgrade"
			case polled, body, binaryBody, candidate:
				transport = "polling"
			}
			c, attacker := w.Member(transport)
			if _, err := attacker.EmitAck(event(t, "ask"), func(args engine.Args, err error) { whole(t, args) }); err != nil {
				t.Fatal(err)
			}
			received := make(chan struct{}, 1)
			w.OnEvent = func(c engine.Conn, _ string, args engine.Args, ack engine.Ack) {
				whole(t, args)
				switch {
				case c == conn:
					received <- struct{}{}
				case ack != nil:
					_ = ack(len(args.Values))
				}
			}
			over := make(chan struct{})
			defer close(over)
			go w.forget(over)
			c.throw(way%ways, data)
			synctest.Wait()
			other.Send(`2["alive"]`)
			select {
			case <-received:
			case <-time.After(patience):
				t.Fatal("another client is not served")
			}
			if err := conn.Emit(event(t, "alive")); err != nil {
				t.Error(err)
			}
			other.Want(`2["alive"]`)
		})
	})
}

// The ways to send data.
const (
	framed     = iota // packets over a websocket
	upgraded          // packets over a websocket after an upgrade
	polled            // packets by polling
	body              // the body of a POST
	binaryBody        // the body of a POST in the binary form
	message           // one binary message of a websocket
	raw               // bytes in place of websocket frames
	candidate         // messages in place of the steps of an upgrade
	ways
)

// throw sends data in one of the ways. The server may refuse it.
func (c *Client) throw(way uint8, data []byte) {
	packets := strings.FieldsFunc(string(data), func(r rune) bool { return r == '\x1e' })
	post := func(contentType string) {
		c.w.Request(c.ctx, http.MethodPost, "transport=polling"+c.sid, contentType, bytes.NewReader(data))
	}
	switch way {
	case framed, upgraded:
		for n, p := range packets {
			if p[0] == 'b' { // of an attachment that is not base64, send what can be decoded
				data, _ := base64.StdEncoding.DecodeString(p[1:])
				packets[n] = "b" + base64.StdEncoding.EncodeToString(data)
			}
		}
		_ = c.Post(packets...)
	case polled:
		_ = c.Post(packets...)
	case body:
		post("text/plain;charset=UTF-8")
	case binaryBody:
		post("application/octet-stream")
	case message:
		_ = c.ws.WriteMessage(websocket.BinaryMessage, data)
	case raw:
		_, _ = c.ws.NetConn().Write(data)
	case candidate:
		ws, err := c.w.Websocket(c.sid)
		if err != nil {
			return
		}
		go func() { // until the websocket is closed
			for err == nil {
				_, _, err = ws.ReadMessage()
			}
		}()
		for _, p := range packets {
			_ = ws.WriteMessage(websocket.TextMessage, []byte(p))
		}
	}
}

// forget discards what the app receives, which is more than the channels hold.
func (w *World) forget(over <-chan struct{}) {
	for {
		select {
		case <-w.lines:
		case <-w.conns:
		case <-over:
			return
		}
	}
}

// whole checks what the engine promises of arguments.
func whole(t *testing.T, args engine.Args) {
	for n, v := range args.Values {
		if !json.Valid(v) {
			t.Errorf("argument %q is not JSON", v)
		}
		args.Attachment(n)
	}
}

// section7 returns input that is known to break other engines (DESIGN section 7), and variations.
func section7() []string {
	const slot = `{"_placeholder":true,"num":0}`
	return []string{
		`42["x",1]`, "\x81\x89\x00\x00\x00\x0042[\"x\",1]", "9:42[\"x\",1]", "\x00\x09\xff42[\"x\",1]", "420[\"x\"]\x1e430[]\x1e2\x1e3",
		`459999999999-["x",1]`, `45100000000-["x",1]`, `429999999999999999-["x",1]`, `41999999999999-`, `439999999999-1[]`, `469999999999-1[]`, `45-1-["x"]`,
		`451-["x",` + slot + "]\x1ebAQID", `452-["x"]` + "\x1ebAQID\x1e42[\"x\"]", `451-["x",{"_placeholder":true,"num":-1}]` + "\x1ebAQID",
		`451-["x",{"_placeholder":true,"num":99999999999}]` + "\x1ebAQID", `451-["x",{"_placeholder":true,"num":"0"}]` + "\x1eb", "bAQID", "b4AQID", "b!",
		strings.Repeat("44\x1e", 300), "2probe", "2probe\x1e5", "5", "2probe\x1e2probe", "3", "0{}", "6", "1", "7", "2" + strings.Repeat("x", 65),
		"41\x1e40\x1e40", "40\x1e40", "40/admin,\x1e42/admin,[\"x\"]", "40/nobody,", `40{"token":5}`, `44"x"`, "4\x1e", "40" + strings.Repeat("[", 400),
		`42["authenticate",null]`, `42["logout",{"toString":1}]`, `42[1]`, `42[null]`, `42["connect"]`, `42["disconnect"]`, `42["error"]`, `42[]`, `42["x"`,
		"42" + strings.Repeat("[", 400) + strings.Repeat("]", 400), `4299999999999999999999["x"]`, `42["\ud800"]`, "42[\"\xc3\x28\"]", "42[\"\xed\xa0\x80\"]", `42["é𝄞"]`,
		"99999999999:4", "1:", "-1:4", ":4", "1:\xff", "3:4\xc3\x28", "\x01\x04\xff\x04\x01\x02\x03", "\x00\x09\x09\x09\x09\x09\x09\x09\x09\x09\xff4",
		"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", "\x01\x80\x00\x00\x00\x00\x00\x80\x00\x00\x00\x00", "\x89\x80\x00\x00\x00\x00", "\xc1\x80\x00\x00\x00\x00",
	}
}
