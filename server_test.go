package socketauth_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/z-open/socketauth"
)

func TestProtocolVersionsThatAreNotServed(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		for _, query := range []string{"?EIO=5&transport=polling", "?EIO=&transport=polling", "?EIO=abc"} {
			rw := httptest.NewRecorder()
			w.Config.Handler.ServeHTTP(rw, httptest.NewRequest(http.MethodGet, "/socket.io/"+query, nil))
			if rw.Code != 400 || strings.TrimSpace(rw.Body.String()) != `{"code":5,"message":"Unsupported protocol version"}` {
				t.Errorf("%s: %d %s", query, rw.Code, rw.Body)
			}
		}
	})
}

func TestRequestsWithoutAVersionAreOfVersion3(t *testing.T) {
	// Guards: clients 1.x and 2.x, on the URL that newer ones use too. Their engine opens without maxPayload.
	inWorld(t, nil, func(w *world) {
		for query, want := range map[string]string{"": "engine 3", "EIO=3&": "engine 3", "EIO=4&": "engine 4"} {
			rw := httptest.NewRecorder()
			w.Config.Handler.ServeHTTP(rw, httptest.NewRequest(http.MethodGet, "/socket.io/?"+query+"transport=polling", nil))
			got := "engine 3"
			if strings.Contains(rw.Body.String(), "maxPayload") {
				got = "engine 4"
			}
			if rw.Code != 200 || !strings.Contains(rw.Body.String(), `"sid"`) || got != want {
				t.Errorf("%q: %d %s", query, rw.Code, rw.Body)
			}
		}
	})
}

func TestSocketPathWithAndWithoutItsSlash(t *testing.T) {
	// Guards: middleware that takes the last slash away or adds it, and io({addTrailingSlash: false}): a redirect there ends a
	// POST or a websocket. However the option is written, both are served, each by every method.
	for option, paths := range map[string][]string{
		"":             {"/socket.io", "/socket.io/"},
		"/a/socket.io": {"/a/socket.io", "/a/socket.io/"},
		"/sockets/":    {"/sockets", "/sockets/"},
		"/":            {"/"},
	} {
		inWorld(t, func(o *socketauth.Options[string]) { o.SocketPath = option }, func(w *world) {
			for _, path := range paths {
				open := errand{method: "GET", path: path + "?EIO=4&transport=polling"}
				res := w.asks(open, "server", nil)
				text, _ := io.ReadAll(res.Body)
				_, sid, _ := strings.Cut(string(text), `"sid":"`)
				sid, _, _ = strings.Cut(sid, `"`)
				if res.StatusCode != http.StatusOK || sid == "" {
					t.Errorf("%q: GET %s: %s %s", option, path, res.Status, text)
					continue
				}
				for _, e := range []errand{
					{method: "POST", path: path + "?EIO=4&transport=polling&sid=" + sid, body: "40", done: 200},
					{method: "OPTIONS", path: path, header: "Access-Control-Request-Method: POST\r\n", done: 204},
				} {
					if res := w.asks(e, "server", []string{"http://server"}); res.StatusCode != e.done {
						t.Errorf("%q: %s %s: %s", option, e.method, path, res.Status)
					}
				}
			}
		})
	}
}

func TestProxyWithoutUpgradeIsLogged(t *testing.T) {
	// Guards: whoever runs the server learns, once a minute, that a proxy makes websockets impossible. No other request says so.
	inWorld(t, nil, func(w *world) {
		ask := func(query string, headers ...string) {
			r := httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=4&transport="+query, nil)
			for i := 0; i < len(headers); i += 2 {
				r.Header.Set(headers[i], headers[i+1])
			}
			w.Config.Handler.ServeHTTP(httptest.NewRecorder(), r)
		}
		const key, version = "Sec-WebSocket-Key", "Sec-WebSocket-Version"
		said := func() int { return strings.Count(w.logs.String(), "without its Upgrade header") }
		ask("polling")
		ask("websocket") // somebody who looks at the URL
		ask("websocket", key, "dGhlIHNhbXBsZSBub25jZQ==", version, "13", "Connection", "keep-alive, Upgrade", "Upgrade", "websocket")
		if said() != 0 {
			t.Errorf("said without a proxy:\n%s", w.logs)
		}
		for range 3 {
			ask("websocket", key, "dGhlIHNhbXBsZSBub25jZQ==", version, "13", "Connection", "close")
		}
		w.logged("proxy_set_header Upgrade")
		if said() != 1 {
			t.Errorf("said %d times", said())
		}
		for n, half := range [][]string{{"Upgrade", "websocket", "Connection", "close"}, {"Connection", "keep-alive, Upgrade"}} {
			time.Sleep(time.Minute)
			ask("websocket", append(half, key, "dGhlIHNhbXBsZSBub25jZQ==", version, "13")...)
			if synctest.Wait(); said() != 2+n {
				t.Errorf("%q: said %d times", half, said())
			}
		}
		w.logged("more_since_last=2")
	})
}

func TestOtherNamespacesAreRefused(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		c, _ := w.in()
		c.send("40/admin,")
		c.next(`44/admin,{"message":"Invalid namespace"}`)
		c.alive()
	})
}

// reservedNames are the library's own events and what clients keep to themselves.
var reservedNames = []string{
	"", "authenticate", "authenticated", "unauthorized", "logout", "logged_out", "rotated", "connect", "connection", "connect_error",
	"connect_timeout", "connecting", "disconnect", "disconnecting", "error", "ping", "pong", "reconnect", "reconnect_attempt",
	"reconnect_error", "reconnect_failed", "reconnecting", "newListener", "removeListener",
}

func TestOnPanicsForNamesThatAreNotToBeHad(t *testing.T) {
	inWorld(t, nil, func(w *world) {
		h := func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return nil, nil }
		w.On("taken", h)
		on := func(name string, h socketauth.Handler) {
			defer func() {
				if recover() == nil {
					t.Errorf("%q was taken", name)
				}
			}()
			w.On(name, h)
		}
		on("taken", h)
		on("nil", nil)
		for _, name := range reservedNames {
			on(name, h)
		}
	})
}

func TestNamesThatClientsKeepToThemselvesAreReserved(t *testing.T) {
	// Guards: no handler waits for an event that clients 1.x and 2.x never send, and none of what is sent is taken by them
	// for news of their own connection. That these are the names, interop tries on the clients.
	inWorld(t, nil, func(w *world) {
		for _, name := range []string{
			"connect", "connect_error", "connect_timeout", "connecting", "disconnect", "disconnecting", "error", "ping", "pong", "reconnect",
			"reconnect_attempt", "reconnect_error", "reconnect_failed", "reconnecting", "newListener", "removeListener",
		} {
			func() {
				defer func() {
					if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), "reserved") {
						t.Errorf("On(%q): %v", name, r)
					}
				}()
				w.On(name, func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return nil, nil })
			}()
			if err := w.Emit(name); err == nil {
				t.Errorf("Emit(%q) said nothing", name)
			}
		}
	})
}
