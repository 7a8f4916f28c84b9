package eio

import (
	"iter"
	"net/http"
)

// Protocol is what one version of Engine.IO has to itself.
type Protocol interface {
	// Refuse returns what is wrong with the raw query of a request, or nil.
	Refuse(query string) *Refusal

	// NewLink returns the link of a session that is about to be opened.
	NewLink(s *Session) Link

	// AppendPayload encodes packets for one poll response. With b64, binary data is encoded as
	// text.
	AppendPayload(dst []byte, packets []Packet, b64 bool) (payload []byte, contentType string)

	// Frame returns what of a packet goes into one websocket frame: its head and data, binary or
	// not.
	Frame(p Packet, b64 bool) Packet
}

// Link is how one version of the protocol opens a session, reads what its client sends, and
// upgrades it.
type Link interface {
	// Open makes an id and an OPEN packet for the session and calls its Begin, at once or soon. ws
	// is nil for a session that begins with polling; for one that begins with a websocket, a
	// goroutine of its own calls Session.Attend. Open returns false if it failed.
	Open(r *http.Request, ws *WebSocket) bool

	// Packets splits the body of a POST into packets. An error is the last item.
	Packets(body []byte, contentType string) iter.Seq2[Incoming, error]

	// Receive handles one packet of a POST. It returns an error if the client broke the protocol.
	Receive(p Incoming) error

	// Input handles the messages that have arrived over the websocket that is the transport, as long
	// as Session.Read returns one.
	Input(ws *WebSocket)

	// Upgrade tries a websocket as the transport of a session that began with polling, in a
	// goroutine of its own that uses Session.Probe and Session.SetTransport. It ends with
	// Session.GiveUp or, if the websocket became the transport, with Session.Done.
	Upgrade(r *http.Request, ws *WebSocket)

	// Closed is called when the session has ended, while its lock is held.
	Closed()
}

// Refusal is the answer to a request that was refused, in the form that the reference server uses.
type Refusal struct {
	status int
	body   string
}

// The refusals that a Protocol may need.
var (
	ErrRequest = &Refusal{http.StatusBadRequest, `{"code":3,"message":"Bad request"}`}
	ErrVersion = &Refusal{http.StatusBadRequest, `{"code":5,"message":"Unsupported protocol version"}`}
)
