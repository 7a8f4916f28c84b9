package socketauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

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

// presented is what a client sends to prove who it is.
type presented struct {
	token   string
	stepUp  string    // a step-up code; "" if there is none
	at      time.Time // when it arrived
	confirm bool      // the client acknowledges "authenticated" once it has stored the token
	unclear string    // the JSON type of "confirm" if it is neither true nor false
}

// presentedIn reads the arguments of an authenticate event. The token is empty if there is none.
func presentedIn(args engine.Args, at time.Time) presented {
	if len(args.Values) == 0 {
		return presented{}
	}
	p, _ := presentedAs(args.Values[0], at)
	return p
}

// presentedAs reads {token, confirm?: true, step_up?: code}. Clients that can only send strings, such as those for Java
// and Kotlin in the handshake's auth, send "true". given is false for a client that has no token yet,
// which sends nothing, null or "".
func presentedAs(object json.RawMessage, at time.Time) (p presented, given bool) {
	p.at = at
	first := bytes.TrimLeft(object, " \t\r\n")
	switch {
	case len(first) == 0, first[0] == 'n': // null
		return p, false
	case first[0] != '{':
		return p, true
	}
	var token, confirm, stepUp []byte
	_ = members(object, func(name, _, value []byte) error {
		switch { // names are compared, and the last of equal ones counts, as in encoding/json
		case bytes.EqualFold(name, []byte("token")):
			token = value
		case bytes.EqualFold(name, []byte("confirm")):
			confirm = value
		case bytes.EqualFold(name, []byte("step_up")):
			stepUp = value
		}
		return nil
	})
	switch string(token) {
	case "", "null", `""`:
		return p, false
	}
	p.token, _ = unquote(token)
	var ok bool
	if p.stepUp, ok = unquote(stepUp); !ok && string(stepUp) != "null" {
		p.stepUp = string(stepUp) // what is not a string is not a code, and is refused
	}
	p.confirm, p.unclear = confirms(confirm)
	return p, true
}

// confirms reads the field "confirm". unclear is its JSON type if it is neither a bool nor a string that
// contains one.
func confirms(field json.RawMessage) (yes bool, unclear string) {
	switch string(field) {
	case "true", `"true"`:
		return true, ""
	case "false", `"false"`:
		return false, ""
	}
	var value any
	if len(field) > 0 {
		_ = json.Unmarshal(field, &value) // part of JSON that was valid
	}
	switch value := value.(type) {
	case nil:
		return false, ""
	case bool:
		return value, ""
	case string:
		if value == "true" || value == "false" {
			return value == "true", ""
		}
		return false, "string"
	case float64:
		return false, "number"
	case []any:
		return false, "array"
	}
	return false, "object"
}

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
