// Package origin decides which browser origins may talk to the server, and answers CORS for them.
package origin

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/rs/cors"

	"github.com/z-open/socketauth/internal/seldom"
)

// Policy lets through requests of the server's own origin, of the origins it was given, and of no browser at all. It
// is safe for concurrent use.
type Policy struct {
	allowed map[string]bool
	log     *slog.Logger
	cors    *cors.Cors

	refusals seldom.Minute
}

// New makes the policy. Each of allowed is an exact origin as a browser writes it, such as "https://app.example:8443".
func New(allowed []string, log *slog.Logger) (*Policy, error) {
	p := &Policy{allowed: make(map[string]bool, len(allowed)), log: log}
	var faults []error
	for _, a := range allowed {
		scheme, host, ok := parse(a)
		if !ok {
			faults = append(faults, fmt.Errorf("%q is not an exact origin such as https://app.example or http://localhost:8080", a))
		}
		p.allowed[scheme+"://"+host] = true
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	p.cors = cors.New(cors.Options{
		// The check is made before; what comes this far is allowed. Exact origins alone make credentials safe, and
		// sticky load balancers need them.
		AllowOriginVaryRequestFunc: func(*http.Request, string) (bool, []string) { return true, nil },
		AllowedMethods:             []string{http.MethodGet, http.MethodPost},
		AllowedHeaders:             []string{"*"},
		AllowCredentials:           true,
		MaxAge:                     600,
	})
	return p, nil
}

// Guard answers preflights and adds CORS headers for allowed origins; a request of any other goes to refuse.
func (p *Policy) Guard(next http.Handler, refuse http.HandlerFunc) http.Handler {
	next = p.cors.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.Allows(r) {
			w.Header().Add("Vary", "Origin") // of the others, cors says it
			p.logRefusal(r)
			refuse(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Allows decides on one request. A request without an Origin header comes from no browser, or from the same origin.
func (p *Policy) Allows(r *http.Request) bool {
	values := r.Header.Values("Origin")
	if len(values) == 0 {
		return true
	}
	scheme, host, ok := parse(values[0])
	if !ok || len(values) > 1 {
		return false
	}
	return p.allowed[scheme+"://"+host] || ownPort(scheme) != "" && host == authority(scheme, r.Host)
}

// parse takes an origin apart (RFC 6454 section 6.2) and names its port, so that equal origins are equal strings.
func parse(origin string) (scheme, host string, ok bool) {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || u.User != nil || strings.Contains(origin, "*") ||
		!strings.EqualFold(origin, u.Scheme+"://"+u.Host) || strings.HasSuffix(u.Host, ":") {
		return "", "", false
	}
	scheme = strings.ToLower(u.Scheme)
	host = authority(scheme, u.Host)
	return scheme, host, host != ""
}

// ownPort is the port of a scheme that this server's own pages can have, "" for any other scheme.
func ownPort(scheme string) string {
	switch scheme {
	case "http":
		return "80"
	case "https":
		return "443"
	}
	return ""
}

// authority is a lower-case host with its port, which is the scheme's own where none is written.
func authority(scheme, host string) string {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		name, port = host, ownPort(scheme)
		if inside, ok := strings.CutPrefix(host, "["); ok { // IPv6
			if inside, ok = strings.CutSuffix(inside, "]"); ok {
				name = inside
			}
		}
	}
	return net.JoinHostPort(strings.ToLower(name), port)
}

// logRefusal says once a minute what was refused and how to allow it.
func (p *Policy) logRefusal(r *http.Request) {
	unsaid, now := p.refusals.Say()
	if !now {
		return
	}
	p.log.WarnContext(r.Context(), "socketauth: request of another origin refused",
		slog.String("origin", short(strings.Join(r.Header.Values("Origin"), ", "))), slog.String("host", short(r.Host)), slog.Int("more_since_last", unsaid),
		slog.String("fix", "list the origin in Options.AllowedOrigins, or make the proxy pass on the Host header"))
}

func short(s string) string {
	if len(s) > 200 {
		return s[:200] + "..."
	}
	return s
}
