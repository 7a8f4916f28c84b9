package enginetest

import (
	"context"
	"fmt"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/engine"
)

type echoes struct{ c engine.Conn }

// Echo is an engine.Accept whose receivers send every event back, unchanged.
func Echo(c engine.Conn, _ engine.Handshake) engine.Receiver { return echoes{c} }

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

// Bench has the benchmarks of an engine, which include the work of its clients.
type Bench struct {
	Version Version
	Start   func(engine.Options) engine.Engine
}

// server starts an echo server on a real socket and returns its websocket address.
func (bench Bench) server(b *testing.B) string {
	e := bench.Start(engine.Options{Namespaces: map[string]engine.Accept{"/": Echo}})
	server := httptest.NewServer(e)
	b.Cleanup(func() {
		if err := e.Shutdown(context.Background()); err != nil {
			b.Error(err)
		}
		server.Close()
	})
	return fmt.Sprintf("ws%s/?EIO=%d&transport=websocket", strings.TrimPrefix(server.URL, "http"), bench.Version)
}

// dial opens a websocket and joins the root namespace.
func (bench Bench) dial(b *testing.B, url string) *websocket.Conn {
	ws, _, err := websocket.DefaultDialer.Dial(url, nil)
	if err != nil {
		b.Fatal(err)
	}
	read(b, ws)
	if bench.Version == V4 {
		write(b, ws, "40")
	}
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

// Echo measures one event and its answer.
func (bench Bench) Echo(b *testing.B) {
	ws := bench.dial(b, bench.server(b))
	defer ws.Close()
	b.ReportAllocs()
	for b.Loop() {
		write(b, ws, `42["chat","hello there",{"n":1}]`)
		read(b, ws)
	}
}

// EchoBurst measures an event and its answer when 100 are sent before any answer is read.
func (bench Bench) EchoBurst(b *testing.B) {
	ws := bench.dial(b, bench.server(b))
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

// ConnectClose measures a websocket handshake with its CONNECT, and the end.
func (bench Bench) ConnectClose(b *testing.B) {
	url := bench.server(b)
	b.ReportAllocs()
	for b.Loop() {
		bench.dial(b, url).Close()
	}
}

// Idle measures the memory of a connected websocket.
func (bench Bench) Idle(b *testing.B) {
	const sockets = 1000
	url := bench.server(b)
	for range b.N {
		before := inUse()
		var all []*websocket.Conn
		for range sockets {
			all = append(all, bench.dial(b, url))
		}
		b.ReportMetric(float64(inUse()-before)/sockets, "B/socket")
		for _, ws := range all {
			_ = ws.Close()
		}
	}
}

func inUse() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
