// Package testhook gives package socketauthtest access to the inside of package socketauth, whose
// init sets these variables. Package socketauth imports this package, so its types are any here.
package testhook

import (
	"context"
	"net/http"

	"github.com/z-open/socketauth/internal/engine"
)

var (
	// Args returns a socketauth.Args.
	Args func(args engine.Args) any

	// Accept makes a *socketauth.Server accept a client as if it had connected with request r. The
	// function that it returns must be called when the client has disconnected, after Disconnected.
	Accept func(server any, c engine.Conn, r *http.Request) (engine.Receiver, func())

	// Context returns the context that a handler of a *socketauth.Socket is called with.
	Context func(socket any) context.Context
)
