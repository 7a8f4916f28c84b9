package origin

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"
)

// IsTarget reports whether a URL names what a request asks for, as the claim "htu" of a DPoP proof
// has it (RFC 9449 section 4.3): the same path on the same host. Hosts are compared as those of
// origins are. The scheme is not compared, since a proxy may terminate TLS, and neither are query
// and fragment. The path of the request is the one that it came with, whatever a router has made of
// it since.
func IsTarget(target string, r *http.Request) bool {
	u, err := url.Parse(target)
	if err != nil || u.User != nil {
		return false
	}
	port, served := defaultPorts[u.Scheme]
	if !served {
		return false
	}
	wantHost, wantPort, err := splitHost(u.Host)
	if err != nil {
		return false
	}
	host, hostPort, err := splitHost(r.Host)
	if err != nil || host != wantHost || cmp.Or(hostPort, port) != cmp.Or(wantPort, port) {
		return false
	}
	path, ok := pathOf(r)
	return ok && normalPath(path) == normalPath(u.EscapedPath())
}

// pathOf returns the path that a request came with, escaped.
func pathOf(r *http.Request) (path string, ok bool) {
	if r.RequestURI == "" { // not of a server
		return r.URL.EscapedPath(), true
	}
	u, err := url.ParseRequestURI(r.RequestURI)
	if err != nil {
		return "", false
	}
	return u.EscapedPath(), true
}

// normalPath returns an escaped path as all paths are written that mean the same (RFC 3986 section
// 6.2.2): what need not be escaped is not, and the digits of what is are capitals. An empty path is
// "/".
func normalPath(path string) string {
	if path == "" {
		return "/"
	}
	if !strings.Contains(path, "%") {
		return path
	}
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] != '%' || i+2 >= len(path) {
			b.WriteByte(path[i])
			continue
		}
		escape := path[i : i+3]
		i += 2
		if c, err := url.PathUnescape(escape); err == nil && isUnreserved(c[0]) {
			b.WriteString(c)
		} else {
			b.WriteString(strings.ToUpper(escape))
		}
	}
	return b.String()
}

// isUnreserved reports whether a character never needs to be escaped (RFC 3986 section 2.3).
func isUnreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}
