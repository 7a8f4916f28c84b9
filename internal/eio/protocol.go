package eio

import (
	"iter"
	"net/http"
	"net/url"

	"github.com/gorilla/websocket"
)

// Protocol is one version of Engine.IO, in what it has to itself.
type Protocol interface {
	// Refuse says what is wrong with the query of a request, nil if nothing is.
	Refuse(query url.Values) *Refusal

	// NewLink is told of a session before it is opened.
	NewLink(s *Session) Link

	// AppendPayload encodes packets for one poll response, with b64 binary data as text.
	AppendPayload(dst []byte, packets []Packet, b64 bool) (payload []byte, contentType string)

	// Frame is what of a packet goes into one websocket frame: its head and data, binary or not.
	Frame(p Packet, b64 bool) Packet
}

// Link is how one version of the protocol opens a session, reads what its client sends, and upgrades it.
type Link interface {
	// Open makes an id and an OPEN for the session and calls its Begin, at once or soon. ws is nil for a session that
	// begins with polling; for one with a websocket there is from then on someone who reads it, with Session.Read. False:
	// it did not come to that.
	Open(r *http.Request, ws *websocket.Conn) bool

	// Packets takes the body of a POST apart. After an error there is nothing more to take.
	Packets(body []byte, contentType string) iter.Seq2[Incoming, error]

	// Receive handles one packet of a POST. An error is the client's breach of the protocol.
	Receive(p Incoming) error

	// Upgrade tries a websocket as the transport of a session that began with polling, in a goroutine of its own, by
	// Session.Probe and Session.SetTransport. It ends with Session.GiveUp or Session.Upgraded.
	Upgrade(r *http.Request, ws *websocket.Conn)

	// Closed is called when the session has ended, with its lock held.
	Closed()
}

// Refusal is the answer to a request that was refused, in the form that the reference server gives it.
type Refusal struct {
	status int
	body   string
}

// The refusals that a Protocol may need.
var (
	ErrRequest = &Refusal{http.StatusBadRequest, `{"code":3,"message":"Bad request"}`}
	ErrVersion = &Refusal{http.StatusBadRequest, `{"code":5,"message":"Unsupported protocol version"}`}
)
