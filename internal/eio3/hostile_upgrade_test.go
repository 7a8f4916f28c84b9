package eio3_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/websocket"

	"github.com/z-open/socketauth/internal/engine/enginetest"
)

func dial(t *testing.T, w *enginetest.World, query string) *websocket.Conn {
	t.Helper()
	ws, err := w.Websocket(query)
	if err != nil {
		t.Fatal(err)
	}
	return ws
}

func write(ws *websocket.Conn, texts ...string) {
	for _, text := range texts {
		_ = ws.WriteMessage(websocket.TextMessage, []byte(text))
	}
}

// read returns the next frame of a websocket, or "end".
func read(ws *websocket.Conn) string {
	_, data, err := ws.ReadMessage()
	if err != nil {
		return "end"
	}
	return string(data)
}

// Guards that a probe without an upgrade times out, after which the session goes on with polling:
// it kept a core busy until the ping timeout.
func TestHostile_ProbeWithoutUpgrade(t *testing.T) {
	in(t, func(t *testing.T, w *enginetest.World) {
		c, _ := w.Member("polling")
		ws := dial(t, w, c.SID())
		write(ws, "2probe")
		if got := read(ws); got != "3probe" {
			t.Errorf("the probe was answered %q", got)
		}
		c.Send(`2["meanwhile"]`) // clients send at this time what they emit inside "connect"
		w.WantCalls("event meanwhile []")
		if got := read(ws); got != "end" {
			t.Errorf("got %q", got)
		}
		c.Send(`2["afterwards"]`)
		w.WantCalls("event afterwards []")
		w.WantNoCalls()
	})
}

// Guards that anything other than the steps of an upgrade ends the websocket, not the session.
func TestHostile_Upgrades(t *testing.T) {
	in(t, func(t *testing.T, w *enginetest.World) {
		c, _ := w.Member("polling")
		for _, texts := range [][]string{
			{"2"}, {"2Probe"}, {`42["x"]`}, {"1"}, {"x"}, {""}, {"2probe", "2probe"}, {"2probe", `42["x"]`}, {"2probe", "6"},
			{"2probe", "\xff"}, {strings.Repeat("x", 2<<20)},
		} {
			ws := dial(t, w, c.SID())
			go write(ws, texts...)
			got := read(ws)
			if got == "3probe" {
				got = read(ws)
			}
			if got != "end" {
				t.Errorf("%q: got %q", texts, got)
			}
			synctest.Wait()
		}
		c.Send(`2["alive"]`)
		w.WantCalls("event alive []")
		w.WantNoCalls()
	})
}

// Guards that one upgrade of a session is tried at a time, and none after one has succeeded: many
// leaked.
func TestHostile_ManyUpgrades(t *testing.T) {
	in(t, func(t *testing.T, w *enginetest.World) {
		c, _ := w.Member("polling")
		first, start := dial(t, w, c.SID()), time.Now()
		synctest.Wait()
		for range 50 {
			if got := read(dial(t, w, c.SID())); got != "end" {
				t.Errorf("got %q", got)
			}
		}
		if waited := time.Since(start); waited > 0 {
			t.Errorf("they were tried for %v", waited)
		}
		_ = first.Close()
		synctest.Wait()
		upgraded, _ := w.Member("upgrade")
		if got := read(dial(t, w, upgraded.SID())); got != "end" {
			t.Errorf("got %q", got)
		}
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if status, answer := w.Request(context.Background(), method, "transport=polling"+upgraded.SID(), "", strings.NewReader("1:2")); status != 400 {
				t.Errorf("%s after the upgrade: %d %s", method, status, answer)
			}
		}
		upgraded.Send(`2["alive"]`)
		c.Send(`2["alive"]`)
		w.WantCalls("event alive []", "event alive []")
	})
}

// Guards that an upgrade is refused during a POST, whose rest would be lost or come out of order.
func TestHostile_UpgradeDuringPost(t *testing.T) {
	in(t, func(t *testing.T, w *enginetest.World) {
		c, _ := w.Member("polling")
		body, rest := io.Pipe()
		posted := make(chan int)
		go func() {
			status, _ := w.RequestSized(context.Background(), http.MethodPost, "transport=polling"+c.SID(), "", body, -1)
			posted <- status
		}()
		_, _ = io.WriteString(rest, `7:42["a"]`)
		synctest.Wait()
		ws := dial(t, w, c.SID())
		write(ws, "2probe")
		if got := read(ws); got != "3probe" {
			t.Errorf("the probe was answered %q", got)
		}
		write(ws, "5")
		if got := read(ws); got != "end" {
			t.Errorf("got %q", got)
		}
		_, _ = io.WriteString(rest, `7:42["b"]`)
		_ = rest.Close()
		if status := <-posted; status != 200 {
			t.Errorf("the POST was answered %d", status)
		}
		w.WantCalls("event a []", "event b []")
	})
}
