package socketauth

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/z-open/socketauth/internal/admission"
	"github.com/z-open/socketauth/internal/forward"
	"github.com/z-open/socketauth/internal/logonce"
	"github.com/z-open/socketauth/internal/query"
	"github.com/z-open/socketauth/internal/throttle"
)

// Request describes the first HTTP request of a socket. Each of its texts is cut to 1 KiB.
type Request struct {
	RemoteAddr string // host and port of the peer, which may be a proxy
	ClientIP   string // by Options.ClientIP
	Host       string
	Origin     string
	UserAgent  string

	// Header has Accept-Language, Forwarded, Traceparent, X-Forwarded-For, X-Forwarded-Proto and
	// X-Request-Id, at most 4 values of each. It is nil if none of them was sent.
	Header http.Header
}

// keptHeaders are the headers that a Request has.
var keptHeaders = [...]string{"Accept-Language", "Forwarded", "Traceparent", "X-Forwarded-For", "X-Forwarded-Proto", "X-Request-Id"}

// How much is kept of headers, which clients that have not authenticated send.
const (
	maxHeaderValues = 4
	maxHeaderLength = 1 << 10
)

// truncate returns a copy of a header's value without what is too long. The value itself would keep
// the whole request in memory.
func truncate(s string) string { return strings.Clone(s[:min(len(s), maxHeaderLength)]) }

// versionOf returns the version of Engine.IO that a request names.
func versionOf(r *http.Request) string {
	version, ok := query.Get(r.URL.RawQuery, "EIO")
	switch {
	case !ok || version == "3":
		return "3"
	case version == "4":
		return "4" // and not version, which would keep the whole URL in memory
	}
	return version
}

// locator finds out where clients are.
type locator struct {
	*recorder
	clientIP func(r *http.Request) string // Options.ClientIP, or nil

	proxied sync.Once      // logs that clients come by way of a proxy
	invalid logonce.Minute // limits how often a bad result of clientIP is logged
}

// described is what is kept of a request. It takes less memory than a Request: there is one for
// each connection, and many of them have the same texts.
type described struct {
	remoteAddr, clientIP    string
	host, origin, userAgent shared
	headers                 []headerValue // nil if there are none
}

// shared is a text of which all that are equal are kept in memory once. The zero value is empty.
type shared struct{ handle unique.Handle[string] }

// share returns a header's value without what is too long.
func share(s string) shared {
	if s == "" {
		return shared{}
	}
	return shared{unique.Make(s[:min(len(s), maxHeaderLength)])} // which copies s if it is new
}

func (s shared) text() string {
	if s == (shared{}) {
		return ""
	}
	return s.handle.Value()
}

// headerValue is one value of one of the keptHeaders.
type headerValue struct {
	index int8
	value string
}

// describe returns what is kept of a request.
func (l *locator) describe(r *http.Request) described {
	d := described{
		remoteAddr: r.RemoteAddr, clientIP: l.address(r), host: share(r.Host),
		origin: share(r.Header.Get("Origin")), userAgent: share(r.UserAgent()),
	}
	for n, name := range keptHeaders {
		values := r.Header[name]
		for _, value := range values[:min(len(values), maxHeaderValues)] {
			d.headers = append(d.headers, headerValue{int8(n), truncate(value)})
		}
	}
	return d
}

// request returns the Request for the app.
func (d *described) request() Request {
	r := Request{
		RemoteAddr: d.remoteAddr, ClientIP: d.clientIP,
		Host: d.host.text(), Origin: d.origin.text(), UserAgent: d.userAgent.text(),
	}
	for _, h := range d.headers {
		if r.Header == nil {
			r.Header = make(http.Header)
		}
		r.Header[keptHeaders[h.index]] = append(r.Header[keptHeaders[h.index]], h.value)
	}
	return r
}

// address returns the client's address. It is the peer's if Options.ClientIP fails, knows none, or
// returns what is not an address.
func (l *locator) address(r *http.Request) string {
	if ip, known := forward.ClientIP(r.Context()); known {
		return ip // as the process says to which the request came first
	}
	peer := remoteIP(r)
	if l.clientIP == nil {
		return peer
	}
	given := ""
	_ = l.contain("ClientIP", func() error { given = l.clientIP(r); return nil })
	if given == "" {
		return peer
	}
	last := given[strings.LastIndexByte(given, ',')+1:] // the nearest proxy has added the last address of a list
	ip, err := throttle.Parse(truncate(last))
	if err != nil || last != given {
		l.logInvalid(given, err)
	}
	if err != nil {
		return peer
	}
	return ip.Unmap().String()
}

// logInvalid logs once a minute that Options.ClientIP did not return one address.
func (l *locator) logInvalid(given string, err error) {
	unsaid, now := l.invalid.Allow()
	if !now {
		return
	}
	msg := "socketauth: Options.ClientIP returned a list; its last address is used"
	fix := "return one address: the one that your own proxy has added to the list"
	if err != nil {
		msg = "socketauth: Options.ClientIP returned no IP address; that of the peer is used, which may be a proxy that all clients share"
		fix = "return one IP address, such as 192.0.2.1, from a header that your proxy sets"
	}
	l.log.Warn(msg, slog.String("fix", fix), slog.String("got", truncate(given)), slog.Int("more_since_last", unsaid))
}

// network returns the network whose limits apply to a client with the given address. It is "" if
// none do: without Options.ClientIP, all clients behind a proxy would share one address.
func (l *locator) network(r *http.Request, address string) string {
	if l.clientIP != nil || !mayBeProxy(remoteIP(r)) {
		return throttle.Network(address)
	}
	if r.Header.Get("X-Forwarded-For") != "" {
		l.proxied.Do(func() {
			l.log.Warn("socketauth: clients come by way of a proxy, so limits for one address do not apply, and someone who guesses passwords can delay the owner of an account in a new browser",
				slog.String("fix", "set Options.ClientIP to a function that reads the header which your proxy sets and clients cannot set"),
				slog.String("proxy", truncate(remoteIP(r))))
		})
	}
	return ""
}

// remoteIP returns the address of the peer.
func remoteIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// sharedAddresses are used between a provider and its customers and within clouds (RFC 6598).
var sharedAddresses = netip.MustParsePrefix("100.64.0.0/10")

// mayBeProxy reports whether a proxy of the app's may have the address: one on this machine or in
// its network. A peer without an IP address (a unix socket has "@" or a path) is on this machine.
func mayBeProxy(peer string) bool {
	ip, err := netip.ParseAddr(peer)
	ip = ip.Unmap()
	return err != nil || ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast() || sharedAddresses.Contains(ip)
}

// connection is one connection of the transport, on which a client may join, leave and join again.
type connection struct {
	admission.Member
	request described
	opened  time.Time                   // when the first request came
	joined  atomic.Bool                 // a client has joined and has not authenticated since
	evict   atomic.Pointer[func() bool] // evicts the socket of the client that joined last, and reports whether that is closed
}
