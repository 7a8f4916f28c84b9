package socketauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/z-open/socketauth/internal/engine"
)

// This file holds what clients present on sockets, and how the proofs that come with it are
// checked.

// presented is what a client sends to prove who it is.
type presented struct {
	token   string
	proof   string    // of the key that the token is or is to be bound to; "" if there is none
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

// presentedAs reads {token, proof?: proof, confirm?: true, step_up?: code}. Clients that can only
// send strings, such as those for Java and Kotlin in the handshake's auth, send "true". given is
// false for a client that has no token yet, which sends nothing, null or "".
func presentedAs(object json.RawMessage, at time.Time) (p presented, given bool) {
	p.at = at
	first := bytes.TrimLeft(object, " \t\r\n")
	switch {
	case len(first) == 0, first[0] == 'n': // null
		return p, false
	case first[0] != '{':
		return p, true
	}
	var token, proof, confirm, stepUp []byte
	_ = engine.Members(object, func(name, _, value []byte) error {
		switch { // names are compared, and the last of equal ones counts, as in encoding/json
		case bytes.EqualFold(name, []byte("token")):
			token = value
		case bytes.EqualFold(name, []byte("proof")):
			proof = value
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
	p.token, _ = engine.Unquote(token)
	p.proof, p.stepUp = textOrJSON(proof), textOrJSON(stepUp)
	p.confirm, p.unclear = confirms(confirm)
	return p, true
}

// presentedToLogOut reads the arguments of a logout event: nothing, a token, or {token, proof?:
// proof}.
func presentedToLogOut(args engine.Args, at time.Time) presented {
	if len(args.Values) > 0 {
		if text, ok := engine.Unquote(bytes.TrimSpace(args.Values[0])); ok {
			return presented{token: text, at: at}
		}
	}
	return presentedIn(args, at)
}

// textOrJSON returns the text of a JSON string, "" for what is missing or null, and JSON that is
// not a string as it is: it is neither a code nor a proof, and is refused as such.
func textOrJSON(value []byte) string {
	text, ok := engine.Unquote(value)
	if !ok && string(value) != "null" {
		return string(value)
	}
	return text
}

// confirms reads the field "confirm". unclear is its JSON type if it is neither a bool nor a string
// that contains one.
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

var (
	errUnproved        = errors.New("the token came without the proof of a key that it, or its session, has to be bound to")
	errOtherConnection = errors.New("the proof is for another connection: its nonce is not the Engine.IO id of this one")
	errOfRequest       = errors.New("the proof is for a request")
)

// verifyProved is verify for a token that came on a connection, with its proof. connection is the
// Engine.IO id of that. A refusal with a token is for its expiry, or for its proof: then nothing
// may become of the token, since whoever has sent it may have copied it.
func (a *Auth) verifyProved(ctx context.Context, in presented, connection string) (*token, *refusal) {
	t, refused := a.verify(ctx, in.token)
	switch {
	case refused == nil:
		return a.checkProof(t, in.proof, connection)
	case refused.token != nil: // the token was valid until it expired
		if _, unproved := a.checkProof(refused.token, in.proof, connection); unproved != nil {
			return nil, unproved
		}
	}
	return nil, refused
}

// checkProof checks the proof that came with a verified token. It returns the token, or what a code
// becomes by the key that it is to be bound to. The store is not asked.
func (a *Auth) checkProof(t *token, text, connection string) (*token, *refusal) {
	refuse := func(code string, err error) (*token, *refusal) {
		return nil, &refusal{code: code, cause: err, token: t}
	}
	switch {
	case t.Thumbprint != "":
	case t.Use != useCode && a.binding == BindRequired:
		return refuse(codeInvalidToken, errBindRequired)
	case t.Use != useCode, a.binding == BindNever, a.binding == BindOptional && text == "":
		return t, nil
	}
	if text == "" {
		return refuse(codeProofRequired, errUnproved)
	}
	proof, err := readProof(text, t)
	switch {
	case err != nil:
		return refuse(codeInvalidProof, err)
	case proof.Method != "" || proof.URL != "": // any server to which the client sends a request has chosen its nonce
		return refuse(codeInvalidProof, errOfRequest)
	case proof.Nonce == "" || proof.Nonce != connection:
		return refuse(codeInvalidProof, errOtherConnection)
	}
	return t.boundTo(proof), nil
}
