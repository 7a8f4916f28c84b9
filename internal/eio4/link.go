package eio4

import (
	"errors"
	"net/http"

	"github.com/z-open/socketauth/internal/eio"
)

// link opens, reads and upgrades one session.
type link struct{ *eio.Session }

var _ eio.Link = link{}

// Open implements eio.Link.
func (k link) Open(_ *http.Request, ws *eio.WebSocket) bool {
	k.PingClient()
	sid, upgrades := k.Options().NewSessionID(), `"websocket"`
	if ws != nil {
		upgrades = ""
	}
	k.Begin(sid, openPacket(sid, k.Options(), upgrades), false)
	if ws != nil {
		k.Hold()
		// In a goroutine of its own, so that what net/http holds for this request is freed.
		go k.read(ws)
	}
	return true
}

// read reads the websocket that is the transport until it fails.
func (k link) read(ws *eio.WebSocket) {
	k.Attend(ws)
	k.Done()
}

// Input implements eio.Link.
func (k link) Input(ws *eio.WebSocket) {
	for {
		data, binary, ok := k.Read(ws)
		if !ok {
			return
		}
		p, err := parseFrame(data, binary)
		if err == nil {
			err = k.Receive(p)
		}
		if err != nil {
			k.Fail(err)
		}
	}
}

var errDirection = errors.New("ping from the client")

// Receive implements eio.Link. It handles the packets of websockets too.
func (k link) Receive(p eio.Incoming) error {
	switch p.Kind {
	case eio.Message:
		k.Deliver(p.Data, p.Binary)
	case eio.Pong:
		k.Pong()
	case eio.Close:
		k.Leave()
	case eio.Ping:
		return errDirection
	}
	return nil // OPEN, UPGRADE and NOOP have no meaning here; the reference server ignores them too
}

// Upgrade implements eio.Link.
func (k link) Upgrade(_ *http.Request, ws *eio.WebSocket) {
	go func() {
		step := k.NextStep(ws)
		if step == eio.StepProbe && k.Probe(ws) {
			if step = k.NextStep(ws); step == eio.StepProbe {
				step = ""
			}
		}
		if step != eio.StepUpgrade || !k.SetTransport(ws, false) {
			k.GiveUp(ws)
			return
		}
		go k.read(ws) // in a new goroutine, whose stack is as small as that of any other connection
	}()
}

// Closed implements eio.Link. There is nothing to do: Session.Read fails, which ends read.
func (link) Closed() {}
