package origin

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func policy(t *testing.T, log *strings.Builder, allowed ...string) *Policy {
	t.Helper()
	p, err := New(allowed, nil, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func request(host string, origins ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Host = host
	r.Header["Origin"] = origins
	return r
}

func TestOrigins(t *testing.T) {
	// Guards which origins are allowed.
	var log strings.Builder
	p := policy(t, &log, "https://app.example", "http://localhost:5173", "https://[2001:db8::1]:8443", "https://UPPER.example")
	for _, c := range []struct {
		host, origin string
		allowed      bool
	}{
		{"api.example", "https://app.example", true},
		{"api.example", "https://app.example:443", true},
		{"api.example", "https://APP.example", true},
		{"api.example", "https://upper.example", true},
		{"api.example", "http://localhost:5173", true},
		{"api.example", "https://[2001:db8::1]:8443", true},
		{"api.example", "https://api.example", true}, // its own origin
		{"api.example", "http://api.example", true},
		{"api.example:8080", "http://api.example:8080", true},
		{"api.example:443", "https://api.example", true},
		{"[::1]:8080", "http://[::1]:8080", true},
		{"[::1]", "http://[::1]", true},
		{"[0:0::1]", "http://[::1]", true},
		{"API.example", "https://api.example", true},

		// Native clients send the URL of their websocket.
		{"api.example", "ws://api.example", true},
		{"api.example", "wss://api.example", true},
		{"api.example:8080", "ws://api.example:8080", true},
		{"api.example", "wss://api.example:443", true},
		{"api.example", "wss://app.example", true}, // listed, as https
		{"api.example", "ws://app.example", false},
		{"api.example", "wss://api.example:8443", false},
		{"api.example", "wss://evil.example", false},

		{"api.example", "null", false},
		{"api.example", "", false},
		{"api.example", "http://app.example", false}, // scheme
		{"api.example", "https://app.example:8443", false},
		{"api.example", "https://app.example.evil", false}, // suffix
		{"api.example", "https://evil-app.example", false}, // prefix
		{"api.example", "https://app.example.", false},     // trailing dot
		{"api.example", "https://app.example/", false},
		{"api.example", "https://app.example/x", false},
		{"api.example", "https://app.example?x", false},
		{"api.example", "https://user@app.example", false},
		{"api.example", "https://app.example@evil.example", false},
		{"api.example", "https://app.example:", false},
		{"api.example", "app.example", false},
		{"api.example", "//app.example", false},
		{"api.example", "https://", false},
		{"api.example", "*", false},
		{"api.example", "https://api.example:8080", false},
		{"api.example:8080", "http://api.example", false},
		{"api.example:8080", "http://api.example:80800", false},
		{"[::1]:8080", "http://[::1]:8081", false},
		{"[::1]:8080", "http://[::2]:8080", false},
		{"", "http://", false},
		{"api.example", "ftp://api.example", false}, // its host, but not a scheme of its pages
		{"api.example", "file://", false},
		{"api.example", "unsafe:null", false},
		{"localhost", "capacitor://localhost", false},
	} {
		if got := p.Allows(request(c.host, c.origin)); got != c.allowed {
			t.Errorf("origin %q at host %q: %v", c.origin, c.host, got)
		}
	}
	if !p.Allows(httptest.NewRequest(http.MethodGet, "/", nil)) {
		t.Error("a request without an Origin was refused")
	}
	if p.Allows(request("api.example", "https://app.example", "https://app.example")) {
		t.Error("two origins at once were allowed")
	}
}

func TestSpellings(t *testing.T) {
	// Guards that a listed origin is recognised in the form in which browsers send it.
	for listed, sent := range map[string]string{
		"HTTPS://App.Example:443":           "https://app.example",
		"http://app.example:80":             "http://app.example",
		"wss://app.example":                 "https://app.example",
		"ws://app.example:8080":             "http://app.example:8080",
		"https://[2001:DB8:0:0:0:0:0:1]":    "https://[2001:db8::1]",
		"https://[::FFFF:192.0.2.1]:8443":   "https://[::ffff:c000:201]:8443",
		"https://xn--bcher-kva.example":     "https://xn--bcher-kva.example",
		"http://my_container:3000":          "http://my_container:3000",
		"http://127.0.0.1:8080":             "http://127.0.0.1:8080",
		"https://app.example.":              "https://app.example.",
		"capacitor://localhost":             "capacitor://localhost",
		"app://.":                           "app://.", // Electron
		"chrome-extension://aBCdefghijklmn": "chrome-extension://abcdefghijklmn",
	} {
		p, err := New([]string{listed}, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Errorf("%q: %v", listed, err)
			continue
		}
		if !p.Allows(request("api.example", sent)) {
			t.Errorf("%q is listed, %q was refused", listed, sent)
		}
	}
}

func TestInvalidOrigins(t *testing.T) {
	// Guards that New returns an error, which says why, for an origin that no browser sends.
	for bad, why := range map[string]string{
		"*":                                   "exact origin",
		"https://*.example":                   "no wildcards",
		"app.example":                         "exact origin",
		"":                                    "exact origin",
		"https://":                            "exact origin",
		"https://app.example/":                "nothing after",
		"https://app.example/path":            "nothing after",
		"https://app.example?x":               "nothing after",
		"https://u@app.example":               "nothing after",
		" https://app.example":                "exact origin",
		"https://app.example ":                "no browser",
		"https://a.example,https://b":         "no browser",
		"https://a.example https://b":         "no browser",
		"https://app%2eexample":               "no browser",
		"https://b\u00fccher.example":         "xn--",
		"https://\uff41pp.example":            "xn--",
		"https://app.example:":                "port",
		"https://app.example:0443":            "port",
		"https://app.example:99999":           "port",
		"https://app.example:0":               "port",
		"https://app.example:https":           "port",
		"https://app.example:80:80":           "port",
		"http://127.1":                        "no browser",
		"http://2130706433":                   "no browser",
		"http://0x7f.1":                       "no browser",
		"http://127.0.0.01":                   "no browser",
		"http://127.0.0.1.":                   "no browser",
		"http://256.1.1.1":                    "no browser",
		"https://2001:db8::1":                 "no browser",
		"https://[2001:db8::1":                "no browser",
		"https://[192.0.2.1]":                 "no browser",
		"https://[fe80::1%25eth0]":            "no browser",
		"https://[fe80::1%eth0]":              "no browser",
		"https://[::1]x":                      "nothing after",
		"1http://app.example":                 "exact origin",
		"https//app.example":                  "exact origin",
		"null":                                `"unsafe:null"`,
		"file://":                             `"unsafe:file://"`,
		"unsafe:https://app.example":          "exact origin",
		"unsafe:":                             "exact origin",
		"https://" + strings.Repeat("a", 300): "longer",
		"http://localhost:5173/":              "remove what follows the port",
		"http://localhost:5173/app":           "remove what follows the port",
		"http://localhost:5173?x":             "remove what follows the port",
		"http://[::1]:5173/":                  "remove what follows the port",
		"https://u:p@app.example":             "nothing after",
		"https://u:p@app.example/":            "nothing after",
	} {
		_, err := New([]string{"https://app.example", bad}, nil, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), why) || !strings.HasPrefix(err.Error(), "option AllowedOrigins: ") {
			t.Errorf("%q: %v, want %s", bad, err, why)
		}
	}
}

func TestOpaqueOrigins(t *testing.T) {
	// Guards that "null" and "file://" are allowed only if they are listed, and that their pages
	// may not use cookies.
	for listed, sent := range map[string]string{"unsafe:null": "null", "unsafe:file://": "file://"} {
		p := policy(t, new(strings.Builder), listed, "https://app.example")
		h := p.Guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) })
		for origin, want := range map[string]struct {
			status             int
			origin, credential string
		}{
			sent:                  {200, sent, ""},
			"https://app.example": {200, "https://app.example", "true"},
			"null, null":          {403, "", ""},
			"NULL":                {403, "", ""},
			map[string]string{"null": "file://", "file://": "null"}[sent]: {403, "", ""},
		} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, request("api.example", origin))
			if got := w.Header(); w.Code != want.status || got.Get("Access-Control-Allow-Origin") != want.origin || got.Get("Access-Control-Allow-Credentials") != want.credential {
				t.Errorf("%q is listed, %q: %d %v", listed, origin, w.Code, got)
			}
		}
	}
}

func TestHosts(t *testing.T) {
	// Guards that a page whose name was made to point to the server (DNS rebinding) is refused if
	// the app has listed its names. To the browser the server is the page's own origin, so Origin
	// equals Host or is missing.
	p, err := New([]string{"https://front.example"}, []string{"App.example", "localhost:8080", "[2001:DB8::1]", "secure.example:443"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		host, origin string
		allowed      bool
	}{
		{"app.example", "https://app.example", true},
		{"APP.example:8443", "https://app.example:8443", true}, // any port, since none is listed
		{"app.example", "https://front.example", true},
		{"app.example", "", true},
		{"localhost:8080", "http://localhost:8080", true},
		{"[2001:db8:0::1]:9000", "http://[2001:db8::1]:9000", true},
		{"secure.example", "https://secure.example", true}, // its port is not sent
		{"secure.example:443", "", true},

		{"evil.example", "http://evil.example", false},
		{"evil.example", "", false},
		{"evil.example", "https://front.example", false},
		{"app.example", "https://evil.example", false},
		{"app.example.", "https://app.example.", false},
		{"app.example.evil.example", "", false},
		{"localhost", "http://localhost", false},
		{"localhost:8081", "", false},
		{"secure.example:8443", "", false},
		{"127.0.0.1:8080", "", false},
		{"app.example:x", "", false},
		{"", "", false},
	} {
		r := request(c.host, c.origin)
		if c.origin == "" {
			r.Header.Del("Origin")
		}
		if got := p.Allows(r); got != c.allowed {
			t.Errorf("origin %q at host %q: %v", c.origin, c.host, got)
		}
	}
}

func TestInvalidHosts(t *testing.T) {
	// Guards that New returns an error, which says why and asks for no scheme, for a host that no
	// browser sends.
	const alone = "write the name alone, without scheme or path"
	for bad, why := range map[string]string{
		"":                       "the name is missing",
		":8080":                  "the name is missing",
		"https://app.example":    alone,
		"http://localhost:8080":  alone,
		"app.example/":           alone,
		"app.example/path":       alone,
		"app.example:8080/":      alone,
		"u@app.example":          alone,
		"[::1]x":                 alone,
		"*.app.example":          "no wildcards",
		"app.example:":           "the port is not",
		"app.example:0":          "the port is not",
		"a.example, b.example":   "no browser",
		"b\u00fccher.example":    "xn--",
		"[::1":                   "no browser",
		"::1":                    "in brackets",
		"127.1":                  "no browser",
		strings.Repeat("a", 300): "longer",
	} {
		_, err := New(nil, []string{bad}, slog.New(slog.DiscardHandler))
		if err == nil || !strings.HasPrefix(err.Error(), "option Hosts: ") || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %s", bad, err, why)
		}
	}
}

func TestOtherSitesWithoutOrigin(t *testing.T) {
	// Guards that a GET without Origin is refused if an <img>, a <script> or a link of another site
	// makes it, and allowed for native clients and for pages of the same origin.
	p := policy(t, new(strings.Builder), "https://front.example")
	for site, want := range map[string]bool{"": true, "same-origin": true, "none": true, "cross-site": false, "same-site": false} {
		r := request("api.example")
		if site != "" {
			r.Header.Set("Sec-Fetch-Site", site)
		}
		if got := p.Allows(r); got != want {
			t.Errorf("%q without an Origin: %v", site, got)
		}
		r.Header.Set("Origin", "https://front.example")
		if !p.Allows(r) {
			t.Errorf("%q of an allowed origin was refused", site)
		}
	}
}

func TestRefusalLog(t *testing.T) {
	// Guards that the log says which option to set, and that a flood of one kind does not hide
	// another.
	var log strings.Builder
	p, err := New(nil, []string{"api.example"}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	h := p.Guard(http.NotFoundHandler(), func(http.ResponseWriter, *http.Request) {})
	embedded := request("api.example")
	embedded.Header.Set("Sec-Fetch-Site", "cross-site")
	for _, r := range []*http.Request{request("api.example", "https://evil.example"), embedded, request("evil.example")} {
		for range 3 {
			h.ServeHTTP(httptest.NewRecorder(), r)
		}
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 3 {
		t.Fatalf("log:\n%s", log.String())
	}
	for i, part := range []string{"Options.AllowedOrigins", "pass on the Origin header", "Options.Hosts"} {
		if !strings.Contains(lines[i], part) {
			t.Errorf("%q is not in %s", part, lines[i])
		}
	}
}

func TestRefusalLogRate(t *testing.T) {
	// Guards that refusals are logged once a minute, with what fixes them, in short lines.
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		p := policy(t, &log)
		passed, refused := 0, 0
		h := p.Guard(
			http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed++ }),
			func(http.ResponseWriter, *http.Request) { refused++ },
		)
		serve := func(origin string) {
			h.ServeHTTP(httptest.NewRecorder(), request("api.example", origin))
		}
		for range 5 {
			serve("https://evil.example")
		}
		serve("https://api.example")
		time.Sleep(time.Minute)
		serve("https://" + strings.Repeat("x", 5000) + ".example")
		if passed != 1 || refused != 6 {
			t.Errorf("%d passed, %d refused", passed, refused)
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 2 || !strings.Contains(lines[1], "more_since_last=4") {
			t.Fatalf("log:\n%s", log.String())
		}
		for _, part := range []string{"https://evil.example", "host=api.example", "AllowedOrigins"} {
			if !strings.Contains(lines[0], part) {
				t.Errorf("%q is not in %s", part, lines[0])
			}
		}
		if len(lines[1]) > 1000 {
			t.Errorf("a line of %d bytes", len(lines[1]))
		}
	})
}

func TestRefusalLogNames(t *testing.T) {
	// Guards that each pair of origin and host is logged when it is refused for the first time,
	// since each may need another fix, and that a flood of them does not fill the log or memory.
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		p := policy(t, &log)
		h := p.Guard(http.NotFoundHandler(), func(http.ResponseWriter, *http.Request) {})
		serve := func(host, origin string) {
			h.ServeHTTP(httptest.NewRecorder(), request(host, origin))
		}
		lines := func() int { return strings.Count(log.String(), "\n") }
		for range 3 {
			serve("api.example", "http://localhost:5173")
			serve("api.example", "https://app.example")
			serve("10.0.0.1:8080", "https://app.example")
		}
		for _, part := range []string{
			"origin=http://localhost:5173 host=api.example", "origin=https://app.example host=api.example",
			"origin=https://app.example host=10.0.0.1:8080",
		} {
			if strings.Count(log.String(), part) != 1 {
				t.Errorf("%q is not logged once in\n%s", part, log.String())
			}
		}
		for i := range 1000 {
			serve("api.example", fmt.Sprintf("https://%d.example", i))
		}
		if lines() != maxPairs || len(p.logged) != maxPairs {
			t.Errorf("%d lines and %d pairs, want %d", lines(), len(p.logged), maxPairs)
		}
		time.Sleep(forgetAfter)
		serve("api.example", "https://new.example")
		serve("api.example", "https://newer.example")
		if lines() != maxPairs+2 || len(p.logged) != 2 {
			t.Errorf("an hour later: %d lines and %d pairs", lines(), len(p.logged))
		}
		if !strings.Contains(log.String(), "more_since_last=939 ") {
			t.Error("the refusals that were not logged are not counted")
		}
	})
}

// FuzzParse checks that a parsed origin can be written and parsed again.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"https://app.example", "http://[::1]:80", "null", "https://a@b", "https://a:b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parse(s)
		if err != nil {
			return
		}
		if got.scheme == "" || got.host == "" || strings.ContainsAny(got.host+got.port, "/@?#[], ") {
			t.Errorf("%q: %q", s, got)
		}
		host := got.host
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		if got.port != "" {
			host += ":" + got.port
		}
		if again, err := parse(got.scheme + "://" + host); err != nil || again != got {
			t.Errorf("%q: %q, and that is %q, %v", s, got, again, err)
		}
	})
}

// FuzzAllows compares the policy with a comparison of strings.
func FuzzAllows(f *testing.F) {
	const listed = "https://app.example"
	p, err := New([]string{listed}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	for _, origin := range []string{
		listed, listed + ":443", "null", "", "*", "https://app.example.evil", "https://evilapp.example", "http://app.example", "https://APP.example", "https://app.example.",
		"https://a@app.example", "https://app.example@evil", "http://server", "http://server:8080", "ws://server", "http://[::1]", "https://app.example, null",
	} {
		f.Add("server", origin)
		f.Add("[::1]:80", origin)
	}
	f.Fuzz(func(t *testing.T, host, origin string) {
		if !p.Allows(request(host, origin)) {
			return
		}
		plain := func(s, port string) string {
			s = strings.TrimSuffix(strings.ToLower(s), port)
			if inside, ok := strings.CutPrefix(s, "["); ok { // IPv6 addresses have many spellings
				if inside, after, ok := strings.Cut(inside, "]"); ok {
					if address, err := netip.ParseAddr(inside); err == nil {
						return address.String() + " " + after
					}
				}
			}
			return s
		}
		switch got := strings.ToLower(origin); got {
		case listed, listed + ":443", "wss://app.example", "wss://app.example:443":
			return
		default:
			for scheme, port := range map[string]string{"http://": ":80", "https://": ":443", "ws://": ":80", "wss://": ":443"} {
				if rest, ok := strings.CutPrefix(got, scheme); ok && plain(rest, port) == plain(host, port) {
					return
				}
			}
		}
		t.Errorf("origin %q is allowed at host %q", origin, host)
	})
}
