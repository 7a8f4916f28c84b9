package socketauth_test

import (
	"context"
	"crypto/rand"
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

// TestUnknownProtocolVersions checks the answer to versions of Engine.IO that are not served.
func TestUnknownProtocolVersions(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		for _, query := range []string{"?EIO=5&transport=polling", "?EIO=&transport=polling", "?EIO=abc"} {
			rw := httptest.NewRecorder()
			srv.Config.Handler.ServeHTTP(rw, httptest.NewRequest(http.MethodGet, "/socket.io/"+query, nil))
			if rw.Code != 400 || strings.TrimSpace(rw.Body.String()) != `{"code":5,"message":"Unsupported protocol version"}` {
				t.Errorf("%s: %d %s", query, rw.Code, rw.Body)
			}
		}
	})
}

// TestDefaultProtocolVersion checks that a request that names no version is served as one of
// clients 1.x and 2.x.
func TestDefaultProtocolVersion(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		for query, want := range map[string]string{"": "engine 3", "EIO=3&": "engine 3", "EIO=4&": "engine 4"} {
			rw := httptest.NewRecorder()
			srv.Config.Handler.ServeHTTP(rw, httptest.NewRequest(http.MethodGet, "/socket.io/?"+query+"transport=polling", nil))
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

// TestSocketPathSlash checks that the path of sockets is served with and without its last slash by
// every method, since a redirect ends a POST or a websocket.
func TestSocketPathSlash(t *testing.T) {
	for option, paths := range map[string][]string{
		"":             {"/socket.io", "/socket.io/"},
		"/a/socket.io": {"/a/socket.io", "/a/socket.io/"},
		"/sockets/":    {"/sockets", "/sockets/"},
		"/":            {"/"},
	} {
		withServer(t, func(o *socketauth.Options[string]) { o.SocketPath = option }, func(srv *testServer) {
			for _, path := range paths {
				open := browserRequest{method: "GET", path: path + "?EIO=4&transport=polling"}
				res := srv.request(open, "server", nil)
				text, _ := io.ReadAll(res.Body)
				_, sid, _ := strings.Cut(string(text), `"sid":"`)
				sid, _, _ = strings.Cut(sid, `"`)
				if res.StatusCode != http.StatusOK || sid == "" {
					t.Errorf("%q: GET %s: %s %s", option, path, res.Status, text)
					continue
				}
				for _, e := range []browserRequest{
					{method: "POST", path: path + "?EIO=4&transport=polling&sid=" + sid, body: "40", done: 200},
					{method: "OPTIONS", path: path, header: "Access-Control-Request-Method: POST\r\n", done: 204},
				} {
					if res := srv.request(e, "server", []string{"http://server"}); res.StatusCode != e.done {
						t.Errorf("%q: %s %s: %s", option, e.method, path, res.Status)
					}
				}
			}
		})
	}
}

// TestProxyWithoutUpgrade checks that a proxy that makes websockets impossible is logged once a
// minute, and that no other request is taken for one.
func TestProxyWithoutUpgrade(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		ask := func(query string, headers ...string) {
			r := httptest.NewRequest(http.MethodGet, "/socket.io/?EIO=4&transport="+query, nil)
			for i := 0; i < len(headers); i += 2 {
				r.Header.Set(headers[i], headers[i+1])
			}
			srv.Config.Handler.ServeHTTP(httptest.NewRecorder(), r)
		}
		const key, version = "Sec-WebSocket-Key", "Sec-WebSocket-Version"
		logged := func() int { return strings.Count(srv.logs.String(), "without its Upgrade header") }
		ask("polling")
		ask("websocket") // a person who opens the URL
		ask("websocket", key, "dGhlIHNhbXBsZSBub25jZQ==", version, "13", "Connection", "keep-alive, Upgrade", "Upgrade", "websocket")
		if logged() != 0 {
			t.Errorf("logged without a proxy:\n%s", srv.logs)
		}
		for range 3 {
			ask("websocket", key, "dGhlIHNhbXBsZSBub25jZQ==", version, "13", "Connection", "close")
		}
		srv.expectLogged("proxy_set_header Upgrade")
		if logged() != 1 {
			t.Errorf("logged %d times", logged())
		}
		for n, half := range [][]string{{"Upgrade", "websocket", "Connection", "close"}, {"Connection", "keep-alive, Upgrade"}} {
			time.Sleep(time.Minute)
			ask("websocket", append(half, key, "dGhlIHNhbXBsZSBub25jZQ==", version, "13")...)
			if synctest.Wait(); logged() != 2+n {
				t.Errorf("%q: logged %d times", half, logged())
			}
		}
		srv.expectLogged("more_since_last=2")
	})
}

// TestOtherNamespaces checks that namespaces other than the root are refused and harm nothing.
func TestOtherNamespaces(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		c, _ := srv.authenticated()
		c.send("40/admin,")
		c.expect(`44/admin,{"message":"Invalid namespace"}`)
		c.expectAuthenticated()
	})
}

// reservedNames are the library's own events and what clients keep to themselves.
var reservedNames = []string{
	"", "authenticate", "authenticated", "unauthorized", "logout", "logged_out", "rotated", "connect", "connection", "connect_error",
	"connect_timeout", "connecting", "disconnect", "disconnecting", "error", "ping", "pong", "reconnect", "reconnect_attempt",
	"reconnect_error", "reconnect_failed", "reconnecting", "newListener", "removeListener",
}

// TestHTTPServerWarnings checks that an http.Server that would not serve the routes, or has no time
// limit for the header of a request, is logged with what to do, and no other one is.
func TestHTTPServerWarnings(t *testing.T) {
	const noHandler, noLimit = "has no Handler yet", "has no time limit"
	mux := http.NewServeMux()
	withMethods := socketauth.MuxFunc(func(method, path string, h http.Handler) { mux.Handle(method+" /other"+path, h) })
	for _, c := range []struct {
		server *http.Server
		mux    socketauth.Mux
		want   []string
	}{
		{nil, http.NewServeMux(), nil},
		{&http.Server{Handler: mux, ReadHeaderTimeout: time.Second}, mux, nil},
		{&http.Server{Handler: http.NotFoundHandler(), ReadTimeout: time.Second}, http.NewServeMux(), nil}, // may call it
		{&http.Server{Handler: mux}, http.NewServeMux(), []string{noLimit}},
		{&http.Server{ReadTimeout: time.Second}, http.NewServeMux(), []string{noHandler}},
		{&http.Server{}, http.NewServeMux(), []string{noLimit, noHandler}},
		{&http.Server{ReadTimeout: time.Second}, http.DefaultServeMux, nil},
		{&http.Server{ReadTimeout: time.Second}, withMethods, nil}, // of what, is not known
	} {
		var logs logBuffer
		o := testOptions(&logs)
		o.SocketPath = "/" + rand.Text() + "/" // http.DefaultServeMux keeps it
		srv, err := socketauth.SocketServe(c.server, c.mux, o)
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if n := strings.Count(logs.String(), "level=WARN"); n != len(c.want) {
			t.Errorf("%+v: %d warnings, want %d:\n%s", c, n, len(c.want), &logs)
		}
		for _, part := range c.want {
			logs.expect(t, part)
		}
	}
}

// TestOnPanics checks that On panics for a name that is taken or reserved, and for a nil handler,
// as OnAuthenticated and OnDisconnect do for a nil function: accepted, it would fail each login.
func TestOnPanics(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		h := func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return nil, nil }
		srv.On("taken", h)
		on := func(name string, h socketauth.Handler) {
			defer func() {
				if recover() == nil {
					t.Errorf("%q was taken", name)
				}
			}()
			srv.On(name, h)
		}
		on("taken", h)
		on("nil", nil)
		for name, call := range map[string]func(){
			"OnAuthenticated": func() { srv.OnAuthenticated(nil) },
			"OnDisconnect":    func() { srv.OnDisconnect(nil) },
		} {
			func() {
				defer func() {
					if r := recover(); r == nil || !strings.Contains(fmt.Sprint(r), name) {
						t.Errorf("%s(nil): %v", name, r)
					}
				}()
				call()
			}()
		}
		for _, name := range reservedNames {
			on(name, h)
		}
	})
}

// TestReservedNames checks that names that clients of any version keep to themselves can be neither
// handled nor emitted. The interop tests try them on the clients.
func TestReservedNames(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
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
				srv.On(name, func(context.Context, *socketauth.Socket, socketauth.Args) (any, error) { return nil, nil })
			}()
			if err := srv.Emit(name); err == nil {
				t.Errorf("Emit(%q) returned no error", name)
			}
		}
	})
}
