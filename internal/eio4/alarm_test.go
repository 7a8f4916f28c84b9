package eio4

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/eio"
	"github.com/z-open/socketauth/internal/engine"
)

func TestHeartbeatDoesNotDrift(t *testing.T) {
	// Guards that pings do not come later and later by the time that pongs take.
	o := engine.Options{PingInterval: time.Second, PingTimeout: time.Second}
	inBubble(t, o, func(t *testing.T, e *eio.Engine, r *tape) {
		ws := dialPipe(t, e, "transport=websocket")
		defer ws.Close()
		receive(t, ws) // OPEN
		begin := time.Now()
		wait := func(text string, at time.Duration) {
			t.Helper()
			if got := receive(t, ws); got != text || time.Since(begin) != at {
				t.Fatalf("%q after %v, want %q after %v", got, time.Since(begin), text, at)
			}
		}
		pong := func(after time.Duration) {
			time.Sleep(after) // in fake time
			send(t, ws, websocket.TextMessage, "3")
		}
		wait("2", 1*time.Second)
		pong(200 * time.Millisecond)
		wait("2", 2*time.Second)
		pong(200 * time.Millisecond)
		wait("2", 3*time.Second)
		pong(900 * time.Millisecond)
		wait("2", 4*time.Second+900*time.Millisecond) // a whole interval after that one
		synctest.Wait()
		if len(r.closed) > 0 {
			t.Errorf("closed: %q", r.closed)
		}
	})
}
