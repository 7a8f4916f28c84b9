package main

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/z-open/socketauth"
)

// serveApp adds what the page's tabs can do. Nothing in it depends on which node a tab is on.
func serveApp(srv *socketauth.Server, c nodeConfig) {
	srv.OnAuthenticated(func(_ context.Context, s *socketauth.Socket) error {
		s.Join(room(c.Name))
		return srv.All().Emit("moved")
	})
	srv.OnDisconnect(func(_ context.Context, s *socketauth.Socket, _ string) { _ = srv.All().Emit("moved") })

	srv.On("hello", func(_ context.Context, s *socketauth.Socket, _ socketauth.Args) (any, error) {
		return map[string]any{"you": s.UserID(), "node": c.Name, "pid": os.Getpid()}, nil
	})
	srv.On("say", func(_ context.Context, s *socketauth.Socket, args socketauth.Args) (any, error) {
		var text string
		if err := args.Decode(&text); err != nil {
			return nil, err
		}
		if text = strings.TrimSpace(text); text == "" || len(text) > 1000 {
			return nil, &socketauth.PublicError{Code: "MESSAGE_INVALID"}
		}
		return nil, srv.All().Emit("message", map[string]any{
			"author": s.UserID(), "session": s.SessionID(), "node": c.Name, "text": text, "time": time.Now(),
		})
	})
	srv.On("where", func(ctx context.Context, _ *socketauth.Socket, _ socketauth.Args) (any, error) {
		return where(ctx, srv, c)
	})
	serveDevices(srv)
}

// room returns the name of the room of all tabs that are on a node.
func room(node string) string { return "node " + node }

// nodeTabs are the tabs that are on one node.
type nodeTabs struct {
	Node     string            `json:"node"`
	Tabs     []socketauth.Peer `json:"tabs"`
	Complete bool              `json:"complete"` // false if a process has not answered
}

// where returns which tabs are on which node, over all processes.
func where(ctx context.Context, srv *socketauth.Server, c nodeConfig) ([]nodeTabs, error) {
	all := make([]nodeTabs, c.Nodes)
	for n := range all {
		name := nodeName(n)
		tabs, err := srv.To(room(name)).Sockets(ctx)
		all[n] = nodeTabs{name, tabs, err == nil}
	}
	return all, nil
}
