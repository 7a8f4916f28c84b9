package socketauth

import (
	"context"
	"net/http"

	"github.com/z-open/socketauth/internal/engine"
	"github.com/z-open/socketauth/internal/testhook"
)

func init() {
	testhook.Args = func(args engine.Args) any { return Args{args: args} }
	testhook.Accept = func(server any, c engine.Conn, r *http.Request) (engine.Receiver, func()) {
		s := server.(*Server)
		described := s.describe(r)
		s.admit(described, func() { c.Close(nil) })
		return s.accept(c, engine.Handshake{Request: described}), func() { s.left(described) }
	}
	testhook.Context = func(socket any) context.Context {
		s := socket.(*Socket)
		return ContextWithClaims(&s.life, s.Claims())
	}
}
