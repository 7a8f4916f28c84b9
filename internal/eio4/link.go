package eio4

import (
	"errors"
	"net/http"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/eio"
)

// link is a session in the terms of this version.
type link struct{ *eio.Session }

var _ eio.Link = link{}

// Open is described at eio.Link.
func (k link) Open(_ *http.Request, ws *websocket.Conn) bool {
	k.PingClient()
	id, upgrades := eio.NewID(), `"websocket"`
	if ws != nil {
		upgrades = ""
	}
	k.Begin(id, openPacket(id, k.Options(), upgrades), false)
	if ws != nil {
		k.Hold()
		go k.read(ws) // of its own, so that what net/http holds for this request is freed
	}
	return true
}

// read reads the websocket that is the transport for as long as it lives.
func (k link) read(ws *websocket.Conn) {
	for {
		data, binary, err := k.Read(ws)
		if err != nil {
			_ = ws.Close()
			k.Done()
			return
		}
		k.receiveFrame(data, binary)
	}
}

// receiveFrame is not part of read, nor is there a defer in that: the stack of an idle connection has to fit into 4 KB.
func (k link) receiveFrame(data []byte, binary bool) {
	p, err := parseFrame(data, binary)
	if err == nil {
		err = k.Receive(p)
	}
	if err != nil {
		k.Fail(err)
	}
}

var errDirection = errors.New("ping from the client")

// Receive handles one packet of the client.
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
	return nil // open, upgrade and noop mean nothing here, and the reference server ignores them
}

// Upgrade is described at eio.Link.
func (k link) Upgrade(_ *http.Request, ws *websocket.Conn) {
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
		go k.read(ws) // with a stack as small as that of any other
	}()
}

// Closed has nothing to do: whoever reads the session's transport is told by that.
func (link) Closed() {}
