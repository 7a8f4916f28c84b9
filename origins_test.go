package socketauth_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/z-open/socketauth"
)

// browserRequest is a request that a page can make the browser send.
type browserRequest struct {
	name   string
	method string
	path   string
	header string
	body   string
	done   int // the status where it is accepted
}

// request sends a request with these Origin headers.
func (srv *testServer) request(e browserRequest, host string, origins []string) *http.Response {
	srv.Helper()
	conn, err := srv.DialContext(srv.Context(), "", "")
	if err != nil {
		srv.Fatal(err)
	}
	defer conn.Close()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n%s", e.method, e.path, host, e.header)
	for _, origin := range origins {
		b.WriteString("Origin: " + origin + "\r\n")
	}
	fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(e.body), e.body)
	if _, err := io.WriteString(conn, b.String()); err != nil {
		srv.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: e.method})
	if err != nil {
		srv.Fatalf("%s of %q: %v", e.name, origins, err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		text, err := io.ReadAll(res.Body)
		if err != nil {
			srv.Errorf("%s of %q: %v", e.name, origins, err)
		}
		res.Body = io.NopCloser(strings.NewReader(string(text)))
	}
	return res
}

// browserRequests returns one request for each way into the library. Those that need a session have
// one of a polling client.
func (srv *testServer) browserRequests() []browserRequest {
	srv.Helper()
	const form = "Content-Type: text/plain;charset=UTF-8\r\n"
	const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	login := "Content-Type: " + jsonType + "\r\n"
	all := []browserRequest{
		{"login", "POST", "/login", login, credentialsJSON("anna", "secret"), 200},
		{"registration", "POST", "/register", login, credentialsJSON("anna", "secret"), 200},
		{"preflight of login", "OPTIONS", "/login", "Access-Control-Request-Method: POST\r\n", "", 204},
	}
	for _, version := range []string{"3", "4"} {
		path := "/socket.io/?EIO=" + version
		c, err := srv.dialEngine(version, "polling", "")
		if err != nil {
			srv.Fatal(err)
		}
		if _, err := c.Join(""); err != nil {
			srv.Fatal(err)
		}
		sid := "&sid=" + c.Opened().SID
		all = append(all,
			browserRequest{"polling handshake, version " + version, "GET", path + "&transport=polling", "", "", 200},
			browserRequest{"websocket, version " + version, "GET", path + "&transport=websocket", upgrade, "", 101},
			browserRequest{"POST, version " + version, "POST", path + "&transport=polling" + sid, form, c.Body(`420["x"]`), 200},
			browserRequest{"poll, version " + version, "GET", path + "&transport=polling" + sid, "", "", 200}, // of the answer to the POST
			browserRequest{"upgrade, version " + version, "GET", path + "&transport=websocket" + sid, upgrade, "", 101},
			browserRequest{"preflight, version " + version, "OPTIONS", path + "&transport=polling", "Access-Control-Request-Method: POST\r\n", "", 204},
		)
	}
	return all
}

// TestLoginOrigins checks that login answers the app's own origin and the allowed ones, and refuses
// others, preflights included.
func TestLoginOrigins(t *testing.T) {
	_, h := serveAPI(t, testOptions(io.Discard))
	for origin, status := range map[string]int{
		"https://app.example": 200, "http://example.com": 200, "https://evil.example": 403, "null": 403,
	} {
		got, body, header := post(h, "/login", jsonType, credentialsJSON("anna", "secret"), "Origin", origin)
		if got != status || (status == 403) != (body["code"] == "ORIGIN_NOT_ALLOWED") {
			t.Errorf("%s: %d %v", origin, got, body)
		}
		if allowed := header.Get("Access-Control-Allow-Origin"); status == 200 && allowed != origin || status != 200 && allowed != "" {
			t.Errorf("%s: Access-Control-Allow-Origin %q", origin, allowed)
		}
	}
	preflight := func(origin string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodOptions, "/login", nil)
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", "POST")
		r.Header.Set("Access-Control-Request-Headers", "authorization,content-type,dpop")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	if w := preflight("https://app.example"); w.Code/100 != 2 || w.Header().Get("Access-Control-Allow-Headers") != "authorization,content-type,dpop" {
		t.Errorf("preflight: %d %v", w.Code, w.Header())
	}
	if w := preflight("https://evil.example"); w.Code != 403 {
		t.Errorf("preflight of another origin: %d", w.Code)
	}
}

// TestHeadersExposed checks that a page of an allowed origin can read when to come back, and what a
// proof lacks.
func TestHeadersExposed(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) {
		o.AllowedOrigins = []string{"https://app.example"}
		o.FindUserByCredentials = func(context.Context, socketauth.Credentials) (string, error) { return "", socketauth.ErrUnavailable }
	}, func(srv *testServer) {
		login := browserRequest{"login", "POST", "/login", "Content-Type: " + jsonType + "\r\n", credentialsJSON("anna", "secret"), 503}
		res := srv.request(login, "server", []string{"https://app.example"})
		if res.StatusCode != login.done || res.Header.Get("Retry-After") == "" || !strings.EqualFold(res.Header.Get("Access-Control-Expose-Headers"), "Retry-After, WWW-Authenticate, DPoP-Nonce") {
			t.Errorf("%s %v", res.Status, res.Header)
		}
	})
}

// TestOtherHosts checks that with Hosts set a page whose name was made to point here gets in
// nowhere, whether it sends an Origin or not.
func TestOtherHosts(t *testing.T) {
	withServer(t, func(o *socketauth.Options[string]) { o.Hosts = []string{"server"} }, func(srv *testServer) {
		for _, e := range srv.browserRequests() {
			for _, origins := range [][]string{nil, {"http://evil.example"}} {
				res := srv.request(e, "evil.example", origins)
				if text, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusForbidden || !strings.Contains(string(text), `"ORIGIN_NOT_ALLOWED"`) {
					t.Errorf("%s with the origin %q: %s %s", e.name, origins, res.Status, text)
				}
			}
			if res := srv.request(e, "server:8080", []string{"http://server:8080"}); res.StatusCode != e.done {
				t.Errorf("%s of its own host: %s", e.name, res.Status)
			}
		}
		srv.expectLogged("Options.Hosts")
	})
}

// TestEmbeddedRequests checks that another site's <img> or <script>, which sends no Origin, opens
// no session and reads no poll.
func TestEmbeddedRequests(t *testing.T) {
	withServer(t, nil, func(srv *testServer) {
		errands := srv.browserRequests()
		before := srv.Auth().Stats()
		for _, e := range errands {
			if e.method != http.MethodGet {
				continue
			}
			e.header += "Sec-Fetch-Site: cross-site\r\n"
			if res := srv.request(e, "server", nil); res.StatusCode != http.StatusForbidden {
				t.Errorf("%s: %s", e.name, res.Status)
			}
		}
		if after := srv.Auth().Stats(); fmt.Sprint(after.Sockets) != fmt.Sprint(before.Sockets) {
			t.Errorf("sockets %v, before %v", after.Sockets, before.Sockets)
		}
	})
}

// TestOtherOrigins checks that other origins are refused on every way in of both engines, without
// effect. Package internal/origin has more of them.
func TestOtherOrigins(t *testing.T) {
	o := func(o *socketauth.Options[string]) {
		o.AllowedOrigins = []string{"https://app.example", "https://[2001:db8::1]:8443", "capacitor://localhost"}
		o.Limits.Unauthenticated, o.Limits.UnauthenticatedPerAddress = socketauth.NoLimit, socketauth.NoLimit
	}
	for _, tt := range []struct {
		name    string
		host    string
		origins []string
		allowed bool
	}{
		{"no browser", "server", nil, true},
		{"its own", "server", []string{"http://server"}, true},
		{"its own, before a proxy that ends TLS", "server", []string{"https://server"}, true},
		{"its own, with a port", "server:8080", []string{"http://server:8080"}, true},
		{"its own, IPv6", "[2001:db8::2]:8080", []string{"http://[2001:db8::2]:8080"}, true},
		{"its own, of a native client", "server", []string{"ws://server"}, true},
		{"its own, of a native client over TLS", "server", []string{"wss://server"}, true},
		{"listed", "server", []string{"https://app.example"}, true},
		{"listed, with the port that it has anyway", "server", []string{"https://app.example:443"}, true},
		{"listed, in upper case", "server", []string{"HTTPS://APP.Example"}, true},
		{"listed, IPv6", "server", []string{"https://[2001:db8::1]:8443"}, true},
		{"listed, of an app's own scheme", "server", []string{"capacitor://localhost"}, true},

		{"null", "server", []string{"null"}, false},
		{"a native client's for another host", "server", []string{"wss://evil.example"}, false},
		{"empty", "server", []string{""}, false},
		{"any", "server", []string{"*"}, false},
		{"suffix", "server", []string{"https://app.example.evil.example"}, false},
		{"suffix without a dot", "server", []string{"https://app.exampleevil"}, false},
		{"prefix", "server", []string{"https://evilapp.example"}, false},
		{"name below", "server", []string{"https://evil.app.example"}, false},
		{"port", "server", []string{"https://app.example:8443"}, false},
		{"port of IPv6", "server", []string{"https://[2001:db8::1]"}, false},
		{"port of its own", "server:8080", []string{"http://server"}, false},
		{"scheme", "server", []string{"http://app.example"}, false},
		{"scheme of its own", "server", []string{"ftp://server"}, false},
		{"scheme of a native client, another port", "server", []string{"ws://server:8080"}, false},
		{"upper case of another", "server", []string{"HTTPS://EVIL.EXAMPLE"}, false},
		{"IPv6 of another", "[2001:db8::2]:8080", []string{"http://[2001:db8::3]:8080"}, false},
		{"IPv6 without brackets", "[2001:db8::2]", []string{"http://2001:db8::2"}, false},
		{"trailing dot", "server", []string{"https://app.example."}, false},
		{"trailing dot of its own", "server", []string{"http://server."}, false},
		{"trailing slash", "server", []string{"https://app.example/"}, false},
		{"path", "server", []string{"https://app.example/x"}, false},
		{"query", "server", []string{"https://app.example?https://evil.example"}, false},
		{"fragment", "server", []string{"https://app.example#evil.example"}, false},
		{"userinfo", "server", []string{"https://app.example@evil.example"}, false},
		{"userinfo of one that is listed", "server", []string{"https://evil.example@app.example"}, false},
		{"backslash", "server", []string{`https://app.example\.evil.example`}, false},
		{"percent", "server", []string{"https://app%2eexample"}, false},
		{"no scheme", "server", []string{"app.example"}, false},
		{"scheme alone", "server", []string{"https://"}, false},
		{"two in one header", "server", []string{"https://app.example, https://evil.example"}, false},
		{"two in one header, spaced", "server", []string{"https://app.example https://evil.example"}, false},
		{"two headers", "server", []string{"https://app.example", "https://evil.example"}, false},
		{"two headers, the other way", "server", []string{"https://evil.example", "https://app.example"}, false},
		{"one header twice", "server", []string{"https://app.example", "https://app.example"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			withServer(t, o, func(srv *testServer) {
				errands := srv.browserRequests()
				before := srv.Auth().Stats()
				for _, e := range errands {
					res := srv.request(e, tt.host, tt.origins)
					cors := res.Header.Get("Access-Control-Allow-Origin")
					if tt.allowed {
						want := ""
						if len(tt.origins) > 0 {
							want = tt.origins[0]
						}
						if res.StatusCode != e.done || res.StatusCode != 101 && cors != want {
							t.Errorf("%s: %s, Access-Control-Allow-Origin %q", e.name, res.Status, cors)
						}
						continue
					}
					text, _ := io.ReadAll(res.Body)
					if res.StatusCode != http.StatusForbidden || !strings.Contains(string(text), `"ORIGIN_NOT_ALLOWED"`) || cors != "" ||
						res.Header.Get("Access-Control-Allow-Credentials") != "" || res.Header.Get("Vary") != "Origin" {
						t.Errorf("%s: %s %s %v", e.name, res.Status, text, res.Header)
					}
				}
				if s := srv.Auth().Stats(); !tt.allowed && (fmt.Sprint(s.Sockets) != fmt.Sprint(before.Sockets) || len(s.Logins) != 0) {
					t.Errorf("it had an effect: sockets %v, logins %v", s.Sockets, s.Logins)
				}
			})
		})
	}
}
