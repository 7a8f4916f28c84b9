package eio4_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/engine"
)

// Engine.IO, "Message" and "Packet encoding": each payload on each transport, received and sent.
func TestEngineIO_Message_Payloads(t *testing.T) {
	for _, c := range []struct{ name, text string }{
		{"ASCII", "hello"},
		{"empty", ""},
		{"a digit", "2probe"},
		{"starts with b", "bAQIDBA=="},
		{"quotes and newlines", "a\"b'\r\n\tc\\"},
		{"two bytes", "£ é"},
		{"three bytes", "€ 漢字"},
		{"four bytes", "😀 𝄞"},
		{"line separators", "\u2028\u2029\u0085\u0000"},
		{"byte order mark", "\ufeffx"},
		{"300 KB", strings.Repeat("€", 100000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				s, app := serveEcho(t, engine.Options{})
				w, _ := s.connect()
				w.send("4" + c.text)
				w.want("4" + c.text)
				p := s.open()
				p.send("4" + c.text)
				p.want("4" + c.text)
				app.want("text "+c.text, "text "+c.text)
			})
		})
	}
}

// Engine.IO, "Packet encoding", HTTP long-polling: any number of packets, joined by the record
// separator.
func TestEngineIO_Encoding_PollingPayload(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		p.post("4hello\x1e4world").want(t, 200, "ok")
		app.want("text hello", "text world")
		p.poll().want(t, 200, "4hello\x1e4world")
		p.post("4test1\x1e4test2\x1e4test3\x1e3\x1e4test4").want(t, 200, "ok")
		app.want("text test1", "text test2", "text test3", "text test4")
		p.poll().want(t, 200, "4test1\x1e4test2\x1e4test3\x1e4test4")
		app.wantNothing()
	})
}

// Engine.IO, "Packet encoding", HTTP long-polling: the example that mixes text and binary.
func TestEngineIO_Encoding_PollingBinary(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		p.post("4hello\x1ebAQIDBA==").want(t, 200, "ok")
		app.want("text hello", "binary \x01\x02\x03\x04")
		p.poll().want(t, 200, "4hello\x1ebAQIDBA==")
	})
}

// Engine.IO, "Packet encoding", HTTP long-polling: every length and every byte survives base64.
func TestEngineIO_Encoding_PollingBase64Lengths(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		p := s.open()
		var all strings.Builder
		for i := range 256 {
			all.WriteByte(byte(i))
		}
		for _, data := range []string{"", "\xfb", "\xfb\xff", "\xfb\xff\xfe", "\x1e\x1e\x1e\x1e", all.String()} {
			packet := "b" + base64.StdEncoding.EncodeToString([]byte(data))
			p.send(packet)
			app.want("binary " + data)
			p.want(packet)
		}
	})
}

// Engine.IO, "Packet encoding", HTTP long-polling: a body of exactly maxPayload bytes is accepted.
func TestEngineIO_Encoding_MaxPayload(t *testing.T) {
	const limit = 1000
	whole := strings.Repeat("x", limit-1)
	t.Run("polling", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			s, app := serveEcho(t, engine.Options{MaxPayload: limit})
			p := s.open()
			p.send("4" + whole)
			app.want("text " + whole)
			p.want("4" + whole)
			p.post("4"+whole+"x").want(t, http.StatusRequestEntityTooLarge, p.tooLarge())
			app.want("closed: protocol error")
			p.wantUnknown()
		})
	})
	t.Run("websocket", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			s, app := serveEcho(t, engine.Options{MaxPayload: limit})
			w, _ := s.connect()
			w.send("4" + whole)
			app.want("text " + whole)
			w.want("4" + whole)
			w.try("4" + whole + "x")
			w.wantClosed()
			app.want("closed: protocol error")
			app.wantNothing()
		})
	})
}

// Engine.IO, "Packet encoding", WebSocket: binary payloads are sent unchanged, without a type.
func TestEngineIO_Encoding_WebSocketBinary(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		w, _ := s.connect()
		for _, data := range []string{"\x01\x02\x03\x04", "", "4hello", "1", "\xff\xfe\x00"} {
			w.sendBinary(data)
			app.want("binary " + data)
			w.wantBinary(data)
		}
		app.wantNothing()
	})
}

// Engine.IO, "WebSocket": a fragmented message is one packet, with control frames between its
// fragments.
func TestEngineIO_WebSocket_Fragments(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		w, _ := s.connect()
		pong := make(chan string, 1)
		w.conn.SetPongHandler(func(data string) error { pong <- data; return nil })
		// The client's buffer holds 4 KB, so this goes out in several frames.
		m, err := w.conn.NextWriter(websocket.TextMessage)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Repeat("0123456789", 1000)
		for i, part := range []string{"4" + text[:4500], text[4500:]} {
			if _, err := m.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				if err := w.conn.WriteControl(websocket.PingMessage, []byte("p"), time.Now().Add(patience)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		app.want("text " + text)
		w.want("4" + text)
		synctest.Wait()
		if len(pong) != 1 {
			t.Error("a websocket ping was not answered")
		}
	})
}

// Engine.IO, "Message": messages are received in the order in which they are sent.
func TestEngineIO_Message_Order(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s, app := serveEcho(t, engine.Options{})
		w, _ := s.connect()
		p := s.open()
		var packets, received []string
		for i := range 200 {
			text := strings.Repeat("x", i)
			packets = append(packets, "4"+text)
			received = append(received, "text "+text)
		}
		w.send(packets...)
		w.want(packets...)
		app.want(received...)
		p.send(packets...)
		p.want(packets...)
		app.want(received...)
	})
}

// tooLarge is the body of a 413.
func (p *poller) tooLarge() string { return `{"code":3,"message":"Payload too large"}` }
