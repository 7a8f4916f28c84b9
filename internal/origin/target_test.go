package origin

import (
	"bufio"
	"net/http"
	"strings"
	"testing"
)

// TestIsTarget guards which URLs name the target of a request: host and path as origins and RFC
// 3986 compare them, and neither the scheme nor the query.
func TestIsTarget(t *testing.T) {
	for _, c := range []struct {
		host, path, target string
		want               bool
	}{
		{"app.example", "/token", "https://app.example/token", true},
		{"app.example", "/token", "http://app.example/token", true}, // a proxy may terminate TLS
		{"app.example", "/token", "https://app.example:443/token", true},
		{"app.example:443", "/token", "https://app.example/token", true},
		{"app.example:80", "/token", "http://app.example/token", true},
		{"app.example", "/token", "https://APP.example/token", true},
		{"App.Example", "/token", "HTTPS://app.example/token", true},
		{"app.example:8443", "/token", "https://app.example:8443/token", true},
		{"[::1]:8080", "/token", "http://[0::1]:8080/token", true},
		{"app.example", "/token?a=b", "https://app.example/token", true},
		{"app.example", "/token?a=b", "https://app.example/token?c=d#e", true},
		{"app.example", "/", "https://app.example", true},
		{"app.example", "/?a", "https://app.example?b", true},
		{"app.example", "/%7euser/%c3%a9", "https://app.example/~user/%C3%A9", true},
		{"app.example", "/a%2fb", "https://app.example/a%2Fb", true},
		{"app.example", "http://app.example/token", "https://app.example/token", true}, // absolute form
		{"app.example", "//token", "https://app.example//token", true},
		{"app.example", "/a:b@c;d=e,f'(*)!$&+g", "https://app.example/a:b@c;d=e,f'(*)!$&+g", true},

		{"app.example", "/token", "https://app.example/token/", false},
		{"app.example", "/token", "https://app.example/Token", false},
		{"app.example", "/token", "https://app.example/other", false},
		{"app.example", "/token", "https://app.example/x/../token", false},
		{"app.example", "/token", "https://app.example/token%00", false},
		{"app.example", "/a/b", "https://app.example/a%2Fb", false},
		{"app.example", "/a%2Fb", "https://app.example/a/b", false},
		{"app.example", "/a%252Fb", "https://app.example/a%2Fb", false},
		{"app.example", "/token", "https://other.example/token", false},
		{"app.example", "/token", "https://app.example.other/token", false},
		{"app.example", "/token", "https://app.example:8443/token", false},
		{"app.example:8443", "/token", "https://app.example/token", false},
		{"app.example:80", "/token", "https://app.example/token", false},
		{"app.example", "/token", "https://app.example@other.example/token", false},
		{"app.example", "/token", "https://user@app.example/token", false},
		{"app.example", "/token", "ftp://app.example/token", false},
		{"app.example", "/token", "javascript:app.example/token", false},
		{"app.example", "/token", "https:app.example/token", false},
		{"app.example", "/token", "//app.example/token", false},
		{"app.example", "/token", "app.example/token", false},
		{"app.example", "/token", "/token", false},
		{"app.example", "/token", "", false},
		{"app.example", "/token", "https://app.example/token\n", false},
		{"app.example", "/token", "https://*/token", false},
		{"", "/token", "https:///token", false},
	} {
		text := "GET " + c.path + " HTTP/1.1\r\nHost: " + c.host + "\r\n\r\n"
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			t.Fatal(err)
		}
		if got := IsTarget(c.target, r); got != c.want {
			t.Errorf("%s %s: %q: %v", c.host, c.path, c.target, got)
		}
		// As http.StripPrefix does.
		r.URL.Path, r.URL.RawPath = "/stripped", ""
		if got := IsTarget(c.target, r); got != c.want {
			t.Errorf("%s %s: %q: %v, behind a router that changes the path", c.host, c.path, c.target, got)
		}
	}
	// A request that no server has read.
	r, err := http.NewRequest(http.MethodGet, "https://app.example/a%2Fb?c", nil)
	if err != nil {
		t.Fatal(err)
	}
	if !IsTarget("https://app.example/a%2Fb", r) || IsTarget("https://app.example/a/b", r) {
		t.Error("the path of a request without a request line is not compared")
	}
}
