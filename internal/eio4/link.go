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
		k.Go(func() { k.read(ws) }) // of its own, so that what net/http holds for this request is freed
	}
	return true
}

// read reads the websocket that is the transport for as long as it lives.
func (k link) read(ws *websocket.Conn) {
	defer ws.Close()
	for {
		data, binary, err := k.Read(ws)
		if err != nil {
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
		if !k.Expect(ws, "2probe") || !k.Probe(ws) || !k.Expect(ws, "5") || !k.SetTransport(ws, false) {
			k.GiveUp(ws)
			return
		}
		defer k.Upgraded()
		k.read(ws)
	}()
}

// Closed has nothing to do: whoever reads the session's transport is told by that.
func (link) Closed() {}
