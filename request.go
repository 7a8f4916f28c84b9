package socketauth

import (
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/z-open/socketauth/internal/throttle"
)

// Request is what a socket's first HTTP request said.
type Request struct {
	RemoteAddr string // host and port of the peer, which may be a proxy
	ClientIP   string // by Options.ClientIP
	Host       string
	Origin     string
	UserAgent  string
	Header     http.Header // those of Accept-Language, Forwarded, Traceparent, X-Forwarded-For, X-Forwarded-Proto, X-Request-Id that were sent; at most 4 values of 1 KiB each
}

// versionOf is the version of Engine.IO that a request names.
func versionOf(r *http.Request) string {
	query := r.URL.Query()
	if query.Has("EIO") {
		return query.Get("EIO")
	}
	return "3"
}

// What is kept of one request header: strangers send them.
const (
	maxHeaderValues = 4
	maxHeaderLength = 1 << 10
)

// describe takes from a request what outlives it.
func (c *config) describe(r *http.Request) any {
	d := Request{RemoteAddr: r.RemoteAddr, ClientIP: c.address(r), Host: cut(r.Host), Origin: cut(r.Header.Get("Origin")), UserAgent: cut(r.UserAgent())}
	for _, name := range []string{"Accept-Language", "Forwarded", "Traceparent", "X-Forwarded-For", "X-Forwarded-Proto", "X-Request-Id"} {
		for n, value := range r.Header.Values(name) {
			if n == maxHeaderValues {
				break
			}
			if d.Header == nil {
				d.Header = make(http.Header)
			}
			d.Header[name] = append(d.Header[name], cut(value))
		}
	}
	return &visit{request: d, opened: time.Now(), engine: versionOf(r), network: c.network(r, d.ClientIP)}
}

// cut is a copy of a header's value, without what is too long; the original would keep the whole request in memory.
func cut(s string) string { return strings.Clone(s[:min(len(s), maxHeaderLength)]) }

// address is the client's, or the peer's where the app's ClientIP fails, knows none, or gives what is no address.
func (c *config) address(r *http.Request) string {
	peer := remoteIP(r)
	if c.proxied {
		return peer
	}
	given := ""
	_ = c.contain("ClientIP", func() error { given = c.clientIP(r); return nil })
	if given == "" {
		return peer
	}
	last := given[strings.LastIndexByte(given, ',')+1:] // of a list: the part that the nearest proxy has added
	ip, err := throttle.Parse(cut(last))
	if err != nil || last != given {
		c.warnClientIP(given, err)
	}
	if err != nil {
		return peer
	}
	return ip.Unmap().String()
}

func remoteIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// network is where a client comes from as far as limits for one address go: "" where they do not apply, since without
// ClientIP all who come by a proxy on the same machine or network would share one.
func (c *config) network(r *http.Request, address string) string {
	if !c.proxied || !mayBeProxy(remoteIP(r)) {
		return throttle.Network(address)
	}
	if r.Header.Get("X-Forwarded-For") != "" {
		c.forwarded.Do(func() {
			c.log.Warn("socketauth: clients come by a proxy, so limits for each address are off, and strangers can hold up logins to an account from browsers that it was not logged in from before",
				slog.String("fix", "set Options.ClientIP to a function that reads the header which your proxy sets, and clients cannot"), slog.String("proxy", cut(remoteIP(r))))
		})
	}
	return ""
}

// warnClientIP says once a minute that ClientIP gave something else than one address.
func (c *config) warnClientIP(given string, err error) {
	unsaid, now := c.badClientIP.Say()
	if !now {
		return
	}
	msg, fix := "socketauth: Options.ClientIP gave a list, of which the last address is counted", "return one address: the one that your own proxy has added to the list"
	if err != nil {
		msg, fix = "socketauth: Options.ClientIP gave no IP address, so that of the peer is counted, which may be the proxy of all", "return one IP address, such as 192.0.2.1, from a header that your proxy sets"
	}
	c.log.Warn(msg, slog.String("fix", fix), slog.String("got", cut(given)), slog.Int("more_since_last", unsaid))
}
