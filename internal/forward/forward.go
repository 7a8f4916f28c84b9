// Package forward hands the requests of a connection on to the process that has the connection, so
// that a load balancer may send each request to any process.
//
// The id of a connection begins with the name of its process (names.go). A process that is given a
// request with another's name hands it on, by httputil.ReverseProxy, to the address that the other
// one advertises (handoff.go). With it goes a header that says where the client is, and that only
// the processes of one app can make (header.go).
package forward

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/z-open/socketauth/internal/deadline"
	"github.com/z-open/socketauth/internal/logonce"
	"github.com/z-open/socketauth/internal/query"
)

// Config configures a Forwarder.
type Config struct {
	// Key is 32 bytes that the processes of the app share, and nobody else knows.
	Key []byte

	// Advertise is the URL at which other processes reach this one. If empty, none does.
	Advertise string

	// Peers returns the URLs that the processes of the app advertise. It is called for each request
	// that seems to be another's, and must not take them from requests.
	Peers func() []string

	// ClientIP returns the address of the client of a request that has not been handed on.
	ClientIP func(r *http.Request) string

	// MaxBody is how many bytes a body may have.
	MaxBody int64

	// MaxRequests is how many requests may be handed on at a time; negative if there is no limit.
	MaxRequests int

	// Counts are where the Forwarder counts. They may be shared with others.
	Counts *Counts

	// Limited is called for each request that MaxRequests refuses.
	Limited func()

	// RootCAs verify the certificates of processes whose URL is https. If nil, those of the system
	// do.
	RootCAs *x509.CertPool

	// Dial connects to other processes. If nil, it is that of a net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	Logger *slog.Logger
}

// Forwarder hands requests on, and receives those that were handed on. It is safe for concurrent
// use. A nil Forwarder is that of a process that is on its own.
type Forwarder struct {
	c         Config
	names     names
	name      string // of this process; "" if other processes do not reach it
	headerKey []byte
	transport *http.Transport
	buffers   sync.Pool // *[]byte

	unreachable, untimely logonce.Minute

	mu      sync.Mutex
	open    int // requests that are being handed on
	closing context.Context
	close   context.CancelFunc
	work    sync.WaitGroup // the requests that open counts
}

// Counts count requests.
type Counts struct {
	Sent     atomic.Uint64 // handed on to other processes
	Failed   atomic.Uint64 // of those, the ones that the other process did not answer
	Received atomic.Uint64 // that other processes have handed on to this one
	Forged   atomic.Uint64 // with a header that only such a request may have, and no valid one
}

// New returns a Forwarder.
func New(c Config) (*Forwarder, error) {
	headerKey, err := hkdf.Key(sha256.New, c.Key, nil, "socketauth forwarded requests v1", sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("deriving the key of forwarded requests: %w", err)
	}
	f := &Forwarder{c: c, headerKey: headerKey, transport: newTransport(c)}
	if f.names, err = newNames(c.Key); err != nil {
		return nil, err
	}
	if c.Advertise != "" {
		f.name = f.names.of(c.Advertise)
	}
	f.closing, f.close = context.WithCancel(context.Background())
	return f, nil
}

// Name returns what the ids of this process's connections must begin with. It is "" if other
// processes cannot reach this one.
func (f *Forwarder) Name() string {
	if f == nil {
		return ""
	}
	return f.name
}

// clientKey is the key of a context's value: the address of the client of a request that was handed
// on.
type clientKey struct{}

// ClientIP returns the address of the client, if another process has handed the request on and so
// knows it.
func ClientIP(ctx context.Context) (ip string, ok bool) {
	ip, ok = ctx.Value(clientKey{}).(string)
	return ip, ok
}

// Serve hands the request on if its connection is another process's, and reports whether it has
// done so. If not, this process must serve the request that Serve returns. A request that was
// handed on once, or says so, is not handed on again.
func (f *Forwarder) Serve(w http.ResponseWriter, r *http.Request) (own *http.Request, handedOn bool) {
	if f == nil {
		return r, false
	}
	if headers, found := take(r.Header); found {
		return f.receive(r, headers), false
	}
	to := f.target(r)
	if to == nil {
		return r, false
	}
	f.handOn(w, r, to)
	return nil, true
}

// receive returns the request with what the process that handed it on says of it.
func (f *Forwarder) receive(r *http.Request, headers []string) *http.Request {
	if f.name == "" || len(headers) != 1 {
		f.c.Counts.Forged.Add(1)
		return r
	}
	c, err := open(f.headerKey, bounds{f.name, r.Method, r.RequestURI}, time.Now(), headers[0])
	if err != nil {
		f.c.Counts.Forged.Add(1)
		if errors.Is(err, errTime) {
			f.logUntimely(r)
		}
		return r
	}
	f.c.Counts.Received.Add(1)
	r = r.WithContext(context.WithValue(r.Context(), clientKey{}, c.client))
	r.RemoteAddr = c.peer
	return r
}

// logUntimely logs once a minute that the clocks of processes differ.
func (f *Forwarder) logUntimely(r *http.Request) {
	if unsaid, now := f.untimely.Allow(); now {
		f.c.Logger.WarnContext(r.Context(), "socketauth: a request that another process has passed on has a time that is too far from this process's",
			slog.String("fix", "set the clocks of all processes; until then this one does not know the addresses of such clients"),
			slog.Int("more_since_last", unsaid))
	}
}

// target is a process that a request is handed on to.
type target struct {
	name string
	base *url.URL // what it advertises
	url  *url.URL // of the request
}

// target returns the process that has the connection of a request, or nil if that is this process
// or none that is known.
func (f *Forwarder) target(r *http.Request) *target {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return nil
	}
	name := nameOf(query.Value(r.URL.RawQuery, "sid"))
	if name == "" || name == f.name {
		return nil
	}
	address := f.names.find(name, f.c.Peers())
	if address == "" {
		return nil
	}
	base, err := url.Parse(address)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil
	}
	// Not r.URL: the app may have cut its path, and the other process will cut it again.
	u := r.URL
	if r.RequestURI != "" {
		if u, err = url.ParseRequestURI(r.RequestURI); err != nil || u.Opaque != "" {
			return nil
		}
	}
	return &target{name, base, &url.URL{
		Scheme: base.Scheme, Host: base.Host, Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery, ForceQuery: u.ForceQuery,
	}}
}

// begin counts a request that is to be handed on. refusal is nil if it may be.
func (f *Forwarder) begin() (refusal *refusal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closing.Err() != nil:
		return errShuttingDown
	case f.c.MaxRequests >= 0 && f.open >= f.c.MaxRequests:
		return errFull
	}
	f.open++
	f.work.Add(1)
	return nil
}

func (f *Forwarder) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.open--
	f.work.Done()
}

// Shutdown ends all requests that are being handed on, websockets among them, in such a way that
// clients reconnect, and refuses others. It returns when none is left, or with the error of ctx. It
// may be called again.
func (f *Forwarder) Shutdown(ctx context.Context) error {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	f.close()
	f.mu.Unlock()
	if err := deadline.Wait(ctx, &f.work); err != nil {
		return err
	}
	f.transport.CloseIdleConnections()
	return nil
}
