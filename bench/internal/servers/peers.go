package servers

import (
	"errors"
	"net/http"
	"sync"

	socketio "github.com/googollee/go-socket.io"
	"github.com/lxzan/gws"
	"github.com/zishang520/socket.io/servers/socket/v3"
)

// serveZishang serves zishang520/socket.io v3 as its README shows.
func serveZishang(mux *http.ServeMux, _ []byte) (app, error) {
	srv := socket.NewServer(nil, nil)
	err := srv.On("connection", func(clients ...any) {
		client := clients[0].(*socket.Socket)
		_ = client.On("echo", func(args ...any) {
			if len(args) < 2 {
				return
			}
			if ack, ok := args[len(args)-1].(socket.Ack); ok {
				ack(args[:len(args)-1], nil)
			}
		})
	})
	mux.Handle("/socket.io/", srv.ServeHandler(nil))
	return app{broadcast: func(text string) error {
		srv.Emit("news", text)
		return nil
	}}, err
}

// serveGoSocketIO serves go-socket.io as its README shows.
func serveGoSocketIO(mux *http.ServeMux, _ []byte) (app, error) {
	srv := socketio.NewServer(nil)
	srv.OnConnect("/", func(socketio.Conn) error { return nil })
	srv.OnEvent("/", "echo", func(_ socketio.Conn, text string) string { return text })
	go func() { _ = srv.Serve() }() // returns when the process ends
	mux.Handle("/socket.io/", srv)
	return app{broadcast: func(text string) error {
		if !srv.BroadcastToNamespace("/", "news", text) {
			return errors.New("not broadcast")
		}
		return nil
	}}, nil
}

// serveGWS serves websockets without any session, protocol or authentication: the floor.
func serveGWS(mux *http.ServeMux, _ []byte) (app, error) {
	h := &gwsHandler{conns: make(map[*gws.Conn]struct{})}
	upgrader := gws.NewUpgrader(h, &gws.ServerOption{CheckUtf8Enabled: true})
	mux.HandleFunc("/websocket", func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r)
		if err != nil {
			return
		}
		go c.ReadLoop()
	})
	return app{broadcast: h.broadcast}, nil
}

type gwsHandler struct {
	gws.BuiltinEventHandler
	mu    sync.Mutex
	conns map[*gws.Conn]struct{}
}

func (h *gwsHandler) OnOpen(c *gws.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns[c] = struct{}{}
}

func (h *gwsHandler) OnClose(c *gws.Conn, _ error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
}

func (h *gwsHandler) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	_ = c.WriteMessage(m.Opcode, m.Bytes()) // it fails only if the client has left
}

func (h *gwsHandler) broadcast(text string) error {
	h.mu.Lock()
	conns := make([]*gws.Conn, 0, len(h.conns))
	for c := range h.conns {
		conns = append(conns, c)
	}
	h.mu.Unlock()
	b := gws.NewBroadcaster(gws.OpcodeText, []byte(text))
	defer b.Close()
	for _, c := range conns {
		if err := b.Broadcast(c); err != nil {
			return err
		}
	}
	return nil
}
