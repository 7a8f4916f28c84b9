package origin

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// tuple is an origin in canonical form, so that equal origins are equal values: lower case, IPv6
// addresses shortened, and with the scheme's default port.
type tuple struct{ scheme, host, port string }

var (
	errForm      = errors.New("it needs a scheme, a host and nothing after them")
	errAfterPort = errors.New("remove what follows the port")
	errNotName   = errors.New("write the name alone, without scheme or path")
	errNoName    = errors.New("the name is missing")
	errBrackets  = errors.New("write an IPv6 address in brackets")
	errLong      = errors.New("its name is longer than 254 bytes")
	errWildcard  = errors.New("there are no wildcards: list each")
	errASCII     = errors.New("browsers send international names in their xn-- form: write that")
	errHost      = errors.New("no browser sends a host written like that")
	errPort      = errors.New("the port is not a number from 1 to 65535")
)

// defaultPorts has the default ports of the schemes that a page of this server, or the connection
// of a native client, can have.
var defaultPorts = map[string]string{"http": "80", "https": "443"}

// parse parses an origin as RFC 6454 section 6.2 serialises it. Native clients send the URL of
// their websocket, so "ws" and "wss" are the same as "http" and "https".
func parse(origin string) (tuple, error) {
	scheme, rest, ok := strings.Cut(origin, "://")
	if !ok || !isScheme(scheme) {
		return tuple{}, errForm
	}
	host, port, err := splitHost(rest)
	if err != nil {
		return tuple{}, err
	}
	scheme = strings.ToLower(scheme)
	switch scheme {
	case "ws":
		scheme = "http"
	case "wss":
		scheme = "https"
	}
	if port == "" {
		port = defaultPorts[scheme]
	}
	return tuple{scheme, host, port}, nil
}

// parseName parses an entry of the server's names. Its errors do not ask for a scheme, as those of
// splitHost do.
func parseName(s string) (name hostPort, err error) {
	address, notAddress := netip.ParseAddr(s)
	switch {
	case notAddress == nil && address.Is6():
		return name, errBrackets
	case s == "" || s[0] == ':':
		return name, errNoName
	case strings.ContainsAny(s, "/?#@"):
		return name, errNotName
	}
	name.host, name.port, err = splitHost(s)
	if errors.Is(err, errForm) {
		err = errNotName
	}
	return name, err
}

// splitHost parses "host" or "host:port", as in a Host header or at the end of an origin. The port
// is empty if there is none.
func splitHost(s string) (host, port string, err error) {
	after, hasPort := "", false
	if inside, ok := strings.CutPrefix(s, "["); ok {
		if inside, after, ok = strings.Cut(inside, "]"); !ok {
			return "", "", errHost
		}
		address, err := netip.ParseAddr(inside)
		if err != nil || !address.Is6() || address.Zone() != "" {
			return "", "", errHost
		}
		host = address.String()
		if port, hasPort = strings.CutPrefix(after, ":"); !hasPort && after != "" {
			return "", "", errForm
		}
	} else {
		host, port, hasPort = strings.Cut(s, ":")
		host = strings.ToLower(host)
		if err := checkName(host); err != nil {
			return "", "", err
		}
	}
	if hasPort {
		switch at := strings.IndexAny(port, "/?#@"); {
		case at >= 0 && port[at] == '@': // the "port" is a password
			return "", "", errForm
		case at >= 0:
			return "", "", errAfterPort
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || port[0] == '0' || port[0] == '+' {
			return "", "", errPort
		}
	}
	return host, port, nil
}

// checkName returns an error if a host name in lower case is invalid. It accepts some names that
// DNS does not allow, such as "." and those with an underscore, because apps and containers have
// them.
func checkName(name string) error {
	switch {
	case name == "":
		return errForm
	case len(name) > 254:
		return errLong
	}
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '.', c == '_':
		case c == '*':
			return errWildcard
		case c >= utf8.RuneSelf:
			return errASCII
		case c == '/' || c == '?' || c == '#' || c == '@':
			return errForm
		default:
			return errHost
		}
	}
	// Browsers parse a name that ends with a number as an IPv4 address, and send that in four
	// parts.
	last := strings.TrimSuffix(name, ".")
	last = last[strings.LastIndexByte(last, '.')+1:]
	if isNumber(last) {
		if address, err := netip.ParseAddr(name); err != nil || !address.Is4() {
			return errHost
		}
	}
	return nil
}

func isNumber(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return label != "" && strings.Trim(label, "0123456789") == ""
}

func isScheme(s string) bool {
	for i, c := range []byte(strings.ToLower(s)) {
		letter := 'a' <= c && c <= 'z'
		if !letter && (i == 0 || strings.IndexByte("0123456789+-.", c) < 0) {
			return false
		}
	}
	return s != ""
}
