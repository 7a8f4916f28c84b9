// Package testhook hands to package socketauthtest what it needs from inside package socketauth,
// whose init sets these variables. The types of package socketauth, which imports this package, are
// any here.
package testhook

import (
	"context"
	"net/http"

	"github.com/z-open/socketauth/internal/engine"
)

var (
	// Args returns a socketauth.Args.
	Args func(args engine.Args) any

	// Accept has a *socketauth.Server take a client as if it had connected with request r. The
	// function it returns is to be called when the client is gone, after Disconnected.
	Accept func(server any, c engine.Conn, r *http.Request) (engine.Receiver, func())

	// Context returns the context that a handler of a *socketauth.Socket is called with.
	Context func(socket any) context.Context

	// Rooms returns the rooms that a *socketauth.Socket is in, in no order.
	Rooms func(socket any) []string
)
