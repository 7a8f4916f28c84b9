package origin

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func policy(t *testing.T, log *strings.Builder, allowed ...string) *Policy {
	t.Helper()
	p, err := New(allowed, slog.New(slog.NewTextHandler(log, nil)))
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

func TestOriginsThatMayAndThatMayNot(t *testing.T) {
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
		{"api.example", "https://api.example", true}, // its own
		{"api.example", "http://api.example", true},
		{"api.example:8080", "http://api.example:8080", true},
		{"api.example:443", "https://api.example", true},
		{"[::1]:8080", "http://[::1]:8080", true},
		{"[::1]", "http://[::1]", true},

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
		{"api.example", "ftp://api.example", false}, // its host, but of no page that it serves
		{"localhost", "capacitor://localhost", false},
	} {
		if got := p.Allows(request(c.host, c.origin)); got != c.allowed {
			t.Errorf("origin %q at host %q: %v", c.origin, c.host, got)
		}
	}
	if !p.Allows(httptest.NewRequest(http.MethodGet, "/", nil)) {
		t.Error("a request of no browser was refused")
	}
	if p.Allows(request("api.example", "https://app.example", "https://app.example")) {
		t.Error("two origins at once were allowed")
	}
}

func TestOriginsThatAreNotExactAreFaults(t *testing.T) {
	for _, bad := range []string{"*", "https://*.example", "app.example", "null", "", "https://app.example/", "https://app.example/path", "https://u@app.example"} {
		if _, err := New([]string{bad}, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestRefusalsAreLoggedOnceAMinuteWithTheFix(t *testing.T) {
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

func FuzzParse(f *testing.F) {
	for _, s := range []string{"https://app.example", "http://[::1]:80", "null", "https://a@b", "https://a:b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		scheme, host, ok := parse(s)
		if ok && (scheme == "" || host == "" || strings.ContainsAny(host, "/@?#")) {
			t.Errorf("%q: %q, %q", s, scheme, host)
		}
	})
}

// FuzzAllows holds the policy against a comparison of whole strings.
func FuzzAllows(f *testing.F) {
	const listed = "https://app.example"
	p, err := New([]string{listed}, slog.New(slog.DiscardHandler))
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
		plain := func(s, port string) string { return strings.TrimSuffix(strings.ToLower(s), port) }
		switch got := strings.ToLower(origin); got {
		case listed, listed + ":443":
			return
		default:
			for scheme, port := range map[string]string{"http://": ":80", "https://": ":443"} {
				if rest, ok := strings.CutPrefix(got, scheme); ok && plain(rest, port) == plain(host, port) {
					return
				}
			}
		}
		t.Errorf("origin %q may at host %q", origin, host)
	})
}
