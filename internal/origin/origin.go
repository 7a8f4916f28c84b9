// Package origin decides which browser origins may talk to the server, and answers CORS for them.
package origin

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rs/cors"

	"github.com/z-open/socketauth/internal/logonce"
)

// Policy allows requests of the server's own origin, of the listed origins, and of clients that are
// not browsers. It is safe for concurrent use.
type Policy struct {
	allowed map[tuple]bool
	opaque  map[string]bool // "null" and "file://", if they are listed
	hosts   map[hostPort]bool
	log     *slog.Logger

	cors       *cors.Cors
	opaqueCORS *cors.Cors

	refusals [verdicts]logonce.Minute

	mu     sync.Mutex
	logged map[pair]bool // refused pairs that were logged, at most maxPairs
	since  time.Time     // when the first of them was logged
}

// pair is what was refused and what it was refused for.
type pair struct {
	verdict      verdict
	origin, host string
}

// Each pair is logged at once when it is refused for the first time, since each may need a fix of
// its own: at most maxPairs of them in forgetAfter, because clients choose them.
const (
	maxPairs    = 64
	forgetAfter = time.Hour
)

// hostPort is one of the server's names. An empty port stands for any.
type hostPort struct{ host, port string }

// unsafePrefix marks, in the list of allowed origins, those that many sites share.
const unsafePrefix = "unsafe:"

// New returns a policy. Each of allowed is an exact origin, such as "https://app.example:8443", or
// "unsafe:null" or "unsafe:file://". Each of hosts is a name of the server, with or without a port.
// If there are none, every Host is accepted.
func New(allowed, hosts []string, log *slog.Logger) (*Policy, error) {
	p := &Policy{
		allowed:    make(map[tuple]bool, len(allowed)),
		opaque:     make(map[string]bool),
		hosts:      make(map[hostPort]bool, len(hosts)),
		log:        log,
		cors:       newCORS(true),
		opaqueCORS: newCORS(false),
	}
	var faults []error
	for _, a := range allowed {
		if err := p.allow(a); err != nil {
			faults = append(faults, fmt.Errorf("option AllowedOrigins: %w", err))
		}
	}
	for _, h := range hosts {
		name, err := parseName(h)
		if err != nil {
			faults = append(faults, fmt.Errorf("option Hosts: %q is not a name such as app.example or localhost:8080: %w", h, err))
		}
		p.hosts[name] = true
	}
	return p, errors.Join(faults...)
}

func (p *Policy) allow(origin string) error {
	switch unsafe, marked := strings.CutPrefix(origin, unsafePrefix); {
	case isOpaque(unsafe) && marked:
		p.opaque[unsafe] = true
		return nil
	case isOpaque(origin):
		return fmt.Errorf("%q is the origin of any site's pages in a sandbox or of any local file: write %q if all of them may connect",
			origin, unsafePrefix+origin)
	}
	t, err := parse(origin)
	if err != nil {
		return fmt.Errorf("%q is not an exact origin such as https://app.example or http://localhost:8080: %w", origin, err)
	}
	p.allowed[t] = true
	return nil
}

func isOpaque(origin string) bool { return origin == "null" || origin == "file://" }

func newCORS(credentials bool) *cors.Cors {
	return cors.New(cors.Options{
		// Guard has checked the origin.
		AllowOriginVaryRequestFunc: func(*http.Request, string) (bool, []string) { return true, nil },
		AllowedMethods:             []string{http.MethodGet, http.MethodPost, http.MethodDelete},
		AllowedHeaders:             []string{"*"},
		ExposedHeaders:             []string{"Retry-After", "WWW-Authenticate", "DPoP-Nonce"},
		// Sticky load balancers need credentials, which are safe with exact origins alone.
		AllowCredentials: credentials,
		MaxAge:           600,
	})
}

// Guard returns a handler that answers preflights, adds CORS headers for allowed origins, and
// passes all other requests to refuse.
func (p *Policy) Guard(next http.Handler, refuse http.HandlerFunc) http.Handler {
	exact, opaque := p.cors.Handler(next), p.opaqueCORS.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch v := p.judge(r); v {
		case allowed:
			if len(r.Header["Origin"]) == 0 && r.Method != http.MethodOptions {
				w.Header().Add("Vary", "Origin") // cors would do no more
				next.ServeHTTP(w, r)
				return
			}
			exact.ServeHTTP(w, r)
		case allowedOpaque:
			opaque.ServeHTTP(w, r)
		default:
			w.Header().Add("Vary", "Origin") // cors adds it to the other answers
			p.logRefusal(r, v)
			refuse(w, r)
		}
	})
}

// Allows reports whether a request is allowed.
func (p *Policy) Allows(r *http.Request) bool { return p.judge(r) <= allowedOpaque }

// verdict is the decision on a request: that it is allowed, or why not.
type verdict int

const (
	allowed       verdict = iota
	allowedOpaque         // of an origin that many sites share
	otherHost             // it asks for a name that is not the server's own
	otherOrigin
	otherSite     // it has no Origin, and the browser says that another origin's page sent it
	verdicts  int = iota
)

func (p *Policy) judge(r *http.Request) verdict {
	if !p.IsOwn(r.Host) {
		return otherHost
	}
	values := r.Header["Origin"]
	if len(values) == 0 {
		// The request of a native client, or a GET of the same origin. Pages of other origins send
		// one by <img>, <script> or a link.
		switch r.Header.Get("Sec-Fetch-Site") {
		case "cross-site", "same-site":
			return otherSite
		}
		return allowed
	}
	if len(values) > 1 {
		return otherOrigin
	}
	if p.opaque[values[0]] {
		return allowedOpaque
	}
	origin, err := parse(values[0])
	if err != nil {
		return otherOrigin
	}
	if p.allowed[origin] {
		return allowed
	}
	standard, served := defaultPorts[origin.scheme]
	host, port, err := splitHost(r.Host)
	if port == "" {
		port = standard
	}
	if !served || err != nil || origin.host != host || origin.port != port {
		return otherOrigin
	}
	return allowed
}

// IsOwn reports whether a Host header names the server. Without a port it stands for both 80 and
// 443, since a proxy may terminate TLS.
func (p *Policy) IsOwn(header string) bool {
	if len(p.hosts) == 0 {
		return true
	}
	host, port, err := splitHost(header)
	if err != nil {
		return false
	}
	return p.hosts[hostPort{host, ""}] || p.hosts[hostPort{host, port}] ||
		port == "" && (p.hosts[hostPort{host, "80"}] || p.hosts[hostPort{host, "443"}])
}

var fixes = [verdicts]string{
	otherHost:   "list the host in Options.Hosts if it is the app's own; if it is not, a page may be trying DNS rebinding",
	otherOrigin: "list the origin in Options.AllowedOrigins, or make the proxy pass on the Host header",
	otherSite:   "none, if a page links to the path or loads it as an image; a proxy must pass on the Origin header",
}

// logRefusal logs what was refused and how to allow it: each pair of origin and host when it is
// refused for the first time, others once a minute for each verdict.
func (p *Policy) logRefusal(r *http.Request, v verdict) {
	what := pair{v, short(strings.Join(r.Header.Values("Origin"), ", ")), short(r.Host)}
	var suppressed int
	if p.isNew(what) {
		suppressed = p.refusals[v].Force()
	} else {
		var now bool
		if suppressed, now = p.refusals[v].Allow(); !now {
			return
		}
	}
	p.log.WarnContext(r.Context(), "socketauth: request of another origin refused",
		slog.String("origin", what.origin), slog.String("host", what.host),
		slog.String("site", short(r.Header.Get("Sec-Fetch-Site"))), slog.Int("more_since_last", suppressed),
		slog.String("fix", fixes[v]))
}

// isNew reports whether a pair has not been logged yet and may be now. If so, it is remembered.
func (p *Policy) isNew(what pair) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.logged == nil || now.Sub(p.since) >= forgetAfter {
		p.logged, p.since = make(map[pair]bool), now
	}
	if p.logged[what] || len(p.logged) >= maxPairs {
		return false
	}
	what.origin, what.host = strings.Clone(what.origin), strings.Clone(what.host) // of a larger string
	p.logged[what] = true
	return true
}

func short(s string) string {
	if len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}
