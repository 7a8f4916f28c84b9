package eio4

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/engine"
)

// echoes sends every event back, as it came.
type echoes struct{ c engine.Conn }

func echoing(c engine.Conn, _ engine.Handshake) engine.Receiver { return echoes{c} }

func (e echoes) Event(name string, args engine.Args, ack engine.Ack) {
	out := make([]any, len(args.Values))
	for i, v := range args.Values {
		out[i] = v
	}
	if m, err := engine.NewMessage(name, out...); err == nil {
		_ = e.c.Emit(m)
	}
}

func (echoes) Disconnected(engine.Reason) {}

// benchServer is an echo server on a real socket; it returns its websocket address.
func benchServer(b *testing.B) string {
	e := New(engine.Options{Namespaces: map[string]engine.Accept{"/": echoing}})
	server := httptest.NewServer(e)
	b.Cleanup(func() {
		if err := e.Shutdown(context.Background()); err != nil {
			b.Error(err)
		}
		server.Close()
	})
	return "ws" + strings.TrimPrefix(server.URL, "http") + "/?EIO=4&transport=websocket"
}

// dial opens a websocket and joins the root namespace.
func dial(b *testing.B, url string) *websocket.Conn {
	ws, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		b.Fatal(err)
	}
	read(b, ws)
	write(b, ws, "40")
	read(b, ws)
	return ws
}

func read(b *testing.B, ws *websocket.Conn) {
	if _, _, err := ws.ReadMessage(); err != nil {
		b.Fatal(err)
	}
}

func write(b *testing.B, ws *websocket.Conn, text string) {
	if err := ws.WriteMessage(websocket.TextMessage, []byte(text)); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkEcho is one event and its answer, client included.
func BenchmarkEcho(b *testing.B) {
	ws := dial(b, benchServer(b))
	defer ws.Close()
	b.ReportAllocs()
	for b.Loop() {
		write(b, ws, `42["chat","hello there",{"n":1}]`)
		read(b, ws)
	}
}

// BenchmarkEchoBurst is an event and its answer where 100 are on their way at once.
func BenchmarkEchoBurst(b *testing.B) {
	ws := dial(b, benchServer(b))
	defer ws.Close()
	b.ReportAllocs()
	for n := 0; n < b.N; n += 100 {
		for range 100 {
			write(b, ws, `42["chat","hello there",{"n":1}]`)
		}
		for range 100 {
			read(b, ws)
		}
	}
}

// BenchmarkConnectClose is a websocket handshake, a CONNECT and the end, client included.
func BenchmarkConnectClose(b *testing.B) {
	url := benchServer(b)
	b.ReportAllocs()
	for b.Loop() {
		dial(b, url).Close()
	}
}
