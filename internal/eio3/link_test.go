package eio3

import (
	"testing"
	"testing/synctest"

	"github.com/z-open/socketauth/internal/eio"
)

func TestTransportWhileSwitching(t *testing.T) {
	// Guards that the goroutine that reads, however late it begins, does not take the websocket before
	// the library reads it too.
	for _, succeeds := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			k := &link{reading: true}
			k.changed.L = &k.mu
			if !k.setSwitching(true) {
				t.Fatal("cannot switch")
			}
			got := make(chan *eio.WebSocket, 1)
			go func() { got <- k.transport() }()
			synctest.Wait()
			if succeeds {
				k.setTransport(new(eio.WebSocket))
				synctest.Wait()
			}
			if len(got) > 0 {
				t.Error("did not wait")
			}
			k.setSwitching(false)
			if ws := <-got; (ws != nil) != succeeds {
				t.Errorf("the transport is %v", ws)
			}
		})
	}
}
