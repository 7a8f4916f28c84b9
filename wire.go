package socketauth

import (
	"errors"
	"fmt"
	"slices"

	"github.com/z-open/socketauth/blacklist"
	"github.com/z-open/socketauth/internal/authn"
	"github.com/z-open/socketauth/internal/engine"
)

// The events of the library.
const (
	eventAuthenticate  = "authenticate"
	eventAuthenticated = "authenticated"
	eventUnauthorized  = "unauthorized"
	eventLogout        = "logout"
	eventLoggedOut     = "logged_out"
	eventRotated       = "rotated"
	eventRefresh       = "refresh"
)

// probeEvent is what the library's browser client sends to learn that the server has decided about
// what it sent before. It has no handler, and the acknowledgement says so.
const probeEvent = "socketauth:probe"

// reserved are the event names of the library and of the protocol, and those that some version of
// socket.io-client uses for its own connection and never sends.
var reserved = []string{
	"", eventAuthenticate, eventAuthenticated, eventUnauthorized, eventLogout, eventLoggedOut, eventRotated, eventRefresh,
	"connect", "connection", "connect_error", "disconnect", "disconnecting", "error", "newListener", "removeListener",
	"connecting", "connect_timeout", "reconnect", "reconnecting", "reconnect_attempt", "reconnect_error", "reconnect_failed", "ping", "pong", // 1.x, 2.x
}

// message encodes an event of the app.
func message(event string, args []any) (*engine.Message, error) {
	if slices.Contains(reserved, event) {
		return nil, fmt.Errorf("socketauth: event name %q is reserved", event)
	}
	m, err := engine.NewMessage(event, args...)
	if err != nil {
		return nil, fmt.Errorf("socketauth: event %q: %w", event, err)
	}
	return m, nil
}

// endMessage returns what a client is told of the end of its session.
func endMessage(why authn.Cause) *engine.Message {
	if why == causeLoggedOut {
		m, _ := engine.NewMessage(eventLoggedOut)
		return m
	}
	return (&refusal{code: string(why)}).message()
}

// causeLoggedOut is the end of a session by its user. The causes of other ends are the codes that
// clients are told.
const causeLoggedOut authn.Cause = "logged out"

// causeOf returns the cause for which a session has ended, given the verdict on its tokens.
func causeOf(why blacklist.Verdict) authn.Cause {
	if why == blacklist.LoggedOut {
		return causeLoggedOut
	}
	return authn.Cause(refuseVerdict(why).code)
}

// message returns what a client is told of a refusal.
func (r *refusal) message() *engine.Message {
	m, _ := engine.NewMessage(eventUnauthorized, r.payload()) // which JSON can hold
	return m
}

// cost returns about how many bytes an event keeps in memory while it waits.
func cost(name string, args engine.Args) int {
	const each, value = 256, 24
	return each + len(name) + args.Size + value*len(args.Values)
}

// closed returns an error of the engine's as the app sees it.
func closed(err error) error {
	if errors.Is(err, engine.ErrClosed) || errors.Is(err, engine.ErrSlow) {
		return fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return err
}

// acknowledge sends a reply to a client that asked for one.
func acknowledge(ack engine.Ack, reply any) error {
	switch {
	case ack == nil:
		return nil
	case reply == nil:
		return ack()
	}
	return ack(reply)
}

// acknowledgeError sends an error's code to a client that asked for a reply.
func acknowledgeError(ack engine.Ack, code string) {
	acknowledgePublic(ack, &PublicError{Code: code})
}

// acknowledgePublic sends an error's code and details to a client that asked for a reply.
func acknowledgePublic(ack engine.Ack, e *PublicError) {
	if ack != nil {
		_ = ack(map[string]any{"error": publicBody(e)}) // a client that has left gets nothing
	}
}
